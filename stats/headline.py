"""The first sentence of the report: better, worse or not known, when, and what knowing would take."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stats.design import Design
from stats.effect import Effect
from stats.report import Report
from stats.verdict import BETTER, BROKEN, NO_DIFFERENCE, WORSE
from stats.words import NAMES, about, signed, utc

DAY_US = 86_400_000_000
_HOUR_DAYS, _MINUTE_DAYS = 1 / 24, 1 / 1440


@dataclass(frozen=True, slots=True)
class Headline:
    """more_units, more_days: what "cannot say yet" would take; None where that is not known or not asked.

    units_per_day: of the pair, as they arrived lately; None where too few did.
    """

    sentence: str
    more_units: int | None
    more_days: float | None
    units_per_day: float | None


def arrivals_per_day(first_at_us: npt.NDArray[np.int64], now_us: int, lookback_us: int) -> float | None:
    """Units a day over the lookback, or since the first one if that is later; None below two units."""
    seen = first_at_us[first_at_us <= now_us]
    recent = seen[seen > now_us - lookback_us]
    if len(recent) < 2:
        return None
    begun_us = max(int(seen.min()), now_us - lookback_us)
    return len(recent) * DAY_US / (now_us - begun_us) if now_us > begun_us else None


def headline(design: Design, report: Report, units_per_day: float | None, now_us: int) -> Headline:
    """From what was judged. units_per_day: of the compared pair."""
    more = report.verdict.more_units
    days = None if not more or not units_per_day else more / units_per_day
    sentence = _sentence(design, report, f"in this period ({utc(design.started_us)} to {utc(now_us)})")
    if more:
        sentence += f" It would take about {about(more, 'more ' + design.unit_name)}{_pace(days)}."
    return Headline(sentence, more or None, days, units_per_day)


def _sentence(design: Design, report: Report, period: str) -> str:
    pair = f"{design.treatment} is {{}} than {design.control}"
    said, effect = report.verdict.verdict, report.effect
    if said == BETTER:
        by = _amount(design, effect, _shown(report))
        return f"{pair.format('better')} by at least {by}, {period}."
    if said == WORSE:
        found = effect if effect.high is not None and effect.high < 0.0 else report.pnl_effect
        by = _amount(design, found, None if found.high is None else -found.high)
        return f"{pair.format('worse')} by at least {by}, {period}."
    if said == NO_DIFFERENCE:
        low, high = (_amount(design, effect, bound) for bound in (effect.low, effect.high))
        return f"No difference shown {period}: it lies between {low} and {high}."
    if said == BROKEN:
        return f"Cannot say whether {pair.format('better')}: the assignment is broken, {period}."
    return f"Cannot say yet whether {pair.format('better')}, {period}."


def _shown(report: Report) -> float | None:
    """The bound that said better: the interval's, or with named looks their gate's."""
    promote = report.gates.promote
    return report.effect.low if report.gates.kind == "sequential" else promote.bounds[0].bound


def _amount(design: Design, effect: Effect, value: float | None) -> str:
    """+6.1 points of win rate, +$0.1234 of net PnL a market."""
    if value is None:
        return f"an unknown amount of {NAMES[effect.metric]}"
    return f"{signed(effect.metric, value)} of {NAMES[effect.metric]} per {design.unit_name}"


def _pace(days: float | None) -> str:
    return "" if days is None else f", {_span(days)} at this split"


def _span(days: float) -> str:
    """In the largest unit of which there is one at least; of years, two."""
    if days >= 2 * 365:
        return _count(days / 365, "year")
    if days >= 1.0:
        return _count(days, "day")
    if days >= _HOUR_DAYS:
        return _count(days * 24, "hour")
    return _count(max(1.0, days / _MINUTE_DAYS), "minute")


def _count(value: float, name: str) -> str:
    shown = f"{value:.1f}" if value < 10 and name == "day" else f"{value:,.0f}"
    return f"{shown} {name}" if shown in {"1", "1.0"} else f"{shown} {name}s"
