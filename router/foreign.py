"""Makes an experiment of somebody else's log: what its rows say as our records.

A row is one decision of a unit. Where it says whether it was won, or what it brought, that is its trade; the
unit's market outcome is the sum of its rows. What the log does not say is nowhere made up: such records have
no state, no probabilities of actions and no model, and no screening accepts them.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from router.assignment import BUCKETS
from router.foreign_rows import Read
from store.errors import BadForeignLog
from store.records import Decision, Experiment, MarketOutcome, Record, Split, TradeOutcome

_VERSIONS_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Foreign:
    """What is stored. without_outcome: units of which the log never says how they ended. of_two_arms: units
    that the log has under more than one arm.
    """

    splits: tuple[Split, ...]
    records: list[Record]
    units: dict[str, int]
    outcomes: int
    without_outcome: int
    of_two_arms: int


def foreign_of(experiment: Experiment, rows: list[Read], actor: str) -> Foreign:
    """rows: in the order of their times. A version of the split for each set of shares, by its first row."""
    firsts: dict[str, Read] = {}
    versions: dict[tuple[float, ...], Split] = {}
    records: list[Record] = []
    for row in rows:
        first = firsts.setdefault(row.unit, row)
        if first.weights not in versions:
            number = len(versions) + 1
            versions[first.weights] = _split(experiment, first.weights, number, row.start_us, actor)
        records.append(_decision(experiment, row, first, versions[first.weights].version))
        if row.has_outcome:
            records.append(_trade(experiment, row))
    if len(versions) > _VERSIONS_MAX:
        raise BadForeignLog(
            f"the log has {len(versions):,} different propensities: at most {_VERSIONS_MAX:,}"
        )
    markets = _markets(experiment, rows)
    return Foreign(
        splits=tuple(versions.values()),
        records=[*records, *markets],
        units=dict(Counter(first.arm for first in firsts.values())),
        outcomes=len(records) - len(rows),
        without_outcome=len(firsts.keys() - {market.unit for market in markets}),
        of_two_arms=len({row.unit for row in rows if row.arm != firsts[row.unit].arm}),
    )


def _split(experiment: Experiment, weights: tuple[float, ...], version: int, at_us: int, actor: str) -> Split:
    ranges, start = list[tuple[str, int, int]](), 0
    for arm, weight in zip(experiment.arms, weights, strict=True):
        stop = start + round(weight * BUCKETS)
        if stop > start:
            ranges.append((arm, start, stop))
        start = stop
    return Split(
        experiment=experiment.key,
        version=version,
        salt=experiment.salt,
        ranges=tuple(ranges),
        effective_at_us=at_us,
        created_at_us=at_us,
        actor=actor,
        reason="imported",
    )


def _decision(experiment: Experiment, row: Read, first: Read, version: int) -> Decision:
    return Decision(
        decision_id=row.decision_id,
        experiment=experiment.key,
        unit=row.unit,
        bot=row.bot,
        arm=row.arm,
        served_arm=row.arm,
        reason="imported",
        binding="started_at",
        split_version=version,
        weights=dict(zip(experiment.arms, first.weights, strict=True)),
        forced=False,
        eligible=True,
        split_stale=False,
        received_at_us=row.at_us,
        started_at_us=first.start_us,
        sent_started_at_us=row.sent_start_us,
        as_of_us=None,
        action=row.action,
        probs=(0.0, 0.0, 0.0),
        value=0.0,
        model="",
        schema="",
        state=b"",
        history_digest=b"",
        history_used=0,
        latency_us=0,
    )


def _trade(experiment: Experiment, row: Read) -> TradeOutcome:
    return TradeOutcome(
        experiment=experiment.key,
        decision_id=row.decision_id,
        pnl_micro=row.pnl_micro or 0,
        fee_micro=row.fee_micro,
        stake_micro=row.stake_micro,
        entry_price=None,
        exit_price=None,
        side=None,
        fill="replay",
        won=row.won,
        closed_at_us=row.settled_us,
        received_at_us=row.settled_us,
    )


def _markets(experiment: Experiment, rows: Iterable[Read]) -> list[MarketOutcome]:
    """One for every unit and bot that says anything, when its last row was settled."""
    groups: dict[tuple[str, str], list[Read]] = {}
    for row in rows:
        if row.has_outcome:
            groups.setdefault((row.unit, row.bot), []).append(row)
    found = [_market(experiment, group) for group in groups.values()]
    return sorted(found, key=lambda market: market.received_at_us)


def _market(experiment: Experiment, group: list[Read]) -> MarketOutcome:
    last_us = max(row.settled_us for row in group)
    return MarketOutcome(
        experiment=experiment.key,
        unit=group[0].unit,
        bot=group[0].bot,
        pnl_micro=sum(row.pnl_micro or 0 for row in group),
        fee_micro=sum(row.fee_micro for row in group),
        stake_micro=sum(row.stake_micro for row in group),
        trades=len(group),
        won=_won(group),
        fill="replay",
        closed_at_us=last_us,
        received_at_us=last_us,
    )


def _won(group: list[Read]) -> bool | None:
    """Of a unit, as all its rows say. By money where the log has it (the experiment's `win`)."""
    said = {row.won for row in group if row.won is not None}
    if len(said) > 1 and all(row.pnl_micro is None for row in group):
        places = "; ".join(str(row.place) for row in group[:5])
        raise BadForeignLog(
            f"unit {group[0].unit!r} is won and not won ({places}): give one row a unit, or map pnl_usd"
        )
    return said.pop() if len(said) == 1 else None


def bytes_of(records: Iterable[Record]) -> Iterable[bytes]:
    """As they would stand in a journal."""
    return map(msgspec.msgpack.Encoder().encode, records)
