"""What a rollout is decided on: plain numbers of one moment, frozen, so that they can be hashed and replayed.

Nothing is judged here and nothing is read. A number that cannot be said is None, with the reason beside it;
NaN has no place in JSON, so it is None in the digest too, and `rollout.decide` takes both for "cannot say".
"""

from hashlib import blake2b
from typing import Literal

import msgspec

SCHEMA = "abctl.evidence/1"
State = Literal["ok", "worse", "cannot say"]


class Bound(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Treatment minus control of one metric, at the door (a share, or USD a unit), since the experiment's
    start.

    low: one-sided at the level of promotion, missing outcomes at their worst. high: one-sided at the
    metric's part of rollback, missing outcomes at their best. upper: `high` without them. planned_low: as
    `low`, for one look alone. All but planned_low hold at every look together.
    """

    status: str
    reason: str = ""
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    upper: float | None = None
    planned_low: float | None = None


class Check(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One guardrail. value: the treatment's own. difference, low, high: from the control, at the test's
    level; None of a limit. is_shown: whether the arms differ at that level, also where no interval can say
    by how much (every unit of an arm came out alike).
    """

    name: str
    value: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    is_shown: bool = False
    reason: str = ""


class Evidence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """since_us: where every sequence begins. stage_units: mature units of the smaller arm in the newest
    stage.

    failed: why nothing could be read; broken: why nothing may be concluded (the coin, units with two arms).
    whole_days: with units of the comparison, without the newest. day_block_low: lower bound of the primary
    metric with days as the clusters, one look. stage_effects: how many stages have an effect; stages_p: that
    they agree (Welch's test). shadow: treatment minus served, both on paper, net PnL a unit, of a plan that
    asks for it: its low is one-sided at alpha.shadow. swapped: that an arm's model is another one
    than when the rollout began, in words. killed: arms that must not serve. looked_at_us: when it
    was asked for: what `rollout.decide` takes for now.
    """

    schema: str = SCHEMA
    experiment: str
    as_of_us: int
    since_us: int
    split_version: int
    share: float
    killed: tuple[str, ...] = ()
    looked_at_us: int = 0
    failed: str = ""
    broken: str = ""
    primary: Bound
    money: Bound
    tests: tuple[Check, ...] = ()
    limits: tuple[Check, ...] = ()
    stage_units: int = 0
    whole_days: int = 0
    day_block_low: float | None = None
    stage_effects: int = 0
    stages_p: float | None = None
    shadow: Bound | msgspec.UnsetType = msgspec.UNSET
    swapped: str | msgspec.UnsetType = msgspec.UNSET


def encoded(evidence: Evidence) -> bytes:
    """Canonical JSON: sorted keys, NaN as null."""
    return msgspec.json.encode(evidence, order="sorted")


def digest(evidence: Evidence) -> str:
    """blake2b of the canonical JSON, 32 hexadecimal digits."""
    return blake2b(encoded(evidence), digest_size=16).hexdigest()


def decoded(text: str) -> Evidence:
    """What was encoded."""
    return msgspec.json.decode(text, type=Evidence)
