"""A plan from TOML, checked field by field: what is wrong names the field, the rule and the remedy."""

import math
import re
import tomllib
from collections.abc import Iterator
from typing import Any

import msgspec

from router.errors import BadPlan, BadShare
from router.rollout_plan import TESTED, WORSE, Guardrail, Plan, Stage, days_of, spending
from router.splits import share_millionths
from stats.conditions import WEEKLY_CYCLES

_PATH = re.compile(r" - at `\$?\.?(?P<path>[^`]*)`$")
_NAMED = re.compile(r"(?:missing required|contains unknown) field `(?P<name>[^`]*)`")
_SEEN = "`abctl rollout plan` prints a whole plan that is right"
_MOST_STAGES, _MOST_DAYS, _MOST_APPROVALS = 10, 365.0, 5
_HALF = 0.5
_WAIVER_MIN = 12
Fault = tuple[bool, str, str, str]
"""Holds, field, rule, remedy."""


def plan_of(text: str) -> Plan:
    """The plan that a TOML text says, or BadPlan."""
    try:
        fields = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadPlan("plan", f"is not TOML: {error}", _SEEN) from error
    return plan_of_fields(fields)


def plan_of_fields(fields: dict[str, Any]) -> Plan:
    """The same from what is parsed already."""
    try:
        plan = msgspec.convert(fields, Plan)
    except msgspec.ValidationError as error:
        raise _shape_fault(error) from error
    for holds, field, rule, remedy in _rules(plan):
        if not holds:
            raise BadPlan(field, rule, remedy)
    return plan


def _shape_fault(error: msgspec.ValidationError) -> BadPlan:
    text = str(error)
    found = _PATH.search(text)
    rule = _PATH.sub("", text)
    named = _NAMED.search(rule)
    parts = (found["path"] if found else "", named["name"] if named else "")
    field = ".".join(part for part in parts if part) or "plan"
    return BadPlan(field, f"breaks a rule ({rule[0].lower()}{rule[1:]})", _SEEN)


def _rules(plan: Plan) -> Iterator[Fault]:
    yield from _finite(plan)
    yield from _stage_rules(plan.stages)
    yield from _claim_rules(plan)
    for number, guardrail in enumerate(plan.guardrails):
        yield from _guardrail_rules(guardrail, f"guardrails[{number}]")
    names = [(g.name, g.is_test) for g in plan.guardrails]
    yield (
        len(set(names)) == len(names),
        "guardrails",
        "must not name a test or a limit twice",
        "drop one of the two",
    )
    yield from _alpha_rules(plan)
    yield from _shadow_rules(plan)
    yield from _ending_rules(plan)


def _finite(plan: Plan) -> Iterator[Fault]:
    """TOML has nan and inf; no rule below would be sure to catch them."""
    for path, value in _numbers(msgspec.to_builtins(plan), ""):
        yield math.isfinite(value), path, f"must be a finite number, not {value}", "give a number"


def _numbers(value: Any, path: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, float):
        yield path, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _numbers(inner, f"{path}.{name}".removeprefix("."))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _numbers(inner, f"{path}[{number}]")


def _stage_rules(stages: tuple[Stage, ...]) -> Iterator[Fault]:
    say = f"give 1 to {_MOST_STAGES} tables [[stages]]"
    yield 1 <= len(stages) <= _MOST_STAGES, "stages", f"must be 1 to {_MOST_STAGES}, not {len(stages)}", say
    before = 0.0
    for number, stage in enumerate(stages):
        at = f"stages[{number}]"
        yield _is_share(stage.share), f"{at}.share", "must be a multiple of 0.000001", "write 10% as 0.1"
        yield (
            before < stage.share <= _HALF,
            f"{at}.share",
            f"must lie above the stage before ({before:g}) and at or below 0.5, not {stage.share:g}",
            "only a promotion, which needs evidence of benefit, goes beyond half",
        )
        yield (
            0.0 < stage.days_min <= stage.days_max <= _MOST_DAYS,
            f"{at}.days_max",
            f"must be days_min, above 0, to {_MOST_DAYS:g}; days_min is {stage.days_min:g}",
            "give both in days, days_min = 5 and days_max = 20",
        )
        yield stage.units_min >= 1, f"{at}.units_min", "must be 1 or more", "say 40: units an arm"
        yield from _approval_rules(stage.approvals, f"{at}.approvals")
        before = stage.share


def _is_share(share: float) -> bool:
    try:
        share_millionths(share)
    except BadShare:
        return False
    return True


def _approval_rules(count: int, field: str) -> Iterator[Fault]:
    rule = f"must be 0 to {_MOST_APPROVALS} people"
    yield 0 <= count <= _MOST_APPROVALS, field, rule, "leave it out where nobody has to agree"


def _claim_rules(plan: Plan) -> Iterator[Fault]:
    primary = plan.primary
    most = math.inf if primary.metric == "pnl" else 1.0
    yield (
        0.0 < primary.effect < most,
        "primary.effect",
        "must be above 0" + ("" if primary.metric == "pnl" else " and below 1"),
        "give the improvement that the plan is made to find, 0.05 for 5 points",
    )
    yield (
        0.0 <= primary.margin < most,
        "primary.margin",
        "must be 0 or more, and below 1 for a rate",
        "0 claims better; above 0 claims not worse by more than that",
    )
    yield (
        plan.money.margin_usd > 0.0,
        "money.margin_usd",
        "must be above 0: nothing is ever shown to be exactly as good",
        "give what a unit may cost at the most to be worth a better rate, say 0.02",
    )


def _guardrail_rules(guardrail: Guardrail, at: str) -> Iterator[Fault]:
    worse = WORSE[guardrail.name]
    yield (
        guardrail.worse == worse,
        f"{at}.worse",
        f"of {guardrail.name} is {worse!r}",
        f'write worse = "{worse}"',
    )
    yield (
        (guardrail.margin is None) != (guardrail.limit is None),
        at,
        f"({guardrail.name}) must have either a margin (a test) or a limit (an operational one)",
        "give one of them",
    )
    if guardrail.is_test:
        yield from _test_rules(guardrail, at)
        return
    yield guardrail.level is None, f"{at}.level", "belongs to tests: a limit spends no alpha", "leave it out"


def _test_rules(guardrail: Guardrail, at: str) -> Iterator[Fault]:
    tests = ", ".join(TESTED)
    yield (
        guardrail.name in TESTED,
        f"{at}.margin",
        f"cannot be had of {guardrail.name}: tests are {tests}",
        "give it a limit",
    )
    yield (
        guardrail.margin is not None and guardrail.margin >= 0.0,
        f"{at}.margin",
        "must be 0 or more",
        "0 vetoes whatever is shown to be worse",
    )
    level = guardrail.level
    yield level is None or 0.0 < level < 1.0, f"{at}.level", "must lie inside (0, 1)", "leave it out"
    yield (
        guardrail.then == "veto",
        f"{at}.then",
        'of a test is "veto"',
        "only the metric, PnL and limits roll back",
    )


def _alpha_rules(plan: Plan) -> Iterator[Fault]:
    alpha = plan.alpha
    for name, value in (("promotion", alpha.promotion), ("rollback", alpha.rollback)):
        yield 0.0 < value <= 0.2, f"alpha.{name}", f"must lie in (0, 0.2], not {value:g}", "0.05 is usual"
    yield (
        0.0 <= alpha.shadow < alpha.promotion,
        "alpha.shadow",
        "must be 0 or more and below alpha.promotion, of which it is a part",
        "0 where no shadow evidence counts",
    )
    named = [level for _, level in spending(plan).rollback]
    levels = [plan.primary.rollback_level, plan.money.rollback_level]
    yield (
        all(level is None or 0.0 < level < 1.0 for level in levels),
        "rollback_level",
        "of primary and money must lie inside (0, 1)",
        "leave it out for an even part",
    )
    yield (
        min(named) > 0.0 and sum(named) <= alpha.rollback * (1.0 + 1e-12),
        "alpha.rollback",
        f"is {alpha.rollback:g}, which the tests' levels use up or exceed",
        "lower a level, or leave it out for an even part",
    )


def _shadow_rules(plan: Plan) -> Iterator[Fault]:
    """A level without a rule would lie idle, and a rule without a level could show nothing."""
    rule = plan.shadow
    yield (
        (rule is not msgspec.UNSET) == (plan.alpha.shadow > 0.0),
        "alpha.shadow",
        "must be above 0 with a table [shadow], and 0 without one",
        "give [shadow] margin_usd, days_min and days_max, or leave alpha.shadow out",
    )
    if rule is msgspec.UNSET:
        return
    yield (
        rule.margin_usd >= 0.0,
        "shadow.margin_usd",
        "must be 0 or more",
        "0 claims that paper makes more; above 0 that it makes not that much less",
    )
    yield (
        0.0 < rule.days_min <= _MOST_DAYS,
        "shadow.days_min",
        f"must be above 0 and at most {_MOST_DAYS:g}",
        "give it in days, days_min = 1",
    )
    yield (
        2.0 <= rule.days_max <= _MOST_DAYS,
        "shadow.days_max",
        f"must be 2 to {_MOST_DAYS:g}: paper says nothing before 100 windows",
        "give it in days, days_max = 14",
    )


def _ending_rules(plan: Plan) -> Iterator[Fault]:
    yield (
        0.05 <= plan.holdback <= 0.1 and _is_share(plan.holdback),
        "holdback",
        f"must be 0.05 to 0.1, a multiple of 0.000001, not {plan.holdback:g}",
        "without units of the control nothing could be compared any more",
    )
    yield from _approval_rules(plan.promotion_approvals, "promotion_approvals")
    yield 0 <= plan.weekly_cycles <= 52, "weekly_cycles", "must be 0 to 52 weeks", f"{WEEKLY_CYCLES} is usual"
    yield (
        plan.weekly_cycles >= WEEKLY_CYCLES or len(plan.waiver.strip()) >= _WAIVER_MIN,
        "waiver",
        (
            f"must say who lets weekly_cycles be below {WEEKLY_CYCLES}, and why,"
            f" in {_WAIVER_MIN} characters or more"
        ),
        "write it into the plan, where it can be read later",
    )
    whole = days_of(plan)
    yield (
        plan.weekly_cycles * 7.0 + min(plan.weekly_cycles, 1) <= whole,
        "weekly_cycles",
        (
            f"is {plan.weekly_cycles} weeks and a day that is not over, but the last stage ends after"
            f" {whole:g} days, the earlier ones as brief as may be"
        ),
        "raise days_max of the last stage, or waive cycles",
    )
    yield (
        plan.gate != "planned" or plan.on_timeout == "rollback",
        "on_timeout",
        'of gate = "planned" must be "rollback": whoever looks again after the one look has a second chance',
        'write on_timeout = "rollback", or gate = "any_look"',
    )
