"""Screens a candidate on the log of an experiment: what it would have brought, by importance weights.

The weights are given the arm that answered: what the coin for the arm might have made of a unit is not used.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from sqlalchemy import Connection

from router import off_policy_words as words
from router.candidate import Candidate
from router.logged_units import EVERY, Which, read_logged_units
from router.off_policy_log import Floats, Log, read_log
from router.splits import rfc3339
from stats.off_policy import CAP, Logged, Model, ips, unsupported_mass, weights_of, whole_episodes
from stats.reward_model import FOLDS, cross_fitted, cross_fitted_by_action
from stats.screening import Values, overlap, under, values
from store.records import ACTIONS

SCHEMA = "abctl.ope/1"
Shape = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """What is asked. per: what a weight is of; decisions are weighed alone, units as whole episodes."""

    key: str
    which: Which = EVERY
    cap: float = CAP
    per: Literal["unit", "decision"] = "unit"
    alpha: float = 0.05


@dataclass(frozen=True, slots=True)
class Weighed:
    """base: the rows that are weighed, without rewards. is_alone: decisions of a unit as if each were all."""

    base: Logged
    is_alone: bool


def screened(
    connection: Connection,
    screen: Screen,
    candidate: Candidate,
    now_us: int,
    tell: Callable[[int], None] = lambda _units: None,
) -> Shape:
    """The screening in its JSON shape (docs/off-policy.md). The connection shows one moment."""
    chosen = read_logged_units(connection, screen.key, now_us, screen.which)
    log = read_log(connection, chosen, candidate, tell)
    arm, which = candidate.arm, screen.which
    return {
        "schema": SCHEMA,
        "experiment": screen.key,
        "as_of": rfc3339(now_us),
        "fill": chosen.fill,
        "days": which.days,
        "logged_by": which.arm,
        "candidate": {"model": arm.model, "window": arm.window, "action_rule": candidate.rule},
        "per": screen.per,
        **_estimated(screen, log),
    }


def _estimated(screen: Screen, log: Log) -> Shape:
    rows, weighed = log.rows, _weighed(screen, log)
    found = overlap(weighed.base, unsupported_mass(rows.wanted, rows.possible), screen.cap, screen.alpha)
    argmax_share = float(np.mean(rows.propensity == 1.0)) if len(log.unit) else None
    odd = log.unexplained if screen.per == "decision" else 0
    finding = (
        words.left_out(log.units, log.left_out)
        or words.unexplained(log.units, odd)
        or words.overlapping(found, argmax_share, log.arms, screen.per)
    )
    return {
        **asdict(finding),
        "evidence": {
            "status": "screening_only",
            "sentence": words.DECISIONS if weighed.is_alone else words.EPISODES,
        },
        "log": {
            "units": log.units,
            "decisions": len(log.unit),
            "argmax_share": argmax_share,
            "arms": log.arms,
            "left_out": log.left_out,
        },
        "overlap": asdict(found),
        "rewards": _rewards(screen, log, weighed.base, finding),
        "reward_model": words.MODELS[screen.per],
        "warnings": words.warnings(log.left_out, odd, found.clipped),
    }


def _weighed(screen: Screen, log: Log) -> Weighed:
    """Single decisions are refused where a unit has several (`stats.off_policy`), and weighed all the same:
    `is_alone` says so beside every number that comes of it.
    """
    weights = weights_of(log.rows.target, log.rows.propensity)
    single = Logged(np.zeros(len(weights)), weights, log.unit, stateless=False)
    if screen.per == "unit":
        return Weighed(whole_episodes(single), is_alone=False)
    return Weighed(replace(single, stateless=True), is_alone=ips(single).status == "invalid_design")


def _rewards(screen: Screen, log: Log, base: Logged, finding: words.Finding) -> Shape:
    found = {}
    for name in log.unit_rewards:
        estimates = _values(screen, log, base, name)
        found[name] = asdict(under(estimates, finding.status, finding.reason))
    return found


def _values(screen: Screen, log: Log, base: Logged, name: str) -> Values:
    rewards = (log.unit_rewards if screen.per == "unit" else log.decision_rewards)[name]
    model = (_model_of_units if screen.per == "unit" else _model_of_decisions)(log, rewards)
    return values(replace(base, rewards=rewards), model, screen.cap, screen.alpha)


def _model_of_units(log: Log, rewards: Floats) -> Model:
    """What was known before the first action: no plain model knows what a whole course of actions brings."""
    expected = cross_fitted(_as_rows(log.firsts), rewards, np.arange(log.units) % FOLDS)
    return Model(expected, expected)


def _model_of_decisions(log: Log, rewards: Floats) -> Model:
    rows = log.rows
    states = rows.states.astype(np.float64)
    by_action = cross_fitted_by_action(states, rows.action, len(ACTIONS), rewards, log.unit % FOLDS)
    taken = by_action[np.arange(len(rewards)), rows.action]
    return Model(taken, (rows.wanted * by_action).sum(axis=1))


def _as_rows(states: Floats) -> Floats:
    return states if states.ndim == 2 else states.reshape(0, 1)
