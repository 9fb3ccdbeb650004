"""The options of switchback assignment, checked when an experiment is created."""

from router.problems import invalid
from router.starts import compile_pattern
from store.records import Experiment

MOST_BLOCK_S = 31_536_000
BLOCK_PER_BURN_IN = 3
"""A block is at least so many times its burn-in, or most of what it brings is thrown away."""
_DEFAULTS = {"block_s": 14_400, "block_by": "family", "burn_in_s": 0}


def check_switchback(e: Experiment) -> None:
    """Raise the problem that names the field and the rule."""
    if e.assignment == "unit":
        _check_absent(e)
        return
    _check_burn_in(e)
    if e.block_by == "family" and not _names_family(e.unit_pattern):
        rule = 'must name the group family with assignment = "switchback": or say block_by = "all"'
        raise invalid("unit_pattern", rule)
    for field, only, why in (
        ("mode", "verdict", "the shares of a bandit would change within blocks"),
        ("gate", "sequential", "named looks are counted in units, and a block is the unit here"),
        ("eligible_share", 1.0, "a unit that takes no part would trade beside a block that does"),
    ):
        if getattr(e, field) != only:
            raise invalid(field, f'must be {only!r} with assignment = "switchback": {why}')


def _check_burn_in(e: Experiment) -> None:
    if not e.unit_duration_s <= e.burn_in_s:
        rule = f"must be unit_duration_s ({e.unit_duration_s}) or more: units of the block before still trade"
        raise invalid("burn_in_s", rule)
    if not BLOCK_PER_BURN_IN * e.burn_in_s <= e.block_s <= MOST_BLOCK_S:
        rule = f"must be {BLOCK_PER_BURN_IN} times burn_in_s ({BLOCK_PER_BURN_IN * e.burn_in_s}) or more"
        raise invalid("block_s", f"{rule}, and at most {MOST_BLOCK_S} seconds")


def _check_absent(e: Experiment) -> None:
    for field, default in _DEFAULTS.items():
        if getattr(e, field) != default:
            raise invalid(field, 'is for assignment = "switchback": leave it out, or say so')


def _names_family(pattern: str | None) -> bool:
    return pattern is not None and "family" in compile_pattern(pattern).groupindex
