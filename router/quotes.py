"""The quote of a decision, checked: the book that a paper order meets."""

import math
from typing import Final, NamedTuple

from arms.fills import MICRO, Quotes, price_micro
from router.problems import Problem, invalid
from router.wire import Quote

PLENTY_MICRO: Final = 10**15
"""Micro-shares where no size is told: more than any paper order takes."""
SHARES_MAX: Final = 1e9
_PRICES: Final = ("bid", "ask", "down_bid", "down_ask")
_SIZES: Final = ("bid_size", "ask_size")


class Book(NamedTuple):
    """fee_ppm: rate of the taker fee in millionths; None: the setting's.

    Where the quote says nothing of DOWN nobody quotes it: DOWN has a book of its own.
    """

    quotes: Quotes
    fee_ppm: int | None


def book_of(quote: Quote) -> Book:
    """The checked book, or the problem that names the field."""
    for name in _PRICES:
        _within(quote, name, 1.0, "a price in USD a share, 0 where nobody quotes")
    for name in _SIZES:
        _within(quote, name, SHARES_MAX, "a number of shares")
    _within(quote, "fee_rate", 1.0, "a rate: write 7% as 0.07")
    quotes = Quotes(
        up_bid=price_micro(quote.bid),
        up_ask=price_micro(quote.ask),
        down_bid=price_micro(quote.down_bid or 0.0),
        down_ask=price_micro(quote.down_ask or 0.0),
        up_bid_depth=_size_micro(quote.bid_size),
        up_ask_depth=_size_micro(quote.ask_size),
        down_bid_depth=PLENTY_MICRO,
        down_ask_depth=PLENTY_MICRO,
    )
    return Book(quotes, None if quote.fee_rate is None else round(quote.fee_rate * MICRO))


def missing_quote(arm: str | None) -> Problem:
    """A decision without one while shadowing is required."""
    return invalid("quote", f"is missing: arm {arm} is shadowed here and needs the book; send bid and ask")


def _within(quote: Quote, name: str, high: float, what: str) -> None:
    value = getattr(quote, name)
    if value is not None and not (math.isfinite(value) and 0.0 <= value <= high):
        raise invalid(f"quote.{name}", f"must be from 0 to {high:g}, {what}, not {value}")


def _size_micro(size: float | None) -> int:
    return PLENTY_MICRO if size is None else round(size * MICRO)
