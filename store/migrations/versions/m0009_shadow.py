"""Shadow arms: what is shadowed, each tick of a paper life, its totals, and which side a market paid."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Adds tables and a column; older releases do not look at them."""
    op.create_table(
        "shadowsetting",
        sa.Column("experiment", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("arm", sa.String(), nullable=True),
        sa.Column("is_required", sa.Boolean(), nullable=False),
        sa.Column("stake_micro", sa.BigInteger(), nullable=False),
        sa.Column("fee_ppm", sa.Integer(), nullable=False),
        sa.Column("margin_micro", sa.BigInteger(), nullable=False),
        sa.Column("since_us", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("experiment", "number"),
    )
    op.create_table(
        "shadowtick",
        sa.Column("experiment", sa.String(), nullable=False),
        sa.Column("journal_id", sa.String(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("decision_id", sa.String(), nullable=False),
        sa.Column("unit", sa.String(), nullable=False),
        sa.Column("bot", sa.String(), nullable=False),
        sa.Column("arm", sa.String(), nullable=False),
        sa.Column("setting", sa.Integer(), nullable=False),
        sa.Column("tick", sa.Integer(), nullable=False),
        sa.Column("void", sa.String(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("served_action", sa.String(), nullable=False),
        sa.Column("unfilled", sa.Integer(), nullable=False),
        sa.Column("shadow_up_micro", sa.BigInteger(), nullable=False),
        sa.Column("shadow_down_micro", sa.BigInteger(), nullable=False),
        sa.Column("served_up_micro", sa.BigInteger(), nullable=False),
        sa.Column("served_down_micro", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("experiment", "journal_id", "position"),
    )
    op.create_index("ix_shadowtick_unit", "shadowtick", ["experiment", "unit"])
    op.create_table(
        "shadowlife",
        sa.Column("experiment", sa.String(), nullable=False),
        sa.Column("unit", sa.String(), nullable=False),
        sa.Column("bot", sa.String(), nullable=False),
        sa.Column("arm", sa.String(), nullable=False),
        sa.Column("setting", sa.Integer(), nullable=False),
        sa.Column("ticks", sa.Integer(), nullable=False),
        sa.Column("last_tick", sa.Integer(), nullable=False),
        sa.Column("tick_sum", sa.BigInteger(), nullable=False),
        sa.Column("void", sa.String(), nullable=False),
        sa.Column("differed", sa.Integer(), nullable=False),
        sa.Column("unfilled", sa.Integer(), nullable=False),
        sa.Column("shadow_up_micro", sa.BigInteger(), nullable=False),
        sa.Column("shadow_down_micro", sa.BigInteger(), nullable=False),
        sa.Column("served_up_micro", sa.BigInteger(), nullable=False),
        sa.Column("served_down_micro", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("experiment", "unit", "bot"),
    )
    op.add_column("outcome", sa.Column("winner", sa.String(), nullable=True))


def downgrade() -> None:
    """Drops them."""
    op.drop_column("outcome", "winner")
    op.drop_table("shadowlife")
    op.drop_table("shadowtick")
    op.drop_table("shadowsetting")
