"""How long the decisions of a unit took, by bucket."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_EDGES_US = (500, 1_000, 2_000, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000)
_OVER = f"latency_over_{_EDGES_US[-1]}_us"


def _columns() -> dict[str, str]:
    """Columns, and which decisions each counts."""
    found, above = {}, 0
    for edge_us in _EDGES_US:
        found[f"latency_to_{edge_us}_us"] = f"latency_us > {above} AND latency_us <= {edge_us}"
        above = edge_us
    return {**found, _OVER: f"latency_us > {above}"}


def upgrade() -> None:
    """Adds columns, which older releases do not look at, and counts what decision rows there are: a pass over
    them, in which the writer waits. What older releases store later, `abctl db rebuild` counts.
    """
    columns = _columns()
    for name in columns:
        op.add_column("unit", sa.Column(name, sa.Integer(), nullable=False, server_default="0"))
    sums = ", ".join(f"SUM(CASE WHEN {is_in} THEN 1 ELSE 0 END) AS {name}" for name, is_in in columns.items())
    taken = ", ".join(f"{name} = told.{name}" for name in columns)
    told = f"SELECT experiment, unit, {sums} FROM decision GROUP BY experiment, unit"  # noqa: S608 - ours
    op.execute(
        f"UPDATE unit SET {taken} FROM ({told}) AS told WHERE unit.experiment = told.experiment"  # noqa: S608
        " AND unit.unit = told.unit AND unit.pruned_at_us IS NULL"
    )


def downgrade() -> None:
    """Drops them."""
    for name in _columns():
        op.drop_column("unit", name)
