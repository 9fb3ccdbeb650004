"""Plans: what is refused and how, what their digest names, where alpha goes, and what a plan can do."""

import tomllib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import BadPlan
from router.rollout_outlook import Known, outlook
from router.rollout_plan import canonical, digest, spending
from router.rollout_templates import TEMPLATES, template
from router.rollout_toml import plan_of, plan_of_fields

SLOW_TEST = {"name": "slow_rate", "worse": "higher", "margin": 0.0}
DEFAULT = tomllib.loads(template("default"))


def changed(path, value, kind="default"):
    """The fields of a template with one of them set, or taken away where value is None."""
    fields = tomllib.loads(template(kind))
    *way, last = path
    inner = fields
    for name in way:
        inner = inner[name]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return fields


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_templates_are_plans(name):
    plan = plan_of(template(name))
    assert plan_of(template(name)) == plan
    assert sum(level for _, level in spending(plan).rollback) == pytest.approx(plan.alpha.rollback)


@pytest.mark.parametrize(
    ("path", "value", "field", "rule"),
    [
        (("holdbak",), 0.05, "holdbak", "contains unknown field"),
        (("stages", 0, "shares"), 0.1, r"stages\[0\].shares", "contains unknown field"),
        (("stages", 1, "share"), None, r"stages\[...\].share|stages\[1\].share", "missing required field"),
        (("version",), 2, "version", "invalid"),
        (("stages",), [], "stages", "must be 1 to 10"),
        (("stages", 1, "share"), 0.1, r"stages\[1\].share", "above the stage before"),
        (("stages", 2, "share"), 0.75, r"stages\[2\].share", "at or below 0.5"),
        (("stages", 0, "share"), 0.1234567, r"stages\[0\].share", "multiple of 0.000001"),
        (("stages", 0, "share"), float("nan"), r"stages\[0\].share", "finite"),
        (("stages", 0, "days_max"), 1.0, r"stages\[0\].days_max", "days_min"),
        (("stages", 0, "days_min"), 0, r"stages\[0\].days_max", "above 0"),
        (("stages", 0, "units_min"), 0, r"stages\[0\].units_min", "1 or more"),
        (("stages", 0, "approvals"), 9, r"stages\[0\].approvals", "0 to 5"),
        (("primary", "metric"), "sharpe", "primary.metric", "invalid"),
        (("primary", "effect"), 0.0, "primary.effect", "above 0"),
        (("primary", "margin"), -0.01, "primary.margin", "0 or more"),
        (("money", "margin_usd"), 0.0, "money.margin_usd", "above 0"),
        (("alpha", "promotion"), 0.5, "alpha.promotion", r"\(0, 0.2\]"),
        (("alpha", "shadow"), 0.05, "alpha.shadow", "below alpha.promotion"),
        (("primary", "rollback_level"), 0.05, "alpha.rollback", "use up or exceed"),
        (("primary", "rollback_level"), -0.01, "rollback_level", "inside"),
        (("guardrails", 0, "level"), 0.2, "alpha.rollback", "use up or exceed"),
        (("guardrails", 0, "worse"), "lower", r"guardrails\[0\].worse", "'higher'"),
        (("guardrails", 0, "limit"), 0.1, r"guardrails\[0\]", "either a margin"),
        (("guardrails", 0, "margin"), None, r"guardrails\[0\]", "either a margin"),
        (("guardrails", 0, "then"), "rollback", r"guardrails\[0\].then", "veto"),
        (("guardrails", 3, "level"), 0.01, r"guardrails\[3\].level", "a limit spends no alpha"),
        (("guardrails", 3), SLOW_TEST, r"guardrails\[3\]", "tests are"),
        (("guardrails", 1), DEFAULT["guardrails"][0], "guardrails", "twice"),
        (("holdback",), 0.2, "holdback", "0.05 to 0.1"),
        (("weekly_cycles",), 1, "waiver", "must say who"),
        (("stages", 2, "days_max"), 10.0, "weekly_cycles", "a day that is not over"),
        (("weekly_cycles",), 40, "weekly_cycles", "ends after 44 days"),
        (("on_timeout",), "promote", "on_timeout", "invalid"),
    ],
)  # fmt: skip
def test_a_plan_that_breaks_a_rule_is_refused_by_field_rule_and_remedy(path, value, field, rule):
    with pytest.raises(BadPlan, match=rule) as told:
        plan_of_fields(changed(path, value))
    assert msgspec.convert(told.value.field, str)
    import re

    assert re.search(field, told.value.field), told.value.field
    assert told.value.remedy


def test_what_is_no_toml_is_refused():
    with pytest.raises(BadPlan, match="is not TOML"):
        plan_of("version = ")
    with pytest.raises(BadPlan, match="must be default or by-window or guide-1-week or shadow-first"):
        template("quick")


def test_a_planned_look_is_the_only_one():
    """With `hold` it would be asked again at every look after, at the level of one."""
    fields = tomllib.loads(template("guide-1-week")) | {"on_timeout": "hold"}
    with pytest.raises(BadPlan, match="second chance") as refused:
        plan_of_fields(fields)
    assert refused.value.field == "on_timeout"


def test_the_digest_names_the_plan_and_not_its_text():
    text = template("default")
    plan = plan_of(text)
    bare = "\n".join(line.split("#")[0] for line in text.splitlines())
    assert digest(plan_of(bare)) == digest(plan)
    assert digest(plan_of(bare.replace("days_min = 2\n", "days_min = 2.0\n"))) == digest(plan)
    assert digest(plan_of(bare.replace("margin_usd = 0.02", "margin_usd = 0.03"))) != digest(plan)
    assert msgspec.json.decode(canonical(plan), type=type(plan)) == plan


@given(st.floats(0.001, 0.008), st.booleans())
def test_levels_add_up_to_alpha_and_a_trial_costs_nothing(level, is_trial):
    fields = changed(("guardrails", 0, "level"), level)
    fields["guardrails"][1]["dry_run"] = is_trial
    spent = spending(plan_of_fields(fields))
    assert sum(part for _, part in spent.rollback) == pytest.approx(0.05)
    assert dict(spent.rollback)["fallback_rate"] == level
    assert [name for name, _ in spent.dry_run] == (["missing_rate"] if is_trial else [])
    assert spent.level("missing_rate") > 0.0


def test_named_levels_may_leave_a_rest():
    """Fewer false alarms than alpha allows are nobody's harm."""
    fields = tomllib.loads(template("guide-1-week"))
    fields["primary"]["rollback_level"] = fields["money"]["rollback_level"] = 0.01
    fields["guardrails"][0]["level"] = 0.01
    assert sum(level for _, level in spending(plan_of_fields(fields)).rollback) == pytest.approx(0.03)


def test_shadow_evidence_takes_its_part_of_promotion():
    spent = spending(plan_of(template("shadow-first")))
    assert (spent.promotion_split, spent.promotion_shadow) == (pytest.approx(0.03), 0.02)


@pytest.mark.parametrize(
    ("path", "value", "field", "rule"),
    [
        (("alpha", "shadow"), 0.0, "alpha.shadow", "must be above 0 with a table"),
        (("shadow",), None, "alpha.shadow", "and 0 without one"),
        (("shadow", "margin_usd"), -0.01, "shadow.margin_usd", "0 or more"),
        (("shadow", "margin_usd"), float("inf"), "shadow.margin_usd", "finite"),
        (("shadow", "days_max"), 0.05, "shadow.days_max", "before 100 windows"),
        (("shadow", "days_max"), 400.0, "shadow.days_max", "2 to 365"),
        (("shadow", "days_min"), 0.0, "shadow.days_min", "above 0"),
        (("shadow", "opens"), True, "shadow.opens", "unknown field"),
        (("shadow", "days_max"), None, "shadow.days_max", "missing required field"),
    ],
)
def test_a_time_on_paper_is_refused_by_name(path, value, field, rule):
    with pytest.raises(BadPlan, match=rule) as refused:
        plan_of_fields(changed(path, value, "shadow-first"))
    assert refused.value.field == field


def test_the_digest_of_a_plan_without_paper_is_what_it_was():
    """Plans that were started by an earlier release are still theirs."""
    assert b'shadow":{' not in canonical(plan_of(template("default")))
    assert digest(plan_of(template("default"))) != digest(plan_of(template("shadow-first")))


KNOWN = {
    "baseline": Known(0.5, "given"),
    "units_per_day": Known(384.0, "given"),
    "pnl_sd_usd": Known(0.4, "given"),
}


def test_the_default_finds_five_points_in_time_and_the_week_is_weaker():
    told = outlook(plan_of(template("default")), KNOWN, 2000)
    assert told["promotion"]["chance"] >= 0.95
    assert told["promotion"]["median_day"] <= 16
    assert told["promotion"]["chance_if_equal"] <= 0.05
    assert told["days_most"] == 60
    assert told["all_pass_if_equal"] == pytest.approx(0.95)
    week = outlook(plan_of(template("guide-1-week")), KNOWN, 2000)
    assert week["promotion"]["chance"] < told["promotion"]["chance"]
    assert week["promotion"]["chance_if_equal"] == pytest.approx(0.05)
    assert week["promotion"]["smallest_effect"] > told["promotion"]["smallest_effect"]


def test_money_is_found_out_by_its_own_variance():
    plan = plan_of(template("default"))
    calm, wild = (
        outlook(plan, KNOWN | {"pnl_sd_usd": Known(sd, "given")}, 2000)["money"]["chance_if_equal"]
        for sd in (0.1, 2.0)
    )
    assert calm > 0.99
    assert wild < 0.1
    unknown = outlook(plan, KNOWN | {"pnl_sd_usd": Known(None, "unknown")}, 2000)
    assert unknown["money"]["chance_if_equal"] is None


def test_a_pace_too_slow_for_a_stage_is_told():
    told = outlook(plan_of(template("default")), KNOWN | {"units_per_day": Known(5.0, "given")}, 2000)
    assert told["stages"][0]["days"] is None
    assert told["promotion"]["smallest_effect"] is None
    assert told["promotion"]["chance"] == 0.0


def test_a_metric_of_money_needs_its_scale():
    fields = changed(("primary",), {"metric": "pnl", "effect": 0.05})
    plan = plan_of_fields(fields)
    assert [name for name, _ in spending(plan).rollback][:1] == ["pnl"]
    assert outlook(plan, KNOWN | {"pnl_sd_usd": Known(None, "unknown")}, 2000)["promotion"] is None
    assert outlook(plan, KNOWN, 2000)["promotion"]["chance"] > 0.5


@pytest.mark.parametrize(
    ("name", "value"),
    [("baseline", 0.0), ("baseline", 0.97), ("units_per_day", 0.0), ("units_per_day", -1.0)],
)
def test_what_the_outlook_starts_from_must_be_possible(name, value):
    with pytest.raises(BadPlan, match=name):
        outlook(plan_of(template("default")), KNOWN | {name: Known(value, "given")}, 2000)
