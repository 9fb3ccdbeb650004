"""Guardrails: none is worse by chance too often, what is worse is said, what cannot be said has a reason."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stats.design import Design
from stats.errors import UnitsError
from stats.guardrails import Slow, drawdown_micro, guardrails
from stats.resolution import Arrivals, ages_of, resolution
from stats.units import Units

DESIGN = Design(
    arms=("base", "transformer"), control="base", treatment="transformer", metric="win_rate",
    started_us=0, attribution_s=900,
)  # fmt: skip
AGES = ages_of(900, 900)
UNITS, DAYS = 600, 30
NAMES = (
    "fallback_rate",
    "missing_rate",
    "trade_rate",
    "delay_s",
    "slow_rate",
    "shortfall_usd",
    "drawdown_usd",
)


def world(rng, units=UNITS, fell=0.02, traded=0.6, slow=0.05, lost=0.02):
    """Units under a climbing split; the treated differ by what is given beyond the control's own rates."""
    day = np.arange(units) * DAYS // units
    e = np.array([0.1, 0.25, 0.5])[np.minimum(np.arange(units) * 3 // units, 2)]
    arm = (rng.random(units) < e).astype(np.int64)
    decisions = rng.integers(1, 40, units)
    rates = {"fell": (0.02, fell), "traded": (0.6, traded), "slow": (0.05, slow), "lost": (0.02, lost)}
    mood = rng.normal(0.0, 0.1, units)  # decisions of a unit are alike
    chance = {name: np.clip(np.array(pair)[arm] + (mood if name != "lost" else 0) * (pair[1] < 1), 0, 1)
              for name, pair in rates.items()}  # fmt: skip
    has_traded = rng.random(units) < chance["traded"]
    gone = rng.random(units) < chance["lost"]
    pnl = np.where(has_traded, rng.normal(0, 2e6, units), 0).astype(np.int64)
    made = Units.of(
        {
            "arm": arm, "stage": np.zeros(units, np.int64), "e": e, "day": day, "traded": has_traded,
            "won": pnl > 0, "pnl_micro": pnl, "stake_micro": has_traded * 10**6, "fee_micro": has_traded * 1,
            "decisions": decisions, "fallbacks": rng.binomial(decisions, chance["fell"]),
            "trades": has_traded * 1, "trade_wins": (pnl > 0) * 1,
        }
    )  # fmt: skip
    taken_us = np.where(gone, -1, rng.integers(900, 1800, units) * 1_000_000)
    told = resolution(DESIGN, Arrivals(arm, e, day, taken_us), AGES)
    return made, told, Slow(10.0, decisions, rng.binomial(decisions, chance["slow"]))


def rows_of(*given):
    return {row.name: row for row in guardrails(DESIGN, *given)}


def test_without_a_difference_five_percent_at_most_call_anything_worse_at_any_look():
    rng, runs = np.random.default_rng(20260401), 300
    alarms = sum(
        any(row.status == "worse" for row in rows_of(*world(rng)).values() if row.evidence == "any look")
        for _ in range(runs)
    )
    print(f"guardrails, no difference, {runs} runs of {DAYS} daily looks: {alarms / runs:.3f}")
    assert alarms / runs <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / runs)


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("fallback_rate", {"fell": 0.3}),
        ("trade_rate", {"traded": 0.2}),
        ("slow_rate", {"slow": 0.4}),
        ("missing_rate", {"lost": 0.35}),
        ("slow_rate", {"slow": 1.0}),
        ("fallback_rate", {"fell": 1.0}),
    ],
)
def test_what_is_worse_is_said_and_nothing_else(name, harm):
    rng, found = np.random.default_rng(5), 0
    for _ in range(20):
        rows = rows_of(*world(rng, **harm))
        found += rows[name].status == "worse"
        related = {name, "delay_s", "missing_rate"}
        assert all(
            r.status != "worse" for n, r in rows.items() if n not in related and r.evidence == "any look"
        )
    assert found >= 18


def test_an_improvement_is_ok():
    rows = rows_of(*world(np.random.default_rng(6), traded=0.95, slow=0.0))
    assert rows["trade_rate"].status == "ok"
    assert rows["trade_rate"].difference > 0.2
    assert rows["slow_rate"].status == "ok"


def test_rows_hold_together():
    units, told, slow = world(np.random.default_rng(8))
    rows = rows_of(units, told, slow)
    assert tuple(rows) == NAMES
    for row in rows.values():
        assert row.reason
        if row.low is not None:
            assert row.low <= row.difference <= row.high
    gone = told.ages[-1].resolved
    assert rows["missing_rate"].difference == -gone.estimate
    assert (rows["missing_rate"].low, rows["missing_rate"].high) == (-gone.high, -gone.low)
    assert rows["delay_s"].difference == told.delay_s.estimate
    assert (rows["shortfall_usd"].evidence, rows["drawdown_usd"].status) == ("description", "cannot say")


def test_nothing_of_it_in_either_arm_is_ok_without_a_number_for_doubt():
    units, told, slow = world(np.random.default_rng(9))
    none = np.zeros(len(units), np.int64)
    rows = rows_of(replace(units, fallbacks=none), told, replace(slow, slow=none))
    for name in ("fallback_rate", "slow_rate"):
        assert (rows[name].status, rows[name].difference, rows[name].p) == ("ok", 0.0, None)


def test_unknown_latencies_are_not_called_fast():
    units, told, slow = world(np.random.default_rng(10))
    none = np.zeros(len(units), np.int64)
    row = rows_of(units, told, Slow(10.0, none, none))["slow_rate"]
    assert (row.status, row.p, row.difference) == ("cannot say", None, None)
    assert "no decision is known" in row.reason
    timed = slow.timed.copy()
    timed[:5] = 0
    row = rows_of(units, told, Slow(10.0, timed, np.minimum(slow.slow, timed)))["slow_rate"]
    assert row.status == "cannot say"
    assert "595 of 600" in row.reason


def test_of_few_units_nothing_is_said():
    rows = rows_of(*world(np.random.default_rng(11), units=30))
    assert {row.status for row in rows.values()} == {"cannot say"}
    empty = Units.empty()
    nobody = Arrivals(empty.arm, empty.e, empty.day, empty.day)
    none = rows_of(empty, resolution(DESIGN, nobody, AGES), Slow(10.0, empty.arm, empty.arm))
    assert {(row.status, row.difference) for row in none.values()} == {("cannot say", None)}


def test_columns_that_do_not_fit_are_refused():
    units, told, slow = world(np.random.default_rng(12))
    with pytest.raises(UnitsError, match="no more than timed"):
        Slow(10.0, slow.slow, slow.timed + 1)
    with pytest.raises(UnitsError, match="beside"):
        guardrails(DESIGN, units, told, Slow(10.0, slow.timed[1:], slow.slow[1:]))


@given(st.lists(st.integers(-(10**12), 10**12), max_size=40))
def test_a_drawdown_is_the_deepest_fall_from_any_point_before(pnl):
    path = [0, *np.cumsum(np.array(pnl, dtype=np.int64)).tolist()]
    deepest = max(path[i] - path[j] for i in range(len(path)) for j in range(i, len(path)))
    assert drawdown_micro(np.array(pnl, dtype=np.int64)) == deepest
    assert (deepest == 0) == all(value >= 0 for value in pnl)
