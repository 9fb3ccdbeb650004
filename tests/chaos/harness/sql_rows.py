"""Reads a run's rows from SQL, past the service."""

import msgspec
from sqlalchemy import create_engine, text

from harness.books import DecisionRow, OutcomeRow, RefusalRow, SqlBooks, UnitRow
from store.sql import normal_url

_OF = "FROM {} WHERE experiment = 'main'"
DECISIONS = f"SELECT decision_id, unit, bot, arm, action, binding, split_stale {_OF.format('decision')}"
OUTCOMES = f"SELECT kind, key, unit, pnl_micro {_OF.format('outcome')}"
CONFLICTS = f"SELECT kind, key, payload {_OF.format('outcomeconflict')}"
UNITS = f"SELECT unit, arm, decisions, contaminated, unserved {_OF.format('unit')}"
REFUSALS = f"SELECT unit, arm {_OF.format('unserved')}"
DEAD = f"SELECT reason {_OF.format('deadletter')}"


def read_sql(url: str) -> SqlBooks:
    """Everything of the experiment main."""
    engine = create_engine(normal_url(url))
    try:
        with engine.connect() as connection:
            decisions = [DecisionRow(*row) for row in connection.execute(text(DECISIONS))]
            outcomes = [OutcomeRow(*row, holder=True) for row in connection.execute(text(OUTCOMES))]
            outcomes += [
                OutcomeRow(kind, key, None, msgspec.json.decode(payload)["pnl_micro"], holder=False)
                for kind, key, payload in connection.execute(text(CONFLICTS))
            ]
            units = [UnitRow(*row) for row in connection.execute(text(UNITS))]
            refusals = [RefusalRow(*row) for row in connection.execute(text(REFUSALS))]
            dead = [str(row.reason) for row in connection.execute(text(DEAD))]
    finally:
        engine.dispose()
    return SqlBooks(decisions, outcomes, units, dead, refusals)
