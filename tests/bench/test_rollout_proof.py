"""The proof of the rollout, small: its traffic is what it says, and the controller keeps its promises on it.

Bars of few runs have the margin that chance asks for: a count fails that a true rate at the bar would give
less often than once in a thousand.
"""

import msgspec
import numpy as np
import pytest
from rollout_proof import paper, rivals, scenarios, table, traffic
from rollout_proof.scenarios import FIVE, ON_PAPER, OURS, SCENARIOS, TOO_KIND, Run
from rollout_proof.traffic import World
from scipy.stats import binom

from router.rollout_plan import spending
from router.rollout_toml import plan_of_fields

NAMED = {one.name: one for one in SCENARIOS}
NULLS = [one.name for one in SCENARIOS if one.truth == "null"]
RARE = 0.001
PLAIN = World()


def runs_of(name, by, count):
    return [scenarios.own_run(NAMED[name], by, seed) for seed in range(count)]


def most(runs):
    """Of a thing that happens in 5% of runs."""
    return int(binom.ppf(1.0 - RARE, runs, table.LEVEL))


def least(runs, share):
    return int(binom.ppf(RARE, runs, share))


@pytest.mark.parametrize(("by", "count"), [("market", 1), ("window", 3)])
def test_an_equal_arm_is_neither_promoted_nor_rolled_back(by, count):
    """In every null, counted together: each must keep the bar, so all of them do."""
    runs = [run for name in NULLS if name != TOO_KIND for run in runs_of(name, by, count)]
    for verdict in table.FALSE:
        assert sum(run.verdict == verdict for run in runs) <= most(len(runs)), verdict
    assert all(run.verdict == "timed out" for run in runs if run.verdict not in table.FALSE)


@pytest.mark.parametrize(("by", "count"), [("market", 10), ("window", 16)])
def test_five_points_are_found_in_time(by, count):
    days = np.array(table.promoted_by(runs_of(FIVE, by, count)))
    assert np.count_nonzero(days <= scenarios.DAYS) >= least(count, table.POWER)
    assert np.count_nonzero(days <= table.MEDIAN_DAYS) >= max(1, least(count, 0.5))


def test_a_harmful_arm_goes_back():
    """In each way to be harmful, counted together."""
    runs = [run for one in SCENARIOS if one.truth == "harmful" for run in runs_of(one.name, "window", 4)]
    assert sum(run.verdict in {"rolled back", "timed out"} for run in runs) >= least(len(runs), table.POWER)
    assert sum(run.verdict == "rolled back" for run in runs) > 0
    assert sum(run.verdict == "promoted" for run in runs) <= most(len(runs))


def test_the_holdback_sees_what_was_promoted_in_error():
    assert scenarios.holdback_days("window", 0) is not None


def test_rules_of_others_decide_on_noise():
    """The comparison is worth something: on an equal arm each of them has a verdict in most runs."""
    runs = [rivals.run(rule(), first, traffic_of(seed), scenarios.DAYS) for seed in range(6)
            for rule, first in rivals.RIVALS.values()]  # fmt: skip
    assert sum(end.verdict in {"promoted", "rolled_back"} for end in runs) > 0.5 * len(runs)


def traffic_of(seed, by="window", world=PLAIN, days=scenarios.DAYS):
    return traffic.drawn(world, by, days, np.random.default_rng(seed))


@pytest.mark.parametrize("correlation", [0.05, 0.3])
def test_wins_in_a_window_are_as_alike_as_was_asked(correlation):
    """`drift` 0, else days add to it. The rate is 0.55, where the law of 0.5 still holds within 0.01."""
    world = World(correlation=correlation, drift=0.0)
    won = traffic_of(3, "market", world, 400).arms[0].won.reshape(-1, traffic.ASSETS)
    found = np.corrcoef(won.T.astype(float))[np.triu_indices(traffic.ASSETS, 1)]
    assert found.mean() == pytest.approx(correlation, abs=0.015)


@pytest.mark.parametrize("by", ["market", "window"])
def test_arms_differ_by_the_effect_alone(by):
    same, better = traffic_of(5, by, World(paired=1.0)), traffic_of(5, by, World(paired=1.0, effect=0.05))
    assert np.array_equal(same.arms[0].pnl_micro, same.arms[1].pnl_micro)
    assert np.array_equal(same.arms[0].pnl_micro, better.arms[0].pnl_micro)
    gained = (better.arms[1].pnl_micro - better.arms[0].pnl_micro) / 1e6
    a_market = 0.05 * (traffic.WIN_USD - traffic.LOSS_USD)
    assert gained.min() >= 0.0
    assert gained.mean() == pytest.approx(a_market * better.bots, rel=0.1)


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.7])
def test_equal_arms_are_as_alike_as_was_asked(correlation):
    """Each keeps its own law: paired or not, an arm's markets are as alike within a window."""
    old, new = traffic_of(4, "market", World(paired=correlation, drift=0.0), 200).arms
    assert np.corrcoef(old.pnl_micro, new.pnl_micro)[0, 1] == pytest.approx(correlation, abs=0.015)
    assert new.pnl_micro.std() == pytest.approx(old.pnl_micro.std(), rel=0.02)
    won = new.won.reshape(-1, traffic.ASSETS).T.astype(float)
    assert np.corrcoef(won)[np.triu_indices(traffic.ASSETS, 1)].mean() == pytest.approx(0.1, abs=0.02)


def test_paper_is_the_difference_and_may_be_too_kind():
    found = traffic_of(4, "window", World(too_kind_usd=0.05))
    old, new = (arm.pnl_micro for arm in found.arms)
    assert found.paper_usd == pytest.approx((new - old) / 1e6 + 0.05 * traffic.ASSETS, abs=1e-5)
    assert found.live_less_paper_usd.std() == pytest.approx(2 * traffic.PAPER_SD_USD, rel=0.05)


def test_paper_has_a_verdict_in_half_the_time_and_opens_no_equal_arm():
    """At a correlation of 0.5; of equal arms at most what 5% may be of so few."""
    better = sorted(paper.days_of(0.5, scenarios.PLANNED, seed)[0] for seed in range(15))
    assert better[len(better) // 2] <= 0.5 * 14
    equal = [paper.days_of(0.5, 0.0, seed)[0] for seed in range(15)]
    assert sum(day < paper.NEVER for day in equal) <= most(len(equal))


def test_paper_that_is_too_kind_opens_and_promotes_nothing():
    runs = [scenarios.own_run(NAMED[TOO_KIND], "window", seed, ON_PAPER) for seed in range(4)]
    assert sum(run.verdict == "promoted" for run in runs) <= most(len(runs))
    assert any(run.days > 28 for run in runs), "it had its units"


def test_a_harmful_arm_gets_no_unit_where_paper_comes_first():
    run = scenarios.own_run(NAMED["-5 points"], "market", 1, ON_PAPER)
    assert (run.verdict, run.days, run.cost_usd) == ("timed out", 28.0, 0.0)


def test_an_arm_that_is_away_brings_what_the_control_brings():
    found = traffic_of(7, "market", World(effect=0.1, outage=(6.0, 0.5)), 10)
    old, new = (arm.pnl_micro[found.away] for arm in found.arms)
    assert np.array_equal(old, new)
    assert found.away.sum() == traffic.MARKETS_A_DAY // 2


def test_a_market_has_had_its_price_wherever_the_coin_fell():
    found = traffic_of(9, "market", World(effect=-0.05), 10)
    all_of_it = traffic.cost_usd(found, np.ones(len(found.start_day), dtype=bool))
    parts = [traffic.cost_usd(found, found.coin < 0.5), traffic.cost_usd(found, found.coin >= 0.5)]
    assert sum(parts) == pytest.approx(all_of_it)
    assert all_of_it > 0.0


@pytest.mark.parametrize("by", ["market", "window"])
def test_plans_of_a_window_spend_what_the_default_spends(by):
    plans = [plan(by) for plan in scenarios.CONTROLLERS.values()]
    for plan in plans:
        ledger = spending(plan_of_fields(msgspec.to_builtins(plan)))
        assert sum(level for _, level in ledger.rollback) == pytest.approx(plan.alpha.rollback)
        assert ledger.promotion_split == plan.alpha.promotion - plan.alpha.shadow


def made(verdicts, cost=1.0, days=10.0):
    return [Run(OURS, verdict, "", days, cost) for verdict in verdicts]


def test_a_missed_bar_is_named():
    quiet = {
        ("null", OURS): made(["timed out"] * 19 + ["promoted"]),
        ("-5 points", OURS): made(["rolled back"] * 20),
    }
    for name in rivals.RIVALS:
        quiet["null", name] = made(["promoted"] * 20)
        quiet["-5 points", name] = made(["rolled back"] * 20, cost=0.5)
    assert all(finding.holds for finding in table.promises(quiet))
    missed = quiet | {("null", OURS): made(["timed out"] * 18 + ["promoted"] * 2)}
    names = [finding.claim for finding in table.promises(missed) if not finding.holds]
    assert names[0] == "null: promoted"
    assert len(names) == 2  # who keeps no rate himself is not the cheapest of those that do
    cheaper = quiet | {("null", "Thompson"): made(["timed out"] * 20)}
    names = [finding.claim for finding in table.promises(cheaper) if not finding.holds]
    assert names == ["-5 points: USD lost, among methods that keep the rates"]


@pytest.mark.parametrize(("days", "bars"), [(16.0, []), (17.0, ["median day of the promotion"])])
def test_the_median_counts_runs_without_a_promotion(days, bars):
    runs = made(["promoted"] * 19, days=days) + made(["timed out"], days=44.0)
    missed = [f.claim for f in table.promises({(FIVE, OURS): runs}) if not f.holds]
    assert missed == [f"{FIVE}: {bar}" for bar in bars]
    late = made(["promoted"] * 18, days=5.0) + made(["timed out"] * 2)
    assert [f.holds for f in table.promises({(FIVE, OURS): late})] == [False, True]
