"""What came of many runs: a table for each way to randomise, and what was promised."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import inf
from statistics import fmean

import msgspec
import numpy as np
from speed.found import Finding, Section

from rollout_proof.rivals import RIVALS
from rollout_proof.scenarios import (
    CONTROLLERS,
    DAYS,
    FIVE,
    HOLDBACK_DAYS,
    ON_PAPER,
    OURS,
    SCENARIOS,
    WEEK,
    Run,
    default_plan,
    shadow_plan,
    week_plan,
)
from rollout_proof.traffic import By
from router.rollout_plan import Plan, briefest

HEADER = (
    "scenario, method", "runs", "promoted", "rolled back", "timed out", "days, median", "p90", "lost USD"
)  # fmt: skip
METHODS = (*CONTROLLERS, *RIVALS)
LEVEL, POWER, MEDIAN_DAYS = 0.05, 0.95, 16.0
FALSE = ("promoted", "rolled back")
Found = Mapping[tuple[str, str], Sequence[Run]]
"""(scenario, method) -> its runs."""


def found_of(runs: Sequence[tuple[str, Run]]) -> Found:
    """By scenario and method."""
    found: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for scenario, run in runs:
        found[scenario, run.method].append(run)
    return dict(found)


def section(by: By, found: Found, holdback: Sequence[float | None]) -> Section:
    """The table of one way to randomise, with its promises."""
    rows = tuple(
        row(name, method, found[name, method])
        for name in dict.fromkeys(name for name, _ in found)
        for method in METHODS
        if (name, method) in found
    )
    notes = (seen_by_holdback(holdback), ramp_days(by, found))
    return Section(f"rollout-{by}", f"Randomised by {by}", HEADER, rows, promises(found), notes)


def row(scenario: str, method: str, runs: Sequence[Run]) -> tuple[str, ...]:
    """Days: until a promotion or a rollback, whichever it was; of runs that had one."""
    ended = [run.days for run in runs if run.verdict in FALSE]
    shares = (f"{share(runs, verdict):.1%}" for verdict in (*FALSE, "timed out"))
    days = (f"{np.percentile(ended, p, method='higher'):.0f}" if ended else "-" for p in (50, 90))
    lost = fmean(run.cost_usd for run in runs)
    return (f"{scenario}: {method}", str(len(runs)), *shares, *days, f"{lost:.0f}")


def share(runs: Sequence[Run], verdict: str) -> float:
    """Of the runs."""
    return fmean(run.verdict == verdict for run in runs)


def promises(found: Found) -> tuple[Finding, ...]:
    """Of abctl's default plan, and of the one that begins on paper that it keeps the rates too; rivals only
    where the default plan is compared with them.
    """
    told = [
        _rarely(scenario.name if method == OURS else f"{scenario.name}, shadow first", verdict, runs)
        for scenario in SCENARIOS
        for method in (OURS, ON_PAPER)
        if scenario.truth == "null" and (runs := found.get((scenario.name, method)))
        for verdict in FALSE
    ]
    for scenario in (one for one in SCENARIOS if (one.name, OURS) in found):
        runs = found[scenario.name, OURS]
        if scenario.name == FIVE:
            told += _power(scenario.name, runs)
        if scenario.truth == "harmful":
            told += [_given_back(scenario.name, runs), _cheapest(scenario.name, found)]
    return tuple(told)


def _rarely(name: str, verdict: str, runs: Sequence[Run]) -> Finding:
    rate = share(runs, verdict)
    return Finding(f"{name}: {verdict}", f"at most {LEVEL:.0%}", f"{rate:.1%}", rate <= LEVEL)


def _given_back(name: str, runs: Sequence[Run]) -> Finding:
    rate = share(runs, "rolled back") + share(runs, "timed out")
    what = f"{name}: back at the control within {DAYS} days, by a rollback or a time-out"
    return Finding(what, f"at least {POWER:.0%}", f"{rate:.1%}", rate >= POWER)


def promoted_by(runs: Sequence[Run]) -> list[float]:
    """Days until the promotion, in order; infinite where there was none."""
    return sorted(run.days if run.verdict == "promoted" else inf for run in runs)


def middle_of(days: Sequence[float]) -> float:
    """The upper median: of an even number no mean is taken, as one of the two may be infinite."""
    return sorted(days)[len(days) // 2]


def _power(name: str, runs: Sequence[Run]) -> list[Finding]:
    rate, middle = share(runs, "promoted"), middle_of(promoted_by(runs))
    within, most = f"{name}: promoted within {DAYS} days", f"at most {MEDIAN_DAYS:.0f}"
    return [
        Finding(within, f"at least {POWER:.0%}", f"{rate:.1%}", rate >= POWER),
        Finding(f"{name}: median day of the promotion", most, f"{middle:.0f}", middle <= MEDIAN_DAYS),
    ]


def keepers(found: Found) -> list[str]:
    """The default plan and the rules of others, of which false verdicts are rare enough in every null."""
    nulls = [one.name for one in SCENARIOS if one.truth == "null" and (one.name, OURS) in found]
    return [
        method
        for method in (OURS, *RIVALS)
        if all(share(found[name, method], verdict) <= LEVEL for name in nulls for verdict in FALSE)
    ]


def _cheapest(name: str, found: Found) -> Finding:
    lost = {method: fmean(run.cost_usd for run in found[name, method]) for method in keepers(found)}
    others = [usd for method, usd in lost.items() if method != OURS]
    target = f"at most {min(others):.0f}" if others else "the least: no other method keeps them"
    holds = OURS in lost and lost[OURS] <= min(others, default=inf)
    measured = f"{lost[OURS]:.0f}" if OURS in lost else "does not keep them itself"
    return Finding(f"{name}: USD lost, among methods that keep the rates", target, measured, holds)


def seen_by_holdback(days: Sequence[float | None]) -> str:
    """In words: no promise was made of it."""
    if not days:
        return "The holdback was not simulated."
    middle = middle_of([inf if day is None else day for day in days])
    when = f"in a median of {middle:.0f} days" if middle < inf else "in less than half of the runs"
    missed = sum(day is None for day in days)
    return (
        "An arm that is 5 points worse and was promoted on its first day, so that nothing but the holdback"
        f" speaks against it: rolled back {when}; {missed} of {len(days)} runs not within"
        f" {HOLDBACK_DAYS} days."
    )


def ramp_days(by: By, found: Found) -> str:
    """What the plans allow, and what came of it where there was something to find."""
    plans = {OURS: default_plan(by), ON_PAPER: shadow_plan(by), WEEK: week_plan(by)}
    said = [f"{name}: {_allowed(plan)}{_taken(found.get((FIVE, name), ()))}" for name, plan in plans.items()]
    return f"Days of the whole ramp. {'; '.join(said)}."


def _allowed(plan: Plan) -> str:
    least, most = (sum(days) for days in zip(*((s.days_min, s.days_max) for s in plan.stages), strict=True))
    cycles = f"{7 * plan.weekly_cycles} days that have units"
    if plan.shadow is msgspec.UNSET:
        return f"at least {least:g} days of stages and {cycles}, at most {most:g}"
    *before, last = plan.stages
    shortest = sum(briefest(plan, stage) for stage in before) + last.days_min
    paper = f"at most {plan.shadow.days_max:g} on paper"
    return f"{paper}, then at least {shortest:g} days of stages and {cycles}, at most {most:g}"


def _taken(runs: Sequence[Run]) -> str:
    if not runs:
        return ""
    days = [run.days for run in runs]
    middle, late = (np.percentile(days, p, method="higher") for p in (50, 90))
    return f", at {FIVE} until any end a median of {middle:.0f}, p90 {late:.0f}"
