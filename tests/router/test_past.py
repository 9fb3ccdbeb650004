"""What a plan takes from a report."""

import copy
from typing import Any

import pytest

from router.errors import NoPast
from router.past import past_of

REPORT: dict[str, Any] = {
    "metric": "win_rate",
    "control": "base",
    "treatment": "transformer",
    "headline": {"units_per_day": 400.0},
    "split": {"weights": {"base": 0.6, "transformer": 0.2, "other": 0.2}},
    "arms": {
        "base": {"mature": 300, "traded": 150, "win_rate": 0.55, "trade_win_rate": 0.52},
        "transformer": {"mature": 100, "traded": 50, "win_rate": 0.7, "trade_win_rate": 0.6},
    },
    "dependence": {
        "observation": "trade",
        "cluster": "market",
        "observations": 900,
        "clusters": 200,
        "icc": 0.2,
        "cv": 0.5,
        "sentence": "said",
    },
}


ALL = frozenset({"baseline", "share", "units_per_day", "trials_per_unit", "icc", "cv"})


def changed(path: str, value: Any) -> dict[str, Any]:
    report = copy.deepcopy(REPORT)
    *parents, last = path.split(".")
    place = report
    for name in parents:
        place = place[name]
    place[last] = value
    return report


def test_a_unit_s_rate_counts_units_with_a_fill() -> None:
    past = past_of(REPORT, "unit", ALL)
    of_units = {"trials_per_unit": 1.0, "icc": 0.0, "cv": 0.0}
    assert past.known == {"baseline": 0.55, "share": pytest.approx(0.25), "units_per_day": 200.0} | of_units
    assert past.sentence == "said"


def test_a_profit_rate_counts_all_mature_units() -> None:
    report = changed("metric", "profit_rate")
    report["arms"]["base"]["profit_rate"] = 0.3
    known = past_of(report, "unit", {"baseline", "units_per_day"}).known
    assert known == {"baseline": 0.3, "units_per_day": 400.0}


def test_trades_bring_their_correlation() -> None:
    known = past_of(REPORT, "trade", ALL - {"share", "units_per_day"}).known
    assert known == {"baseline": 0.52, "trials_per_unit": 4.5, "icc": 0.2, "cv": 0.5}


@pytest.mark.parametrize(
    ("path", "value", "per", "field"),
    [
        ("arms.base.win_rate", None, "unit", "baseline"),
        ("arms.base.win_rate", 1.0, "unit", "baseline"),
        ("split.weights", {"base": 1.0, "transformer": 0.0}, "unit", "share"),
        ("headline.units_per_day", None, "unit", "units_per_day"),
        ("metric", "pnl", "unit", "baseline"),
        ("dependence.icc", None, "trade", "icc"),
        ("dependence.observation", "market", "trade", "icc"),
    ],
)
def test_what_history_cannot_say_is_refused(path: str, value: Any, per: Any, field: str) -> None:
    with pytest.raises(NoPast) as raised:
        past_of(changed(path, value), per, ALL)
    assert raised.value.field == field


def test_what_is_not_wanted_need_not_be_known() -> None:
    report = changed("headline.units_per_day", None)
    assert past_of(report, "unit", ALL - {"units_per_day"}).known["baseline"] == 0.55
