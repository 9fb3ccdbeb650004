"""Section by section: false alarms, coverage, power, and what named looks bring back. Fixed seeds.

`make sim-full` runs the same cells with 4,000 runs each and writes docs/simulation.md.
"""

import pytest
from trials.cells import Cell, allowed, outcome, power, section_5, variations

RUNS, FEWER = 1_200, 500
PUBLISHED_POWER = {0.05: {0.02: 0.17, 0.04: 0.76, 0.06: 0.99}, 0.1: {0.04: 0.52, 0.06: 0.92}}
PUBLISHED_POWER |= {0.3: {0.04: 0.22, 0.06: 0.47}}
FIXED_POWER, A_THIRD_BACK = 0.80, 0.614
"""At ICC 0.1 and +4 points a fixed test finds 80% and the sequence 52%: a third of what is between."""


def check_no_alarms(cell: Cell, runs: int) -> None:
    found = outcome(cell, runs)
    named = found.named_up + found.named_down
    print(f"{cell.name}: up {found.up:.3f}, down {found.down:.3f}, named looks {named:.3f}")
    assert found.alarms <= allowed(runs)
    assert named <= allowed(runs)
    assert found.covered >= 1.0 - allowed(runs)


@pytest.mark.parametrize("cell", section_5(), ids=lambda cell: cell.name)
def test_no_more_false_alarms_than_promised(cell: Cell) -> None:
    check_no_alarms(cell, RUNS)


@pytest.mark.parametrize("cell", variations(), ids=lambda cell: cell.name)
def test_one_thing_at_a_time_is_different(cell: Cell) -> None:
    check_no_alarms(cell, FEWER)


@pytest.mark.parametrize("cell", power(), ids=lambda cell: cell.name)
def test_power_is_that_of_the_published_table_or_better(cell: Cell) -> None:
    found = outcome(cell, FEWER)
    published = PUBLISHED_POWER[cell.world.icc][cell.world.effect]
    error = 2.0 * (published * (1.0 - published) / FEWER) ** 0.5
    print(f"{cell.name}: {found.up:.3f} in {found.days:.1f} days, named looks {found.named_up:.3f}")
    assert found.up >= 0.9 * published - error
    assert found.down <= 0.01
    assert found.covered >= 1.0 - allowed(FEWER)


def test_named_looks_bring_a_third_of_the_power_back() -> None:
    (cell,) = (cell for cell in power() if (cell.world.icc, cell.world.effect) == (0.1, 0.04))
    found = outcome(cell, RUNS)
    assert found.up < found.named_up < FIXED_POWER
    assert found.named_up >= A_THIRD_BACK
