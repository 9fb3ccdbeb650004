"""What SQL holds of the units that a shadow arm could live in: their totals, paper lives and winners."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from store import tables
from store.bulk import Row
from store.records import ShadowSetting
from store.sql import table_of

_UNITS = table_of(tables.Unit)
_LIVES = table_of(tables.ShadowLife)
_OUTCOMES = table_of(tables.Outcome)


@dataclass(frozen=True, slots=True)
class ShadowUnits:
    """units: rows of tables.Unit that began under the setting with another arm, the first one first.

    lives: rows of tables.ShadowLife by unit. winners: what market outcomes say of each unit, all different.
    """

    units: Sequence[Row]
    lives: Mapping[str, Sequence[Row]]
    winners: Mapping[str, frozenset[str]]


def read_shadow_units(connection: Connection, setting: ShadowSetting) -> ShadowUnits:
    """All that the evidence of a setting is made from; never the ticks."""
    key, c = setting.experiment, _UNITS.c
    units = (
        select(_UNITS)
        .where(c.experiment == key, c.first_at_us >= setting.since_us, c.arm != setting.arm)
        .order_by(c.first_at_us, c.unit)
    )
    rows = [dict(row) for row in connection.execute(units).mappings()]
    return ShadowUnits(rows, _lives(connection, key), _winners(connection, key))


def _lives(connection: Connection, key: str) -> dict[str, list[Row]]:
    lives: dict[str, list[Row]] = {}
    for row in connection.execute(select(_LIVES).where(_LIVES.c.experiment == key)).mappings():
        lives.setdefault(row["unit"], []).append(dict(row))
    return lives


def _winners(connection: Connection, key: str) -> dict[str, frozenset[str]]:
    c = _OUTCOMES.c
    least, most = func.min(c.winner), func.max(c.winner)
    query = (
        select(c.unit, least, most)
        .where(c.experiment == key, c.kind == "market", c.winner.is_not(None))
        .group_by(c.unit)
    )
    return {unit: frozenset((one, other)) for unit, one, other in connection.execute(query)}
