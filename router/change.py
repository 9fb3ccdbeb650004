"""Changes of a split: computes the next version, stores it by compare-and-set. Behind HTTP and CLI alike."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine

from router import splits
from router.assignment import History, Split
from router.errors import ArchivedExperiment
from router.split_log import history_of, record_of
from router.vacancy import warnings_of_split
from store import experiments
from store.clock import Clock
from store.records import Experiment
from store.records import Split as Record


@dataclass(frozen=True, slots=True)
class By:
    """Who changes a split, and why."""

    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class Changed:
    """The newest split after a change. is_new: False where it said before what was asked for."""

    split: Split
    is_new: bool

    @property
    def version(self) -> int:
        """The split's."""
        return self.split.version


def set_share(  # noqa: PLR0913, PLR0917 - everything that a change of a split is
    engine: Engine, key: str, arm: str, share: str, by: By, clock: Clock, lead_us: int
) -> Changed:
    """Gives an arm a share, trading with the control. share: decimal text, exact.

    A share that the arm has already makes no version.
    """
    experiment, known = _read_open(engine, key)
    ranges = splits.set_share(known, arm, share, experiment.control, arms=experiment.arms)
    if ranges == known[-1].ranges:
        return Changed(known[-1], is_new=False)
    return _store(engine, known, lambda: splits.next_split(known, ranges, _change(by, clock, lead_us)))


def restore(engine: Engine, key: str, version: int, by: By, clock: Clock, lead_us: int) -> Changed:
    """Reinstates the table of an earlier version verbatim."""
    _, known = _read_open(engine, key)
    return _store(engine, known, lambda: splits.restore(known, version, _change(by, clock, lead_us)))


def shape(engine: Engine, made: Changed, coming: Collection[str] = ()) -> dict[str, Any]:
    """The answer to a change: the split, `changed`, and `warnings`. coming: arms that ship with a model."""
    warnings = warnings_of_split(engine, made.split.experiment, made.split.weights, coming)
    return {**splits.split_shape(made.split), "changed": made.is_new, "warnings": warnings}


def history(engine: Engine, key: str) -> History:
    """Every version of an experiment's split, the first one first."""
    return _read(engine, key)[1]


def _read(engine: Engine, key: str) -> tuple[Experiment, History]:
    with engine.connect() as connection:
        experiment = experiments.get(connection, key)
        return experiment, history_of(experiment, experiments.splits(connection, key))


def _read_open(engine: Engine, key: str) -> tuple[Experiment, History]:
    """The same of an experiment whose split may still change."""
    experiment, known = _read(engine, key)
    if experiment.archived_at_us is not None:
        raise ArchivedExperiment(key)
    return experiment, known


def _change(by: By, clock: Clock, lead_us: int) -> splits.Change:
    return splits.Change(actor=by.actor, reason=by.reason, now_us=clock(), lead_us=lead_us)


def _store(engine: Engine, known: History, made: Callable[[], Split]) -> Changed:
    """The clock is read when the database is ours: a lead that ran out in a queue would bind units twice."""
    newest, kept = known[-1], dict[str, Split]()

    def dated() -> Record:
        kept["split"] = made()
        return record_of(kept["split"])

    experiments.append_split_dated(engine, newest.experiment, newest.version + 1, dated)
    return Changed(kept["split"], is_new=True)
