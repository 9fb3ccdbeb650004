"""The append-only audit: who changed what, when and why."""

import msgspec
from sqlalchemy import Connection, select

from store import tables
from store.sql import table_of

_TABLE = table_of(tables.Audit)


def record_change(
    connection: Connection, at_us: int, actor: str, action: str, experiment: str | None, detail: str
) -> None:
    """Adds a row to the transaction that makes the change. detail: JSON."""
    row = {"at_us": at_us, "actor": actor, "action": action, "experiment": experiment, "detail": detail}
    connection.execute(_TABLE.insert(), row)


def killed_arms(connection: Connection, experiment: str) -> set[str]:
    """Arms that the last word of the audit, whichever node it came from, says are killed."""
    c = _TABLE.c
    words = ("arm.killed", "arm.lifted")
    query = select(c.action, c.detail).where(c.experiment == experiment, c.action.in_(words))
    newest = {
        msgspec.json.decode(detail)["arm"]: action
        for action, detail in connection.execute(query.order_by(c.at_us, c.id))
    }
    return {arm for arm, action in newest.items() if action == "arm.killed"}


def changes(connection: Connection, experiment: str, limit: int) -> list[dict[str, object]]:
    """The newest changes of an experiment, the newest first."""
    query = select(_TABLE).where(_TABLE.c.experiment == experiment).order_by(_TABLE.c.id.desc()).limit(limit)
    return [dict(row) for row in connection.execute(query).mappings()]
