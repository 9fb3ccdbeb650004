"""One decision from raw quotes: the newest state, its window, the answer; the guide's own table."""

from collections.abc import Sequence

import numpy as np
from speed.found import Finding, Section

from arms.onnx_runtime import window_of
from market.features import Feed, features_of
from market.session import Session
from market.worlds import DECOY, tape_of
from stock.duel import Call, Pace, duel
from stock.subject import Subject

DECISION_MS = 1.0
GUIDE_MS = {"base": 4.5, "transformer": 7.5}
MARKET_TICKS, TICK_US, MICRO = 1_800, 500_000, 1_000_000
HEADER = ("arm", "state from quotes us", "with trades us a state", "from a session us")
MORE = ("window and answer us", "total ms", "guide ms")
NOTE = (
    f"*state from quotes*: `features_of` over all {MARKET_TICKS:,} ticks of a 15-minute market for "
    "its last state, the worst case of a bot that extracts one state at a time. *with trades*: "
    "the same with every optional feed, the whole market at once as a recording is read, per "
    "state; it is not made for one state at a time. *from a session*: the history of a simulated "
    "market, position included. The total is *state from quotes* and *window and answer*."
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
    market, (quotes, traded) = _late_session(), extractions()
    history = market.history(window).tolist()
    times = duel(
        {
            "quotes": quotes,
            "session": lambda: market.history(window),
            "answer": lambda: subject.arm.act(*window_of(history, window)),
        },
        pace,
    )
    traded_us = duel({"": traded}, Pace(max(2, pace.rounds // 6), 0.0, 1)).median("") / MARKET_TICKS
    quotes_us, answer_us = times.median("quotes"), times.median("answer")
    total_ms = (quotes_us + answer_us) / 1e3
    us = (f"{quotes_us:,.0f}", f"{traded_us:,.0f}", f"{times.median('session'):.1f}", f"{answer_us:,.0f}")
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


def extractions() -> tuple[Call, Call]:
    """A whole market's features: from quotes, and from all that a source may know."""
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
    return lambda: features_of(tick_us, prices, depths), lambda: features_of(tick_us, prices, depths, feed)
