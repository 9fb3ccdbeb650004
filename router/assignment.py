"""Which arm a unit gets: a pure function of the unit, a time and the history of splits.

The published specification, with test vectors for clients in any language, is `docs/assignment.md`.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import pairwise

from router.errors import BadHistory, BadSalt, BadTable, BadUnit

BUCKETS = 1_000_000
UNIT_BYTES_MAX = 256
UNSTORABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


def bucket(salt: str, unit: str) -> int:
    """A number in [0, 1_000_000), uniform over units and independent between salts.

    The product of a 64-bit digest and the bucket count, shifted down, has no modulo bias and no float.
    A unit is hashed as the UTF-8 bytes it was sent as, without Unicode normalisation.
    """
    digest = blake2b(f"{salt}:{unit}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") * BUCKETS) >> 64


def arm_salt(experiment: str) -> str:
    """The salt of the coin between arms. No experiment's arm salt equals any experiment's gate salt."""
    return f"{experiment}/arm"


def gate_salt(experiment: str) -> str:
    """The salt of the eligibility gate: with the arm's own, a 20% gate would let in only the lowest arm."""
    return f"{experiment}/gate"


def check_salt(salt: str) -> str:
    """A salt with a colon is refused: ("a:b", "c") and ("a", "b:c") would be one coin."""
    if salt == "" or ":" in salt:
        raise BadSalt(
            "salt", f"must be non-empty and without a colon, not {salt!r}", "use letters, digits, / and -"
        )
    return salt


def check_unit(unit: str) -> str:
    """A unit that every store can hold: no blank, control character or lone surrogate, at most 256 bytes."""
    if unit.isascii() and unit.isprintable() and 0 < len(unit) <= UNIT_BYTES_MAX and not unit.isspace():
        return unit  # as nearly all are
    if not unit or unit.isspace():
        raise BadUnit("unit", "must not be empty", "send the market's id, such as btc-updown-15m-1767225600")
    if UNSTORABLE.search(unit):
        raise BadUnit("unit", "must not hold control characters or lone surrogates", "send printable text")
    if len(unit) > UNIT_BYTES_MAX or len(unit.encode()) > UNIT_BYTES_MAX:
        raise BadUnit(
            "unit", f"must be at most {UNIT_BYTES_MAX} bytes of UTF-8", "send a shorter id or its hash"
        )
    return unit


@dataclass(frozen=True, slots=True)
class Range:
    """The buckets of [start, stop) belong to `arm`."""

    arm: str
    start: int
    stop: int


Ranges = tuple[Range, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Ranges that cover [0, 1_000_000) exactly, in order; `starts` and `arms` are the bisection's columns."""

    ranges: Ranges
    starts: tuple[int, ...] = field(init=False, repr=False, compare=False)
    arms: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_cover(self.ranges)
        object.__setattr__(self, "starts", tuple(r.start for r in self.ranges))
        object.__setattr__(self, "arms", tuple(r.arm for r in self.ranges))


def check_cover(ranges: Ranges) -> None:
    """Raise unless the ranges are non-empty, in order, and tile [0, 1_000_000) without gap or overlap."""
    remedy = f"give half-open ranges in order from 0 to {BUCKETS}, each starting where the last one stops"
    edges = [0, *(r.stop for r in ranges)]
    for expected, r in zip(edges, ranges, strict=False):
        if r.start != expected or r.stop <= r.start:
            raise BadTable(
                "ranges", f"must tile the buckets, but [{r.start}, {r.stop}) follows {expected}", remedy
            )
    if edges[-1] != BUCKETS:
        raise BadTable("ranges", f"must end at {BUCKETS}, not at {edges[-1]}", remedy)


def arm_at(table: Table, at_bucket: int) -> str:
    """The arm that owns a bucket."""
    return table.arms[bisect_right(table.starts, at_bucket) - 1]


def millionths(ranges: Iterable[Range]) -> dict[str, int]:
    """Buckets of every arm that owns any; of a whole table they add up to 1_000_000."""
    owned: dict[str, int] = {}
    for r in ranges:
        owned[r.arm] = owned.get(r.arm, 0) + r.stop - r.start
    return owned


def shares(table: Table, arms: Iterable[str] = ()) -> dict[str, float]:
    """Share of every arm of `arms`, in that order and also at 0, then of any other that owns buckets.

    Each value is the float nearest to a multiple of 1e-6.
    """
    owned = millionths(table.ranges)
    return {arm: owned.get(arm, 0) / BUCKETS for arm in dict.fromkeys([*arms, *owned])}


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """One version of a split. `weights` name every arm of the experiment, those at 0 too."""

    experiment: str
    version: int
    salt: str
    ranges: Ranges
    weights: Mapping[str, float]
    effective_at_us: int
    actor: str
    reason: str
    restored_from: int | None
    created_at_us: int
    table: Table = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "table", Table(self.ranges))
        check_salt(self.salt)
        if shares(self.table, self.weights) != dict(self.weights):
            raise BadTable(
                "weights", "must be the shares of the ranges", "build them with shares(table, arms)"
            )


History = tuple[Split, ...]


def check_history(splits: Iterable[Split]) -> History:
    """One experiment's versions 1, 2, 3, ..., none of which takes effect before an earlier one."""
    history = tuple(splits)
    remedy = "read all versions of one experiment, ordered by version"
    if [s.version for s in history] != list(range(1, len(history) + 1)) or not history:
        raise BadHistory("history", "must hold the versions 1, 2, 3, ... without a gap", remedy)
    if len({s.experiment for s in history}) > 1:
        raise BadHistory("history", "must belong to one experiment", remedy)
    if any(late.effective_at_us < early.effective_at_us for early, late in pairwise(history)):
        raise BadHistory("history", "must not take effect out of order", "build versions with next_split")
    for split in history:
        check_restored(split, history)
    return history


def check_restored(split: Split, history: History) -> None:
    """Raise unless a version that says it restored another one is an exact copy of an earlier one."""
    source = split.restored_from
    if source is None:
        return
    if not 1 <= source < split.version or split.ranges != history[source - 1].ranges:
        rule = f"version {split.version} must be a copy of version {source}, which it says it restored"
        raise BadHistory("history", rule, "build it with restore")


def in_force(history: History, at_us: int) -> Split:
    """The last version that had taken effect at `at_us`; before the first one took effect, the first."""
    for split in reversed(history):
        if split.effective_at_us <= at_us:
            return split
    return history[0]


def is_stale(binding_at_us: int, confirmed_at_us: int, lead_us: int) -> bool:
    """Whether a version that this process does not know yet could be in force at `binding_at_us`.

    A version committed after the history was confirmed takes effect more than `lead_us` after that, so a
    unit that started before then is bound correctly however long SQL has been away.
    """
    return binding_at_us >= confirmed_at_us + lead_us


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Who takes part: units whose bucket under `salt` is below `open_millionths`; others get `control`."""

    control: str
    salt: str
    open_millionths: int = BUCKETS

    def __post_init__(self) -> None:
        check_salt(self.salt)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned:
    """What the coin said. `weights`: propensities of all arms at binding, certain for an ineligible unit."""

    arm: str
    split_version: int
    weights: Mapping[str, float]
    eligible: bool


def assign(gate: Gate, history: History, unit: str, at_us: int) -> Assigned:
    """The arm of a unit bound at `at_us` (its start, or its first decision): the same in every process."""
    split = in_force(history, at_us)
    if gate.open_millionths < BUCKETS and bucket(gate.salt, unit) >= gate.open_millionths:
        certain = {arm: float(arm == gate.control) for arm in split.weights}
        return Assigned(arm=gate.control, split_version=split.version, weights=certain, eligible=False)
    arm = arm_at(split.table, bucket(split.salt, unit))
    return Assigned(arm=arm, split_version=split.version, weights=split.weights, eligible=True)


def propensity(weights: Mapping[str, float], control: str, treatment: str) -> float | None:
    """e = w_T / (w_T + w_B), None where neither arm had a share. Equal ratios give the identical float,
    whatever the shares were, so that e can name a stratum."""
    treated, controlled = (round(weights.get(arm, 0.0) * BUCKETS) for arm in (treatment, control))
    return treated / (treated + controlled) if treated + controlled else None
