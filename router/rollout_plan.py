"""A rollout's plan as frozen values: its stages, what it may claim and at which level, when it gives up.

A plan never changes once its rollout has begun; `digest` names it. Shares are fractions of units, durations
days, margins in the unit of their metric (a share, seconds or USD a unit). `rollout_toml` reads one from a
file.
"""

from hashlib import blake2b
from typing import Literal, get_args

import msgspec

from stats.conditions import WEEKLY_CYCLES

Metric = Literal["win_rate", "profit_rate", "pnl"]
Then = Literal["veto", "rollback"]
Worse = Literal["higher", "lower"]
Gate = Literal["any_look", "planned"]
OnTimeout = Literal["rollback", "hold"]
Tested = Literal["fallback_rate", "missing_rate", "trade_rate", "delay_s"]
Limited = Literal["slow_rate", "error_rate", "stale_rate", "shortfall_usd", "drawdown_usd", "loss_usd"]
Watched = Tested | Limited

TESTED: tuple[Tested, ...] = get_args(Tested)
WORSE: dict[Watched, Worse] = {
    "fallback_rate": "higher",
    "missing_rate": "higher",
    "trade_rate": "lower",
    "delay_s": "higher",
    "slow_rate": "higher",
    "error_rate": "higher",
    "stale_rate": "higher",
    "shortfall_usd": "lower",
    "drawdown_usd": "higher",
    "loss_usd": "higher",
}
"""Everything that a guardrail can watch, and which way is worse."""


class Stage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The treatment has `share`. units_min: mature units of either arm that were assigned in this stage.

    approvals: people who must agree before the stage is entered.
    """

    share: float
    units_min: int
    days_min: float
    days_max: float
    approvals: int = 0


class Primary(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the treatment must be better in. margin: promoted above -margin. effect: what the plan is made
    to find.

    rollback_level: its part of alpha.rollback; an even one where it is left out.
    """

    metric: Metric
    effect: float
    margin: float = 0.0
    rollback_level: float | None = None


class Money(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Net PnL a unit must be shown to be less than `margin_usd` worse."""

    margin_usd: float
    rollback_level: float | None = None


class Guardrail(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A test has a `margin` (and perhaps its own `level`): it vetoes where the treatment is shown to be
    worse by more.

    A limit has a `limit` on the treatment itself: operational, no test, no alpha; `then` says what it does.
    dry_run: shown, never deciding.
    """

    name: Watched
    worse: Worse
    margin: float | None = None
    level: float | None = None
    limit: float | None = None
    then: Then = "veto"
    dry_run: bool = False

    @property
    def is_test(self) -> bool:
        """Whether it costs alpha."""
        return self.limit is None


class Shadow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Before its first unit the treatment decides on paper. Its net PnL a unit must be shown to lie above
    the served arm's less `margin_usd`, at alpha.shadow, in days_max days, or the plan is over.

    days_min: of a stage that leads to at most half, as long as paper shows it, where the stage's own is
    longer.
    """

    margin_usd: float
    days_min: float
    days_max: float


class Alpha(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One-sided. promotion = shadow + what is left to the split; rollback is divided over the tests."""

    promotion: float = 0.05
    shadow: float = 0.0
    rollback: float = 0.05


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that `rollout.decide` goes by. weekly_cycles: whole weeks that must be seen before
    promotion.

    waiver: in words, who lets it be fewer than two and why. promotion_approvals: people who must agree.
    """

    version: Literal[1]
    stages: tuple[Stage, ...]
    primary: Primary
    money: Money
    guardrails: tuple[Guardrail, ...] = ()
    alpha: Alpha = Alpha()
    holdback: float = 0.05
    gate: Gate = "any_look"
    on_timeout: OnTimeout = "rollback"
    weekly_cycles: int = WEEKLY_CYCLES
    waiver: str = ""
    promotion_approvals: int = 0
    shadow: Shadow | msgspec.UnsetType = msgspec.UNSET

    @property
    def promoted_share(self) -> float:
        """What the treatment gets in the end, as a multiple of 0.000001."""
        return round((1.0 - self.holdback) * 1_000_000) / 1_000_000


def days_of(plan: Plan) -> float:
    """From the first unit to the end of the last stage, where every other stage is as brief as it may be."""
    *before, last = plan.stages
    return sum(briefest(plan, stage) for stage in before) + last.days_max


def briefest(plan: Plan, stage: Stage) -> float:
    """Days of a stage that is not the last, where paper speaks for the treatment if the plan asks it."""
    if plan.shadow is msgspec.UNSET:
        return stage.days_min
    return min(stage.days_min, plan.shadow.days_min)


class Spending(msgspec.Struct, frozen=True, kw_only=True):
    """Where alpha goes. rollback: (test, its level), the primary metric and net PnL first.

    dry_run: levels at which tests are shown that decide nothing; they spend nothing.
    """

    promotion_split: float
    promotion_shadow: float
    rollback: tuple[tuple[str, float], ...]
    dry_run: tuple[tuple[str, float], ...]

    def level(self, name: str) -> float:
        """Of a test of the plan, by its name."""
        return dict((*self.dry_run, *self.rollback))[name]


def spending(plan: Plan) -> Spending:
    """The ledger. Tests that name no level share evenly what the others leave."""
    asked = dict(_asked(plan))
    named = {name: level for name, level in asked.items() if level is not None}
    open_count = len(asked) - len(named)
    even = (plan.alpha.rollback - sum(named.values())) / open_count if open_count else 0.0
    trying = [g for g in plan.guardrails if g.is_test and g.dry_run]
    return Spending(
        promotion_split=plan.alpha.promotion - plan.alpha.shadow,
        promotion_shadow=plan.alpha.shadow,
        rollback=tuple((name, named.get(name, even)) for name in asked),
        dry_run=tuple((g.name, g.level or plan.alpha.rollback / (len(asked) + len(trying))) for g in trying),
    )


def _asked(plan: Plan) -> list[tuple[str, float | None]]:
    """Every test that may stop the treatment, with the level that the plan names for it."""
    tests = [(g.name, g.level) for g in plan.guardrails if g.is_test and not g.dry_run]
    money = [] if plan.primary.metric == "pnl" else [("pnl", plan.money.rollback_level)]
    return [(plan.primary.metric, plan.primary.rollback_level), *money, *tests]


def canonical(plan: Plan) -> bytes:
    """One text for one plan, whatever the file's order, comments and spaces: JSON with sorted keys."""
    return msgspec.json.encode(plan, order="sorted")


def digest(plan: Plan) -> str:
    """blake2b of the canonical text, 32 hexadecimal digits."""
    return blake2b(canonical(plan), digest_size=16).hexdigest()
