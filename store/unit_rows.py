"""Unit totals: what reports read instead of scanning decisions; kept by the transaction that stores records.

Law: totals are a function of the rows of decisions, refused ones too, and of outcomes. Decisions that come in
their order are added up; where one comes that is earlier than the unit's first, the unit is derived anew from
its rows. What decisions say of a pruned unit stays as it is: a later one might have been counted before.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, delete, select

from store import decision_rows, latencies, request_rows, tables, unit_bots
from store.bulk import Row, chunks, upsert
from store.decision_rows import StoredDecisions
from store.lookup import EXPERIMENT, Lookup
from store.sql import table_of

_TABLE = table_of(tables.Unit)
_BOTS = table_of(tables.UnitBot)
_TOTALS = Lookup(select(_TABLE).where(_TABLE.c.experiment == EXPERIMENT), _TABLE.c.unit)
_PLACE = ("first_at_us", "first_journal_id", "first_position")
_SUMS = ("decisions", "fallbacks", "stale", "unserved", *latencies.COLUMNS)
_FROM_DECISIONS = (
    "experiment",
    "unit",
    "arm",
    "split_version",
    "weights",
    "excluded",
    "contaminated",
    "started_at_us",
    "start_conflicts",
    *_PLACE,
    "last_at_us",
    *_SUMS,
)


def add_requests(
    connection: Connection, experiment: str, stored: StoredDecisions, refusals: Sequence[Row]
) -> set[str]:
    """Brings totals up to date with stored decisions and the new rows of refused ones.

    Returns the units whose bots, or trades, changed.
    """
    again = {row["unit"] for row in stored.moved} | stored.robbed
    groups = _by_unit([*stored.new, *map(request_rows.refused, refusals)])
    held = {row["unit"]: row for row in _held(connection, experiment, sorted(groups.keys() | again))}
    pruned = {unit for unit, row in held.items() if row["pruned_at_us"] is not None}
    groups = {unit: group for unit, group in groups.items() if unit not in pruned}
    again |= {unit for unit, group in groups.items() if unit in held and _comes_first(group, held[unit])}
    again -= pruned
    fresh = {unit: group for unit, group in groups.items() if unit not in again}
    rows = [added(held.get(unit), group) for unit, group in fresh.items()]
    gained = unit_bots.add(connection, experiment, [row for group in groups.values() for row in group])
    derived = _derive(connection, experiment, again)
    upsert(connection, _TABLE, [*rows, *derived])
    return gained | again | stored.robbed


def added(held: Row | None, group: Sequence[Row]) -> Row:
    """Totals of a unit with more requests; none of them is earlier than the unit's first."""
    more = totals_of(group, held)
    if held is None:
        return more
    more |= {name: held[name] + more[name] for name in (*_SUMS, "start_conflicts")}
    more["contaminated"] = bool(held["contaminated"] or more["contaminated"])
    more["last_at_us"] = max(held["last_at_us"], more["last_at_us"])
    return more


def totals_of(group: Sequence[Row], bound: Row | None) -> Row:
    """Totals of requests of one unit. bound: what its first one settled, if stored before."""
    first = min(group, key=decision_rows.place)
    settled = bound or {
        **{name: first[name] for name in ("arm", "split_version", "weights", "started_at_us")},
        "excluded": excluded_of(first),
        **dict(zip(_PLACE, decision_rows.place(first), strict=True)),
    }
    answered = [row for row in group if request_rows.is_answered(row)]
    starts = [row["sent_started_at_us"] for row in group if row["sent_started_at_us"] is not None]
    row = {
        "experiment": first["experiment"],
        "unit": first["unit"],
        **{n: settled[n] for n in ("arm", "split_version", "weights", "excluded", "started_at_us", *_PLACE)},
        "contaminated": any(row["arm"] != settled["arm"] for row in group),
        "start_conflicts": sum(start != settled["started_at_us"] for start in starts),
        "last_at_us": max(row["received_at_us"] for row in group),
        "decisions": len(answered),
        "fallbacks": sum(row["served_arm"] != row["arm"] and not row["forced"] for row in answered),
        "stale": sum(row["split_stale"] for row in answered),
        "unserved": len(group) - len(answered),
        **latencies.counted(answered),
    }
    return {name: row[name] for name in _FROM_DECISIONS}


def excluded_of(row: Row) -> str | None:
    """Why a unit whose first request this is stays out of the statistics; None where it does not."""
    if not row["eligible"]:
        return "ineligible"
    if not row["forced"]:
        return None
    return "killed" if row["reason"] == "killed" else "forced"


def _by_unit(rows: Iterable[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["unit"]].append(row)
    return groups


def _comes_first(group: Sequence[Row], held: Row) -> bool:
    return min(map(decision_rows.place, group)) < tuple(held[name] for name in _PLACE)


def _held(connection: Connection, experiment: str, units: Sequence[str]) -> list[Row]:
    return [row._asdict() for row in _TOTALS.rows(connection, experiment, units)]


def _derive(connection: Connection, experiment: str, units: set[str]) -> list[Row]:
    """Totals from the rows; a unit that lost its last decision is gone, and so are its bots."""
    groups = _by_unit(request_rows.of_units(connection, experiment, sorted(units)))
    for chunk in chunks(sorted(units)):
        connection.execute(delete(_BOTS).where(_BOTS.c.experiment == experiment, _BOTS.c.unit.in_(chunk)))
    for chunk in chunks(sorted(units - groups.keys())):
        connection.execute(delete(_TABLE).where(_TABLE.c.experiment == experiment, _TABLE.c.unit.in_(chunk)))
    unit_bots.add(connection, experiment, [row for group in groups.values() for row in group])
    return [totals_of(group, None) for group in groups.values()]
