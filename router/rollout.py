"""What a rollout does next: a pure function of its plan, its history, the evidence and the time.

It never waits, reads or writes. The same arguments give the same verdict, so it can be restarted, run twice
and replayed. A look that comes late is one look: however many were missed, at most one step follows from
it.

What stops comes first: a kill, then a limit, then harm, which may come before any minimum age and whoever
moved the split last. What climbs comes last, and only with everything the plan asks for: who does not know
holds.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, TypeGuard

from msgspec import UNSET

from router.evidence import Bound, Check, Evidence, digest
from router.rollout_log import NOT_BEGUN, Course, Standing, standing
from router.rollout_plan import Guardrail, Plan, Stage
from stats.conditions import Condition, day_blocks, stages_agree, weekly_cycles

Action = Literal["hold", "advance", "promote", "rollback", "await_approval", "paused", "done"]
MOVES: frozenset[Action] = frozenset({"advance", "promote", "rollback"})
DAY_US = 86_400_000_000
HARM_SIGN = 0.5
"""A stage is not left with an estimate below minus this part of its own half-width."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """stage, share: where the rollout stands once this is done. cause: the reason as one unchanging word.

    evidence_digest: of what it was decided on; empty where there was nothing.
    """

    action: Action
    stage: int
    share: float
    cause: str
    reason: str
    evidence_digest: str


@dataclass(frozen=True, slots=True)
class _Case:
    plan: Plan
    course: Course
    at: Standing
    seen: Evidence
    now_us: int

    @property
    def stage(self) -> Stage:
        return self.plan.stages[self.at.stage]

    @property
    def is_last(self) -> bool:
        return self.at.stage == len(self.plan.stages) - 1

    @property
    def is_moved(self) -> bool:
        """Whether somebody else moved the split last."""
        return self.seen.split_version != self.at.split_version

    def stays(self, action: Action, cause: str, reason: str) -> Verdict:
        return Verdict(
            action=action,
            stage=self.at.stage,
            share=self.at.share,
            cause=cause,
            reason=reason,
            evidence_digest=digest(self.seen),
        )

    def back(self, cause: str, reason: str) -> Verdict:
        return replace(self.stays("rollback", cause, reason), share=0.0)

    def climbs(self) -> Verdict:
        """The one step up: into the next stage, or beyond the last."""
        if self.is_last:
            return self._up(
                "promote", self.plan.promoted_share, "shown to be better, and not to cost too much"
            )
        share = self.plan.stages[self.at.stage + 1].share
        if self.at.stage == NOT_BEGUN:
            on_paper = "" if self.plan.shadow is UNSET else ": shown on paper not to cost too much"
            return self._up("advance", share, f"the first stage begins{on_paper}")
        return self._up("advance", share, "old enough, enough units, no sign of harm")

    def _up(self, action: Action, share: float, reason: str) -> Verdict:
        return Verdict(
            action=action,
            stage=self.at.stage + 1,
            share=share,
            cause="climb",
            reason=reason,
            evidence_digest=digest(self.seen),
        )


@dataclass(frozen=True, slots=True)
class Lack:
    """What a step up still wants."""

    cause: str
    reason: str


def decide(plan: Plan, course: Course, evidence: Evidence | None, now_us: int) -> Verdict:
    """The next verdict. evidence None: there was none to be had."""
    at = standing(course.events)
    if at.ended is not None:
        said = f"the rollout is over: {at.ended.replace('_', ' ')}"
        return Verdict(
            action="done", stage=at.stage, share=at.share, cause=at.ended, reason=said, evidence_digest=""
        )
    if evidence is None:
        said = "there is no evidence to be had"
        return Verdict(
            action="hold",
            stage=at.stage,
            share=at.share,
            cause="no_evidence",
            reason=said,
            evidence_digest="",
        )
    case = _Case(plan, course, at, evidence, now_us)
    return next(found for found in (rule(case) for rule in _RULES) if found is not None)


def _killed(case: _Case) -> Verdict | None:
    if case.course.treatment not in case.seen.killed:
        return None
    return case.back("killed", f"{case.course.treatment} is killed: no split may give it units")


def _unusable(case: _Case) -> Verdict | None:
    """Evidence that is none, or of another moment or span than it must be."""
    seen = case.seen
    if seen.failed:
        return case.stays("hold", "no_evidence", f"the evidence could not be read: {seen.failed}")
    if seen.as_of_us > case.now_us:
        return case.stays(
            "hold", "from_the_future", "the evidence is of a moment yet to come: check the clocks"
        )
    if seen.since_us != case.course.since_us:
        reason = "the evidence does not run from the experiment's start: a window is no evidence"
        return case.stays("hold", "window", reason)
    return None


def _moved(case: _Case) -> Verdict | None:
    if not case.is_moved:
        return None
    reason = (
        f"the split is at version {case.seen.split_version}, the rollout left it at {case.at.split_version}:"
        " somebody moved it; take it as it is (`abctl rollout resume`), or end it (`abctl rollout abort`)"
    )
    return case.stays("hold", "moved_by_hand", reason)


def _limit_hit(case: _Case) -> Verdict | None:
    for guardrail, check in _pairs(case):
        if guardrail.is_test or guardrail.then != "rollback" or check is None:
            continue
        said = _past_limit(guardrail, check)
        if said:
            return case.back(f"limit:{guardrail.name}", said)
    return None


def _broken(case: _Case) -> Verdict | None:
    """Nothing may be concluded; but the plan's time goes on, and its end gives the control its units back."""
    if not case.seen.broken:
        return None
    is_ours = not case.at.is_promoted and not case.is_moved
    if is_ours and case.plan.on_timeout == "rollback" and _is_over(case):
        return case.back("timeout", f"{_span(case)}, and {case.seen.broken}: the control keeps its units")
    return case.stays("hold", "broken", case.seen.broken)


def _harm(case: _Case) -> Verdict | None:
    for name, bound in _metrics(case):
        if bound.status == "ok" and _is_number(bound.high) and bound.high < 0.0:
            said = f"{name} is shown to be worse: at most {bound.high:+.4g} a unit, valid at any look"
            return case.back(f"harm:{name}", said)
    return None


def _promoted(case: _Case) -> Verdict | None:
    """The comparison goes on with the holdback, at the same levels."""
    if not case.at.is_promoted:
        return None
    return case.stays("hold", "promoted", "promoted; the holdback goes on being compared")


def _paused(case: _Case) -> Verdict | None:
    """A pause holds the climb and the time-out, never the fall."""
    if case.at.paused_since_us is None:
        return None
    return case.stays("paused", "paused", "paused; `abctl rollout resume` goes on")


def _climb(case: _Case) -> Verdict | None:
    lacks = _lacks(case)
    if any(True for _ in lacks):
        return None
    wanted, who = _approvals(case), len(case.at.approved_by)
    if who >= wanted:
        return case.climbs()
    reason = f"everything else is there: {who} of {wanted} approvals; `abctl rollout approve`"
    return case.stays("await_approval", "approval", reason)


def _approvals(case: _Case) -> int:
    if case.is_last:
        return case.plan.promotion_approvals
    return case.plan.stages[case.at.stage + 1].approvals


def _timeout(case: _Case) -> Verdict | None:
    if not _is_over(case):
        return None
    said = f"{_span(case)}, and {next(_lacks(case)).reason}"
    if case.plan.on_timeout == "rollback":
        return case.back("timeout", f"{said}: the control keeps its units")
    return case.stays("hold", "timeout", f"{said}: the plan says hold")


def _is_over(case: _Case) -> bool:
    return _days(case.at.counted_us(case.now_us)) >= _days_max(case)


def _span(case: _Case) -> str:
    name = "the time on paper" if case.at.stage == NOT_BEGUN else f"stage {case.at.stage + 1}"
    return f"{name} is over after {_days_max(case):g} days"


def _days_max(case: _Case) -> float:
    if case.at.stage != NOT_BEGUN:
        return case.stage.days_max
    return math.inf if case.plan.shadow is UNSET else case.plan.shadow.days_max


def _hold(case: _Case) -> Verdict:
    lack = next(_lacks(case))
    return case.stays("hold", lack.cause, lack.reason)


_RULES: tuple[Callable[[_Case], Verdict | None], ...] = (
    _killed,
    _unusable,
    _limit_hit,
    _broken,
    _harm,
    _moved,
    _promoted,
    _paused,
    _climb,
    _timeout,
    _hold,
)
"""In this order; the first that has something to say."""


def _lacks(case: _Case) -> Iterator[Lack]:
    """What the next step still wants, the first thing first."""
    if case.seen.swapped is not UNSET:
        yield Lack("model_changed", case.seen.swapped)
    if case.at.stage == NOT_BEGUN:
        yield from _not_on_paper(case)
        return
    yield from _too_early(case)
    yield from _unknown_or_harmful(case)
    yield from _vetoes(case)
    if case.is_last:
        yield from _unproven(case)


def _not_on_paper(case: _Case) -> Iterator[Lack]:
    """What paper must show before the treatment gets its first unit, where the plan asks for it."""
    rule, seen = case.plan.shadow, case.seen.shadow
    if rule is UNSET:
        return
    if seen is UNSET:
        yield Lack("no_evidence:shadow", "the plan asks what paper says, but that was not read")
    elif seen.status != "ok" or not _is_number(seen.low):
        yield Lack("shadow_not_ready", f"paper cannot be judged: {seen.reason or seen.status}")
    elif not seen.low > 0.0 - rule.margin_usd:
        said = f"the lower bound on paper is {seen.low:+.4g} a unit"
        yield Lack("unproven:shadow", f"{said}, and must lie above {0.0 - rule.margin_usd:g}")


def _days_min(case: _Case) -> float:
    """Shorter while paper speaks for the treatment; never of the last stage, which leads beyond half."""
    rule = case.plan.shadow
    if rule is UNSET or case.is_last or any(True for _ in _not_on_paper(case)):
        return case.stage.days_min
    return min(case.stage.days_min, rule.days_min)


def _too_early(case: _Case) -> Iterator[Lack]:
    days, units, wanted = _days(case.at.in_stage_us(case.now_us)), case.seen.stage_units, _days_min(case)
    if days < wanted:
        yield Lack("too_young", f"the stage is {days:.1f} days old, of {wanted:g} that it lasts")
    if units < case.stage.units_min:
        yield Lack("too_few", f"an arm has {units:,} mature units in this stage, of {case.stage.units_min:,}")


def _unknown_or_harmful(case: _Case) -> Iterator[Lack]:
    """No harm is claimed of what is known; of what is not known nothing is claimed."""
    for name, bound in _metrics(case):
        if bound.status != "ok" or not (_is_number(bound.estimate) and _is_number(bound.upper)):
            yield Lack(f"not_ready:{name}", f"{name} cannot be judged: {bound.reason or bound.status}")
        elif bound.estimate <= -HARM_SIGN * (bound.upper - bound.estimate):
            yield Lack(f"harm_sign:{name}", f"{name} looks worse: estimate {bound.estimate:+.4g} a unit")


def _vetoes(case: _Case) -> Iterator[Lack]:
    """A guardrail vetoes what it shows. Who cannot say yet vetoes nothing; who was not read does."""
    for guardrail, check in _pairs(case):
        if check is None:
            yield Lack(f"no_evidence:{guardrail.name}", f"{guardrail.name} is in the plan, but was not read")
            continue
        said = _shown_worse(guardrail, check) if guardrail.is_test else _past_limit(guardrail, check)
        if said:
            yield Lack(f"veto:{guardrail.name}", said)


def _unproven(case: _Case) -> Iterator[Lack]:
    """What promotion wants beyond no harm."""
    yield from _planned_look(case)
    primary = case.plan.primary
    margins: dict[str, float] = {"pnl": case.plan.money.margin_usd, primary.metric: primary.margin}
    for name, bound in _metrics(case):
        low, floor = _low(case, bound), 0.0 - margins[name]
        if low is None or not low > floor:
            shown = "cannot be said" if low is None else f"is {low:+.4g}"
            yield Lack(f"unproven:{name}", f"the lower bound of {name} {shown}, and must lie above {floor:g}")
    yield from _cycles(case)
    yield from _disagreement(case)


def _planned_look(case: _Case) -> Iterator[Lack]:
    if case.plan.gate == "planned" and _days(case.at.counted_us(case.now_us)) < case.stage.days_max:
        yield Lack(
            "look_ahead", f"the plan's one look comes when the stage is {case.stage.days_max:g} days old"
        )


def _low(case: _Case, bound: Bound) -> float | None:
    low = bound.planned_low if case.plan.gate == "planned" else bound.low
    return low if _is_number(low) else None


def _cycles(case: _Case) -> Iterator[Lack]:
    wanted, floor = case.plan.weekly_cycles, 0.0 - case.plan.primary.margin
    yield from _unmet(weekly_cycles(case.seen.whole_days, wanted), "cycles")
    if wanted > 0:
        yield from _unmet(day_blocks(case.seen.day_block_low, floor), "day_blocks")


def _disagreement(case: _Case) -> Iterator[Lack]:
    yield from _unmet(stages_agree(case.seen.stage_effects, case.seen.stages_p), "stages_disagree")


def _unmet(condition: Condition, cause: str) -> Iterator[Lack]:
    if condition.answer != "yes":
        yield Lack(cause, condition.reason)


def _metrics(case: _Case) -> list[tuple[str, Bound]]:
    """The primary metric and net PnL, each once."""
    name = case.plan.primary.metric
    money = [] if name == "pnl" else [("pnl", case.seen.money)]
    return [(name, case.seen.primary), *money]


def _pairs(case: _Case) -> list[tuple[Guardrail, Check | None]]:
    """Every guardrail that decides, with what was read of it."""
    tests = {check.name: check for check in case.seen.tests}
    limits = {check.name: check for check in case.seen.limits}
    deciding = [g for g in case.plan.guardrails if not g.dry_run]
    return [(g, (tests if g.is_test else limits).get(g.name)) for g in deciding]


def _shown_worse(guardrail: Guardrail, check: Check) -> str:
    """In words; empty where it is not shown to be worse than the margin allows."""
    assert guardrail.margin is not None  # noqa: S101 - a test has one
    bound = check.low if guardrail.worse == "higher" else check.high
    if not _is_number(bound) and check.is_shown:
        bound = check.difference  # all alike within each arm: the difference is what it is
    if not _is_number(bound):
        return ""
    worse_by = bound if guardrail.worse == "higher" else -bound
    if worse_by <= guardrail.margin:
        return ""
    return f"{guardrail.name} is worse by at least {worse_by:.4g}, of {guardrail.margin:g} that may be"


def _past_limit(guardrail: Guardrail, check: Check) -> str:
    assert guardrail.limit is not None  # noqa: S101 - a limit has one
    value = check.value
    if not _is_number(value):
        return ""
    is_past = value > guardrail.limit if guardrail.worse == "higher" else value < guardrail.limit
    return f"{guardrail.name} is {value:.4g}, past its limit {guardrail.limit:g}" if is_past else ""


def _is_number(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _days(span_us: int) -> float:
    return span_us / DAY_US
