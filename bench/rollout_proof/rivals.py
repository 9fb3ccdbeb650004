"""Rules of other systems on the same traffic, in their own terms: daily looks at what has come by then.

Thresholds after Argo Rollouts (analysis of a fixed condition, a failure limit) and Flagger (a step a check,
a threshold of failed checks); "ship unless shown worse" after GrowthBook's safe rollouts; epsilon-greedy and
Thompson sampling as Sutton and Barto, 2018, chapter 2, and Russo et al., 2018, have them. What these read is
the rate of units that won, as if units were all there is.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import beta

from rollout_proof.controller import End
from rollout_proof.traffic import ATTRIBUTION_S, WINDOW_S, Bools, Floats, Traffic

TOLERATED = 0.95
"""Of the control's rate: less is a failed check."""
STEPS = (0.1, 0.25, 0.5)
STEP_DAYS = (2, 2, 3)
FAILURES = 1
"""Argo's failureLimit: the next one aborts."""
FLAGGER_STEP, FLAGGER_MOST, FLAGGER_THRESHOLD = 0.1, 0.5, 2
SHIP_AFTER_DAYS = 14
SEQUENTIAL_TUNING = 5000.0
EXPLORED = 0.1
LEADS_DAYS = 7
SURE = 0.95
LEAST_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Seen:
    """What has come by a day: units and wins of (control, treatment); recent: of the last day alone."""

    units: tuple[int, int]
    wins: tuple[int, int]
    recent_units: tuple[int, int]
    recent_wins: tuple[int, int]

    def rates(self) -> tuple[float, float]:
        """Wins a unit so far."""
        return _rate(self.wins[0], self.units[0]), _rate(self.wins[1], self.units[1])

    def is_failed(self) -> bool:
        """The last day's check: also where the treatment has no unit, as a query without data fails."""
        old, new = (_rate(w, u) for w, u in zip(self.recent_wins, self.recent_units, strict=True))
        return not new >= TOLERATED * old


@dataclass(frozen=True, slots=True)
class Next:
    """What a rule says after a day: the share, or its verdict ("" while there is none)."""

    share: float
    verdict: str = ""


Rule = Callable[[int, Seen], Next]


def _rate(wins: int, units: int) -> float:
    return wins / units if units else float("nan")


def run(rule: Rule, first: float, traffic: Traffic, days: int) -> End:
    """A look at the end of every day, until the rule has a verdict."""
    treated = np.zeros(len(traffic.start_day), dtype=np.bool_)
    share = first
    for day in range(1, days + 1):
        fresh = slice(traffic.until(day - 1.0), traffic.until(float(day)))
        treated[fresh] = traffic.coin[fresh] < share
        said = rule(day, seen(traffic, treated, float(day)))
        if said.verdict:
            return End(said.verdict, "rule", float(day), treated[: traffic.until(float(day))])
        share = said.share
    return End("none", "rule", float(days), treated[: traffic.until(float(days))])


def seen(traffic: Traffic, treated: Bools, day: float) -> Seen:
    """Of units whose outcomes were there by then."""
    begin, stop = traffic.until(0.0), traffic.until(day - (WINDOW_S + ATTRIBUTION_S) / 86_400.0)
    own, old, new = treated[begin:stop], *traffic.arms
    settled = np.where(own, new.settled_s[begin:stop], old.settled_s[begin:stop])
    won = np.where(own, new.won[begin:stop], old.won[begin:stop])
    came: Bools = settled <= WINDOW_S + ATTRIBUTION_S
    recent = came & (traffic.start_day[begin:stop] > day - 1.0)
    return Seen(_pair(own, came), _pair(own, came & won), _pair(own, recent), _pair(own, recent & won))


def _pair(treated: Bools, counted: Bools) -> tuple[int, int]:
    return int(np.count_nonzero(counted & ~treated)), int(np.count_nonzero(counted & treated))


def argo() -> Rule:
    """Steps of fixed length; a check a day against a fixed part of the control's rate."""
    failed, passed, step = 0, 0, 0

    def rule(_day: int, found: Seen) -> Next:
        nonlocal failed, passed, step
        failed, passed = (failed + 1, passed) if found.is_failed() else (failed, passed + 1)
        if failed > FAILURES:
            return Next(0.0, "rolled_back")
        if passed >= STEP_DAYS[step]:
            step, passed, failed = step + 1, 0, 0
        return Next(STEPS[step]) if step < len(STEPS) else Next(1.0, "promoted")

    return rule


def flagger() -> Rule:
    """A step up after every good check; too many bad ones give all back."""
    share, failed = FLAGGER_STEP, 0

    def rule(_day: int, found: Seen) -> Next:
        nonlocal share, failed
        if found.is_failed():
            failed += 1
            return Next(0.0, "rolled_back") if failed >= FLAGGER_THRESHOLD else Next(share)
        if share >= FLAGGER_MOST:
            return Next(1.0, "promoted")
        share = min(FLAGGER_MOST, share + FLAGGER_STEP)
        return Next(share)

    return rule


def safe_rollout() -> Rule:
    """Shipped after its days unless a sequential test has shown it to be worse."""

    def rule(day: int, found: Seen) -> Next:
        if _is_worse(found):
            return Next(0.0, "rolled_back")
        stage = 0 if day < STEP_DAYS[0] else 1 if day < STEP_DAYS[0] + STEP_DAYS[1] else 2
        return Next(1.0, "promoted") if day >= SHIP_AFTER_DAYS else Next(STEPS[stage])

    return rule


def _is_worse(found: Seen) -> bool:
    """One-sided, 5%: difference of rates and the asymptotic confidence sequence (Waudby-Smith et al., 2024,
    eq. 14) with GrowthBook's tuning parameter.
    """
    if min(found.units) < 2:
        return False
    old, new = found.rates()
    variance = old * (1.0 - old) / found.units[0] + new * (1.0 - new) / found.units[1]
    count, alpha = float(sum(found.units)), 0.05
    rho2 = (-2.0 * np.log(2.0 * alpha) + np.log(-2.0 * np.log(2.0 * alpha) + 1.0)) / SEQUENTIAL_TUNING
    inflated = count * rho2 + 1.0
    half = np.sqrt(
        count * variance * 2.0 * inflated * np.log(np.sqrt(inflated) / (2.0 * alpha)) / (count**2 * rho2)
    )
    return bool(new - old + half < 0.0)


def greedy() -> Rule:
    """The arm that looks better gets all but what is explored; a week of leading is its verdict."""
    led = 0

    def rule(_day: int, found: Seen) -> Next:
        nonlocal led
        old, new = found.rates()
        if min(found.units):
            led = max(led, 0) + 1 if new > old else min(led, 0) - 1
        verdict = "promoted" if led >= LEADS_DAYS else "rolled_back" if led <= -LEADS_DAYS else ""
        return Next(1.0 - EXPLORED / 2.0 if led > 0 else EXPLORED / 2.0, verdict)

    return rule


def thompson() -> Rule:
    """The share is the chance to be the better arm, after each day; sure is its verdict."""
    nodes: Floats = (np.arange(400) + 0.5) / 400

    def rule(_day: int, found: Seen) -> Next:
        arms = [(1 + w, 1 + u - w) for w, u in zip(found.wins, found.units, strict=True)]
        better = float(np.mean(beta.cdf(beta.ppf(nodes, *arms[1]), *arms[0])))
        verdict = "promoted" if better > SURE else "rolled_back" if better < 1.0 - SURE else ""
        return Next(min(1.0 - LEAST_SHARE, max(LEAST_SHARE, better)), verdict)

    return rule


RIVALS: dict[str, tuple[Callable[[], Rule], float]] = {
    "Argo-style thresholds": (argo, STEPS[0]),
    "Flagger-style thresholds": (flagger, FLAGGER_STEP),
    "ship when inconclusive": (safe_rollout, STEPS[0]),
    "epsilon-greedy": (greedy, 0.5),
    "Thompson": (thompson, 0.5),
}
"""Name -> (its rule, its first share)."""
