"""Paper lives of shadow arms in SQL: every tick once, by its place in the journal, and their totals.

Law: a life is a function of its ticks, whatever the order in which they come and how often: counts and sums
add up, and what the life is worth is what its newest tick says.
Of a pruned unit the ticks are gone and the lives stand.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from sqlalchemy import Connection, and_, delete, select

from store import tables
from store.bulk import Row, add_new, chunks, upsert
from store.differences import Difference, columns
from store.lookup import EXPERIMENT, Lookup
from store.records import ShadowTick
from store.sql import table_of
from store.unit_spans import Span

_TICKS = table_of(tables.ShadowTick)
_LIVES = table_of(tables.ShadowLife)
_HELD = Lookup(select(_LIVES).where(_LIVES.c.experiment == EXPERIMENT), _LIVES.c.unit)
_STREAMED_ROWS = 2_000
_WHOSE = ("experiment", "unit", "bot")
_SUMS = ("ticks", "tick_sum", "differed")
_NEWEST = (
    "last_tick",
    "setting",
    "arm",
    "unfilled",
    "shadow_up_micro",
    "shadow_down_micro",
    "served_up_micro",
    "served_down_micro",
)
"""Of the newest tick. Two ticks of one number make a life void; so that these follow from rows even then, the
larger one wins."""
Key = tuple[str, str]
"""(unit, bot)."""


def row_of(record: ShadowTick, journal_id: str, position: int) -> Row:
    """The columns of tables.ShadowTick, of a record at its place in a journal."""
    row = {name: getattr(record, name) for name in record.__struct_fields__}
    return {**row, "journal_id": journal_id, "position": position}


def store(connection: Connection, experiment: str, ticks: Sequence[Row]) -> int:
    """Adds a batch of one experiment and brings the lives up to date; returns how many ticks are new."""
    new = add_new(connection, _TICKS, ticks, ("journal_id", "position"))
    if not new:
        return 0
    fresh = lives_of(new)
    units = sorted({unit for unit, _ in fresh})
    for row in _HELD.rows(connection, experiment, units):
        held = row._asdict()
        key = (held["unit"], held["bot"])
        if key in fresh:
            fresh[key] = merged(held, fresh[key])
    upsert(connection, _LIVES, list(fresh.values()))
    return len(new)


def lives_of(ticks: Iterable[Row]) -> dict[Key, Row]:
    """The lives that ticks make, by unit and bot."""
    lives: dict[Key, Row] = {}
    for tick in ticks:
        life, key = life_of(tick), (tick["unit"], tick["bot"])
        lives[key] = merged(lives[key], life) if key in lives else life
    return lives


def life_of(tick: Row) -> Row:
    """The life that one tick makes."""
    own = {name: tick[name] for name in (*_WHOSE, *_NEWEST[1:], "void")}
    differed = int(not tick["void"] and tick["action"] != tick["served_action"])
    return {
        **own,
        "last_tick": tick["tick"],
        "ticks": 1,
        "tick_sum": tick["tick"],
        "differed": differed,
    }


def merged(one: Row, other: Row) -> Row:
    """The life of the ticks of both: associative and commutative."""
    newest = max(one, other, key=lambda life: tuple(life[name] for name in _NEWEST))
    sums = {name: one[name] + other[name] for name in _SUMS}
    void = min(filter(None, (one["void"], other["void"])), default="")
    return {**newest, **sums, "void": void}


def is_whole(life: Mapping[str, int]) -> bool:
    """Whether its ticks are 1 to last_tick, each once, as far as count and sum say. Some missing while
    others came twice can add up to the same (1, 1, 4, 4): no single loss or repetition does.
    """
    last = life["last_tick"]
    return life["ticks"] == last and life["tick_sum"] == last * (last + 1) // 2


def held(connection: Connection, span: Span) -> dict[Key, Row]:
    """The lives of a span of units as they stand."""
    rows = connection.execute(select(_LIVES).where(span.holds(_LIVES))).mappings()
    return {(row["unit"], row["bot"]): dict(row) for row in rows}


def expected(
    connection: Connection, span: Span, stored: Mapping[Key, Row], pruned: frozenset[str]
) -> dict[Key, Row]:
    """The lives that must be; those of pruned units as they stand, for their ticks are gone."""
    query = select(_TICKS).where(span.holds(_TICKS))
    found = connection.execute(query, execution_options={"yield_per": _STREAMED_ROWS}).mappings()
    lives = lives_of(dict(row) for row in found if row["unit"] not in pruned)
    return lives | {key: life for key, life in stored.items() if key[0] in pruned}


def between(span: Span, stored: Mapping[Key, Row], must: Mapping[Key, Row]) -> Iterator[Difference]:
    """All differences of a span."""
    for key in sorted({*stored, *must}):
        for column in columns(stored.get(key), must.get(key)):
            yield Difference(span.experiment, "shadowlife", key, *column)


def repair(connection: Connection, span: Span, stored: Mapping[Key, Row], must: Mapping[Key, Row]) -> None:
    """Makes the lives what they must be."""
    for unit, bot in stored.keys() - must.keys():
        c = _LIVES.c
        connection.execute(
            delete(_LIVES).where(and_(c.experiment == span.experiment, c.unit == unit, c.bot == bot))
        )
    upsert(connection, _LIVES, [life for key, life in must.items() if stored.get(key) != life])


def forget_ticks(connection: Connection, experiment: str, units: Sequence[str]) -> None:
    """Removes the ticks of units whose decisions are removed; their lives stay."""
    for chunk in chunks(units):
        c = _TICKS.c
        connection.execute(delete(_TICKS).where(c.experiment == experiment, c.unit.in_(chunk)))
