"""How soon paper alone has a verdict: both arms on every unit that the control serves, no unit moved.

Its time is beside the split's own on traffic of the same law, at the same level; and at the level that the
plan "shadow-first" gives it. The correlation of what both arms bring in a market is what a pair saves by: 0
saves nothing but the waiting for units of the small arm. The cluster is the window, so it is one table.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from speed.found import Finding, Section

from rollout_proof import controller
from rollout_proof.scenarios import CORRELATIONS as WINS
from rollout_proof.scenarios import DAYS, shadow_plan
from rollout_proof.table import LEVEL, middle_of
from rollout_proof.traffic import ATTRIBUTION_S, WINDOW_S, Ints, Traffic, World, drawn
from router.rollout_shadow import shadow_bound

MEASURED = 0.48
"""What `abctl model compare` says of two models that learned from one day of recordings and played another
(docs/rollout-proof.md says how): 34 markets, so it may be 0.2 as well as 0.7.
"""
CORRELATIONS = (0.0, 0.3, MEASURED, 0.5, 0.7)
"""Of what both arms bring in a market, if they are equal."""
HEADER = (
    "paired correlation",
    "runs",
    "equal: shown",
    "+5 points: shown",
    "days, median",
    "p90",
    "of the split's",
    "at the plan's level",
    "p90",
)
NEVER = float("inf")
Days = tuple[float, float]
"""Until it was shown at LEVEL, and at the plan's level; infinite where it was not."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What came of one correlation: of arms that are alike, and of one that is better."""

    correlation: float
    equal: Sequence[Days]
    better: Sequence[Days]


def days_of(correlation: float, effect: float, seed: int) -> Days:
    """A look a day, each with all units that were mature."""
    world = World(correlation=WINS[seed % len(WINS)], effect=effect, paired=correlation)
    key = [seed, round(100 * correlation), round(1000 * effect), 7]
    traffic = drawn(world, "market", DAYS, np.random.default_rng(key))
    level = shadow_plan("market").alpha.shadow
    return _first(traffic, LEVEL), _first(traffic, level)


def _first(traffic: Traffic, level: float) -> float:
    return next((float(day) for day in range(1, DAYS + 1) if _is_shown(traffic, float(day), level)), NEVER)


def _is_shown(traffic: Traffic, day: float, level: float) -> bool:
    """By the product's own bound and the plan's margin."""
    plan = shadow_plan("market")
    assert plan.shadow is not msgspec.UNSET
    terms = controller.terms_of(controller.experiment_for(plan.primary.metric))
    seen = shadow_bound(controller.papers_of(traffic, _mature(traffic, day)), terms, level)
    return seen.low is not None and seen.low > 0.0 - plan.shadow.margin_usd


def _mature(traffic: Traffic, day: float) -> Ints:
    over_s = WINDOW_S + ATTRIBUTION_S
    at = np.arange(traffic.until(0.0), traffic.until(day - over_s / 86_400.0))
    return at[traffic.arms[0].settled_s[at] <= over_s]


def section(found: Sequence[Shown], split_days: Sequence[float]) -> Section:
    """split_days: of the default plan at +5 points, by market, until its promotion."""
    split = middle_of(split_days)
    note = (
        f"The split's own verdict, the promotion by the default plan at {LEVEL:g}, came on day {split:g}"
        " (median) of traffic of the same law, by market. The plan's level of paper is"
        f" {shadow_plan('market').alpha.shadow:g}. All one-sided, a look a day for {DAYS} days."
    )
    rows = tuple(_row(one, split) for one in found)
    promises = tuple(promise for one in found for promise in _promises(one, split))
    return Section("rollout-paper", "On paper alone", HEADER, rows, promises, (note,))


def _row(one: Shown, split: float) -> tuple[str, ...]:
    same, own = ([days[i] for days in one.better] for i in (0, 1))
    return (
        f"{one.correlation:g}",
        str(len(same)),
        f"{_share([days[0] for days in one.equal]):.1%}",
        f"{_share(same):.1%}",
        *map(_told, (middle_of(same), _late(same))),
        f"{middle_of(same) / split:.2f}x",
        *map(_told, (middle_of(own), _late(own))),
    )


def _late(days: Sequence[float]) -> float:
    """The 90th of 100."""
    return sorted(days)[min(len(days) - 1, int(0.9 * len(days)))]


def _told(day: float) -> str:
    return "-" if day == NEVER else f"{day:g}"


def _share(days: Sequence[float]) -> float:
    return sum(day < NEVER for day in days) / len(days)


def _promises(one: Shown, split: float) -> list[Finding]:
    middle, rate = middle_of([days[0] for days in one.better]), _share([days[0] for days in one.equal])
    name = f"paper, correlation {one.correlation:g}"
    half = f"{name}: median day of its verdict, at the split's level"
    return [
        Finding(
            f"{name}: equal arms shown to be better", f"at most {LEVEL:.0%}", f"{rate:.1%}", rate <= LEVEL
        ),
        Finding(half, f"at most {split / 2:g}", f"{middle:g}", middle <= split / 2),
    ]
