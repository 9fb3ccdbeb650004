"""The options of an experiment that wants little regret instead of a verdict, checked."""

import math

from router.assignment import BUCKETS
from router.problems import invalid
from store.records import Experiment

LEAST_FLOOR = 0.01
LEAST_INTERVAL_S = 900
"""Each move is a split version, which every process and every report reads."""
MOST_INTERVAL_S = 31_536_000
_DEFAULTS = {"bandit_floor": 0.05, "bandit_interval_s": 3600}


def check_bandit(e: Experiment) -> None:
    """Raise the problem that names the field and the rule."""
    if e.mode == "verdict":
        _check_absent(e)
        return
    if e.gate != "sequential":
        rule = 'with mode = "bandit" must be "sequential": tests at named looks need shares that stay'
        raise invalid("gate", rule)
    if not _is_floor(e.bandit_floor) or e.bandit_floor * len(e.arms) > 1:
        most = 1 / len(e.arms)
        rule = f"must be {LEAST_FLOOR:g} to {most:.6g} for {len(e.arms)} arms, and a multiple of 0.000001"
        raise invalid("bandit_floor", rule)
    if not LEAST_INTERVAL_S <= e.bandit_interval_s <= MOST_INTERVAL_S:
        raise invalid("bandit_interval_s", f"must be {LEAST_INTERVAL_S} to {MOST_INTERVAL_S} seconds")


def _check_absent(e: Experiment) -> None:
    for field, default in _DEFAULTS.items():
        if getattr(e, field) != default:
            raise invalid(field, 'is for mode = "bandit": leave it out, or say mode = "bandit"')


def _is_floor(share: float) -> bool:
    return math.isfinite(share) and share >= LEAST_FLOOR and round(share * BUCKETS) / BUCKETS == share
