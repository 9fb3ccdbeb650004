"""What the client sends and gets. Unknown members of an answer are ignored: the service may be newer."""

from datetime import datetime
from typing import Any, Literal, TypedDict

import msgspec

Instant = datetime | int | str
"""A time: an aware datetime, epoch milliseconds, or RFC 3339 text with an offset."""

Fill = Literal["live", "paper", "replay"]


class Quote(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The book a bot sees: prices in USD per share (0 to 1), sizes in shares."""

    bid: float
    ask: float
    bid_size: float | None = None
    ask_size: float | None = None
    down_bid: float | None = None
    down_ask: float | None = None
    fee_rate: float | None = None


class DecideOptions(TypedDict, total=False):
    """What a decision may say besides its unit and history."""

    started_at: Instant
    experiment: str
    bot: str
    decision_id: str
    as_of: Instant
    deadline_ms: float
    quote: Quote
    force_arm: str
    explain: bool


class DecideRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One question. history: rows of features, newest last: lists, or anything with `tolist` (numpy)."""

    unit: str
    history: Any
    started_at: Instant | None = None
    experiment: str | None = None
    bot: str | None = None
    decision_id: str | None = None
    as_of: Instant | None = None
    deadline_ms: float | None = None
    quote: Quote | None = None
    force_arm: str | None = None
    explain: bool = False


class AssignRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which arm a unit has."""

    unit: str
    started_at: Instant | None = None
    experiment: str | None = None


class Probs(msgspec.Struct, frozen=True):
    """Probabilities of the three actions."""

    hold: float
    buy: float
    sell: float


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Where the model looked. weights: [layer][head][ticks ago], rows sum to 1. why_not: why none."""

    weights: list[list[list[float]]] | None = None
    why_not: str | None = None


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """The answer. `arm` was assigned, `served_arm` answered. propensity: every arm's share at binding.
    explain: where it was asked for."""

    decision_id: str
    experiment: str
    unit: str
    arm: str
    served_arm: str
    reason: str
    binding: str
    action: Literal["hold", "buy", "sell"]
    probs: Probs
    value: float
    propensity: dict[str, float]
    split_version: int
    model: str
    history_used: int
    latency_us: int
    split_stale: bool = False
    explain: Explanation | None = None


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """A unit's arm, for bots that carry the arms themselves. Use `served_arm`: another one than the assigned
    `arm` where that is killed."""

    experiment: str
    unit: str
    arm: str
    served_arm: str
    reason: str
    binding: str
    propensity: dict[str, float]
    split_version: int
    eligible: bool = True
    started_at_ms: int | None = None
    split_stale: bool = False


class TradeOutcome(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="trade"
):
    """One closed trade, keyed by the decision that opened it. pnl_usd: net of fees."""

    decision_id: str
    pnl_usd: float
    fill: Fill
    closed_at: Instant
    fee_usd: float | None = None
    stake_usd: float | None = None
    entry_price: float | None = None
    exit_price: float | None = None
    side: Literal["up", "down"] | None = None
    won: bool | None = None
    experiment: str | None = None
    meta: dict[str, Any] | None = None


class MarketOutcome(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="market"
):
    """One bot's whole net result in one unit, trades included; sent also when nothing was traded.

    winner: the side whose shares the market paid; a shadow arm's paper position is settled by it.
    """

    unit: str
    pnl_usd: float
    fill: Fill
    closed_at: Instant
    bot: str | None = None
    fee_usd: float | None = None
    stake_usd: float | None = None
    trades: int | None = None
    winner: Literal["up", "down"] | None = None
    won: bool | None = None
    experiment: str | None = None
    meta: dict[str, Any] | None = None


Outcome = TradeOutcome | MarketOutcome | dict[str, Any]


class OutcomeResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one outcome. accepted: durably journaled. pnl_micro: the amount as stored, micro-USD."""

    status: Literal["accepted", "duplicate", "conflict", "rejected"]
    pnl_micro: int | None = None
    error: dict[str, Any] | None = None
