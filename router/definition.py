"""An experiment's definition: a TOML file or a JSON body, checked field by field."""

import math
import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from router.assignment import BUCKETS, UNSTORABLE, arm_salt, gate_salt
from router.bandit_options import check_bandit
from router.errors import BadPattern
from router.instants import instant_us
from router.problems import Problem, from_msgspec, invalid, shown
from router.starts import compile_pattern
from router.switchback_options import check_switchback
from stats.plan import FEWEST_UNITS, MOST_MARGIN_USD, MOST_UNITS, looks_fault
from store.records import Experiment

_KEY = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_ARM = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_YEAR_S = 31_536_000
_PATTERN_MAX = 500
_REMEDY = "`abctl experiment show main` (HTTP: GET /v1/experiments/main) shows one that is right"
_OWN = {"salt", "gate_salt", "created_at_us", "archived_at_us", "imported"}


def read_definition(path: Path, now_us: int) -> Experiment:
    """An experiment file."""
    try:
        return experiment_of(tomllib.loads(path.read_text(encoding="utf-8")), now_us)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Problem(422, "broken_toml", f"{path} is not TOML: {error}") from error


def experiment_of(fields: dict[str, Any], now_us: int) -> Experiment:
    """A checked experiment, or the problem that names the field and the rule."""
    unknown = sorted(set(fields) - (set(Experiment.__struct_fields__) - _OWN))
    if unknown:
        known = ", ".join(f for f in Experiment.__struct_fields__ if f not in _OWN)
        raise invalid(shown(unknown[0]), f"is not a field of an experiment; known are {known}")
    key = str(fields.get("key", ""))
    salts = {"salt": arm_salt(key or "-"), "gate_salt": gate_salt(key or "-"), "created_at_us": now_us}
    try:
        experiment = msgspec.convert({**fields, **salts}, Experiment)
    except msgspec.ValidationError as error:
        raise from_msgspec(error, _REMEDY) from error
    for holds, field, rule in _rules(experiment):
        if not holds:
            raise invalid(field, rule)
    _check_pattern(experiment.unit_pattern)
    _check_plan(experiment)
    check_bandit(experiment)
    check_switchback(experiment)
    return experiment


def _rules(e: Experiment) -> list[tuple[bool, str, str]]:
    name = "must be 1-63 of a-z, 0-9, _ and -, starting with a letter"
    return [
        (bool(_KEY.fullmatch(e.key)), "key", f"{name} or digit"),
        (2 <= len(e.arms) <= 16, "arms", "must name 2 to 16 arms"),
        (len(set(e.arms)) == len(e.arms), "arms", "must not name an arm twice"),
        (all(_ARM.fullmatch(a) for a in e.arms), "arms", name),
        (e.control in e.arms, "control", f"must be one of the arms, not {shown(e.control)}"),
        (0 < e.unit_duration_s <= _YEAR_S, "unit_duration_s", f"must be 1 to {_YEAR_S} seconds"),
        (0 <= e.attribution_s <= _YEAR_S, "attribution_s", f"must be 0 to {_YEAR_S} seconds"),
        (
            e.unit_duration_s <= e.lifetime_s <= _YEAR_S,
            "lifetime_s",
            f"must be unit_duration_s to {_YEAR_S} seconds",
        ),
        (0 < e.alpha <= 0.5, "alpha", "must lie in (0, 0.5]"),
        (_is_share(e.eligible_share), "eligible_share", "must lie in (0, 1] and be a multiple of 0.000001"),
        (
            bool(e.unit_kind.strip()) and e.unit_kind.isprintable() and len(e.unit_kind) <= 64,
            "unit_kind",
            "must be 1 to 64 printable characters",
        ),
    ]


def _check_plan(e: Experiment) -> None:
    if not 0.0 <= e.pnl_margin_usd <= MOST_MARGIN_USD:
        raise invalid("pnl_margin_usd", f"must be 0 to {MOST_MARGIN_USD:,.0f} USD a unit, say 0.05")
    if e.metric == "pnl" and e.pnl_margin_usd:
        rule = 'is for a rate that is to be better: leave it out, metric = "pnl" asks net PnL itself to be'
        raise invalid("pnl_margin_usd", rule)
    if not FEWEST_UNITS <= e.plan_units <= MOST_UNITS:
        raise invalid("plan_units", f"must be {FEWEST_UNITS} to {MOST_UNITS} units, say 2000")
    fault = looks_fault(e.gate, e.looks)
    if fault is not None:
        raise invalid("looks", fault)
    if e.until is None:
        return
    if e.gate == "sequential":
        raise invalid("until", 'is for gate = "planned" or "hybrid": leave it out, or name looks')
    if instant_us(e.until, "until") <= e.created_at_us:
        raise invalid("until", f"{shown(e.until)} is over: the last look must lie ahead")


def _is_share(share: float) -> bool:
    return math.isfinite(share) and 0 < share <= 1 and round(share * BUCKETS) / BUCKETS == share


def _check_pattern(pattern: str | None) -> None:
    if pattern is None:
        return
    if UNSTORABLE.search(pattern) or len(pattern) > _PATTERN_MAX:
        raise invalid("unit_pattern", f"must be at most {_PATTERN_MAX} printable characters")
    try:
        compile_pattern(pattern)
    except BadPattern as error:
        raise invalid("unit_pattern", f"{error.rule}: {error.remedy}") from error


def main_experiment(key: str, now_us: int) -> Experiment:
    """The default experiment that exists from the start."""
    return experiment_of({"key": key, "arms": ["base", "transformer"], "control": "base"}, now_us)
