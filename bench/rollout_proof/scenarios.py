"""What is simulated, what each scenario must show, and one run of it by every method on the same traffic."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal
from zlib import crc32

import msgspec
import numpy as np

from rollout_proof import controller, rivals
from rollout_proof.controller import End
from rollout_proof.traffic import ASSETS, LOSS_USD, WIN_USD, By, Traffic, World, cost_usd, drawn
from rollout_proof.traffic import with_correlation as alike
from router.rollout_plan import Plan, Stage
from router.rollout_templates import template
from router.rollout_toml import plan_of

Truth = Literal["null", "better", "harmful", "open"]
OURS, WEEK, SIGN = "abctl", "abctl, guide-1-week", "abctl, by win rate"
ON_PAPER = "abctl, shadow first"
FIVE = "+5 points"
TOO_KIND = "null, paper is 0.05 USD too kind"
CORRELATIONS = (0.05, 0.1, 0.3)
"""In turns, of wins in a window."""
DAYS = 60
HOLDBACK_DAYS = 120
PLANNED = 0.05
"""The effect on a market's win rate that a plan is made to find."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """truth: what a verdict would be false of; open: shown without a bar."""

    name: str
    truth: Truth
    world: World

    @property
    def seed(self) -> int:
        """Of its name: a scenario more changes no other's traffic."""
        return crc32(self.name.encode())


SCENARIOS = (
    Scenario("null", "null", World()),
    Scenario("null, the base rate falls by 10 points", "null", World(regime_shift=-0.1)),
    Scenario("null, losers come 10 minutes late", "null", World(slow_losers=600.0)),
    Scenario("null, the arm is away for half a day", "null", World(outage=(6.0, 0.5))),
    Scenario(TOO_KIND, "null", World(too_kind_usd=0.05)),
    Scenario(FIVE, "better", World(effect=PLANNED)),
    Scenario("+10 points", "better", World(effect=0.1)),
    Scenario("-5 points", "harmful", World(effect=-0.05)),
    Scenario("wins up, PnL down", "harmful", World(effect=0.05, win_usd=0.26, loss_usd=-0.46)),
    Scenario("-5 points, losers come 10 minutes late", "harmful", World(effect=-0.05, slow_losers=600.0)),
    Scenario("+5 and -5 points in turns of 3 days", "open", World(swings=0.05)),
    Scenario("+5 points, one outcome of 500 never comes", "open", World(effect=PLANNED, lost=0.002)),
)
HELD = Scenario("holdback", "harmful", World(effect=-0.05))


@dataclass(frozen=True, slots=True)
class Run:
    """One method on one traffic. verdict: "promoted", "rolled back", "timed out" or "none"."""

    method: str
    verdict: str
    cause: str
    days: float
    cost_usd: float


def default_plan(by: By) -> Plan:
    """The template for such units: by window it asks a quarter of them, and is judged by PnL."""
    return plan_of(template("default" if by == "market" else "by-window"))


def sign_plan(by: By) -> Plan:
    """The default plan with its own metric, the share of units that are won, also by window."""
    plan = plan_of(template("default"))
    return plan if by == "market" else msgspec.structs.replace(plan, stages=tuple(map(_quarter, plan.stages)))


def week_plan(by: By) -> Plan:
    """One look after a week."""
    plan = plan_of(template("guide-1-week"))
    return plan if by == "market" else _by_pnl(plan)


def shadow_plan(by: By) -> Plan:
    """On paper first; else the default plan."""
    plan = plan_of(template("shadow-first"))
    if by == "market":
        return plan
    return _by_pnl(msgspec.structs.replace(plan, stages=tuple(map(_quarter, plan.stages))))


def _quarter(stage: Stage) -> Stage:
    return msgspec.structs.replace(stage, units_min=max(20, stage.units_min // 4))


def _by_pnl(plan: Plan) -> Plan:
    """PnL has the levels of both."""
    usd = PLANNED * (WIN_USD - LOSS_USD) * ASSETS
    levels = plan.primary.rollback_level, plan.money.rollback_level
    level = None if None in levels else sum(one or 0.0 for one in levels)
    primary = msgspec.structs.replace(plan.primary, metric="pnl", effect=usd, rollback_level=level)
    money = msgspec.structs.replace(plan.money, rollback_level=None)
    return msgspec.structs.replace(plan, primary=primary, money=money)


CONTROLLERS: dict[str, Callable[[By], Plan]] = {
    OURS: default_plan,
    ON_PAPER: shadow_plan,
    WEEK: week_plan,
    SIGN: sign_plan,
}
"""Name -> its plan. All of them are this controller; promises are made of the first."""


def methods(scenario: Scenario, by: By) -> tuple[str, ...]:
    """In the order of the table. By market the default plan goes by the win rate itself; what paper says
    matters to whoever reads it.
    """
    if scenario.name == TOO_KIND:
        return (ON_PAPER,)
    is_apart = by == "window" and scenario.name == FIVE
    own = [name for name in CONTROLLERS if name != SIGN or is_apart]
    return (*own, *rivals.RIVALS)


def drawn_for(scenario: Scenario, by: By, seed: int, days: int) -> Traffic:
    """The same traffic for every method."""
    world = alike(scenario.world, CORRELATIONS[seed % len(CORRELATIONS)])
    return drawn(world, by, days, np.random.default_rng([seed, scenario.seed]))


def runs_of(scenario: Scenario, by: By, seed: int, days: int = DAYS) -> list[Run]:
    """All methods; the seed names the traffic."""
    traffic = drawn_for(scenario, by, seed, days)
    return [_run(name, by, traffic, days) for name in methods(scenario, by)]


def own_run(scenario: Scenario, by: By, seed: int, method: str = OURS) -> Run:
    """One method alone."""
    return _run(method, by, drawn_for(scenario, by, seed, DAYS), DAYS)


def _run(name: str, by: By, traffic: Traffic, days: int) -> Run:
    end = _end(name, by, traffic, days)
    return Run(name, _verdict(end), end.cause, end.days, cost_usd(traffic, end.treated))


def _end(name: str, by: By, traffic: Traffic, days: int) -> End:
    if name in CONTROLLERS:
        return controller.run(CONTROLLERS[name](by), traffic, days)
    rule, first = rivals.RIVALS[name]
    return rivals.run(rule(), first, traffic, days)


def _verdict(end: End) -> str:
    if end.verdict == "rolled_back":
        return "timed out" if end.cause == "timeout" else "rolled back"
    return end.verdict


def holdback_days(by: By, seed: int) -> float | None:
    """Days until an arm that is 5 points worse, promoted on the first day, is rolled back; None: not in
    time.
    """
    traffic = drawn_for(HELD, by, seed, HOLDBACK_DAYS)
    end = controller.run_promoted(default_plan(by), traffic, HOLDBACK_DAYS)
    return end.days if end.verdict == "rolled_back" else None
