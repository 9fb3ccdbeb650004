"""Carries out what a rollout decides and what people tell it: each step is one line, with its split, or
nothing.

The fence is the number of the line. Whoever looks reads the lines first, decides, and writes the next one;
if somebody wrote it meanwhile, the store refuses (RolloutMoved, SplitMoved), and nothing was done. So it
needs no lock to be right, only to be frugal: a leader that froze between deciding and writing has decided
for nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import msgspec
from sqlalchemy import Engine

from router import evidence as evidences
from router import splits
from router.assignment import History
from router.errors import ArchivedExperiment, BadPlan, NoRollout, RolloutOpen
from router.evidence import Evidence
from router.rollout import MOVES, Verdict, decide
from router.rollout_log import NOT_BEGUN, Course, Event, Kind, Standing, standing
from router.rollout_plan import Plan, days_of, digest
from router.rollout_toml import plan_of
from router.split_log import history_of, record_of
from store import experiments, rollouts
from store.clock import Clock
from store.errors import StaleEvidence
from store.records import Experiment
from store.rollouts import Line

MOST_AGE_S = 600.0
"""A step whose look is older is not carried out: whoever froze so long looks again."""
EvidenceOf = Callable[["Open", int], Evidence]
Keeping = Literal["base", "stay"]
_KINDS: dict[str, Kind] = {"advance": "advanced", "promote": "promoted", "rollback": "rolled_back"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """What a step is done with: in which experiment, by whom, and how long before a split takes effect."""

    engine: Engine
    key: str
    actor: str
    clock: Clock
    lead_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A rollout as SQL has it, with the experiment and the splits of the same moment; its plan unread."""

    experiment: Experiment
    history: History
    rollout: rollouts.Rollout
    events: tuple[Event, ...]

    @property
    def at(self) -> Standing:
        """Where it stands."""
        return standing(self.events)


@dataclass(frozen=True, slots=True, kw_only=True)
class Open(Recorded):
    """The same with its plan: what a look needs, and what people tell it does not."""

    plan: Plan

    @property
    def course(self) -> Course:
        """As `rollout.decide` reads it."""
        return Course(
            treatment=self.rollout.treatment,
            since_us=self.rollout.since_us,
            base_version=self.rollout.base_version,
            events=self.events,
        )


@dataclass(frozen=True, slots=True)
class Looked:
    """A verdict, and whether it was news: written down, with the split that it moved."""

    verdict: Verdict
    is_news: bool


def recorded(engine: Engine, key: str) -> Recorded:
    """The newest rollout of an experiment, over or not; NoRollout where there was never one."""
    with engine.connect() as connection:
        experiment = experiments.get(connection, key)
        newest = rollouts.newest(connection, key)
        if newest is None:
            raise NoRollout(
                "experiment", f"{key!r} has no rollout", "begin one: abctl rollout start PLAN.toml"
            )
        lines = rollouts.events(connection, key, newest.number)
        history = history_of(experiment, experiments.splits(connection, key))
    events = tuple(event_of(line) for line in lines)
    return Recorded(experiment=experiment, history=history, rollout=newest, events=events)


def opened(engine: Engine, key: str) -> Open:
    """The same with its plan; BadPlan where this release reads another plan than the one that was started."""
    found = recorded(engine, key)
    return Open(
        experiment=found.experiment,
        history=found.history,
        rollout=found.rollout,
        events=found.events,
        plan=_plan_of(found.rollout),
    )


def _plan_of(rollout: rollouts.Rollout) -> Plan:
    remedy = "use the release of abctl that started it, or abort the rollout"
    try:
        plan = plan_of(rollout.plan)
    except BadPlan as error:
        raise BadPlan("plan", f"is not one that this release reads: {error}", remedy) from error
    if digest(plan) != rollout.plan_digest:
        raise BadPlan("plan", f"reads as {digest(plan)}, and was started as {rollout.plan_digest}", remedy)
    return plan


def event_of(line: rollouts.Event) -> Event:
    """One line."""
    names = (name for name in Event.__slots__ if name != "kind")
    kind: Kind = line.kind  # type: ignore[assignment]
    return Event(kind=kind, **{name: getattr(line, name) for name in names})


def start(hands: Hands, text: str, reason: str) -> Open:
    """Records a rollout and its plan; the first look enters its first stage."""
    plan = plan_of(text)
    with hands.engine.connect() as connection:
        experiment = experiments.get(connection, hands.key)
        history = history_of(experiment, experiments.splits(connection, hands.key))
        lines = rollouts.events(connection, hands.key)
        last = rollouts.newest(connection, hands.key)
    _check_free(last, lines)
    _check_fit(plan, experiment, history)
    newest = history[-1]
    begun = rollouts.Rollout(
        experiment=hands.key,
        number=1 if last is None else last.number + 1,
        treatment=experiment.treatment,
        plan=text,
        plan_digest=digest(plan),
        base_version=base_version(history, experiment.treatment),
        since_us=history[0].effective_at_us,
    )
    seq = lines[-1].seq + 1 if lines else 1

    def made() -> Line:
        event = rollouts.Event(
            experiment=hands.key,
            seq=seq,
            rollout=begun.number,
            at_us=hands.clock(),
            kind="started",
            stage=NOT_BEGUN,
            share=newest.weights[experiment.treatment],
            split_version=newest.version,
            actor=hands.actor,
            reason=reason,
        )
        return Line(event, begun=begun)

    rollouts.append(hands.engine, hands.key, seq, made)
    return opened(hands.engine, hands.key)


def _check_free(last: rollouts.Rollout | None, lines: tuple[rollouts.Event, ...]) -> None:
    if last is None:
        return
    own = tuple(event_of(line) for line in lines if line.rollout == last.number)
    at = standing(own)
    if at.ended is None:
        rule = f"has an open rollout, number {last.number}"
        raise RolloutOpen("experiment", rule, "end it first: abctl rollout abort")


def _check_fit(plan: Plan, experiment: Experiment, history: History) -> None:
    if experiment.archived_at_us is not None:
        raise ArchivedExperiment(experiment.key)
    if experiment.mode == "bandit":
        rule = f"{experiment.key!r} is a bandit, whose shares follow its arms' chances to be the best"
        raise BadPlan("experiment", rule, 'name one with mode = "verdict"')
    if experiment.assignment == "switchback":
        rule = f"{experiment.key!r} tosses its coins by blocks, and a rollout's evidence takes units for rows"
        raise BadPlan("experiment", rule, "move its split by hand: abctl split set")
    if plan.primary.metric != experiment.metric:
        rule = f"is {plan.primary.metric}, but the experiment is judged by {experiment.metric}"
        raise BadPlan("primary.metric", rule, f'write metric = "{experiment.metric}"')
    weights = history[-1].weights
    share, first = weights[experiment.treatment], plan.stages[0].share
    if share > first:
        rule = f"is {first:g}, but {experiment.treatment} has {share:g} already"
        raise BadPlan("stages[0].share", rule, f"begin at {share:g} or above, or lower the split first")
    if plan.shadow is not msgspec.UNSET and share > 0.0:
        rule = f"begins on paper, before the first unit, but {experiment.treatment} has {share:g} already"
        raise BadPlan("shadow", rule, f"give its units back: abctl split set {experiment.treatment} 0")
    _check_days(plan, experiment)
    room = share + weights[experiment.control]
    if room < plan.promoted_share:
        rule = f"leaves {plan.promoted_share:g} to {experiment.treatment}, but other arms leave only {room:g}"
        raise BadPlan("holdback", rule, "give the other arms' units back to the control first")


def _check_days(plan: Plan, experiment: Experiment) -> None:
    """A day is compared once its units are mature, so the last days of a plan never count."""
    mature_days = (experiment.unit_duration_s + experiment.attribution_s) / 86_400.0
    if plan.weekly_cycles and 7 * plan.weekly_cycles + mature_days > days_of(plan):
        rule = f"is {plan.weekly_cycles} whole weeks of units that are mature {mature_days:.2f} days later"
        rule += f", but the last stage ends after {days_of(plan):g} days"
        raise BadPlan("weekly_cycles", rule, "raise days_max of the last stage, or waive cycles")


def base_version(history: History, treatment: str) -> int:
    """The newest version in which the treatment has nothing: what a rollback goes back to."""
    return next(split.version for split in reversed(history) if not split.weights.get(treatment))


def look(hands: Hands, evidence_of: EvidenceOf) -> Looked:
    """Decides once, and does it. A verdict that is the last one's is not written down again."""
    found = opened(hands.engine, hands.key)
    now_us = hands.clock()
    seen = evidence_of(found, now_us)
    verdict = decide(found.plan, found.course, seen, now_us)
    if verdict.action == "done" or (verdict.action, verdict.cause) == found.at.said:
        return Looked(verdict, is_news=False)

    def made() -> Line:
        age_s = (hands.clock() - now_us) / 1e6
        if age_s > MOST_AGE_S:
            raise StaleEvidence(age_s, MOST_AGE_S)
        line = _line(hands, found, _KINDS.get(verdict.action, "verdict"), verdict.reason)
        moved = _moved(line, hands, found, verdict) if verdict.action in MOVES else line
        return replace(moved, event=_with_verdict(moved.event, verdict, seen))

    rollouts.append(hands.engine, hands.key, found.at.seq + 1, made)
    return Looked(verdict, is_news=True)


def _with_verdict(event: rollouts.Event, verdict: Verdict, seen: Evidence) -> rollouts.Event:
    return _changed(
        event,
        stage=verdict.stage,
        action=verdict.action,
        cause=verdict.cause,
        evidence_digest=verdict.evidence_digest,
        evidence=evidences.encoded(seen).decode(),
    )


def pause(hands: Hands, reason: str) -> bool:
    """Holds the climb; harm, limits and kills still roll back. False where it was paused already."""
    found = _running(hands)
    if found.at.paused_since_us is not None:
        return False
    _tell(hands, found, "paused", reason)
    return True


def resume(hands: Hands, reason: str) -> bool:
    """Goes on, with the split as it is now. False where there is nothing to resume."""
    found = _running(hands)
    is_moved = found.history[-1].version != found.at.split_version
    if found.at.paused_since_us is None and not is_moved:
        return False
    _tell(hands, found, "resumed", reason)
    return True


def approve(hands: Hands, reason: str) -> bool:
    """One person agrees to the next step. False where the same person did already."""
    found = _running(hands)
    if found.at.said[0] != "await_approval":
        raise NoRollout("rollout", "waits for no approval", "see what it waits for: abctl rollout status")
    if hands.actor in found.at.approved_by:
        return False
    _tell(hands, found, "approved", reason)
    return True


def abort(hands: Hands, reason: str, keeping: Keeping) -> None:
    """Ends it: the treatment's units go back to the control ("base"), or the split stays ("stay")."""
    found = _running(hands)

    def made() -> Line:
        line = _line(hands, found, "aborted", reason)
        return line if keeping == "stay" else _restored(line, hands, found)

    rollouts.append(hands.engine, hands.key, found.at.seq + 1, made)


def _running(hands: Hands) -> Recorded:
    found = recorded(hands.engine, hands.key)
    ended = found.at.ended
    if ended is not None:
        rule = f"number {found.rollout.number} is over: {ended.replace('_', ' ')}"
        raise NoRollout("rollout", rule, "begin another one: abctl rollout start PLAN.toml")
    return found


def _tell(hands: Hands, found: Recorded, kind: Kind, reason: str) -> None:
    rollouts.append(hands.engine, hands.key, found.at.seq + 1, lambda: _line(hands, found, kind, reason))


def _line(hands: Hands, found: Recorded, kind: Kind, reason: str) -> Line:
    """A line that moves nothing. Only who resumes takes the split as it is; any other goes by the rollout's
    own.
    """
    at, newest = found.at, found.history[-1]
    is_taken = kind in {"resumed", "aborted"}
    event = rollouts.Event(
        experiment=hands.key,
        seq=at.seq + 1,
        rollout=found.rollout.number,
        at_us=hands.clock(),
        kind=kind,
        stage=at.stage,
        share=newest.weights[found.rollout.treatment] if is_taken else at.share,
        split_version=newest.version if is_taken else at.split_version,
        actor=hands.actor,
        reason=reason,
    )
    return Line(event)


def _moved(line: Line, hands: Hands, found: Open, verdict: Verdict) -> Line:
    if verdict.action == "rollback":
        return _restored(line, hands, found)
    treatment, control = found.rollout.treatment, found.experiment.control
    arms = found.experiment.arms
    ranges = splits.set_share(found.history, treatment, verdict.share, control, arms=arms)
    if ranges == found.history[-1].ranges:
        return _stays(line, found, verdict.share)
    split = splits.next_split(found.history, ranges, _change(line, hands, found))
    return replace(_on(line, split.version, verdict.share), split=record_of(split))


def _restored(line: Line, hands: Hands, found: Recorded) -> Line:
    """Back to the split without the treatment, verbatim; where that is in force, nothing moves."""
    base = found.history[found.rollout.base_version - 1]
    if found.history[-1].ranges == base.ranges:
        return _stays(line, found, 0.0)
    split = splits.restore(found.history, base.version, _change(line, hands, found))
    return replace(_on(line, split.version, 0.0), split=record_of(split))


def _stays(line: Line, found: Recorded, share: float) -> Line:
    """The split is as it should be: nothing is written where somebody moved it meanwhile."""
    version = found.history[-1].version
    return replace(_on(line, version, share), unmoved=version)


def _change(line: Line, hands: Hands, found: Recorded) -> splits.Change:
    reason = f"rollout {found.rollout.number}, {line.event.kind.replace('_', ' ')}: {line.event.reason}"
    return splits.Change(actor=hands.actor, reason=reason, now_us=line.event.at_us, lead_us=hands.lead_us)


def _on(line: Line, version: int, share: float) -> Line:
    return replace(line, event=_changed(line.event, split_version=version, share=share))


def _changed(event: rollouts.Event, **more: object) -> rollouts.Event:
    return msgspec.structs.replace(event, **more)
