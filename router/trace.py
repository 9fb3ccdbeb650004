"""One decision, as SQL holds it: what was asked, who answered, and what came of it."""

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import Engine, select

from store import tables
from store.errors import UnknownDecision
from store.outcome_rows import market_key
from store.sql import table_of

_DECISIONS = table_of(tables.Decision)
_OUTCOMES = table_of(tables.Outcome)
_CONFLICTS = table_of(tables.OutcomeConflict)
_JSON_COLUMNS = ("weights", "meta", "payload")


def decision(engine: Engine, experiment: str, decision_id: str) -> dict[str, Any]:
    """The decision's row, its outcomes, and the outcomes that contradict them."""
    with engine.connect() as connection:
        query = select(_DECISIONS).where(
            _DECISIONS.c.experiment == experiment, _DECISIONS.c.decision_id == decision_id
        )
        row = connection.execute(query).mappings().one_or_none()
        if row is None:
            raise UnknownDecision(experiment, decision_id)
        keys = (decision_id, market_key(row["unit"], row["bot"]))
        found = [
            connection.execute(select(t).where(t.c.experiment == experiment, t.c.key.in_(keys)))
            .mappings()
            .all()
            for t in (_OUTCOMES, _CONFLICTS)
        ]
    outcomes, conflicts = ([plain(r) for r in rows] for rows in found)
    return {"decision": plain(row), "outcomes": outcomes, "conflicts": conflicts}


def plain(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A row as JSON can hold it: bytes as hex, stored JSON as what it says."""
    values = {name: value.hex() if isinstance(value, bytes) else value for name, value in row.items()}
    return values | {name: msgspec.json.decode(values[name]) for name in _JSON_COLUMNS if name in values}
