"""An experiment's definition: a TOML file or a JSON body, checked field by field."""

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from router.assignment import BUCKETS, arm_salt, gate_salt
from router.errors import BadPattern
from router.problems import Problem, from_msgspec, invalid
from router.starts import compile_pattern
from store.records import Experiment

_KEY = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_ARM = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_OWN = {"salt", "gate_salt", "created_at_us", "archived_at_us"}


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
        raise invalid(unknown[0], f"is not a field of an experiment; known are {known}")
    key = str(fields.get("key", ""))
    salts = {"salt": arm_salt(key or "-"), "gate_salt": gate_salt(key or "-"), "created_at_us": now_us}
    try:
        experiment = msgspec.convert({**fields, **salts}, Experiment)
    except msgspec.ValidationError as error:
        raise from_msgspec(error) from error
    _check(experiment)
    return experiment


def _check(e: Experiment) -> None:
    rules = [
        (
            bool(_KEY.fullmatch(e.key)),
            "key",
            "must be 1-63 of a-z, 0-9, _ and -, starting with a letter or digit",
        ),
        (2 <= len(e.arms) <= 16, "arms", "must name 2 to 16 arms"),
        (len(set(e.arms)) == len(e.arms), "arms", "must not name an arm twice"),
        (
            all(_ARM.fullmatch(a) for a in e.arms),
            "arms",
            "must be 1-63 of a-z, 0-9, _ and -, starting with a letter",
        ),
        (e.control in e.arms, "control", f"must be one of the arms, not {e.control!r}"),
        (0 < e.unit_duration_s <= 31_536_000, "unit_duration_s", "must be 1 to 31536000 seconds"),
        (0 <= e.attribution_s <= 31_536_000, "attribution_s", "must be 0 to 31536000 seconds"),
        (
            e.unit_duration_s <= e.lifetime_s <= 31_536_000,
            "lifetime_s",
            "must be unit_duration_s to 31536000 seconds",
        ),
        (0 < e.alpha <= 0.5, "alpha", "must lie in (0, 0.5]"),
        (0 < e.eligible_share <= 1, "eligible_share", "must lie in (0, 1]"),
        (
            round(e.eligible_share * BUCKETS) / BUCKETS == e.eligible_share,
            "eligible_share",
            "must be a multiple of 0.000001",
        ),
        (bool(e.unit_kind.strip()) and len(e.unit_kind) <= 64, "unit_kind", "must be 1 to 64 characters"),
    ]
    for holds, field, rule in rules:
        if not holds:
            raise invalid(field, rule)
    try:
        if e.unit_pattern is not None:
            compile_pattern(e.unit_pattern)
    except BadPattern as error:
        raise invalid("unit_pattern", f"{error.rule}: {error.remedy}") from error


def main_experiment(key: str, now_us: int) -> Experiment:
    """The default experiment that exists from the start."""
    return experiment_of({"key": key, "arms": ["base", "transformer"], "control": "base"}, now_us)
