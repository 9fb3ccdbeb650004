"""This controller on simulated traffic: the product's own evidence and its own `decide`, look by look.

Nothing is imitated: units become the columns that SQL would hand over, and from there everything is the
code that `abctl rollout run` runs. Only the database is left out.
"""

import json
from dataclasses import dataclass
from functools import cache

import msgspec
import numpy as np

from rollout_proof.traffic import ATTRIBUTION_S, BEFORE_DAYS, WINDOW_S, Bools, Ints, Traffic
from router import splits
from router.assignment import History, Split
from router.definition import experiment_of
from router.evidence import Bound
from router.question import Question
from router.report_rows import Read, Rows, judged_of
from router.report_shadow import plan_clusters_of
from router.rollout import DAY_US, MOVES, Verdict, decide
from router.rollout_evidence import Beside, evidence_from
from router.rollout_log import NOT_BEGUN, Course, Event
from router.rollout_plan import Metric, Plan
from router.rollout_shadow import Papers, Terms, shadow_bound
from router.snapshot import first_split
from router.split_log import split_of
from stats.units import Stage
from store.records import Experiment
from store.unit_columns import UnitColumns
from store.word_column import Words

START_US = 1_767_571_200_000_000
"""Monday, 2026-01-05."""
CONTROL, TREATMENT = "base", "transformer"
ARMS = (CONTROL, TREATMENT)
QUESTION = Question(key="main")
MARGIN_USD = 1.0
"""Of `abctl split shadow`: how far live may lie from paper."""
_KINDS = {"advance": "advanced", "promote": "promoted", "rollback": "rolled_back"}


@dataclass(frozen=True, slots=True)
class End:
    """How a rollout went. verdict: "promoted", "rolled_back" or "none"; cause: the controller's word.

    days: from the first stage to the verdict, or all. treated: of the units until then.
    """

    verdict: str
    cause: str
    days: float
    treated: Bools


@dataclass(slots=True)
class Book:
    """What is written while a rollout runs: its lines, its splits, and who got which arm."""

    experiment: Experiment
    history: History
    events: tuple[Event, ...]
    treated: Bools
    version: Ints


def run(plan: Plan, traffic: Traffic, days: int) -> End:
    """A look at the end of every day, until a verdict or the end of the traffic."""
    return _looked(plan, begun(plan, traffic), traffic, range(days + 1))


def run_promoted(plan: Plan, traffic: Traffic, days: int) -> End:
    """From the moment of a promotion on, with the holdback; a look every 4 days."""
    book = begun(plan, traffic)
    promoted = Verdict(
        action="promote",
        stage=len(plan.stages),
        share=plan.promoted_share,
        cause="climb",
        reason="",
        evidence_digest="",
    )
    move(book, promoted, 0.0)
    return _looked(plan, book, traffic, range(4, days + 1, 4))


def _looked(plan: Plan, book: Book, traffic: Traffic, moments: range) -> End:
    last, cause = 0, ""
    for day in moments:
        assign(book, traffic, float(last), float(day))
        verdict = look(plan, book, traffic, float(day))
        if verdict.action in MOVES:
            move(book, verdict, float(day))
        if verdict.action in {"promote", "rollback"}:
            ended = "promoted" if verdict.action == "promote" else "rolled_back"
            return End(ended, verdict.cause, float(day), book.treated[: traffic.until(day)])
        last, cause = day, verdict.cause
    return End("none", cause, float(last), book.treated[: traffic.until(last)])


def look(plan: Plan, book: Book, traffic: Traffic, day: float) -> Verdict:
    """The verdict of a moment."""
    now_us = moment_us(day)
    course = Course(
        treatment=TREATMENT,
        since_us=book.history[0].effective_at_us,
        base_version=1,
        events=book.events,
    )
    rows = rows_at(book, traffic, now_us)
    seen = evidence_from(rows, plan, (), Beside(paper_at(plan, rows, traffic, day)))
    return decide(plan, course, seen, now_us)


def paper_at(plan: Plan, rows: Rows, traffic: Traffic, day: float) -> Bound | msgspec.UnsetType:
    """What the control's mature units since the rollout's start say on paper: `shadow_of` without SQL."""
    if plan.shadow is msgspec.UNSET:
        return msgspec.UNSET
    columns = rows.found.columns
    began = traffic.until(0.0)
    control = np.asarray(columns.arm == CONTROL) & rows.judged.mask
    at = np.flatnonzero(control[began:]) + began
    return shadow_bound(papers_of(traffic, at), terms_of(rows.found.experiment), plan.alpha.shadow)


def terms_of(experiment: Experiment) -> Terms:
    """As the product has them."""
    return Terms(plan_clusters_of(experiment), MARGIN_USD, experiment.alpha)


def papers_of(traffic: Traffic, at: Ints) -> Papers:
    """Of the units at these places."""
    window = np.round(traffic.start_day[at] * DAY_US).astype(np.int64) // (WINDOW_S * 1_000_000)
    return Papers(traffic.paper_usd[at], traffic.live_less_paper_usd[at], window)


def rows_at(book: Book, traffic: Traffic, now_us: int) -> Rows:
    """What SQL would have said then."""
    count = traffic.until((now_us - START_US) / DAY_US)
    columns = columns_of(book, traffic, count)
    found = Read(
        experiment=book.experiment,
        columns=columns,
        split=book.history[-1],
        stages=_stages(book, count),
        odd={},
        promotions=[],
        named=None,
        bots={},
        edges={},
        latencies={},
    )
    return Rows(found, judged_of(found, QUESTION, now_us), now_us, {}, {})


def columns_of(book: Book, traffic: Traffic, count: int) -> UnitColumns:
    """The first units' totals: two decisions each, and all their bots' reports where they came."""
    treated = book.treated[:count]
    old, new = traffic.arms
    pnl_micro = np.where(treated, new.pnl_micro[:count], old.pnl_micro[:count])
    settled_s = np.where(treated, new.settled_s[:count], old.settled_s[:count])
    came = np.isfinite(settled_s)
    start_us = _start_us(traffic)[:count]
    zeros, ones = np.zeros(count, dtype=np.int64), np.ones(count, dtype=np.int64)
    decisions, reported = 2 * traffic.bots * ones, np.where(came, traffic.bots, 0)
    return UnitColumns(
        arm=Words(ARMS, treated.astype(np.int64)),
        weights=Words(tuple(map(_weights, book.history)), book.version[:count] - 1),
        excluded=Words((None,), zeros),
        fill=Words(("live", None), (~came).astype(np.int64)),
        split_version=book.version[:count],
        contaminated=zeros,
        started_at_us=start_us,
        start_conflicts=zeros,
        first_at_us=start_us,
        last_at_us=start_us + 1_000_000,
        decisions=decisions,
        fallbacks=np.where(treated & traffic.away[:count], decisions, 0),
        stale=zeros,
        unserved=zeros,
        timed=decisions,
        slow=zeros,
        bots=traffic.bots * ones,
        reported=reported,
        trades=reported,
        trade_wins=np.where(came & (pnl_micro > 0), reported, 0),
        market_trades=reported,
        pnl_micro=np.where(came, pnl_micro, 0),
        fee_micro=zeros,
        stake_micro=1_000_000 * reported,
        won=np.where(came, pnl_micro > 0, -1).astype(np.int64),
        settled_at_us=np.where(came, start_us + np.where(came, settled_s, 0.0) * 1e6, 0).astype(np.int64),
    )


def _weights(split: Split) -> str:
    return json.dumps(dict(split.weights), sort_keys=True)


def _stages(book: Book, count: int) -> list[Stage]:
    version, treated = book.version[:count], book.treated[:count]
    found = []
    for split in book.history:
        own = version == split.version
        arms = int(np.count_nonzero(own & ~treated)), int(np.count_nonzero(own & treated))
        if sum(arms):
            weights = tuple(split.weights[arm] for arm in ARMS)
            found.append(Stage(split.version, weights, arms, split.effective_at_us))
    return found


def begun(plan: Plan, traffic: Traffic) -> Book:
    """The line that opens a rollout; all units are the control's so far."""
    experiment = experiment_for(plan.primary.metric)
    first = split_of(experiment, first_split(experiment, "proof"))
    begun = Event(
        seq=1, at_us=START_US, kind="started", stage=NOT_BEGUN, share=0.0, split_version=1, actor="proof"
    )
    count = len(traffic.start_day)
    version = np.ones(count, dtype=np.int64)
    return Book(experiment, (first,), (begun,), np.zeros(count, dtype=np.bool_), version)


@cache
def experiment_for(metric: Metric) -> Experiment:
    fields = {"key": "main", "arms": list(ARMS), "control": CONTROL, "unit_duration_s": WINDOW_S}
    judged = {"metric": metric, "attribution_s": ATTRIBUTION_S}
    return experiment_of(fields | judged, moment_us(-BEFORE_DAYS))


def assign(book: Book, traffic: Traffic, last: float, day: float) -> None:
    """The units that started since the last look, by the split of that time. Before: the control's."""
    fresh = slice(traffic.until(last) if day > 0 else 0, traffic.until(day))
    newest = book.history[-1]
    book.treated[fresh] = traffic.coin[fresh] < newest.weights[TREATMENT]
    book.version[fresh] = newest.version


def move(book: Book, verdict: Verdict, day: float) -> None:
    """What the product writes of a step: a line, and a split in force at once."""
    newest = book.history[-1]
    change = splits.Change(actor="proof", reason=verdict.reason, now_us=moment_us(day), lead_us=0)
    ranges = splits.set_share(book.history, TREATMENT, verdict.share, CONTROL, arms=ARMS)
    if ranges != newest.ranges:
        book.history = (*book.history, splits.next_split(book.history, ranges, change))
    line = Event(
        seq=book.events[-1].seq + 1,
        at_us=moment_us(day),
        kind=_KINDS[verdict.action],  # type: ignore[arg-type]
        stage=verdict.stage,
        share=verdict.share,
        split_version=book.history[-1].version,
        actor="proof",
        action=verdict.action,
        cause=verdict.cause,
    )
    book.events = (*book.events, line)


def moment_us(day: float) -> int:
    return START_US + round(day * DAY_US)


def _start_us(traffic: Traffic) -> Ints:
    return START_US + np.round(traffic.start_day * DAY_US).astype(np.int64)
