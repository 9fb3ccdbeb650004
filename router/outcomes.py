"""Takes outcomes in: each is checked, journaled, and answered accepted, duplicate, conflict or rejected."""

import math
from collections.abc import Iterable

import msgspec

from router.asked import checked_name, checked_unit
from router.desk import Desk
from router.instants import instant_us
from router.keys import Grant
from router.known import Known
from router.nesting import DEPTH_MAX, is_too_deep
from router.problems import Problem, decoded, invalid
from router.wire import Instant, MarketItem, Money, OutcomeResult, TradeItem
from store.records import MarketOutcome, TradeOutcome

ITEMS_MAX = 10_000
USD_MAX = 1e7
PRICE_MAX = 1e9
CLOSED_AHEAD_MAX_US = 86_400_000_000
_TRADES_MAX = 1_000_000
_META_BYTES_MAX = 4096
_ITEM: msgspec.json.Decoder[TradeItem | MarketItem] = msgspec.json.Decoder(TradeItem | MarketItem)
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])

Key = tuple[str, str, str]
"""(experiment, unit or "", bot or decision id)."""
Seen = Known[Key, bytes]
"""The outcome without its time of arrival."""


def listed(body: bytes) -> list[msgspec.Raw] | None:
    """The items of a list of outcomes; None where the body is none."""
    if not body[:64].lstrip().startswith(b"["):
        return None
    items = decoded(_ITEMS, body)
    if not items:
        raise invalid("body", "is an empty list: send at least one outcome")
    if len(items) > ITEMS_MAX:
        raise Problem(413, "too_many_items", f"at most {ITEMS_MAX} outcomes a request: send several requests")
    return items


def taken(desk: Desk, seen: Seen, item: msgspec.Raw, grant: Grant) -> OutcomeResult:
    """One outcome, journaled unless this process has journaled the very same before."""
    fresh = _Fresh(desk, seen)
    result = fresh.judged(item, grant)
    fresh.journal()
    return result


def taken_together(desk: Desk, seen: Seen, items: Iterable[msgspec.Raw], grant: Grant) -> list[OutcomeResult]:
    """Items of a list, each on its own. Only a full journal fails the whole request: send it again."""
    fresh = _Fresh(desk, seen)
    results = [fresh.judged_alone(item, grant) for item in items]
    fresh.journal()
    return results


class _Fresh:
    """Outcomes that go into the journals with one write; nobody remembers one before it is there."""

    def __init__(self, desk: Desk, seen: Seen) -> None:
        self._desk = desk
        self._seen = seen
        self._records: dict[str, list[TradeOutcome | MarketOutcome]] = {}
        self._contents: dict[Key, bytes] = {}

    def judged_alone(self, item: msgspec.Raw, grant: Grant) -> OutcomeResult:
        """What becomes of an item; a refusal is a result."""
        try:
            return self.judged(item, grant)
        except Problem as problem:
            if problem.status >= 500:
                raise
            return OutcomeResult("rejected", error=problem.body())

    def judged(self, item: msgspec.Raw, grant: Grant) -> OutcomeResult:
        """What becomes of an item once `journal` has returned."""
        wanted = decoded(_ITEM, item)
        grant.check_experiment(wanted.experiment or self._desk.default_experiment)
        record = record_of(self._desk, wanted)
        key = key_of(record)
        content = msgspec.msgpack.encode(msgspec.structs.replace(record, received_at_us=0))
        held = self._contents.get(key) or self._seen.get(key)
        if held == content:
            return OutcomeResult("duplicate", record.pnl_micro)
        self._records.setdefault(record.experiment, []).append(record)
        if held is not None:
            return OutcomeResult("conflict", record.pnl_micro)
        self._contents[key] = content
        return OutcomeResult("accepted", record.pnl_micro)

    def journal(self) -> None:
        """Writes them; raises 503 where the journal is full. What was written before that is remembered."""
        for experiment, records in self._records.items():
            self._desk.journals.append_all(experiment, records)
            for key, content in self._contents.items():
                if key[0] == experiment:
                    self._seen.put(key, content)


def record_of(desk: Desk, item: TradeItem | MarketItem) -> TradeOutcome | MarketOutcome:
    """The record of a checked item."""
    experiment = desk.view_of(item.experiment).experiment.key
    if isinstance(item, TradeItem):
        return _trade_of(experiment, item, desk.clock())
    return _market_of(experiment, item, desk.clock())


def _trade_of(experiment: str, item: TradeItem, now_us: int) -> TradeOutcome:
    return TradeOutcome(
        experiment=experiment,
        decision_id=checked_name(item.decision_id, "decision_id"),
        pnl_micro=micro_of(item.pnl_usd, "pnl_usd"),
        fee_micro=micro_of(item.fee_usd, "fee_usd"),
        stake_micro=stake_of(item),
        entry_price=price_of(item.entry_price, "entry_price"),
        exit_price=price_of(item.exit_price, "exit_price"),
        side=item.side,
        fill=item.fill,
        won=item.won,
        closed_at_us=closed_us(item.closed_at, now_us),
        received_at_us=now_us,
        meta=meta_of(item),
    )


def _market_of(experiment: str, item: MarketItem, now_us: int) -> MarketOutcome:
    if item.trades is not None and not 0 <= item.trades <= _TRADES_MAX:
        raise invalid("trades", f"must be between 0 and {_TRADES_MAX:,}")
    return MarketOutcome(
        experiment=experiment,
        unit=checked_unit(item.unit),
        bot=checked_name(item.bot, "bot"),
        pnl_micro=micro_of(item.pnl_usd, "pnl_usd"),
        fee_micro=micro_of(item.fee_usd, "fee_usd"),
        stake_micro=stake_of(item),
        trades=item.trades,
        winner=item.winner,
        won=item.won,
        fill=item.fill,
        closed_at_us=closed_us(item.closed_at, now_us),
        received_at_us=now_us,
        meta=meta_of(item),
    )


def key_of(record: TradeOutcome | MarketOutcome) -> Key:
    """What there may be only one outcome of."""
    if isinstance(record, TradeOutcome):
        return (record.experiment, "", record.decision_id)
    return (record.experiment, record.unit, record.bot)


def closed_us(closed_at: Instant, now_us: int) -> int:
    """When it closed, by the bot's clock, which may be wrong: it decides nothing, and no outcome is lost.

    More than a day ahead is no clock, but another unit of time, or a market that has not ended.
    """
    at_us = instant_us(closed_at, "closed_at")
    ahead_us = at_us - now_us
    if ahead_us > CLOSED_AHEAD_MAX_US:
        rule = f"must be at most a day ahead of now, but is {ahead_us / 3_600_000_000:,.1f} hours ahead"
        raise invalid("closed_at", f"{rule}; send it once it has closed, and check this machine's clock")
    return at_us


def micro_of(usd: float, field: str) -> int:
    """USD as int micro-USD, rounded to the nearest, a half to the even one."""
    if not math.isfinite(usd) or abs(usd) > USD_MAX:
        raise invalid(field, f"must be a finite amount within +-{USD_MAX:,.0f} USD, not {usd}")
    return round(usd * 1e6)


def stake_of(item: Money) -> int:
    """The stake in micro-USD; it cannot be negative (a fee can: a rebate)."""
    if item.stake_usd < 0:
        raise invalid("stake_usd", f"must be 0 or more, not {item.stake_usd}")
    return micro_of(item.stake_usd, "stake_usd")


def price_of(price: float | None, field: str) -> float | None:
    """A price in USD per share."""
    if price is not None and not 0 <= price <= PRICE_MAX:
        raise invalid(field, f"must be between 0 and {PRICE_MAX:,.0f} USD, not {price}")
    return price


def meta_of(item: Money) -> str:
    """The caller's own notes as JSON text."""
    if item.meta is None:
        return "{}"
    if is_too_deep(item.meta):
        raise invalid("meta", f"must not be nested deeper than {DEPTH_MAX} levels")
    text = msgspec.json.encode(item.meta).decode()
    if len(text.encode()) > _META_BYTES_MAX:
        raise invalid("meta", f"must be at most {_META_BYTES_MAX} bytes of JSON")
    if "\\u0000" in text:
        raise invalid("meta", "must not hold NUL characters")
    return text
