"""know parents: the channel that a thread stands in."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.execute("ALTER TABLE channels ADD COLUMN parent_id BIGINT")


def downgrade() -> None:
    """Go back."""
    op.execute("ALTER TABLE channels DROP COLUMN parent_id")
