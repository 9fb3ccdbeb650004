"""Changing a split so that only units move that must: which buckets are traded, and what is given back.

Who took which bucket from whom is not stored: it follows from the tables. A bucket that goes to the arm it
was taken from is given back; any other move is a gain. A restored version has its source's past as well.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from functools import reduce
from itertools import groupby, pairwise
from typing import Any

from router.assignment import BUCKETS, History, Range, Ranges, Split, Table, arm_at, arm_salt, shares
from router.errors import BadShare, UnknownArm, UnknownVersion

MILLIONTH = Decimal("0.000001")
EXACT = Context(prec=28)
NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")

Share = Decimal | str | float


def share_millionths(share: Share) -> int:
    """A share as a whole number of buckets. A float means the shortest decimal that reads back as it."""
    exact = exact_decimal(share)
    if exact is None or not 0 <= exact <= 1:
        raise BadShare("share", f"must be a number from 0 to 1, not {share!r}", "write 10% as 0.1")
    nearest = exact.quantize(MILLIONTH, context=EXACT)
    if nearest != exact:
        raise BadShare("share", f"must be a multiple of 0.000001, not {share!r}", _instead(nearest))
    return int(nearest.scaleb(6, context=EXACT))


def _instead(nearest: Decimal) -> str:
    """None and all are no mere rounding of a share: there both neighbours are named."""
    ends = {Decimal(0): "0 or 0.000001", Decimal(1): "0.999999 or 1"}
    return f"write {ends.get(nearest, f'{nearest:f}')} instead"


def exact_decimal(share: Share) -> Decimal | None:
    """The number exactly as written; None for what is no finite number (nor is True, or "0_1")."""
    text = float.__repr__(share) if isinstance(share, float) else str(share)
    return Decimal(text) if NUMBER.fullmatch(text) else None


@dataclass(frozen=True, slots=True)
class Gain:
    """`arm` gained a bucket in split version `version`."""

    arm: str
    version: int


@dataclass(frozen=True, slots=True)
class Holding:
    """The owners of the buckets [start, stop): the first owner first, whoever owns them now last."""

    start: int
    stop: int
    owners: tuple[Gain, ...]

    @property
    def arm(self) -> str:
        """Who owns them now."""
        return self.owners[-1].arm

    @property
    def taken_from(self) -> str | None:
        """Who gets them back when the owner is lowered; None where they were the owner's from the start."""
        return self.owners[-2].arm if len(self.owners) > 1 else None


def holdings(history: History) -> tuple[Holding, ...]:
    """Every bucket's owners as of the newest version, in bucket order."""
    founding, *later = lineage(history)
    founded = tuple(Holding(r.start, r.stop, (Gain(r.arm, founding.version),)) for r in founding.ranges)
    return reduce(followed, later, founded)


def lineage(history: History) -> list[Split]:
    """The versions that made the newest table, oldest first: what a restore undid is left out."""
    made: list[Split] = []
    version = history[-1].version
    while version > 0:
        split = history[version - 1]
        if split.restored_from is None:
            made.append(split)
        version = version - 1 if split.restored_from is None else split.restored_from
    return made[::-1]


def followed(held: tuple[Holding, ...], split: Split) -> tuple[Holding, ...]:
    """The holdings after `split`."""
    starts = [h.start for h in held]
    edges = sorted({*starts, *split.table.starts, BUCKETS})
    before = [held[bisect_right(starts, edge) - 1].owners for edge in edges[:-1]]
    return tuple(
        Holding(start, stop, passed_on(owners, arm_at(split.table, start), split.version))
        for (start, stop), owners in zip(pairwise(edges), before, strict=True)
    )


def passed_on(owners: tuple[Gain, ...], arm: str, version: int) -> tuple[Gain, ...]:
    """A bucket's owners once it is `arm`'s: kept, given back, or gained."""
    if owners[-1].arm == arm:
        return owners
    if len(owners) > 1 and owners[-2].arm == arm:
        return owners[:-1]
    return (*owners, Gain(arm, version))


def set_share(
    history: History,
    arm: str,
    share: Share,
    control: str,
    from_arms: Sequence[str] | None = None,
    arms: Sequence[str] | None = None,
) -> Ranges:
    """The ranges that give `arm` its new share; only it and `from_arms` (default: the control) trade buckets.

    Raising takes the lowest buckets of the first named arm, then of the next. Lowering gives back to the
    named arms what was taken from them: the newest gain first, within a gain the highest bucket first.
    `arms` are the experiment's (default: those of the newest version's weights).
    """
    wanted = share_millionths(share)
    partners = (control,) if from_arms is None else tuple(dict.fromkeys(from_arms))
    check_names(arm, control, partners, [*(arms or history[-1].weights)])
    held = holdings(history)
    owned = sum(h.stop - h.start for h in held if h.arm == arm)
    if wanted >= owned:
        return repainted(history[-1].table, taken(held, arm, partners, wanted - owned))
    return repainted(history[-1].table, returned(held, arm, partners, owned - wanted))


def check_names(arm: str, control: str, partners: Sequence[str], known: list[str]) -> None:
    """Raise unless every arm is known and `arm` can trade with its partners."""
    for name in (arm, control, *partners):
        if name not in known:
            raise UnknownArm(name, known)
    if arm == control:
        others = " or ".join(name for name in known if name != control)
        rule = f"must not be the control {control!r}, which has what the others leave"
        raise BadShare("arm", rule, f"set {others} instead")
    if arm in partners or not partners:
        rule = "must name at least one arm, and not the arm itself"
        raise BadShare("from_arms", rule, "leave it out for the control")


def taken(held: Iterable[Holding], arm: str, partners: Sequence[str], count: int) -> Ranges:
    """The `count` buckets that `arm` gains.

    What a partner took from `arm` is not for the taking: lowering the partner gives it back. Else one and
    the same move could mean either, and the tables alone would not tell which.
    """
    free = [h for h in held if h.taken_from != arm]
    offered = [Range(arm, h.start, h.stop) for partner in partners for h in free if h.arm == partner]
    missing = count - size(offered)
    if missing > 0:
        rule = f"is {missing / BUCKETS:f} more than {arm} and {', '.join(partners)} have to trade"
        raise BadShare("share", rule, "lower another arm first, or name more arms to take from")
    return parted(offered, count)[0]


def returned(held: Iterable[Holding], arm: str, partners: Sequence[str], count: int) -> Ranges:
    """The `count` buckets that `arm` gives back, each to the partner it was taken from."""
    mine = sorted((h for h in held if h.arm == arm), key=lambda h: (h.owners[-1].version, h.start))
    loans = [Range(h.taken_from, h.start, h.stop) for h in mine if h.taken_from is not None]
    owed = [loan for loan in loans if loan.arm in partners]
    missing = count - size(owed)
    if missing > 0:
        others = ", ".join(sorted({loan.arm for loan in loans} - {*partners}))
        rule = f"would give back {missing / BUCKETS:f} more than {arm} took from {', '.join(partners)}"
        raise BadShare(
            "share", rule, f"name also those it took the rest from ({others}), or restore a version"
        )
    return parted(owed, size(owed) - count)[1]


def size(ranges: Iterable[Range]) -> int:
    """How many buckets these ranges hold."""
    return sum(r.stop - r.start for r in ranges)


def parted(ranges: Iterable[Range], count: int) -> tuple[Ranges, Ranges]:
    """The first `count` buckets, and the rest."""
    first: list[Range] = []
    rest: list[Range] = []
    for r in ranges:
        cut = min(r.stop, r.start + count)
        count -= cut - r.start
        first += [Range(r.arm, r.start, cut)] if r.start < cut else []
        rest += [Range(r.arm, cut, r.stop)] if cut < r.stop else []
    return tuple(first), tuple(rest)


def repainted(table: Table, moves: Ranges) -> Ranges:
    """The table's ranges after the moves, neighbours of one arm joined."""
    edges = sorted({*table.starts, BUCKETS, *(m.start for m in moves), *(m.stop for m in moves)})
    mover = {m.start: m for m in moves}
    ordered = sorted(mover)

    def owner(start: int) -> str:
        at = bisect_right(ordered, start) - 1
        inside = at >= 0 and start < mover[ordered[at]].stop
        return mover[ordered[at]].arm if inside else arm_at(table, start)

    runs = groupby(pairwise(edges), key=lambda piece: owner(piece[0]))
    joined = ((arm, list(pieces)) for arm, pieces in runs)
    return tuple(Range(arm, pieces[0][0], pieces[-1][1]) for arm, pieces in joined)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Who changes a split, why, when, and how long before it takes effect everywhere."""

    actor: str
    reason: str
    now_us: int
    lead_us: int


def first(experiment: str, arms: Sequence[str], control: str, change: Change) -> Split:
    """Version 1: everything is the control's, at once."""
    if control not in arms:
        raise UnknownArm(control, [*arms])
    ranges = (Range(control, 0, BUCKETS),)
    return Split(
        experiment=experiment,
        version=1,
        salt=arm_salt(experiment),
        ranges=ranges,
        weights=shares(Table(ranges), arms),
        effective_at_us=change.now_us,
        actor=change.actor,
        reason=change.reason,
        restored_from=None,
        created_at_us=change.now_us,
    )


def next_split(history: History, ranges: Ranges, change: Change, restored_from: int | None = None) -> Split:
    """The version after the newest, in force a lead from now and never before its predecessor."""
    newest = history[-1]
    source = newest if restored_from is None else history[restored_from - 1]
    return Split(
        experiment=newest.experiment,
        version=newest.version + 1,
        salt=source.salt,
        ranges=ranges,
        weights=shares(Table(ranges), newest.weights),
        effective_at_us=max(change.now_us + change.lead_us, newest.effective_at_us),
        actor=change.actor,
        reason=change.reason,
        restored_from=restored_from,
        created_at_us=change.now_us,
    )


def restore(history: History, version: int, change: Change) -> Split:
    """A new version with the exact table, salt and past of an old one."""
    if not 1 <= version <= len(history):
        raise UnknownVersion(version, len(history))
    return next_split(history, history[version - 1].ranges, change, restored_from=version)


def split_shape(split: Split) -> dict[str, Any]:
    """The JSON object `split` of the HTTP interface and of `--json`."""
    return {
        "experiment": split.experiment,
        "version": split.version,
        "salt": split.salt,
        "weights": dict(split.weights),
        "ranges": ranges_shape(split.ranges),
        "effective_at": rfc3339(split.effective_at_us),
        "actor": split.actor,
        "reason": split.reason,
        "restored_from": split.restored_from,
        "created_at": rfc3339(split.created_at_us),
    }


def ranges_shape(ranges: Ranges) -> list[dict[str, Any]]:
    """Ranges as JSON, as they are stored and shown."""
    return [{"arm": r.arm, "from": r.start, "to": r.stop} for r in ranges]


def ranges_of(shape: Iterable[dict[str, Any]]) -> Ranges:
    """The inverse of `ranges_shape`."""
    return tuple(Range(r["arm"], r["from"], r["to"]) for r in shape)


def rfc3339(at_us: int) -> str:
    """A time as RFC 3339 UTC, to the microsecond."""
    moment = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=at_us)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
