"""Which arm an experiment shadows, from when on and by whom: append-only, like the versions of a split."""

from collections.abc import Callable
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, and_, func, select
from sqlalchemy.exc import IntegrityError

from store import tables
from store.audit import record_change
from store.errors import ShadowMoved
from store.records import ShadowSetting
from store.sql import in_transaction, table_of

_TABLE = table_of(tables.ShadowSetting)


def append(engine: Engine, key: str, number: int, made: Callable[[], ShadowSetting]) -> ShadowSetting:
    """The compare-and-set: stores setting N, dated when the database is ours, only where N - 1 is the newest.

    Raises ShadowMoved where it is not; then nothing was written.
    """
    try:
        return in_transaction(engine, lambda c: _append(c, key, number, made))
    except IntegrityError as error:
        raise ShadowMoved(key) from error


def _append(
    connection: Connection, key: str, number: int, made: Callable[[], ShadowSetting]
) -> ShadowSetting:
    held = select(func.max(_TABLE.c.number)).where(_TABLE.c.experiment == key)
    if (connection.execute(held).scalar() or 0) != number - 1:
        raise ShadowMoved(key)
    setting = made()
    connection.execute(_TABLE.insert(), msgspec.structs.asdict(setting))
    action = "shadow.off" if setting.arm is None else "shadow.on"
    detail = msgspec.json.encode(setting).decode()
    record_change(connection, setting.since_us, setting.actor, action, key, detail)
    return setting


def every(connection: Connection, key: str) -> tuple[ShadowSetting, ...]:
    """All settings of an experiment, the first one first."""
    query = select(_TABLE).where(_TABLE.c.experiment == key).order_by(_TABLE.c.number)
    return tuple(_setting(row) for row in connection.execute(query).mappings())


def newest(connection: Connection, key: str) -> ShadowSetting | None:
    """The last setting of an experiment, on or off; None where nothing was ever shadowed."""
    return in_force(connection).get(key)


def at(connection: Connection, key: str, at_us: int) -> ShadowSetting | None:
    """The setting that was the last one at a moment."""
    return next((one for one in reversed(every(connection, key)) if one.since_us <= at_us), None)


def in_force(connection: Connection) -> dict[str, ShadowSetting]:
    """The last setting of every experiment that has one."""
    last = select(_TABLE.c.experiment, func.max(_TABLE.c.number).label("number")).group_by(
        _TABLE.c.experiment
    )
    newest_ = last.subquery()
    own = and_(_TABLE.c.experiment == newest_.c.experiment, _TABLE.c.number == newest_.c.number)
    rows = connection.execute(select(_TABLE).join(newest_, own)).mappings()
    return {row["experiment"]: _setting(row) for row in rows}


def _setting(row: Any) -> ShadowSetting:
    return ShadowSetting(**row)
