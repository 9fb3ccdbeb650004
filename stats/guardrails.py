"""What must not get worse beside the metric: fallbacks, missing outcomes, trading, delay, latency, losses.

Each row compares the pair by assigned arm. Rates and times are watched by the sequence of the win metric, so
they hold at every look together, at alpha split over them; a unit counts once, whatever it asked or traded,
so that nothing treats decisions as independent. The worst units (expected shortfall) have an interval for one
look, and the deepest fall has none: both describe.

"ok" is "not shown to be worse", never "shown to be as good". Nothing here changes a verdict.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from stats.arm_report import MICRO
from stats.design import Design
from stats.errors import UnitsError
from stats.panel import Panel, panel_of
from stats.resolution import Resolution
from stats.shortfall import shortfall, shortfall_difference
from stats.units import Units
from stats.watched import Watched, is_shown, watched

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
State = Literal["ok", "worse", "cannot say"]
Evidence = Literal["any look", "description"]

WATCHED = 5
"""Guardrails that share alpha: fallbacks, missing outcomes, trading, delay, slow decisions."""
WORST_SHARE = 0.05
_SHORTFALL = "one look, all stages together: description"
_DRAWDOWN = "description: the arm with more units has more room to fall"


@dataclass(frozen=True, slots=True, kw_only=True)
class Guardrail:
    """treatment, control, difference, low, high: in `unit`. level: error of the interval, over all looks
    where evidence is "any look". p: always valid; None where it cannot be said, or of what only describes.
    """

    name: str
    what: str
    unit: Literal["share", "s", "usd"]
    worse: Literal["higher", "lower"]
    evidence: Evidence
    status: State
    reason: str
    treatment: float | None = None
    control: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    level: float | None = None


@dataclass(frozen=True, slots=True)
class Slow:
    """Of each unit of `Units`: decisions whose latency is known (timed), and those of them that were slow."""

    limit_ms: float
    timed: Ints
    slow: Ints

    def __post_init__(self) -> None:
        if len(self.timed) != len(self.slow) or np.any(self.slow > self.timed) or np.any(self.slow < 0):
            raise UnitsError("slow decisions are 0 or more, and no more than timed ones: check the columns")


def guardrails(design: Design, units: Units, resolution: Resolution, slow: Slow) -> tuple[Guardrail, ...]:
    """units: as of the report, mature ones. resolution: of the same experiment; slow: of the same units."""
    case = _case(design, units, resolution, slow)
    return tuple(row(case) for row in _ROWS.values())


def guardrail(name: str, design: Design, units: Units, resolution: Resolution, slow: Slow) -> Guardrail:
    """One of them alone."""
    return _ROWS[name](_case(design, units, resolution, slow))


@dataclass(frozen=True, slots=True)
class _Case:
    design: Design
    units: Units
    told: Resolution
    slow: Slow
    panel: Panel

    @property
    def level(self) -> float:
        return self.design.alpha / WATCHED


def _case(design: Design, units: Units, told: Resolution, slow: Slow) -> _Case:
    if len(slow.timed) != len(units):
        raise UnitsError(f"latencies of {len(slow.timed)} units beside {len(units)} units: give both of each")
    return _Case(design, units, told, slow, panel_of(design, units.arm, units.e, units.day))


def _fallback_rate(case: _Case) -> Guardrail:
    units, rows = case.units, case.panel.rows
    what = f"answered by the fallback, mean over {case.design.unit_name}s"
    fell = _share(units.fallbacks[rows], units.decisions[rows])
    asked = _rate("fallback_rate", what, "higher", case.level)
    return asked.of(watched(case.design, case.panel, fell, case.level))


def _missing_rate(case: _Case) -> Guardrail:
    what = f"{case.design.unit_name}s without all outcomes in time"
    return _rate("missing_rate", what, "higher", case.told.level).of(_missing(case.told))


def _trade_rate(case: _Case) -> Guardrail:
    traded = case.units.traded[case.panel.rows].astype(np.float64)
    asked = _rate("trade_rate", f"{case.design.unit_name}s with a fill", "lower", case.level)
    return asked.of(watched(case.design, case.panel, traded, case.level))


def _delay_s(case: _Case) -> Guardrail:
    what = f"from a {case.design.unit_name}'s start to its outcomes"
    return _Asked("delay_s", what, "s", "higher", case.told.level).of(case.told.delay_s)


def _slow_rate(case: _Case) -> Guardrail:
    what = f"decisions slower than {case.slow.limit_ms:g} ms, mean over {case.design.unit_name}s"
    asked = _rate("slow_rate", what, "higher", case.level)
    return asked.of(_slow(case.design, case.panel, case.slow, case.level))


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is watched, before it is known."""

    name: str
    what: str
    unit: Literal["share", "s"]
    worse: Literal["higher", "lower"]
    level: float

    def of(self, found: Watched) -> Guardrail:
        return Guardrail(
            name=self.name,
            what=self.what,
            unit=self.unit,
            worse=self.worse,
            evidence="any look",
            status=self._state(found),
            reason=found.reason,
            treatment=found.treatment,
            control=found.control,
            difference=found.estimate,
            low=found.low,
            high=found.high,
            p=found.p,
            level=self.level,
        )

    def _state(self, found: Watched) -> State:
        if found.status == "degenerate" and found.estimate == 0.0:
            return "ok"  # every unit of both arms is alike: nothing got worse
        if found.p is None or found.estimate is None:
            return "cannot say"
        is_worse = (found.estimate > 0.0) == (self.worse == "higher")
        return "worse" if is_worse and is_shown(found, self.level) else "ok"


def _rate(name: str, what: str, worse: Literal["higher", "lower"], level: float) -> _Asked:
    return _Asked(name, what, "share", worse, level)


def _share(part: Ints, whole: Ints) -> Floats:
    """Of each unit; 0 where there is nothing to share."""
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)


def _missing(told: Resolution) -> Watched:
    """Whoever is not resolved when the window closes is missing."""
    there = told.ages[-1].resolved
    return Watched(
        status=there.status,
        reason=there.reason,
        estimate=_negative(there.estimate),
        low=_negative(there.high),
        high=_negative(there.low),
        p=there.p,
        treatment=_rest(there.treatment),
        control=_rest(there.control),
    )


def _negative(value: float | None) -> float | None:
    return None if value is None else 0.0 - value


def _rest(share: float | None) -> float | None:
    return None if share is None else 1.0 - share


def _slow(design: Design, panel: Panel, slow: Slow, level: float) -> Watched:
    timed = slow.timed[panel.rows]
    if not np.any(timed > 0):
        return Watched(status="not_ready", reason="the latency of no decision is known")
    if not np.all(timed > 0):
        known, every = int(np.count_nonzero(timed)), len(timed)
        reason = f"latencies are known of {known:,} of {every:,} units: older ones were not measured so"
        return Watched(status="not_ready", reason=reason)
    return watched(design, panel, _share(slow.slow[panel.rows], timed), level)


def _shortfall_usd(case: _Case) -> Guardrail:
    return _tail(case.design, *(pnl_micro / MICRO for pnl_micro in _pnl_micro(case)))


def _drawdown_usd(case: _Case) -> Guardrail:
    falls = [drawdown_micro(pnl) / MICRO if len(pnl) else None for pnl in _pnl_micro(case)]
    return Guardrail(
        name="drawdown_usd",
        what=f"deepest fall of an arm's PnL, {case.design.unit_name} by {case.design.unit_name}",
        unit="usd",
        worse="higher",
        evidence="description",
        status="cannot say",
        reason=_DRAWDOWN,
        treatment=falls[0],
        control=falls[1],
    )


def _pnl_micro(case: _Case) -> list[Ints]:
    """Of the treatment's units and the control's."""
    return [case.units.pnl_micro[case.units.arm == index] for index in case.design.pair]


def _tail(design: Design, treated_usd: Floats, control_usd: Floats) -> Guardrail:
    pnl_usd = np.concatenate([treated_usd, control_usd])
    rows = np.arange(len(pnl_usd))
    found = shortfall_difference(pnl_usd, rows, rows < len(treated_usd), WORST_SHARE, design.alpha)
    state: State = "cannot say"
    if found.low is not None and found.high is not None:
        state = "worse" if found.high < 0.0 else "ok"
    treated, control = (shortfall(arm, WORST_SHARE) for arm in (treated_usd, control_usd))
    return Guardrail(
        name="shortfall_usd",
        what=f"mean PnL of the worst {WORST_SHARE:.0%} of {design.unit_name}s",
        unit="usd",
        worse="lower",
        evidence="description",
        status=state,
        reason=f"{_SHORTFALL}{f'; {found.reason}' if found.reason else ''}",
        treatment=treated,
        control=control,
        difference=found.estimate,
        low=found.low,
        high=found.high,
        level=design.alpha,
    )


def drawdown_micro(pnl_micro: Ints) -> int:
    """How far the running sum of PnL, which begins at 0, ever fell below its highest point; 0 or more."""
    path = np.cumsum(pnl_micro, dtype=np.int64)
    peaks = np.maximum.accumulate(np.maximum(path, 0))
    return int((peaks - path).max()) if len(path) else 0


_ROWS: dict[str, Callable[[_Case], Guardrail]] = {
    "fallback_rate": _fallback_rate,
    "missing_rate": _missing_rate,
    "trade_rate": _trade_rate,
    "delay_s": _delay_s,
    "slow_rate": _slow_rate,
    "shortfall_usd": _shortfall_usd,
    "drawdown_usd": _drawdown_usd,
}
"""In the order of the report."""
