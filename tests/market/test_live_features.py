"""Features of a whole market at once and tick by tick: both to the bit what the formulas say."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arms.schema import MARKET_V1
from market.errors import TapeError
from market.features import NO_FEED, Feed, features_of
from market.live_features import LiveFeatures, QuoteTick, ticks_of
from market.polymarket_1s import import_polymarket_1s
from market.realistic import RealisticWorld, realistic_tape
from market.recording import read_tapes
from market.tape import SESSION_FILLS

MICRO = 1_000_000
SECOND_US = 1_000_000
FLOW_HALF_LIFE_S = 395.0
LARGE_DECAY_PER_S = 0.7 ** (1 / 60)


def plain_features_of(tick_us, prices, depths, feed):
    """float32[T,F], 0 in the columns that a session fills, and the mask bool[F] of what the source knows."""
    columns = _from_quotes(tick_us, prices, depths) | _from_feed(tick_us, feed)
    features = np.zeros((len(tick_us), MARKET_V1.width))
    mask = np.isin(np.arange(MARKET_V1.width), SESSION_FILLS)
    for i, name in enumerate(MARKET_V1.names):
        if name in columns:
            features[:, i] = columns[name]
            mask[i] = True
    return np.clip(features, MARKET_V1.low, MARKET_V1.high).astype(np.float32), mask


def up_mid(prices):
    """UP mid in USD per tick: both sides quoted, else carried forward; 0.5 before the first."""
    bid, ask = prices[:, 0], prices[:, 1]
    return _carried(np.where((bid > 0) & (ask > 0), (bid + ask) / (2 * MICRO), np.nan), 0.5)


def _from_quotes(tick_us, prices, depths):
    mid = up_mid(prices)
    quoted = (prices[:, 0] > 0) & (prices[:, 1] > 0)
    spread = _carried(np.where(quoted, (prices[:, 1] - prices[:, 0]) / MICRO, np.nan), 0.0)
    imbalance = _imbalance(depths[:, 0].astype(np.float64), depths[:, 1].astype(np.float64))
    short = _rolling_std(mid, 30)
    return {
        **{name: change / 4 for name, change in _changes(tick_us, _logit(mid)).items()},
        "ob_imbalance_l1": imbalance,
        "ob_imbalance_l5": imbalance,
        "spread_pct": 20 * spread / np.maximum(0.01, mid),
        "vol_5m": 20 * short,
        "vol_expansion": _ratio(short, _rolling_std(mid, 120)),
    }


def _from_feed(tick_us, feed):
    columns = {}
    if feed.reference_usd is not None:
        columns |= _from_reference(tick_us, feed.reference_usd)
    if feed.best_sizes is not None:
        columns["ob_imbalance_l1"] = _imbalance(feed.best_sizes[:, 0], feed.best_sizes[:, 1])
    if feed.flow_usd is not None:
        columns |= _from_flow(tick_us, feed.flow_usd)
    if feed.trade_count is not None:
        columns["trade_intensity"] = _window_sums(tick_us, feed.trade_count, 10 * SECOND_US) / 100
    return columns


def _from_reference(tick_us, reference_usd):
    log_price = np.log(reference_usd)
    hour = np.expm1(log_price - log_price[_ticks_ago(tick_us, 3600 * SECOND_US)])
    per_tick = np.diff(log_price, prepend=log_price[0])
    hourly_std = np.sqrt(_window_sums(tick_us, per_tick**2, 3600 * SECOND_US))
    return {
        **{name: 50 * np.expm1(change) for name, change in _changes(tick_us, log_price).items()},
        "vol_regime": (hourly_std > 0.01).astype(np.float64),
        "trend_regime": (np.abs(hour) > 0.005).astype(np.float64),
    }


def _from_flow(tick_us, flow_usd):
    bought, sold = flow_usd[:, 0], flow_usd[:, 1]
    gap_s = np.diff(tick_us, prepend=tick_us[0]) / SECOND_US
    kept = _decayed(np.stack((bought, sold), axis=1), 0.5 ** (gap_s / FLOW_HALF_LIFE_S))
    traded = bought + sold
    large = (traded > 3 * _past_median(traded)) & (traded > 0)
    return {
        "trade_flow": _imbalance(kept[:, 0], kept[:, 1]),
        "cvd_accel": 10 * (bought - sold) / 1e6,
        "large_trade_flag": _latched(large, LARGE_DECAY_PER_S**gap_s),
    }


def _changes(tick_us, level):
    return {
        f"returns_{minutes}m": level - level[_ticks_ago(tick_us, minutes * 60 * SECOND_US)]
        for minutes in (1, 5, 10)
    }


def _ticks_ago(tick_us, span_us):
    """The last tick at least `span_us` before each tick, or the first tick of the market."""
    return np.maximum(np.searchsorted(tick_us, tick_us - span_us, side="right") - 1, 0).astype(np.int64)


def _window_sums(tick_us, values, span_us):
    """Sum over the ticks in (t - span, t]."""
    total = np.concatenate(([0.0], np.cumsum(values)))
    first = np.searchsorted(tick_us, tick_us - span_us, side="right")
    return np.asarray(total[np.arange(1, len(total))] - total[first], dtype=np.float64)


def _rolling_std(values, window):
    """Population standard deviation of up to `window` newest values; 0 at the first tick."""
    starts = np.maximum(np.arange(len(values)) + 1 - window, 0)
    stops = np.arange(1, len(values) + 1)
    centred = values - values[0]
    sums, squares = (np.concatenate(([0.0], np.cumsum(x))) for x in (centred, centred**2))
    count = stops - starts
    mean = (sums[stops] - sums[starts]) / count
    variance = (squares[stops] - squares[starts]) / count - mean**2
    return np.sqrt(np.where(variance > 1e-12, variance, 0.0))


def _carried(values, first):
    """NaN replaced by the last number before it, `first` where there is none."""
    last = np.maximum.accumulate(np.where(np.isnan(values), -1, np.arange(len(values))))
    return np.where(last >= 0, values[np.maximum(last, 0)], first)


def _decayed(values, keep):
    kept = values.copy()
    for t in range(1, len(kept)):
        kept[t] += keep[t] * kept[t - 1]
    return kept


def _latched(events, keep):
    level = events.astype(np.float64)
    for t in range(1, len(level)):
        level[t] = max(level[t], keep[t] * level[t - 1])
    return level


def _past_median(values):
    """Median of up to 100 ticks before each tick, that tick excluded; infinite at the first."""
    return np.array([np.median(values[max(0, t - 100) : t]) if t else np.inf for t in range(len(values))])


def _imbalance(bid, ask):
    total = bid + ask
    return np.divide(bid - ask, total, out=np.zeros_like(total), where=total > 0)


def _ratio(short, long):
    return np.divide(short, long, out=np.ones_like(short), where=long > 0) - 1


def _logit(mid):
    bounded = np.clip(mid, 0.001, 0.999)
    return np.asarray(np.log(bounded / (1 - bounded)), dtype=np.float64)


FEEDS = ("reference_usd", "best_sizes", "flow_usd", "trade_count")


def market(seed, ticks, gap_us):
    """Uneven ticks, some at the same moment, missing quotes, quiet spells and sudden flow."""
    rng = np.random.default_rng(seed)
    mid = np.clip(0.5 + rng.normal(0, 0.02, ticks).cumsum(), 0.001, 0.999)
    prices = np.rint(np.stack((mid - 0.01, mid + 0.01, 0.99 - mid, 1.01 - mid), axis=1) * 1000) * 1000
    prices = np.clip(prices, 0, 999_000).astype(np.int64)
    prices[rng.random(prices.shape) < 0.1] = 0
    depths = rng.integers(0, 500, (ticks, 4)) * MICRO * rng.integers(0, 2, (ticks, 1))
    return np.cumsum(rng.integers(0, 2 * gap_us, ticks)), prices, depths


def feed_of(seed, ticks, names=FEEDS):
    rng = np.random.default_rng((seed, 1))
    flow = rng.exponential(1_000, (ticks, 2)) * (rng.random((ticks, 2)) < 0.5)
    flow[rng.random(ticks) < 0.03] *= 20
    told = {
        "reference_usd": 90_000 * np.exp(rng.normal(0, 1e-3, ticks).cumsum()),
        "best_sizes": rng.uniform(0, 100, (ticks, 2)) * rng.integers(0, 2, (ticks, 1)),
        "flow_usd": flow,
        "trade_count": rng.poisson(3, ticks).astype(float),
    }
    return Feed(**{name: told[name] for name in names})


def assert_all_ways_agree(tick_us, prices, depths, feed):
    expected, mask = plain_features_of(tick_us, prices, depths, feed)
    at_once, found = features_of(tick_us, prices, depths, feed)
    live = LiveFeatures()
    rows = np.array([live.state(tick) for tick in ticks_of(tick_us, prices, depths, feed)])
    for ours, ours_mask in ((at_once, found), (rows, live.mask)):
        assert (ours.dtype, ours.tobytes()) == (expected.dtype, expected.tobytes())
        assert ours_mask.tolist() == mask.tolist()
    return expected


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(1, 260),
    st.sampled_from([1_000, 500_000, 20_000_000, 300_000_000]),
    st.sets(st.sampled_from(FEEDS)),
)
def test_all_ways_give_the_same_bits(seed, ticks, gap_us, names):
    assert_all_ways_agree(*market(seed, ticks, gap_us), feed_of(seed, ticks, names))


def test_so_they_do_in_a_long_market_whose_hours_roll():
    """1,500 ticks of 10 s are four hours: every window is left behind, and every feature has moved."""
    found = assert_all_ways_agree(*market(3, 1_500, 10_000_000), feed_of(3, 1_500))
    moved = [name for name, column in zip(MARKET_V1.names, found.T, strict=True) if column.std() > 0]
    assert len(moved) == MARKET_V1.width - len(SESSION_FILLS)


def test_so_they_do_in_the_realistic_world(monkeypatch):
    seen = []
    monkeypatch.setattr("market.realistic.features_of", lambda *a: seen.append(a) or features_of(*a))
    tapes = [realistic_tape(RealisticWorld(), seed) for seed in range(3)]
    for tape, source in zip(tapes, seen, strict=True):
        assert np.array_equal(assert_all_ways_agree(*source), tape.features)


def test_so_they_do_on_recorded_markets(shared_part, tmp_path):
    """Real quotes; the source tells no feed, so drawn ones stand in besides."""
    import_polymarket_1s(shared_part("data", "polymarket_btc15m_1s"), tmp_path)
    tapes = list(read_tapes(tmp_path))[::12]
    assert len(tapes) >= 5
    for seed, tape in enumerate(tapes):
        quotes = tape.tick_us, tape.prices, tape.depths
        assert np.array_equal(assert_all_ways_agree(*quotes, NO_FEED), tape.features)
        assert_all_ways_agree(*quotes, feed_of(seed, len(tape.tick_us)))


QUOTED = QuoteTick(1_000_000, 490_000, 510_000, 5, 5, reference_usd=9e4, flow_usd=(1.0, 2.0))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"tick_us": 999_999}, "tick_us fell from 1000000 to 999999"),
        ({"reference_usd": None}, "tells of flow_usd and the first of reference_usd, flow_usd"),
        ({"trade_count": 1.0}, "tells of reference_usd, flow_usd, trade_count and the first of"),
        ({"reference_usd": 0.0}, "reference_usd above 0"),
        ({"reference_usd": float("nan")}, "must be finite"),
        ({"flow_usd": (float("inf"), 0.0)}, "must be finite"),
        ({"up_bid": 1_000_000}, r"must lie in \[0, 1\) USD"),
        ({"up_ask_depth": -1}, "not be below 0"),
    ],
)
def test_a_wrong_tick_is_refused_and_changes_nothing(wrong, said):
    next_tick = replace(QUOTED, tick_us=2_000_000, up_bid=480_000)
    live, undisturbed = LiveFeatures(), LiveFeatures()
    for each in (live, undisturbed):
        each.state(QUOTED)
    with pytest.raises(TapeError, match=said):
        live.state(replace(QUOTED, **wrong))
    assert np.array_equal(live.state(next_tick), undisturbed.state(next_tick))
    assert live.state(next_tick).any()
