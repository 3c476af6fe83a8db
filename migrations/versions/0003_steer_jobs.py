"""steer jobs: what an admin wishes of a fine-tune."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    # As plain SQL both databases add the column with its check and rebuild nothing.
    op.execute(
        "ALTER TABLE jobs ADD COLUMN wish VARCHAR(8) "
        "CONSTRAINT ck_jobs_wish CHECK (wish IN ('pause', 'stop'))"
    )


def downgrade() -> None:
    """Go back."""
    op.execute("ALTER TABLE jobs DROP COLUMN wish")
