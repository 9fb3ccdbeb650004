"""Takes outcomes in: each item is checked alone, journaled, and answered accepted, duplicate, conflict or rejected."""

import math

import msgspec

from router.desk import Desk, checked_name, checked_unit
from router.instants import instant_us
from router.known import Known
from router.problems import Problem, from_msgspec, invalid
from router.wire import MarketItem, Money, OutcomeResult, TradeItem
from store.records import MarketOutcome, TradeOutcome

ITEMS_MAX = 10_000
USD_MAX = 1e9
_META_BYTES_MAX = 4096
_ITEM: msgspec.json.Decoder[TradeItem | MarketItem] = msgspec.json.Decoder(TradeItem | MarketItem)
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])

Seen = Known[tuple[str, str, str], bytes]


def split_items(body: bytes) -> list[msgspec.Raw]:
    """One outcome or a list of them."""
    if not body.lstrip().startswith(b"["):
        return [msgspec.Raw(body)]
    try:
        items = _ITEMS.decode(body)
    except msgspec.DecodeError as error:
        raise from_msgspec(error) from error
    if len(items) > ITEMS_MAX:
        raise Problem(413, "too_many_items", f"at most {ITEMS_MAX} outcomes a request: send several requests")
    return items


def take(desk: Desk, seen: Seen, item: msgspec.Raw) -> OutcomeResult:
    """One item. Only a full journal fails the whole request: nothing is accepted that could be lost."""
    try:
        record = record_of(desk, _decoded(item))
    except Problem as problem:
        return OutcomeResult("rejected", error=problem.body())
    key = key_of(record)
    content = msgspec.msgpack.encode(msgspec.structs.replace(record, received_at_us=0))
    held = seen.get(key)
    if held == content:
        return OutcomeResult("duplicate", record.pnl_micro)
    desk.journals.append(record.experiment, record)
    if held is not None:
        return OutcomeResult("conflict", record.pnl_micro)
    seen.put(key, content)
    return OutcomeResult("accepted", record.pnl_micro)


def _decoded(item: msgspec.Raw) -> TradeItem | MarketItem:
    try:
        return _ITEM.decode(item)
    except msgspec.DecodeError as error:
        raise from_msgspec(error) from error


def record_of(desk: Desk, item: TradeItem | MarketItem) -> TradeOutcome | MarketOutcome:
    """The record of a checked item."""
    experiment = desk.view_of(item.experiment).experiment.key
    now_us = desk.clock()
    if isinstance(item, TradeItem):
        return TradeOutcome(
            experiment=experiment,
            decision_id=checked_name(item.decision_id, "decision_id"),
            pnl_micro=micro_of(item.pnl_usd, "pnl_usd"),
            fee_micro=micro_of(item.fee_usd, "fee_usd"),
            stake_micro=micro_of(item.stake_usd, "stake_usd"),
            entry_price=item.entry_price,
            exit_price=item.exit_price,
            side=item.side,
            fill=item.fill,
            won=item.won,
            closed_at_us=instant_us(item.closed_at, "closed_at"),
            received_at_us=now_us,
            meta=meta_of(item),
        )
    if item.trades is not None and not 0 <= item.trades <= 1_000_000:
        raise invalid("trades", "must be between 0 and 1000000")
    return MarketOutcome(
        experiment=experiment,
        unit=checked_unit(item.unit),
        bot=checked_name(item.bot, "bot"),
        pnl_micro=micro_of(item.pnl_usd, "pnl_usd"),
        fee_micro=micro_of(item.fee_usd, "fee_usd"),
        stake_micro=micro_of(item.stake_usd, "stake_usd"),
        trades=item.trades,
        won=item.won,
        fill=item.fill,
        closed_at_us=instant_us(item.closed_at, "closed_at"),
        received_at_us=now_us,
        meta=meta_of(item),
    )


def key_of(record: TradeOutcome | MarketOutcome) -> tuple[str, str, str]:
    """What there may be only one outcome of."""
    if isinstance(record, TradeOutcome):
        return (record.experiment, "", record.decision_id)
    return (record.experiment, record.unit, record.bot)


def micro_of(usd: float, field: str) -> int:
    """USD as int micro-USD, rounded to the nearest."""
    if not math.isfinite(usd) or abs(usd) > USD_MAX:
        raise invalid(field, f"must be a finite amount within +-{USD_MAX:,.0f} USD, not {usd}")
    return round(usd * 1e6)


def meta_of(item: Money) -> str:
    """The caller's own notes as JSON text."""
    text = msgspec.json.encode(item.meta or {}).decode()
    if len(text) > _META_BYTES_MAX:
        raise invalid("meta", f"must be at most {_META_BYTES_MAX} bytes of JSON")
    if "\\u0000" in text:
        raise invalid("meta", "must not hold NUL characters")
    return text
