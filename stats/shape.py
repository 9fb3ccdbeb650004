"""The report as the JSON that the HTTP API, the CLI and the page share."""

from dataclasses import asdict
from typing import Any

from stats.effect import Effect
from stats.report import Report


def as_dict(report: Report) -> dict[str, Any]:
    """Plain dicts, lists, floats, ints, strings and None; money in USD, rates as shares. Never NaN or
    infinity.
    """
    return {
        "metric": report.metric,
        "control": report.control,
        "treatment": report.treatment,
        "estimand": report.estimand,
        "arms": {name: asdict(arm) for name, arm in report.arms.items()},
        "effect": _effect(report.effect),
        "pnl_effect": _effect(report.pnl_effect),
        "srm": asdict(report.srm),
        "naive": asdict(report.naive),
        "stages": [asdict(stage) for stage in report.stages],
        "verdict": asdict(report.verdict),
        "gates": asdict(report.gates),
        "warnings": list(report.warnings),
    }


def _effect(effect: Effect) -> dict[str, Any]:
    hidden = ("look", "rho")
    return {name: value for name, value in asdict(effect).items() if name not in hidden}
