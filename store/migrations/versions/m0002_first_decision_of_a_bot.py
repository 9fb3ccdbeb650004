"""When each bot first decided in a unit: the set of a unit's bots closes at its maturity."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_FROM_DECISIONS = """
UPDATE unitbot SET first_at_us = (
    SELECT MIN(d.received_at_us) FROM decision d
    WHERE d.experiment = unitbot.experiment AND d.unit = unitbot.unit AND d.bot = unitbot.bot
)
WHERE EXISTS (
    SELECT 1 FROM decision d
    WHERE d.experiment = unitbot.experiment AND d.unit = unitbot.unit AND d.bot = unitbot.bot
)
"""


def upgrade() -> None:
    """Adds the column and fills it from the decisions; totals follow when a unit changes the next time."""
    op.add_column("unitbot", sa.Column("first_at_us", sa.BigInteger(), nullable=False, server_default="0"))
    op.execute(_FROM_DECISIONS)


def downgrade() -> None:
    """Drops the column."""
    op.drop_column("unitbot", "first_at_us")
