"""show fine-tunes: boards, and jobs that read uploads."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_BEFORE = "kind IN ('generate', 'finetune')"
_AFTER = "kind IN ('generate', 'finetune', 'validate')"


def upgrade() -> None:
    """Go forward."""
    _replace_check(_BEFORE, _AFTER)
    op.create_table(
        "boards",
        sa.Column("job_id", sa.String(length=20), nullable=False),
        sa.Column("process_name", sa.String(length=32), nullable=False),
        sa.Column("channel_id", sa.BigInteger(), nullable=False),
        sa.Column("locale", sa.String(length=8), nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("closed_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_boards_job_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_boards")),
    )
    op.create_index(
        "ix_boards_open",
        "boards",
        ["process_name", "job_id"],
        sqlite_where=sa.text("closed_at IS NULL"),
        postgresql_where=sa.text("closed_at IS NULL"),
    )


def downgrade() -> None:
    """Go back."""
    op.drop_index("ix_boards_open", table_name="boards")
    op.drop_table("boards")
    op.execute("DELETE FROM jobs WHERE kind = 'validate'")
    _replace_check(_AFTER, _BEFORE)


def _replace_check(before: str, after: str) -> None:
    """Change which kinds of jobs there are."""
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        op.drop_constraint(op.f("ck_jobs_kind"), "jobs", type_="check")
        op.create_check_constraint(op.f("ck_jobs_kind"), "jobs", after)
        return
    # SQLite would have the table rebuilt, and dropping the old one deletes what refers to it. Where
    # no stored row changes, its manual has the definition edited instead (lang_altertable.html, 7).
    version = connection.exec_driver_sql("PRAGMA schema_version").scalar_one()
    connection.exec_driver_sql("PRAGMA writable_schema = ON")
    changed = connection.exec_driver_sql(
        "UPDATE sqlite_schema SET sql = replace(sql, ?, ?) "
        "WHERE type = 'table' AND name = 'jobs' AND instr(sql, ?) > 0",
        (before, after, before),
    )
    assert changed.rowcount == 1  # noqa: S101 - 0001 wrote exactly this
    connection.exec_driver_sql(f"PRAGMA schema_version = {version + 1}")
    connection.exec_driver_sql("PRAGMA writable_schema = OFF")
