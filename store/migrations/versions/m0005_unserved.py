"""Refused decisions whose units were bound: such a unit is assigned, and unserved."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Adds a table and a column; older releases do not look at them."""
    op.create_table(
        "unserved",
        sa.Column("experiment", sa.String(), nullable=False),
        sa.Column("journal_id", sa.String(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("unit", sa.String(), nullable=False),
        sa.Column("bot", sa.String(), nullable=False),
        sa.Column("arm", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("killed", sa.Boolean(), nullable=False),
        sa.Column("split_version", sa.Integer(), nullable=False),
        sa.Column("weights", sa.Text(), nullable=False),
        sa.Column("forced", sa.Boolean(), nullable=False),
        sa.Column("eligible", sa.Boolean(), nullable=False),
        sa.Column("split_stale", sa.Boolean(), nullable=False),
        sa.Column("received_at_us", sa.BigInteger(), nullable=False),
        sa.Column("started_at_us", sa.BigInteger(), nullable=False),
        sa.Column("sent_started_at_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("experiment", "journal_id", "position"),
    )
    op.create_index("ix_unserved_unit", "unserved", ["experiment", "unit"], unique=False)
    op.add_column("unit", sa.Column("unserved", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    """Drops both: units that were only ever refused stay, without the rows that they follow from."""
    op.drop_column("unit", "unserved")
    op.drop_index("ix_unserved_unit", table_name="unserved")
    op.drop_table("unserved")
