"""Room in the pages of `unit`: its totals change many times, and where the new row fits beside the old one no
index does (PostgreSQL's heap-only tuples)."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Of rows that come from now on; SQLite writes a row in its place anyway."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE unit SET (fillfactor = 50)")


def downgrade() -> None:
    """Back to full pages."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE unit RESET (fillfactor)")
