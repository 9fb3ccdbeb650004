"""One decision from raw quotes: the newest state, its window, the answer; the guide's own table."""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
from speed.found import Finding, Section

from arms.onnx_runtime import window_of
from market.features import Feed, features_of
from market.live_features import LiveFeatures, QuoteTick, ticks_of
from market.looking_back import Ints
from market.session import Session
from market.worlds import DECOY, tape_of
from stock.duel import Call, Pace, duel
from stock.subject import Subject

DECISION_MS = 1.0
GUIDE_MS = {"base": 4.5, "transformer": 7.5}
Source = tuple[Ints, Ints, Ints, Feed]
MARKET_TICKS, TICK_US, MICRO = 1_800, 500_000, 1_000_000
HEADER = ("arm", "state us", "of it quotes us", "by whole market us", "from a session us")
MORE = ("window and answer us", "total ms", "guide ms")
NOTE = (
    f"*state*: the newest state of a {MARKET_TICKS:,}-tick market of 15 minutes with every optional feed, "
    "tick by tick as a bot meets them (`LiveFeatures`), mean over a market. *of it quotes*: the same without "
    "a feed. *by whole market*: `features_of` with every feed, all ticks at once as a recording is read, per "
    "state; the same numbers. *from a session*: the history of a simulated market, position included. The "
    "total is *state* and *window and answer*, which is encoding and policy."
)


def decisions(subjects: Sequence[Subject], pace: Pace) -> Section:
    """Preset default of both arms."""
    title = "One decision from quotes to probabilities, preset default"
    found = [_decision(each, pace) for each in subjects if each.preset.name == "default"]
    return Section(
        "decision",
        title,
        (*HEADER, *MORE),
        tuple(row for row, _ in found),
        tuple(f for _, f in found),
        (NOTE,),
    )


def _decision(subject: Subject, pace: Pace) -> tuple[tuple[str, ...], Finding]:
    kind, window = subject.preset.kind, subject.preset.window
    market, source = _late_session(), source_of_all()
    history = market.history(window).tolist()
    times = duel(
        {
            "state": live(ticks_of(*source)),
            "quotes": live([untold(tick) for tick in ticks_of(*source)]),
            "session": lambda: market.history(window),
            "answer": lambda: subject.arm.act(*window_of(history, window)),
        },
        pace,
    )
    whole = duel({"": lambda: features_of(*source)}, Pace(max(2, pace.rounds // 6), 0.0, 1))
    state_us, answer_us = times.median("state"), times.median("answer")
    total_ms = (state_us + answer_us) / 1e3
    us = (
        f"{state_us:,.0f}",
        f"{times.median('quotes'):,.0f}",
        f"{whole.median('') / MARKET_TICKS:.1f}",
        f"{times.median('session'):.1f}",
        f"{answer_us:,.0f}",
    )
    target = f"under {DECISION_MS:g} ms"
    promise = Finding(
        f"state, encoding and policy, {kind}", target, f"{total_ms:.2f} ms", total_ms < DECISION_MS
    )
    return (kind, *us, f"{total_ms:.2f}", f"{GUIDE_MS[kind]:g}"), promise


def _late_session() -> Session:
    market = Session(tape_of(DECOY, 0))
    for _ in range(len(market.tape.features) - 1):
        market.step(0)
    return market


def source_of_all() -> Source:
    """A whole market: times, quotes, depths, and every optional feed."""
    rng = np.random.default_rng(0)
    tick_us = np.arange(MARKET_TICKS, dtype=np.int64) * TICK_US
    mid = MICRO // 2 + np.cumsum(rng.integers(-2, 3, MARKET_TICKS)) * 1_000
    half = 10_000
    prices = np.stack((mid - half, mid + half, MICRO - mid - half, MICRO - mid + half), axis=1)
    depths = rng.integers(1_000, 5_000, (MARKET_TICKS, 4)) * MICRO
    feed = Feed(
        reference_usd=1e5 * np.exp(np.cumsum(rng.normal(0, 1e-4, MARKET_TICKS))),
        best_sizes=rng.uniform(1, 9, (MARKET_TICKS, 2)),
        flow_usd=rng.uniform(0, 9e4, (MARKET_TICKS, 2)),
        trade_count=rng.integers(0, 9, MARKET_TICKS).astype(np.float64),
    )
    return tick_us, prices, depths, feed


def untold(tick: QuoteTick) -> QuoteTick:
    """The same without any feed."""
    return QuoteTick(tick.tick_us, tick.up_bid, tick.up_ask, tick.up_bid_depth, tick.up_ask_depth)


def live(ticks: Sequence[QuoteTick]) -> Call:
    """Every call is the next state; a market that ends begins again."""

    def states() -> Iterator[object]:
        while True:
            market = LiveFeatures()
            yield from map(market.state, ticks)

    return partial(next, states())
