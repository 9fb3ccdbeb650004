"""Arms dealt anew: the deal keeps what it must, our method keeps its rate, naive ones do not."""

import numpy as np
import pytest

from stats.design import Design, History
from stats.effect import effect
from stats.metric_effect import metric_effect, pair_of
from stats.permuted import Log, calls, dealt, even_looks, planted, rate_of
from stats.scores import pair_scores
from stats.units import Units

DAYS, PER_DAY = 20, 60
DESIGN = Design(
    arms=("base", "new"), control="base", treatment="new", metric="win_rate", started_us=0, attribution_s=900
)


def units_of(seed, icc=0.5, lift=0.0):
    """Units of 12 trades that hang together; a unit wins where most of its trades do."""
    rng, count = np.random.default_rng(seed), DAYS * PER_DAY
    e = np.repeat([0.1, 0.5], count // 2)
    treated = rng.random(count) < e
    rate = np.clip(0.5 + lift * treated, 0.01, 0.99)
    firmness = 1.0 / icc - 1.0
    wins = rng.binomial(12, rng.beta(rate * firmness, (1.0 - rate) * firmness))
    zeros = np.zeros(count, np.int64)
    return Units.of({
        "arm": treated.astype(np.int64),
        "stage": (e > 0.1).astype(np.int64),
        "e": e,
        "day": np.arange(count) // PER_DAY,
        "traded": np.ones(count, bool),
        "won": wins > 6,
        "pnl_micro": (wins - 6) * 1_000_000,
        "stake_micro": zeros,
        "fee_micro": zeros,
        "decisions": zeros + 12,
        "fallbacks": zeros,
        "trades": zeros + 12,
        "trade_wins": wins,
    })  # fmt: skip


def log_of(units, metric="win_rate"):
    scores = pair_scores(units, *DESIGN.pair, metric)
    return Log(scores, units.stage, units.trades, units.trade_wins)


def test_a_deal_keeps_everything_but_who_got_which_arm():
    log = log_of(units_of(1))
    fresh = dealt(log, np.random.default_rng(2))
    assert not np.array_equal(fresh.scores.treated, log.scores.treated)
    for stage in (0, 1):
        own = log.stratum == stage
        assert fresh.scores.treated[own].sum() == log.scores.treated[own].sum()
    for name in ("day", "e", "trials", "sums"):
        assert getattr(fresh.scores, name) is getattr(log.scores, name)


def test_every_unit_of_a_stratum_is_as_likely_to_be_treated():
    log, rng = log_of(units_of(1)), np.random.default_rng(3)
    counts = sum(dealt(log, rng).scores.treated.astype(int) for _ in range(400))
    for stage in (0, 1):
        own = log.stratum == stage
        share = log.scores.treated[own].mean()
        spread = np.sqrt(share * (1 - share) / 400)
        assert np.abs(counts[own] / 400 - share).max() < 5 * spread


@pytest.mark.parametrize("metric", ["win_rate", "pnl"])
@pytest.mark.parametrize("lift", [0.0, 0.3])
def test_what_is_called_of_the_log_as_it_is_is_what_the_report_says(metric, lift):
    units = units_of(4, lift=lift)
    log = log_of(units, metric)
    said = metric_effect(DESIGN, metric, log.scores, History())
    called = calls(log, pair_of(DESIGN, metric, log.scores, History()))["ours"]
    assert said.status == "ok"
    assert called.last == (not said.low <= 0.0 <= said.high)
    assert called.ever == (said.p <= 0.05 or called.last)
    assert called.ever == (lift > 0.0)


def test_ours_keeps_five_percent_on_correlated_trades_and_naive_tests_do_not():
    log, rng, deals = log_of(units_of(5)), np.random.default_rng(6), 400
    pair = pair_of(DESIGN, "win_rate", log.scores, History())
    called = [calls(dealt(log, rng), pair) for _ in range(deals)]
    ever = {method: sum(each[method].ever for each in called) for method in called[0]}
    assert rate_of(ever["ours"], deals).low <= 0.05
    assert ever["ours"] / deals <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / deals)
    assert rate_of(ever["clustered"], deals).low > 0.05
    assert rate_of(ever["naive"], deals).low > 0.5
    last = sum(each["clustered"].last for each in called)
    assert 0.02 < last / deals < 0.09, "at one look its error is right"


@pytest.mark.parametrize(("metric", "lift"), [("win_rate", 0.25), ("win_rate", -0.25), ("pnl", 3e6)])
def test_what_is_planted_is_there_and_is_found(metric, lift):
    log, rng = log_of(units_of(7), metric), np.random.default_rng(8)
    pair = pair_of(DESIGN, metric, log.scores, History())
    found, gaps = 0, []
    for _ in range(20):
        fresh = dealt(log, rng)
        grown = planted(fresh, metric, lift, rng)
        treated = fresh.scores.treated
        gaps.append((grown.scores.sums - fresh.scores.sums)[treated].mean())
        assert np.array_equal(grown.scores.sums[~treated], fresh.scores.sums[~treated])
        found += calls(grown, pair)["ours"].ever
    assert np.mean(gaps) == pytest.approx(lift, rel=0.15)
    assert found >= 19


@pytest.mark.parametrize("lift", [0.0, 0.7, -0.7])
def test_a_rate_without_room_is_refused(lift):
    log = log_of(units_of(9))
    with pytest.raises(ValueError, match="no room"):
        planted(log, "win_rate", lift, np.random.default_rng(1))


def test_even_looks():
    assert even_looks(10, 5).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert even_looks(0, 5).tolist() == []
    with pytest.raises(ValueError, match="no deal"):
        rate_of(0, 0)


def test_what_an_early_look_said_counts_though_the_last_one_withholds_it():
    """Money: one huge late loss makes it too skewed to judge at the end."""
    rng, count = np.random.default_rng(1), 1200
    treated = rng.random(count) < 0.5
    pnl = rng.normal(0.0, 1.0, count) + 0.4 * treated
    pnl[-1] = -400.0
    ones, day = np.ones(count, np.int64), np.arange(count) // 60
    units = Units(
        arm=treated.astype(np.int64), stage=0 * ones, e=np.full(count, 0.5), day=day, traded=ones > 0,
        won=pnl > 0, pnl_micro=np.rint(pnl * 1e6).astype(np.int64), stake_micro=ones, fee_micro=0 * ones,
        decisions=ones, fallbacks=0 * ones, trades=ones, trade_wins=(pnl > 0).astype(np.int64),
    )  # fmt: skip
    design = Design(
        arms=("base", "new"), control="base", treatment="new", metric="pnl", started_us=0, attribution_s=900
    )
    scores = pair_scores(units, *design.pair, "pnl")
    pair = pair_of(design, "pnl", scores, History())
    assert effect(scores, pair).status == "not_ready"
    found = calls(Log(scores, 0 * ones, units.trades, units.trade_wins), pair)["ours"]
    assert (found.ever, found.last) == (True, False)
