"""Plans to begin from, as TOML with the reasons beside the numbers."""

from router.errors import BadPlan

_CLIMB = """\
{head}
# A stage is left when nothing speaks against the treatment; half only when it is shown to be better. Looks
# cost nothing: every bound here holds at all of them together.
version = 1
gate = "any_look"
holdback = 0.05              # stays with the control after promotion, and goes on being compared
on_timeout = "rollback"      # no evidence in time: back to the split without the treatment
weekly_cycles = 2            # whole weeks that must be seen before promotion
promotion_approvals = 0      # people who must say `abctl rollout approve` first

[[stages]]
share = 0.1
units_min = {units[0]:<17}# mature units of either arm, of those assigned in this stage
days_min = 2
days_max = 10

[[stages]]
share = 0.25
units_min = {units[1]}
days_min = 2
days_max = 10

[[stages]]
share = 0.5
units_min = {units[2]}
days_min = 3
days_max = 40                # what needs time needs it here, where evidence comes fastest

{judged}[alpha]
promotion = 0.05             # false promotions, one-sided
shadow = {shadow:<20}# part of it that paper spends on the first stage; the split has the rest
rollback = 0.05              # false rollbacks and vetoes, divided over the tests

{paper}[[guardrails]]               # a test: vetoes what is shown to be worse by more than the margin
name = "fallback_rate"       # only the treatment can fall back: a margin of 0 would veto the first one
worse = "higher"
margin = 0.02

[[guardrails]]
name = "missing_rate"
worse = "higher"
margin = 0.005

[[guardrails]]
name = "trade_rate"
worse = "lower"
margin = 0.05

[[guardrails]]               # a limit: no test, no alpha
name = "slow_rate"           # decisions slower than 10 ms, mean over units
worse = "higher"
limit = 0.05
then = "veto"

[[guardrails]]
name = "error_rate"          # units of which a decision was refused
worse = "higher"
limit = 0.05
then = "veto"

[[guardrails]]
name = "drawdown_usd"        # deepest fall of the treatment's PnL: set it to what you can afford. Units with
worse = "higher"             # a spread of 0.4 USD fall by 100 by chance alone. "rollback" makes it a loss
limit = 500.0                # budget, which stops an equal arm too where all markets fall
then = "veto"
"""
_BY_RATE = """\
[primary]
metric = "win_rate"          # the experiment's own
margin = 0.0                 # promoted when the lower bound lies above -margin
effect = 0.05                # what the plan is made to find: 5 points
rollback_level = 0.02        # of alpha.rollback: harm is to be seen soon; guardrails share the rest

[money]
margin_usd = 0.02            # net PnL a unit: shown to be less than this worse, or no promotion
rollback_level = 0.02

"""
_BY_PNL = """\
[primary]
metric = "pnl"               # whether the PnL of four markets is above 0 says too little of them
margin = 0.0                 # promoted when the lower bound lies above -margin
effect = 0.156               # USD a unit: put in what 5 points more wins would bring in one of yours
rollback_level = 0.04        # of alpha.rollback: harm is to be seen soon; guardrails share the rest

[money]
margin_usd = 0.02            # of no use here: the metric itself must be shown to be better

"""
_PAPER = """\
[shadow]                     # no unit before paper speaks for the treatment: `abctl split shadow ARM` first
margin_usd = 0.0             # the lower bound of paper PnL, shadow minus served, must lie above -margin_usd
days_max = 28                # on paper alone, which costs nothing; then on_timeout
days_min = 1                 # of a stage that leads to at most half, as long as paper shows it

"""
_RATE_UNITS, _WINDOW_UNITS = (40, 100, 200), (20, 25, 50)
_DEFAULT = _CLIMB.format(
    head="# 10% -> 25% -> 50% -> 95%.", units=_RATE_UNITS, judged=_BY_RATE, shadow="0.0", paper=""
)
_BY_WINDOW = _CLIMB.format(
    head="# 10% -> 25% -> 50% -> 95%, of units that are whole windows: all assets of a quarter of an hour.",
    units=_WINDOW_UNITS,
    judged=_BY_PNL,
    shadow="0.0",
    paper="",
)
_SHADOW_FIRST = _CLIMB.format(
    head="# On paper, then 10% -> 25% -> 50% -> 95%.",
    units=_RATE_UNITS,
    judged=_BY_RATE,
    shadow="0.02",
    paper=_PAPER,
)

_WEEK = """\
# One whole week at 50/50 and one look when it is over, on day 8 whatever the hour it began at: better by
# then, or back to the control. Quick, and weak:
# `abctl rollout plan check` says how weak on your units. What it cannot see in a week it calls "not shown".
version = 1
gate = "planned"             # one look, when the last stage is over; a fixed test, no peeking
holdback = 0.05
on_timeout = "rollback"      # at that look: promoted, or back to the split without the treatment
weekly_cycles = 1
waiver = "One cycle: the guide's first comparison lasts one week; a second week would be another plan."

[[stages]]
share = 0.5
units_min = 100
days_min = 8
days_max = 8

[primary]
metric = "win_rate"
margin = 0.0
effect = 0.05

[money]
margin_usd = 0.02

[alpha]
promotion = 0.05
rollback = 0.05

[[guardrails]]
name = "fallback_rate"       # only the treatment can fall back: a margin of 0 would veto the first one
worse = "higher"
margin = 0.02

[[guardrails]]
name = "drawdown_usd"        # set it to what you can afford
worse = "higher"
limit = 500.0
then = "veto"
"""

TEMPLATES = {
    "default": _DEFAULT,
    "by-window": _BY_WINDOW,
    "guide-1-week": _WEEK,
    "shadow-first": _SHADOW_FIRST,
}


def template(name: str) -> str:
    """The TOML of one of them."""
    if name not in TEMPLATES:
        known = " or ".join(TEMPLATES)
        raise BadPlan("template", f"must be {known}, not {name!r}", "name one of these")
    return TEMPLATES[name]
