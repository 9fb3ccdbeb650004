"""Carries out what a bandit chooses: a split version and its audit line in one transaction, or nothing.

The split's version is the fence: two that look at once cannot both move, and a frozen one finds its version
taken when it wakes.
"""

from dataclasses import dataclass

from sqlalchemy import Engine

from router import splits
from router.assignment import BUCKETS, History, Split
from router.bandit import Choice, Evidence, Last, choose
from router.bandit_evidence import evidence_from, rows_now, totals_shape
from router.errors import ArchivedExperiment, NotABandit, RolloutOpen
from router.report_rows import Rows
from router.retiling import retiled
from router.rollout_log import standing
from router.rollout_steps import MOST_AGE_S, Hands, event_of
from router.split_log import history_of, record_of
from store import bandits, experiments, rollouts
from store.bandits import Line, Move
from store.errors import StaleEvidence
from store.records import Experiment


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """A bandit as SQL has it: its experiment, the split's history and its own last line."""

    experiment: Experiment
    history: History
    line: Line | None

    @property
    def last(self) -> Last | None:
        """As `bandit.choose` reads it."""
        return None if self.line is None else Last(self.line.version, self.line.at_us)


@dataclass(frozen=True, slots=True)
class Looked:
    """A choice, what it was made on, and the split that is the newest now."""

    choice: Choice
    seen: Evidence
    split: Split


def opened(engine: Engine, key: str) -> Course:
    """Refuses an experiment that is no bandit, is archived, or has a rollout under way."""
    with engine.connect() as connection:
        experiment = experiments.get(connection, key)
        newest = rollouts.newest(connection, key)
        lines = () if newest is None else rollouts.events(connection, key, newest.number)
        history = history_of(experiment, experiments.splits(connection, key))
        line = bandits.last(connection, key)
    if experiment.mode != "bandit":
        raise NotABandit(key)
    if experiment.archived_at_us is not None:
        raise ArchivedExperiment(key)
    if newest is not None and standing(tuple(map(event_of, lines))).ended is None:
        rule = f"{key!r} has an open rollout, number {newest.number}"
        raise RolloutOpen("experiment", rule, "end it first: abctl rollout abort")
    return Course(experiment=experiment, history=history, line=line)


def look(hands: Hands, killed: tuple[str, ...]) -> Looked:
    """Chooses once, and does it."""
    course, now_us = opened(hands.engine, hands.key), hands.clock()
    rows = rows_now(hands.engine, hands.key, now_us)
    seen, choice = chosen(course, rows, killed, now_us)
    if choice.action == "hold":
        return Looked(choice, seen, course.history[-1])

    def made() -> Move:
        age_s = (hands.clock() - now_us) / 1e6
        if age_s > MOST_AGE_S:
            raise StaleEvidence(age_s, MOST_AGE_S)
        return _move(hands, course, choice, seen)

    bandits.append(hands.engine, hands.key, course.history[-1].version + 1, made)
    return Looked(choice, seen, opened(hands.engine, hands.key).history[-1])


def chosen(course: Course, rows: Rows, killed: tuple[str, ...], now_us: int) -> tuple[Evidence, Choice]:
    """What a look would find now, and do; nothing is changed."""
    seen = evidence_from(rows, killed)
    return seen, choose(course.experiment, course.history[-1], course.last, seen, now_us)


def resume(hands: Hands, reason: str) -> bool:
    """Takes the split as somebody left it. False where nobody moved it by hand."""
    course = opened(hands.engine, hands.key)
    newest = course.history[-1]
    if course.last is None or course.last.version == newest.version:
        return False
    detail = {"version": newest.version, "reason": reason}
    bandits.resume(hands.engine, hands.key, Line(hands.clock(), hands.actor, bandits.RESUMED, detail))
    return True


def _move(hands: Hands, course: Course, choice: Choice, seen: Evidence) -> Move:
    ranges = retiled(course.history[-1].table, choice.weights, course.experiment.control)
    reason = f"bandit: {choice.reason}"
    change = splits.Change(actor=hands.actor, reason=reason, now_us=hands.clock(), lead_us=hands.lead_us)
    split = splits.next_split(course.history, ranges, change)
    return Move(record_of(split), _evidence_shape(course.experiment, choice, seen))


def _evidence_shape(experiment: Experiment, choice: Choice, seen: Evidence) -> dict[str, object]:
    return {
        "reason": choice.reason,
        "as_of_us": seen.as_of_us,
        "metric": experiment.metric,
        "floor": experiment.bandit_floor,
        "weights": {arm: count / BUCKETS for arm, count in choice.weights.items()},
        "chances": dict(choice.chances),
        "totals": {arm: totals_shape(total) for arm, total in seen.totals.items()},
    }
