"""What missing outcomes could hide: whatever they were, the effect would have been within what is said."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stats.design import Design
from stats.missing import missing_of
from stats.report import report
from stats.units import ArmCounts, Stage, Units

DAY_US = 86_400_000_000
DAYS = 10
SHARES = st.lists(st.floats(0.05, 0.95), min_size=1, max_size=3)


def design_of(metric):
    return Design(
        arms=("base", "new"), control="base", treatment="new", metric=metric, started_us=0, attribution_s=900
    )


class World:
    """Stages of 1,000 units at each share; who is lost depends on arm, stage and outcome."""

    def __init__(self, shares, seed, lost_share):
        rng = np.random.default_rng(seed)
        self.stage = np.repeat(np.arange(len(shares)), 1000)
        self.e = np.asarray(shares)[self.stage]
        self.treated = rng.random(len(self.e)) < self.e
        self.day = np.tile(np.sort(rng.integers(0, DAYS, 1000)), len(shares)) + DAYS * self.stage
        self.won = rng.random(len(self.e)) < 0.5
        rate = rng.uniform(0.0, 2.0 * lost_share, (len(shares), 2, 2))
        at = (self.stage, self.treated.astype(int), self.won.astype(int))
        self.missing = rng.random(len(self.e)) < rate[at]

    def units(self, kept, won):
        count, ones = int(kept.sum()), np.ones(int(kept.sum()), np.int64)
        return Units(
            arm=self.treated[kept].astype(np.int64), stage=self.stage[kept], e=self.e[kept],
            day=self.day[kept], traded=np.ones(count, bool), won=won[kept],
            pnl_micro=np.where(won[kept], 1_000_000, -1_000_000), stake_micro=ones, fee_micro=0 * ones,
            decisions=ones, fallbacks=0 * ones, trades=ones, trade_wins=won[kept].astype(np.int64),
        )  # fmt: skip

    def report(self, metric, missing, won):
        weight = np.where(self.treated, 1.0 - self.e, self.e)
        counts = {
            name: ArmCounts(
                units=int(own.sum()),
                missing=int((own & missing).sum()),
                missing_weight=float(weight[own & missing].sum()),
            )
            for name, own in (("base", ~self.treated), ("new", self.treated))
        }
        stages = tuple(
            Stage(
                version=1 + at,
                weights=(1.0 - float(self.e[self.stage == at][0]), float(self.e[self.stage == at][0])),
                counts=tuple(int((self.treated[self.stage == at] == arm).sum()) for arm in (False, True)),
                started_us=DAYS * DAY_US * at,
            )
            for at in np.unique(self.stage)
        )
        units = self.units(~missing, won)
        design = design_of(metric)
        found = report(design, units, counts, stages)
        effect = found.effect if metric != "pnl" else found.pnl_effect
        return effect, missing_of(design, effect, found.arms, counts, units)


@pytest.mark.parametrize("metric", ["win_rate", "profit_rate", "pnl"])
@given(SHARES, st.integers(0, 10_000), st.floats(0.01, 0.2), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
@settings(max_examples=40, deadline=None)
def test_whatever_the_missing_units_brought_it_is_within_the_range(metric, shares, seed, lost, up, down):
    """The centre moves a little with the outcomes that it is made of: a point is left for that."""
    world = World(shares, seed, lost)
    effect, bounds = world.report(metric, world.missing, world.won)
    if effect.estimate is None or effect.look is None:
        return
    rng = np.random.default_rng(seed)
    filled = rng.random(len(world.won)) < np.where(world.treated, up, down)
    won = np.where(world.missing, filled, world.won)
    whole, _ = world.report(metric, np.zeros_like(world.missing), won)
    room = 0.01 * (2.0 if metric == "pnl" else 1.0)
    shift = whole.estimate - effect.estimate
    assert bounds.worst - room <= shift <= bounds.best + room


def test_a_missing_unit_of_a_small_share_weighs_more_than_one_of_an_even_split():
    """Losers of the treatment's first tenth never report: by counts alone the worst case is too mild."""
    world = World([0.1, 0.5], 3, 0.0)
    lost = world.treated & (world.stage == 0) & ~world.won
    effect, bounds = world.report("profit_rate", lost, world.won)
    whole, _ = world.report("profit_rate", np.zeros_like(lost), world.won)
    by_counts = lost.sum() / world.treated.sum() * (0.0 - effect.adjusted_treatment)
    true = whole.estimate - effect.estimate
    print(f"true shift {true:+.3f}, worst case {bounds.worst:+.3f}, by counts {by_counts:+.3f}")
    assert bounds.worst - 0.01 <= true < by_counts - 0.01
