"""Which units lost their decision rows to `abctl db prune`: their totals stay as they are."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Adds the column; older releases do not look at it."""
    op.add_column("unit", sa.Column("pruned_at_us", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Drops the column: totals of pruned units can no longer be told from wrong ones."""
    op.drop_column("unit", "pruned_at_us")
