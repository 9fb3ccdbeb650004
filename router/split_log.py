"""Between the splits that are stored and the splits that assign."""

from collections.abc import Iterable
from functools import lru_cache

from router.assignment import History, Range, Split, Table, check_history, shares
from store import records

_REMEMBERED = 20_000
"""Versions that are not made anew: workers read whole histories twice a second, and a bandit's is long."""


def history_of(experiment: records.Experiment, stored: Iterable[records.Split]) -> History:
    """The history by which units are assigned, checked."""
    return check_history(split_of(experiment, split) for split in stored)


def split_of(experiment: records.Experiment, stored: records.Split) -> Split:
    """One stored version, with the weights of all arms of the experiment."""
    return _split_of(experiment.arms, stored)


@lru_cache(_REMEMBERED)
def _split_of(arms: tuple[str, ...], stored: records.Split) -> Split:
    ranges = tuple(Range(arm, start, stop) for arm, start, stop in stored.ranges)
    return Split(
        experiment=stored.experiment,
        version=stored.version,
        salt=stored.salt,
        ranges=ranges,
        weights=shares(Table(ranges), arms),
        effective_at_us=stored.effective_at_us,
        actor=stored.actor,
        reason=stored.reason,
        restored_from=stored.restored_from,
        created_at_us=stored.created_at_us,
    )


def record_of(split: Split) -> records.Split:
    """A version as it is stored."""
    return records.Split(
        experiment=split.experiment,
        version=split.version,
        salt=split.salt,
        ranges=tuple((r.arm, r.start, r.stop) for r in split.ranges),
        effective_at_us=split.effective_at_us,
        created_at_us=split.created_at_us,
        actor=split.actor,
        reason=split.reason,
        restored_from=split.restored_from,
    )
