"""Which bots of a unit count: the set closes when the unit is mature, so no later bot can undo a verdict.

Law: a function of who first asked when and of what was reported when, whatever the order of arrival. Who was
refused has asked: such a bot reports its market outcome like any other.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, select

from store import tables
from store.bulk import Row, add_new, set_columns
from store.lookup import EXPERIMENT, Lookup
from store.records import Experiment
from store.sql import table_of

_BOTS = table_of(tables.UnitBot)
_EXPERIMENTS = table_of(tables.Experiment)
_FIRSTS = Lookup(
    select(_BOTS.c.unit, _BOTS.c.bot, _BOTS.c.first_at_us).where(_BOTS.c.experiment == EXPERIMENT),
    _BOTS.c.unit,
)


@dataclass(frozen=True, slots=True)
class Seat:
    """A bot of a unit. first_at_us: of its first decision, answered or refused.

    settled_at_us: when its market outcome came, if it did; fill: of that outcome.
    """

    bot: str
    first_at_us: int
    settled_at_us: int | None
    fill: str | None


def counted(seats: Iterable[Seat], closes_us: int | None) -> frozenset[str]:
    """The bots that count, of a unit that closes at `closes_us` (None: nobody knows).

    Bots join in the order of their first decision. The door closes before one that came after `closes_us`,
    or after every bot before it had reported a replay: a replayed unit is mature then.
    """
    joined: list[Seat] = []
    for seat in sorted(seats, key=lambda s: (s.first_at_us, s.bot)):
        if joined and (_is_over(closes_us, seat.first_at_us) or _is_settled(joined, seat.first_at_us)):
            break
        joined.append(seat)
    return frozenset(seat.bot for seat in joined)


def _is_over(closes_us: int | None, at_us: int) -> bool:
    return closes_us is not None and at_us > closes_us


def _is_settled(joined: Sequence[Seat], at_us: int) -> bool:
    return all(s.fill == "replay" and s.settled_at_us is not None and s.settled_at_us < at_us for s in joined)


class Rule(NamedTuple):
    """How units of an experiment are judged. span_us: from a unit's start to its maturity; None for an
    experiment that SQL does not know yet. by_word: a win is what bots report, not what brought money.
    """

    span_us: int | None
    by_word: bool


def rule_of(connection: Connection, experiment: str) -> Rule:
    """As the experiment is defined now."""
    query = select(_EXPERIMENTS.c.definition).where(_EXPERIMENTS.c.key == experiment)
    definition = connection.execute(query).scalar()
    if definition is None:
        return Rule(None, by_word=False)
    known = msgspec.json.decode(definition, type=Experiment)
    return Rule((known.unit_duration_s + known.attribution_s) * 1_000_000, known.win == "reported")


def add(connection: Connection, experiment: str, rows: Iterable[Row]) -> set[str]:
    """Notes who first asked when, of requests; returns the units of which that changed."""
    firsts: dict[tuple[str, str], int] = {}
    for row in rows:
        key, at_us = (row["unit"], row["bot"]), row["received_at_us"]
        firsts[key] = min(at_us, firsts.get(key, at_us))
    held = _firsts(connection, experiment, sorted({unit for unit, _ in firsts}))
    new = [_row(experiment, key, at) for key, at in sorted(firsts.items()) if key not in held]
    earlier = [_row(experiment, key, at) for key, at in sorted(firsts.items()) if at < held.get(key, at)]
    add_new(connection, _BOTS, new, ("unit", "bot"))
    set_columns(connection, _BOTS, earlier)
    return {row["unit"] for row in (*new, *earlier)}


def _row(experiment: str, key: tuple[str, str], first_at_us: int) -> Row:
    return {"experiment": experiment, "unit": key[0], "bot": key[1], "first_at_us": first_at_us}


def _firsts(connection: Connection, experiment: str, units: Sequence[str]) -> dict[tuple[str, str], int]:
    found = _FIRSTS.rows(connection, experiment, units)
    return {(unit, bot): first_at_us for unit, bot, first_at_us in found}
