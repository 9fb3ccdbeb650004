"""What bots send and get, as msgspec structs: unknown fields are refused, nothing is defaulted in silence."""

from typing import Any, Literal

import msgspec

Instant = int | str
Text128 = str


class Quote(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The book that the bot sees: prices in USD per share (0..1; 0: nobody quotes), sizes in shares.

    DOWN has a book of its own, and nobody quotes it where it is left out. Sizes that are left out are
    plenty. fee_rate: of the taker fee shares * rate * p * (1 - p); left out: the shadow setting's.
    """

    bid: float
    ask: float
    bid_size: float | None = None
    ask_size: float | None = None
    down_bid: float | None = None
    down_ask: float | None = None
    fee_rate: float | None = None


class DecideRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /v1/decide. history: rows of features, newest last. Times: RFC 3339 or epoch milliseconds.

    deadline_ms: an arm that would take longer is replaced by the control. explain: the reply says where the
    model looked. quote: what a shadow arm needs to keep a paper position of its own.
    """

    unit: str
    history: list[list[float]]
    started_at: Instant | None = None
    experiment: str | None = None
    bot: str = "default"
    decision_id: str | None = None
    as_of: Instant | None = None
    deadline_ms: float | None = None
    quote: Quote | None = None
    force_arm: str | None = None
    explain: bool = False


class BriefRequest(msgspec.Struct, frozen=True):
    """What says whose decision a DecideRequest is; the rest of its fields are skipped."""

    unit: str
    started_at: Instant | None = None
    experiment: str | None = None
    bot: str = "default"
    decision_id: str | None = None
    force_arm: str | None = None


class AssignRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /v1/assign: which arm a unit has, for bots that carry the arms themselves."""

    unit: str
    started_at: Instant | None = None
    experiment: str | None = None


class BatchRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /v1/decide/batch: each item succeeds or fails alone."""

    decisions: list[msgspec.Raw]


class Probs(msgspec.Struct, frozen=True):
    """Probabilities of the three actions."""

    hold: float
    buy: float
    sell: float


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Where the model that answered looked. weights: [layer][head][ticks ago], the share that the newest
    state gives to each state that was used; each row sums to 1. why_not: why there are none."""

    weights: list[list[list[float]]] | None = None
    why_not: str | None = None


class DecideReply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to a decision. propensity: share of every arm at binding. explain: only where asked for."""

    decision_id: str
    experiment: str
    unit: str
    arm: str
    served_arm: str
    reason: str
    binding: str
    action: str
    probs: Probs
    value: float
    propensity: dict[str, float]
    split_version: int
    split_stale: bool
    model: str
    history_used: int
    latency_us: int
    explain: Explanation | None = None


class AssignReply(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to an assignment. served_arm: another one than `arm` where that is killed.

    Nothing is recorded: a unit enters the statistics with its first decision.
    """

    experiment: str
    unit: str
    arm: str
    served_arm: str
    reason: str
    eligible: bool
    binding: str
    started_at_ms: int
    propensity: dict[str, float]
    split_version: int
    split_stale: bool


class Money(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every outcome carries. Amounts in USD, rounded to the nearest micro-USD."""

    pnl_usd: float
    closed_at: Instant
    fill: Literal["live", "paper", "replay"]
    fee_usd: float = 0.0
    stake_usd: float = 0.0
    won: bool | None = None
    experiment: str | None = None
    meta: dict[str, Any] | None = None


class TradeItem(Money, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="trade"):
    """One closed trade, keyed by the decision that opened it."""

    decision_id: str
    entry_price: float | None = None
    exit_price: float | None = None
    side: Literal["up", "down"] | None = None


class MarketItem(
    Money, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="market"
):
    """One bot's whole net result in one unit, sent also when nothing was traded.

    winner: the side whose shares the market paid; a shadow arm's paper position is settled by it.
    """

    unit: str
    bot: str = "default"
    trades: int | None = None
    winner: Literal["up", "down"] | None = None


class OutcomeResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """accepted: durably journaled. duplicate, conflict: this process knows an earlier one.

    rejected: see error. pnl_micro: the amount as it is stored, in micro-USD.
    """

    status: Literal["accepted", "duplicate", "conflict", "rejected"]
    pnl_micro: int | None = None
    error: dict[str, Any] | None = None
