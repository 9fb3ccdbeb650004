"""Section by section: false alarms, coverage, power, and what named looks bring back. Fixed seeds.

`make sim-full` runs the same cells with 4,000 runs each, and every mixture of them, and writes
docs/simulation.md.
"""

import pytest
from trials.cells import (
    DESIGN_POINT,
    PUBLISHED,
    forecasts,
    forecasts_of_nothing,
    margins,
    power,
    published,
    section_5,
    variations,
)
from trials.outcomes import Cell, allowed, outcome
from trials.tables import A_THIRD, SHARE, is_design_point, rates_missed, share_back

RUNS, FEWER = 1_200, 500
FIXED_POWER = 0.80
A_THIRD_BACK = PUBLISHED[DESIGN_POINT][0] + (FIXED_POWER - PUBLISHED[DESIGN_POINT][0]) / 3.0
"""61.3%: at the design point a fixed test finds 80% and the sequence 52%."""


def of_design_point(cells: list[Cell]) -> Cell:
    """The one of decisions."""
    return next(cell for cell in cells if is_design_point(cell))


def check_no_alarms(cell: Cell, runs: int) -> None:
    found = outcome(cell, runs)
    print(
        f"{cell.name}: up {found.up:.3f}, down {found.down:.3f}, gates {found.gate_up:.3f} and"
        f" {found.gate_down:.3f}, named looks {found.named_alarms:.3f}"
    )
    assert not rates_missed(cell, found)


@pytest.mark.parametrize("cell", section_5(), ids=lambda cell: cell.name)
def test_no_more_false_alarms_than_promised(cell: Cell) -> None:
    check_no_alarms(cell, RUNS)


@pytest.mark.parametrize("cell", variations(), ids=lambda cell: cell.name)
def test_one_thing_at_a_time_is_different(cell: Cell) -> None:
    check_no_alarms(cell, FEWER)


@pytest.mark.parametrize("cell", margins(), ids=lambda cell: cell.name)
def test_what_is_worse_by_the_margin_is_not_promoted(cell: Cell) -> None:
    check_no_alarms(cell, FEWER)


@pytest.mark.parametrize("cell", forecasts_of_nothing()[2::3], ids=lambda cell: cell.name)
def test_a_forecast_made_before_the_coin_raises_no_alarm(cell: Cell) -> None:
    check_no_alarms(cell, FEWER)


@pytest.mark.parametrize("cell", power(), ids=lambda cell: cell.name)
def test_power_is_that_of_the_published_table_or_better(cell: Cell) -> None:
    found = outcome(cell, FEWER)
    print(f"{cell.name}: {found.up:.3f} in {found.days:.1f} days, named looks {found.named_up:.3f}")
    assert found.down <= 0.01
    assert found.covered >= 1.0 - allowed(FEWER)
    theirs = published(cell)
    if theirs is not None:
        share, days = theirs
        error = 2.0 * (share * (1.0 - share) / FEWER) ** 0.5
        assert found.up >= (1.0 - SHARE) * share - error
        assert found.days <= (1.0 + SHARE) * days


def test_named_looks_bring_a_third_of_the_power_back() -> None:
    """Of the design's 28 points, and of what a fixed test finds in these very runs."""
    found = outcome(of_design_point(power()), RUNS)
    print(f"{found.up:.3f}, named looks {found.named_up:.3f}, fixed {found.fixed_up:.3f}")
    assert found.up < found.named_up < found.fixed_up
    assert found.named_up >= A_THIRD_BACK
    assert share_back(found) >= A_THIRD


def test_a_forecast_brings_power_too() -> None:
    cell = of_design_point(forecasts())
    knowing, bare = outcome(cell, FEWER), outcome(of_design_point(power()), FEWER)
    assert knowing.explained > 0.05
    assert knowing.up > bare.up
