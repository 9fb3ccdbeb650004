import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arms.fills import MICRO
from arms.schema import MARKET_V1
from market.features import Feed, features_of
from market.looking_back import up_mid

COLUMN = {name: i for i, name in enumerate(MARKET_V1.names)}
LACKING_FROM_QUOTES = {
    "trade_flow",
    "cvd_accel",
    "trade_intensity",
    "large_trade_flag",
    "vol_regime",
    "trend_regime",
}


def source(ticks, seed=0, tick_us=500_000):
    """Uneven ticks with missing quotes, and everything an optional feed can hold."""
    rng = np.random.default_rng(seed)
    mid = np.clip(0.5 + rng.normal(0, 0.01, ticks).cumsum(), 0.05, 0.95)
    usd = np.stack((mid - 0.01, mid + 0.01, 1 - mid - 0.01, 1 - mid + 0.01), axis=1)
    prices = np.rint(usd * 1000).astype(np.int64) * 1000
    prices[rng.random(prices.shape) < 0.1] = 0
    depths = rng.integers(0, 500, (ticks, 4)) * MICRO
    tick_us = np.cumsum(rng.integers(tick_us // 2, 2 * tick_us, ticks))
    feed = Feed(
        reference_usd=90_000 * np.exp(rng.normal(0, 1e-4, ticks).cumsum()),
        best_sizes=rng.uniform(0, 100, (ticks, 2)),
        flow_usd=rng.exponential(1_000, (ticks, 2)) * (rng.random((ticks, 2)) < 0.5),
        trade_count=rng.poisson(3, ticks).astype(float),
    )
    return tick_us, prices, depths, feed


def cut(data, ticks):
    tick_us, prices, depths, feed = data
    parts = {name: getattr(feed, name)[:ticks] for name in Feed.__slots__}
    return tick_us[:ticks], prices[:ticks], depths[:ticks], Feed(**parts)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 150))
def test_cutting_the_future_off_does_not_change_the_past(seed, ticks):
    data = source(160, seed)
    whole, _ = features_of(*data)
    part, _ = features_of(*cut(data, ticks))
    assert np.array_equal(whole[:ticks], part)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_features_always_fit_the_schema(seed):
    tick_us, prices, depths, feed = source(80, seed, tick_us=20_000_000)
    for features, mask in (features_of(tick_us, prices, depths, feed), features_of(tick_us, prices, depths)):
        MARKET_V1.validate(features)
        assert not features[:, ~mask].any()


def test_the_mask_names_what_quotes_alone_cannot_tell():
    tick_us, prices, depths, feed = source(50)
    _, mask = features_of(tick_us, prices, depths)
    assert {
        name for name, known in zip(MARKET_V1.names, mask, strict=True) if not known
    } == LACKING_FROM_QUOTES
    _, mask = features_of(tick_us, prices, depths, feed)
    assert mask.all()


def test_formulas_on_a_hand_made_market():
    tick_us = np.arange(0, 130, 10, dtype=np.int64) * 1_000_000
    ticks = len(tick_us)
    prices = np.tile(np.array([490_000, 510_000, 480_000, 520_000]), (ticks, 1))
    depths = np.tile(np.array([300, 100, 1, 1]) * MICRO, (ticks, 1))
    feed = Feed(
        reference_usd=np.linspace(100.0, 101.2, ticks),
        best_sizes=np.tile([1.0, 3.0], (ticks, 1)),
        flow_usd=np.tile([3_000.0, 1_000.0], (ticks, 1)),
        trade_count=np.full(ticks, 20.0),
    )
    features, _ = features_of(tick_us, prices, depths, feed)
    last = {name: features[-1, i] for name, i in COLUMN.items()}
    assert last["returns_1m"] == pytest.approx(50 * (101.2 / 100.6 - 1), rel=1e-5)
    assert last["returns_5m"] == pytest.approx(50 * (101.2 / 100.0 - 1), rel=1e-5)
    assert last["ob_imbalance_l1"] == -0.5 and last["ob_imbalance_l5"] == 0.5
    assert last["trade_flow"] == pytest.approx(0.5)
    assert last["cvd_accel"] == pytest.approx(0.02)
    assert last["spread_pct"] == pytest.approx(0.8)
    assert last["trade_intensity"] == pytest.approx(0.2)
    assert last["large_trade_flag"] == 0 and last["vol_5m"] == 0 and last["vol_expansion"] == 0
    assert last["vol_regime"] == 0 and last["trend_regime"] == 1


def test_a_missing_quote_is_carried_and_never_read_as_a_price():
    prices = np.array([[0, 510_000, 0, 0], [490_000, 510_000, 0, 0], [600_000, 0, 0, 0], [0, 0, 0, 0]])
    assert up_mid(prices).tolist() == [0.5, 0.5, 0.5, 0.5]
    prices[1] = (390_000, 410_000, 0, 0)
    assert up_mid(prices).tolist() == [0.5, 0.4, 0.4, 0.4]


def test_a_large_trade_is_flagged_and_fades():
    tick_us = np.arange(200, dtype=np.int64) * 1_000_000
    flow = np.full((200, 2), 100.0)
    flow[80, 0] = 5_000.0
    prices, depths = np.zeros((200, 4), dtype=np.int64), np.zeros((200, 4), dtype=np.int64)
    features, _ = features_of(tick_us, prices, depths, Feed(flow_usd=flow))
    level = features[:, COLUMN["large_trade_flag"]]
    assert level[79] == 0 and level[80] == 1 and level[140] == pytest.approx(0.7, abs=1e-4)
