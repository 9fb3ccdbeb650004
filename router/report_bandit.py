"""A bandit's report: its regret beside the effect, and no interval that takes the shares for fixed.

Means of arms whose shares followed the data are biased, and their usual intervals do not hold (Nie, Tian,
Taylor and Zou, AISTATS 2018; Hadad et al., PNAS 2021). The effect stays: it is weighted by the logged
propensities, which the past alone decides, so its score is a martingale, and its bound holds at any look.
"""

from typing import Any

from router.bandit_evidence import regret_from
from router.question import Question
from router.report_rows import Rows
from router.report_shape import shape_of
from router.report_switchback import with_switchback
from stats.regret import Regret
from store.records import Experiment

Shape = dict[str, Any]
WITHHELD = (
    "shares followed the data, so raw rates are biased and intervals around them do not hold: withheld; read"
    " the effect, which is weighted by the logged propensities"
)
_ENDS = (
    *("win_rate_low", "win_rate_high", "profit_rate_low", "profit_rate_high"),
    *("pnl_low_usd", "pnl_high_usd"),
)


def whole_shape(rows: Rows, question: Question) -> Shape:
    """The report of any experiment."""
    return with_switchback(with_bandit(shape_of(rows, question), rows), rows)


def with_bandit(shape: Shape, rows: Rows) -> Shape:
    """The report of a bandit; any other as it is, with `bandit` null."""
    experiment = rows.found.experiment
    if experiment.mode != "bandit":
        return {**shape, "bandit": None}
    return {
        **shape,
        "arms": {arm: row | dict.fromkeys(_ENDS) for arm, row in shape["arms"].items()},
        "guardrails": [_unweighted(row) for row in shape["guardrails"]],
        "naive": {**shape["naive"], "z": None, "p": None, "label": WITHHELD},
        "warnings": [*shape["warnings"], f"a bandit's {WITHHELD}"],
        "bandit": bandit_shape(experiment, regret_from(rows)),
    }


def _unweighted(row: Shape) -> Shape:
    """A guardrail that compares the arms' units as they are is a description; the others are weighted."""
    if row["evidence"] != "description":
        return row
    return row | {"low": None, "high": None, "p": None, "status": "cannot say", "reason": WITHHELD}


def bandit_shape(experiment: Experiment, found: Regret) -> Shape:
    """How it is played, and what it has cost."""
    return {
        "floor": experiment.bandit_floor,
        "interval_s": experiment.bandit_interval_s,
        "regret": regret_shape(experiment, found),
    }


def regret_shape(experiment: Experiment, found: Regret) -> Shape:
    """In wins, or USD where the experiment is judged by PnL."""
    return {
        "status": found.status,
        "reason": found.reason,
        "unit": "USD" if experiment.metric == "pnl" else "wins",
        "best": None if found.best is None else experiment.arms[found.best],
        "levels": dict(zip(experiment.arms, found.levels or (None,) * len(experiment.arms), strict=True)),
        "trials": dict(zip(experiment.arms, found.trials, strict=True)),
        "so_far": found.so_far,
        "even_split": found.even_split,
        "sentence": _sentence(experiment, found),
    }


def _sentence(experiment: Experiment, found: Regret) -> str:
    if found.best is None or found.so_far is None or found.even_split is None:
        return f"Regret so far: cannot say yet, {found.reason}."
    lost, even = (_amount(experiment, value) for value in (found.so_far, found.even_split))
    return (
        f"Regret so far: about {lost} less than if {experiment.arms[found.best]}, which looks best by"
        f" propensity-weighted {experiment.metric}, had had every unit; an even split would have lost about"
        f" {even}. Both are estimates without an interval, and too high where arms are alike."
    )


def _amount(experiment: Experiment, value: float) -> str:
    return f"${value:,.2f}" if experiment.metric == "pnl" else f"{value:,.1f} wins"
