"""Promotion at named looks only, or at named looks and at any time between them.

At a named look the bound from below is Jennison and Turnbull's (1989) repeated one, estimate - t se, with the
critical value of Lan and DeMets' spending read as a t on Satterthwaite's degrees of freedom (1946): the
variance of few units is itself estimated. All named looks together err with alpha at most. Between them
nothing can be said by a plan; a hybrid keeps a part of alpha for the sequence, by the union bound.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from stats.design import Design
from stats.effect import Pair, enough, path_of
from stats.gate import (
    Asked,
    Gate,
    GateBound,
    NamedLook,
    above_limit,
    all_of,
    bound_from_below,
    closed,
    promotion,
    promotion_bounds,
    said_from_below,
)
from stats.group_sequential import in_student_t
from stats.hybrid import NAMED_SHARE
from stats.planned_looks import Ahead, TakenLook, boundaries_of, next_look, taken_looks
from stats.scores import Scores
from stats.sequence import Look
from stats.words import about, level, many, utc

_EARLY = "so early a look may spend next to no error"


@dataclass(frozen=True, slots=True)
class Planned:
    """A metric at the named looks: what it is asked, its scores, and how they are judged."""

    asked: Asked
    scores: Scores
    pair: Pair


def planned_gate(
    design: Design, metrics: Sequence[Planned], closed_rows: int | None, share: float
) -> tuple[Gate, tuple[NamedLook, ...]]:
    """closed_rows: how many of the scores had matured by the deadline; None while it is ahead. share: that
    the pair's units go to the treatment by, now.
    """
    scores = metrics[0].scores
    taken = taken_looks(design, scores, closed_rows)
    named = named_looks(design, metrics, taken, design.alpha)
    ahead = next_look(design, scores, taken, closed_rows)
    return _gate(design, named, ahead, share), named


def hybrid_gate(
    design: Design, metrics: Sequence[Planned], closed_rows: int | None
) -> tuple[Gate, tuple[NamedLook, ...]]:
    """Yes at a named look, or by the sequence at this moment."""
    taken = taken_looks(design, metrics[0].scores, closed_rows)
    named = named_looks(design, metrics, taken, NAMED_SHARE * design.alpha)
    rest = (1.0 - NAMED_SHARE) * design.alpha
    anytime = promotion(promotion_bounds([one.asked for one in metrics], rest), rest, design.unit_name)
    passed = _first_passed(named)
    if passed is None:
        return replace(anytime, level=design.alpha), named
    return replace(_passed(design, named, passed), level=design.alpha), named


def named_looks(
    design: Design, metrics: Sequence[Planned], taken: Sequence[TakenLook], alpha: float
) -> tuple[NamedLook, ...]:
    """What each taken look said, at alpha over all of them, of each metric."""
    if not taken:
        return ()
    limits = boundaries_of(taken, alpha)
    rows = zip(taken, limits.critical, limits.spent, strict=True)
    found = []
    for look, critical, spent in rows:
        bounds = tuple(_bound(one, look, critical, alpha) for one in metrics)
        found.append(
            NamedLook(
                planned=look.planned,
                fraction=look.fraction,
                units=look.units,
                critical=critical if math.isfinite(critical) else None,
                spent=spent,
                answer=all_of(map(above_limit, bounds)),
                bounds=bounds,
            )
        )
    return tuple(found)


def _bound(planned: Planned, taken: TakenLook, critical: float, alpha: float) -> GateBound:
    asked, pair = planned.asked, planned.pair
    if asked.effect.status == "invalid_design":
        return bound_from_below(asked, None, alpha, None)
    look = path_of(planned.scores.first(taken.rows), pair)[-1]
    reason = _unready(look, pair, critical)
    if reason is not None:
        untold = replace(asked.effect, status="not_ready", reason=reason)
        return bound_from_below(replace(asked, effect=untold), None, alpha, None)
    found = look.effect - in_student_t(critical, look.error_df) * look.error
    told = replace(asked.effect, status="ok", reason=f"{taken.units} units; valid at the named looks")
    return bound_from_below(replace(asked, effect=told), found, alpha, None)


def _unready(look: Look, pair: Pair, critical: float) -> str | None:
    if not (look.has_both and look.ready):
        return "fewer than 20 effective units in an arm at this look"
    if not look.error > 0.0:
        return "no variation to judge by at this look"
    if not enough(look, pair.metric):
        return f"the PnL was too skewed at this look (skewness {look.skewness:.1f})"
    return None if math.isfinite(critical) else _EARLY


def _gate(design: Design, named: tuple[NamedLook, ...], ahead: Ahead | None, share: float) -> Gate:
    passed = _first_passed(named)
    if passed is not None:
        return _passed(design, named, passed)
    if ahead is None:
        return _over(design, named)
    reason = _before(design, ahead)
    if named:
        at = f"at look {len(named)} of {len(design.looks)} ({_held(design, named[-1])})"
        told = said_from_below(named[-1].bounds, design.unit_name)
        reason = f"{at} it was not shown: {told}. Between named looks nothing can be said; {reason}"
    more = _units(ahead, share)
    if more is not None:
        reason += f", {about(more, 'more ' + design.unit_name)} from now"
    gate = closed(reason, design.alpha)
    return replace(gate, bounds=named[-1].bounds if named else (), more_units=more)


def _over(design: Design, named: tuple[NamedLook, ...]) -> Gate:
    if not named:
        return closed("the plan's deadline passed before its first look", design.alpha)
    last = named[-1]
    told = said_from_below(last.bounds, design.unit_name)
    begun = "Not shown" if last.answer == "no" else "Cannot say"
    sentence = f"{begun} at the last of the named looks ({_held(design, last)}): {told}. The plan is over."
    return Gate(answer=last.answer, sentence=sentence, level=design.alpha, bounds=last.bounds)


def _passed(design: Design, named: tuple[NamedLook, ...], place: int) -> Gate:
    look = named[place]
    where = f"at named look {place + 1} of {len(design.looks)} ({_held(design, look)})"
    told = said_from_below(look.bounds, design.unit_name)
    sentence = f"Yes, {where}: {told} ({level(look.bounds[0].level)} one-sided, over all named looks)."
    return Gate(answer="yes", sentence=sentence, level=design.alpha, bounds=look.bounds)


def _first_passed(named: tuple[NamedLook, ...]) -> int | None:
    return next((place for place, look in enumerate(named) if look.answer == "yes"), None)


def _held(design: Design, look: NamedLook) -> str:
    return f"{100.0 * look.fraction:.0f}% of the plan, {many(look.units, design.unit_name)}"


def _before(design: Design, ahead: Ahead) -> str:
    planned = many(design.v_plan_units, design.unit_name)
    text = (
        f"the next named look is at {100.0 * ahead.planned:g}% of what {planned} at an even split would say"
    )
    return text if design.until_us is None else f"{text}, and the last one by {utc(design.until_us)}"


def _units(ahead: Ahead, share: float) -> int | None:
    each = share * (1.0 - share)
    return math.ceil(ahead.information / each) if each > 0.0 else None
