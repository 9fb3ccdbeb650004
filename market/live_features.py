"""The features of one tick at a time, as a bot meets them: the same numbers to the bit as of a whole market.

What a tick needs of those before it is kept as running sums and found by bisection, so a state late in a
market costs what an early one does. The formulas are those of `market.features`.
"""

import math
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from market.errors import TapeError
from market.features import NO_FEED, Feed, Seen, features_seen
from market.looking_back import (
    CHANGES_US,
    HOUR_US,
    LEAST_VARIANCE,
    LONG_TICKS,
    MICRO,
    SECOND_US,
    SHORT_TICKS,
    TRADES_US,
    Floats,
    Flow,
    Ints,
    PastMedian,
    Quotes,
    Reference,
    is_large,
    kept_shares,
    logit,
)

FEEDS: Final = ("reference_usd", "best_sizes", "flow_usd", "trade_count")


@dataclass(frozen=True, slots=True)
class QuoteTick:
    """One tick as its source tells it; None = the source lacks it, at every tick of the market.

    up_bid, up_ask: micro-USD, 0 = no quote. depths: micro-shares of UP. The rest as in
    `market.features.Feed`: price of the underlying, shares at the best UP bid and ask, USD bought and sold,
    and trades since the tick before.
    """

    tick_us: int
    up_bid: int
    up_ask: int
    up_bid_depth: int
    up_ask_depth: int
    reference_usd: float | None = None
    best_sizes: tuple[float, float] | None = None
    flow_usd: tuple[float, float] | None = None
    trade_count: float | None = None


def ticks_of(tick_us: Ints, prices: Ints, depths: Ints, feed: Feed = NO_FEED) -> list[QuoteTick]:
    """A whole market, given as to `market.features.features_of`, tick by tick."""
    ticks = len(tick_us)
    told = (getattr(feed, name) for name in FEEDS)
    feeds = ([None] * ticks if column is None else _rows(column) for column in told)
    quotes = (prices[:, 0], prices[:, 1], depths[:, 0], depths[:, 1])
    columns = (tick_us.tolist(), *(column.tolist() for column in quotes), *feeds)
    return [QuoteTick(*row) for row in zip(*columns, strict=True)]


def _rows(column: Floats) -> list[Any]:
    """Numbers, or pairs of them."""
    return column.tolist() if column.ndim == 1 else [tuple(row) for row in column.tolist()]


class LiveFeatures:
    """One market's features, tick by tick. Memory grows with the market: begin a new one with the next."""

    def __init__(self) -> None:
        self._tick_us: list[int] = []
        self._told: tuple[str, ...] = ()
        self._quotes = _LiveQuotes()
        self._reference = _LiveReference()
        self._flow = _LiveFlow()
        self._trades = [0.0]
        self._mask = np.zeros(0, dtype=np.bool_)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """bool[F] as `market.features.features_of` gives it; empty before the first tick."""
        return self._mask

    def state(self, tick: QuoteTick) -> NDArray[np.float32]:
        """float32[F] of the newest tick, 0 in the columns that a session fills.

        Raises TapeError, and stays as it was, where a tick is older than the last, holds what is no number,
        or is told of other feeds than the first.
        """
        self._check(tick)
        times = self._tick_us
        gap_us = tick.tick_us - times[-1] if times else 0
        times.append(tick.tick_us)
        sizes = None if tick.best_sizes is None else np.array([tick.best_sizes], dtype=np.float64)
        reference = None if tick.reference_usd is None else self._reference.seen(times, tick.reference_usd)
        flow = None if tick.flow_usd is None else self._flow.seen(gap_us, *tick.flow_usd)
        trades = None if tick.trade_count is None else self._traded(tick.trade_count)
        features, self._mask = features_seen(
            Seen(self._quotes.seen(times, tick), sizes, reference, flow, trades)
        )
        newest: NDArray[np.float32] = features[0]
        return newest

    def _traded(self, count: float) -> Floats:
        self._trades.append(self._trades[-1] + count)
        return np.array([self._trades[-1] - self._trades[_seen_before(self._tick_us, TRADES_US)]])

    def _check(self, tick: QuoteTick) -> None:
        told = tuple(name for name in FEEDS if getattr(tick, name) is not None)
        if self._tick_us and tick.tick_us < self._tick_us[-1]:
            raise TapeError(f"tick_us fell from {self._tick_us[-1]} to {tick.tick_us}: give ticks in order")
        if self._tick_us and told != self._told:
            raise TapeError(
                f"tick {tick.tick_us} tells of {_named(told)} and the first of {_named(self._told)}: a source"
                " has a feed at every tick or at none"
            )
        _check_numbers(tick)
        self._told = told


def _check_numbers(tick: QuoteTick) -> None:
    quotes, depths = (tick.up_bid, tick.up_ask), (tick.up_bid_depth, tick.up_ask_depth)
    if not all(0 <= quote < MICRO for quote in quotes) or min(depths) < 0:
        raise TapeError(
            f"tick {tick.tick_us}: quotes {quotes} must lie in [0, 1) USD and depths {depths} not be below 0"
        )
    reference = 1.0 if tick.reference_usd is None else tick.reference_usd
    trades = 0.0 if tick.trade_count is None else tick.trade_count
    numbers = (reference, trades, *(tick.best_sizes or ()), *(tick.flow_usd or ()))
    if not all(map(math.isfinite, numbers)) or reference <= 0:
        raise TapeError(f"tick {tick.tick_us}: feeds must be finite and reference_usd above 0, not {numbers}")


@dataclass(slots=True)
class _LiveQuotes:
    """sums, squares: running, of the mid less the first mid; the sum before the first tick is 0."""

    mid: float = 0.5
    spread: float = 0.0
    first_mid: float | None = None
    levels: list[float] = field(default_factory=list)
    sums: list[float] = field(default_factory=lambda: [0.0])
    squares: list[float] = field(default_factory=lambda: [0.0])

    def seen(self, times: list[int], tick: QuoteTick) -> Quotes:
        """`times` holds the tick's own already."""
        if tick.up_bid > 0 and tick.up_ask > 0:
            self.mid = (tick.up_bid + tick.up_ask) / (2 * MICRO)
            self.spread = (tick.up_ask - tick.up_bid) / MICRO
        self._remember()
        numbers = (self.mid, self.spread, tick.up_bid_depth, tick.up_ask_depth)
        short, long = self._std(SHORT_TICKS), self._std(LONG_TICKS)
        mid, spread, bid_depth, ask_depth, short_std, long_std = np.array([*numbers, short, long])[:, None]
        changes = _changes(times, self.levels)
        return Quotes(mid, spread, bid_depth, ask_depth, changes, short_std, long_std)

    def _remember(self) -> None:
        self.first_mid = self.mid if self.first_mid is None else self.first_mid
        self.levels.append(float(logit(np.array([self.mid]))[0]))
        centred = self.mid - self.first_mid
        self.sums.append(self.sums[-1] + centred)
        self.squares.append(self.squares[-1] + centred * centred)

    def _std(self, window: int) -> float:
        """Population standard deviation of up to `window` newest mids."""
        stop = len(self.sums) - 1
        start = max(stop - window, 0)
        count = stop - start
        mean = (self.sums[stop] - self.sums[start]) / count
        variance = (self.squares[stop] - self.squares[start]) / count - mean * mean
        return math.sqrt(variance) if variance > LEAST_VARIANCE else 0.0


@dataclass(slots=True)
class _LiveReference:
    """squares: running sum of the squared changes per tick; before the first tick it is 0."""

    levels: list[float] = field(default_factory=list)
    squares: list[float] = field(default_factory=lambda: [0.0])

    def seen(self, times: list[int], reference_usd: float) -> Reference:
        """`times` holds the tick's own already."""
        level = float(np.log(np.array([reference_usd]))[0])
        change = level - self.levels[-1] if self.levels else 0.0
        self.levels.append(level)
        self.squares.append(self.squares[-1] + change * change)
        hour = level - self.levels[_tick_ago(times, HOUR_US)]
        squares = self.squares[-1] - self.squares[_seen_before(times, HOUR_US)]
        return Reference(_changes(times, self.levels), np.array([hour]), np.array([squares]))


@dataclass(slots=True)
class _LiveFlow:
    kept_bought: float = 0.0
    kept_sold: float = 0.0
    flag: float = 0.0
    past: PastMedian = field(default_factory=PastMedian)

    def seen(self, gap_us: int, bought: float, sold: float) -> Flow:
        keep, fade = (float(share[0]) for share in kept_shares(np.array([gap_us / SECOND_US])))
        self.kept_bought = bought + keep * self.kept_bought
        self.kept_sold = sold + keep * self.kept_sold
        large = is_large(bought + sold, self.past.push(bought + sold))
        self.flag = max(float(large), fade * self.flag)
        numbers = (bought, sold, self.kept_bought, self.kept_sold, self.flag)
        return Flow(*np.array(numbers)[:, None])


def _changes(times: list[int], levels: list[float]) -> Floats:
    """float64[3,1]."""
    return np.array([[levels[-1] - levels[_tick_ago(times, span_us)]] for span_us in CHANGES_US])


def _tick_ago(times: list[int], span_us: int) -> int:
    """The last tick at least `span_us` before the newest, or the first tick of the market."""
    return max(_seen_before(times, span_us) - 1, 0)


def _seen_before(times: list[int], span_us: int) -> int:
    """How many ticks are at least `span_us` older than the newest."""
    return bisect_right(times, times[-1] - span_us)


def _named(feeds: tuple[str, ...]) -> str:
    return ", ".join(feeds) or "no feed"
