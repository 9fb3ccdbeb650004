"""Changes of a split: computes the next version, stores it by compare-and-set. Behind HTTP and CLI alike."""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Engine

from router import splits
from router.assignment import History, Split
from router.split_log import history_of, record_of
from store import experiments
from store.clock import Clock
from store.records import Experiment
from store.records import Split as Record


@dataclass(frozen=True, slots=True)
class By:
    """Who changes a split, and why."""

    actor: str
    reason: str


def set_share(  # noqa: PLR0913, PLR0917 - everything that a change of a split is
    engine: Engine, key: str, arm: str, share: str, by: By, clock: Clock, lead_us: int
) -> Split:
    """Gives an arm a share, trading with the control. share: decimal text, exact."""
    experiment, known = _read(engine, key)
    ranges = splits.set_share(known, arm, share, experiment.control, arms=experiment.arms)
    return _store(engine, known, lambda: splits.next_split(known, ranges, _change(by, clock, lead_us)))


def restore(engine: Engine, key: str, version: int, by: By, clock: Clock, lead_us: int) -> Split:
    """Reinstates the table of an earlier version verbatim."""
    _, known = _read(engine, key)
    return _store(engine, known, lambda: splits.restore(known, version, _change(by, clock, lead_us)))


def history(engine: Engine, key: str) -> History:
    """Every version of an experiment's split, the first one first."""
    return _read(engine, key)[1]


def _read(engine: Engine, key: str) -> tuple[Experiment, History]:
    with engine.connect() as connection:
        experiment = experiments.get(connection, key)
        return experiment, history_of(experiment, experiments.splits(connection, key))


def _change(by: By, clock: Clock, lead_us: int) -> splits.Change:
    return splits.Change(actor=by.actor, reason=by.reason, now_us=clock(), lead_us=lead_us)


def _store(engine: Engine, known: History, made: Callable[[], Split]) -> Split:
    """The clock is read when the database is ours: a lead that ran out in a queue would bind units twice."""
    newest, kept = known[-1], dict[str, Split]()

    def dated() -> Record:
        kept["split"] = made()
        return record_of(kept["split"])

    experiments.append_split_dated(engine, newest.experiment, newest.version + 1, dated)
    return kept["split"]
