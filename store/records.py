"""The records that travel: what a worker journals and the writer stores, as frozen msgspec structs.

Times are int microseconds since the epoch (UTC), money is int micro-USD (Micro: so small that no total of a
unit overflows 64 bits; the decoder refuses more). A record is encoded as one msgpack array with a tag, so a
field may be added at the end with a default, and never removed or moved.
"""

from typing import Annotated, Literal

import msgspec

Action = Literal["hold", "buy", "sell"]
Fill = Literal["live", "paper", "replay"]
Micro = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]
Binding = Literal["started_at", "pattern", "redis", "local"]

ACTIONS: tuple[Action, Action, Action] = ("hold", "buy", "sell")


class Decision(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="d"):
    """One answered decision. `arm` was assigned by the coin, `served_arm` answered.

    weights: share of every arm at binding (the logged propensities), in the order of the experiment's arms.
    state: newest state, little-endian float32. history_digest: blake2b-8 over the states as float32 bytes.
    """

    decision_id: str
    experiment: str
    unit: str
    bot: str
    arm: str
    served_arm: str
    reason: str
    binding: Binding
    split_version: int
    weights: dict[str, float]
    forced: bool
    eligible: bool
    split_stale: bool
    received_at_us: int
    started_at_us: int
    sent_started_at_us: int | None
    as_of_us: int | None
    action: Action
    probs: tuple[float, float, float]
    value: float
    model: str
    schema: str
    state: bytes
    history_digest: bytes
    history_used: int
    latency_us: int
    action_propensity: float = 1.0


class Unserved(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="u"):
    """A decision that was asked for, bound to its arm, and refused: the unit is assigned all the same.

    Without it a busy arm would lose the very units that made it busy. Fields as in Decision, but for reason:
    the code of the refusal. killed: its arm was killed, so a decision would have said so.
    """

    experiment: str
    unit: str
    bot: str
    arm: str
    reason: str
    split_version: int
    weights: dict[str, float]
    forced: bool
    eligible: bool
    split_stale: bool
    received_at_us: int
    started_at_us: int
    sent_started_at_us: int | None
    killed: bool = False


class TradeOutcome(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="t"):
    """One closed trade, keyed by the decision that opened it."""

    experiment: str
    decision_id: str
    pnl_micro: Micro
    fee_micro: Micro
    stake_micro: Micro
    entry_price: float | None
    exit_price: float | None
    side: str | None
    fill: Fill
    won: bool | None
    closed_at_us: int
    received_at_us: int
    meta: str = "{}"


class MarketOutcome(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="m"):
    """The whole net result of one bot in one unit, trades included; the only input of unit PnL.

    winner: the side whose shares the market paid.
    """

    experiment: str
    unit: str
    bot: str
    pnl_micro: Micro
    fee_micro: Micro
    stake_micro: Micro
    trades: int | None
    won: bool | None
    fill: Fill
    closed_at_us: int
    received_at_us: int
    meta: str = "{}"
    winner: Literal["up", "down"] | None = None


class ShadowTick(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="s"):
    """One tick of the paper life of a bot in a unit (arms/shadow.py), of the decision of this id.

    arm: the shadow's. setting: number of the ShadowSetting. tick: 1, 2, ... within the life; 0: it is void
    from now on, and why. unfilled: orders of both arms so far that nobody would have taken. *_micro: net
    result of all that was sold and of holding the rest to the end, if UP wins and if DOWN wins.
    """

    experiment: str
    decision_id: str
    unit: str
    bot: str
    arm: str
    setting: int
    tick: int
    void: str
    at_us: int
    action: Action
    served_action: Action
    unfilled: int
    shadow_up_micro: Micro
    shadow_down_micro: Micro
    served_up_micro: Micro
    served_down_micro: Micro


Record = Decision | Unserved | TradeOutcome | MarketOutcome | ShadowTick


class ShadowSetting(msgspec.Struct, frozen=True, kw_only=True):
    """Which arm is shadowed from since_us on; arm None: none any more. number: 1, 2, ...

    is_required: a decision without a quote is refused. stake_micro: the notional of a paper order.
    fee_ppm: the taker fee's rate, in millionths, where a quote tells none. margin_micro: how far live may
    lie from paper, in USD a unit, before the evidence is void.
    """

    experiment: str
    number: int
    arm: str | None
    is_required: bool
    stake_micro: int
    fee_ppm: int
    margin_micro: int
    since_us: int
    actor: str
    reason: str


class Split(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a split as it is stored. ranges: (arm, start, stop) in millionths, half-open, sorted."""

    experiment: str
    version: int
    salt: str
    ranges: tuple[tuple[str, int, int], ...]
    effective_at_us: int
    created_at_us: int
    actor: str
    reason: str
    restored_from: int | None = None


class Experiment(msgspec.Struct, frozen=True, kw_only=True):
    """What is compared: arms in order, the control, the unit and how it is judged.

    eligible_share: units outside it get the control and stay out of the statistics.
    unit_duration_s: how long a unit lives from its start; attribution_s: how long its outcomes may follow.
    lifetime_s: how far back a bot may say its unit started. imported: made of a log that was whole already.
    gate: how promotion is decided; plan_units: units at an even split that the bounds are tuned for; looks:
    shares of them at which a gate that is not sequential looks, at the latest at until (RFC 3339).
    pnl_margin_usd: how much less net PnL a unit, beside a better rate, still counts as not worse.
    mode: "bandit" where little regret is wanted instead of a verdict: shares follow the arms' chances to be
    the best, none below bandit_floor, and change at most every bandit_interval_s.
    assignment: "switchback" where a coin is that of block_s seconds of a family, or of all (block_by), and
    units that start in the first burn_in_s of a block are left out.
    """

    key: str
    arms: tuple[str, ...]
    control: str
    salt: str
    gate_salt: str
    unit_kind: str = "market"
    unit_pattern: str | None = None
    unit_duration_s: int = 900
    lifetime_s: int = 86_400
    attribution_s: int = 900
    metric: Literal["win_rate", "profit_rate", "pnl"] = "win_rate"
    win: Literal["pnl", "reported"] = "pnl"
    alpha: float = 0.05
    gate: Literal["sequential", "planned", "hybrid"] = "sequential"
    plan_units: int = 2000
    looks: tuple[float, ...] = ()
    until: str | None = None
    pnl_margin_usd: float = 0.0
    mode: Literal["verdict", "bandit"] = "verdict"
    bandit_floor: float = 0.05
    bandit_interval_s: int = 3600
    assignment: Literal["unit", "switchback"] = "unit"
    block_s: int = 14_400
    block_by: Literal["family", "all"] = "family"
    burn_in_s: int = 0
    eligible_share: float = 1.0
    action_rule: Literal["argmax", "sample"] = "argmax"
    created_at_us: int = 0
    archived_at_us: int | None = None
    imported: bool = False

    @property
    def treatment(self) -> str:
        """The first arm that is not the control: the one that the headline compares."""
        return next(arm for arm in self.arms if arm != self.control)
