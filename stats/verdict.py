"""The answer in plain words, and the sentence that carries its figures: the bound first, the estimate
after.
"""

from dataclasses import dataclass

from stats.design import Design
from stats.effect import Effect
from stats.gate import Gates
from stats.missing import MissingBounds
from stats.needed import units_for_rate, units_needed, units_until_ready
from stats.scale import plan_information
from stats.sequence import MIN_EFFECTIVE_UNITS
from stats.srm import Srm
from stats.words import NAMES, about, level, many, signed, usd

BETTER = "better"
WORSE = "worse"
NO_DIFFERENCE = "no difference shown"
NOT_YET = "cannot say yet"
BROKEN = "cannot say: assignment is broken"

PLANNING_EFFECT = 0.1
_AS_PLANNED = "Judged by the experiment's plan."
_OVERSTATED = "An estimate read when a bound has just been crossed is overstated: expect less."


@dataclass(frozen=True, slots=True)
class Verdict:
    """more_units: about how many more units "cannot say yet" would take; None where that is not known."""

    verdict: str
    reason: str
    more_units: int | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """An effect at the door (shares or USD), with the room that its missing outcomes leave."""

    effect: Effect
    missing: MissingBounds
    to_door: float
    share: float

    @property
    def shown_better(self) -> bool:
        return self.effect.low is not None and self.effect.low + self.missing.worst > 0.0

    @property
    def shown_worse(self) -> bool:
        return self.effect.high is not None and self.effect.high + self.missing.best < 0.0

    @property
    def hidden_by_missing(self) -> bool:
        """The interval leaves 0, the interval with the missing outcomes does not."""
        low, high = self.effect.low, self.effect.high
        leaves = (low is not None and low > 0.0) or (high is not None and high < 0.0)
        return leaves and not (self.shown_better or self.shown_worse)

    def shown_above(self, floor: float) -> bool:
        bound = self.effect.lower_one_sided
        return bound is not None and bound + self.missing.worst > floor


def verdict(design: Design, primary: Judged, pnl: Judged, fault: str | None, gated: Gates) -> Verdict:
    """Better needs both: the metric better, and net PnL per unit not worse. Worse needs one of them.

    fault: why the assignment is broken (see `broken`), or None. With named looks better is what their gate
    says, and never what the interval says between them.
    """
    if fault is not None:
        return Verdict(BROKEN, _sentence(fault))
    watched = _worse(design, primary, pnl) or _at_most_better(design, primary, pnl)
    return watched if gated.kind == "sequential" or watched.verdict == WORSE else _gated(watched, gated)


def broken(primary: Judged, pnl: Judged, srm: Srm, contaminated: str | None) -> str | None:
    """Why no number may be believed, or None. contaminated: why too many units had two arms, or None."""
    if srm.alarm:
        return _mismatch(srm)
    if contaminated is not None:
        return contaminated
    invalid = [each.effect.reason for each in (primary, pnl) if each.effect.status == "invalid_design"]
    return invalid[0] if invalid else None


def _gated(watched: Verdict, gated: Gates) -> Verdict:
    gate = gated.promote
    if gate.answer == "yes":
        return Verdict(BETTER, f"{_AS_PLANNED} {gate.sentence} {_OVERSTATED}")
    if gated.kind == "hybrid":
        return Verdict(NOT_YET, f"{_AS_PLANNED} {gate.sentence}") if watched.verdict == BETTER else watched
    if gate.answer == "no":
        return Verdict(NO_DIFFERENCE, f"{_AS_PLANNED} {gate.sentence}")
    return Verdict(NOT_YET, f"{_AS_PLANNED} {gate.sentence}", gate.more_units)


def _worse(design: Design, primary: Judged, pnl: Judged) -> Verdict | None:
    shown = [each.effect for each in (primary, pnl) if each.shown_worse]
    return Verdict(WORSE, f"{_below(design, shown[0])} {_OVERSTATED}") if shown else None


def _at_most_better(design: Design, primary: Judged, pnl: Judged) -> Verdict:
    if primary.effect.low is None:
        return _waiting(design, primary)
    if not primary.shown_better:
        return _open(design, primary)
    if design.metric == "pnl" or pnl.shown_above(-design.pnl_margin_usd):
        parts = [_above(design, primary.effect), *_money(design, pnl), _OVERSTATED]
        return Verdict(BETTER, " ".join(parts))
    return _money_open(design, primary, pnl)


def _mismatch(srm: Srm) -> str:
    return (
        f"units did not fall on the arms as the split says ({srm.rule}): find why"
        " units are lost or moved before reading any other number"
    )


def _above(design: Design, effect: Effect) -> str:
    return f"{_against(design, effect)} is at least {_say(effect, effect.low)} ({_interval(design, effect)})."


def _below(design: Design, effect: Effect) -> str:
    return f"{_against(design, effect)} is at most {_say(effect, effect.high)} ({_interval(design, effect)})."


def _against(design: Design, effect: Effect) -> str:
    return f"{design.treatment}'s {NAMES[effect.metric]} per {design.unit_name} against {design.control}'s"


def _interval(design: Design, effect: Effect) -> str:
    return (
        f"{level(design.alpha)} interval {_say(effect, effect.low)} to {_say(effect, effect.high)}, estimate"
        f" {_say(effect, effect.estimate)}, valid at any look"
    )


def _say(effect: Effect, value: float | None) -> str:
    return "unknown" if value is None else signed(effect.metric, value)


def _money(design: Design, pnl: Judged) -> list[str]:
    if design.metric == "pnl":
        return []
    bound = _say(pnl.effect, pnl.effect.lower_one_sided)
    return [f"Net PnL per {design.unit_name} is not worse{_by_margin(design)}: at least {bound} (one-sided)."]


def _by_margin(design: Design) -> str:
    """What not worse means, where it does not mean 0."""
    return f" by ${usd(design.pnl_margin_usd)} or more" if design.pnl_margin_usd else ""


def _waiting(design: Design, judged: Judged) -> Verdict:
    effect, name = judged.effect, design.counted
    if effect.status != "not_ready":
        return Verdict(NOT_YET, _sentence(effect.reason))
    paces = _paces(judged)
    if None in paces:
        return Verdict(
            NOT_YET, f"{_sentence(effect.reason)} How many more {name}s that takes cannot be said."
        )
    more = max(pace for pace in paces if pace is not None)
    if more == 0:
        return Verdict(NOT_YET, _sentence(effect.reason))
    wanted = f"{about(more, 'more ' + name)} with an outcome, at the present split"
    parts = [_sentence(effect.reason), f"It takes about {wanted}"]
    whole = None if design.metric == "pnl" else _to_show(design, judged)
    if whole is not None and whole > more:
        return Verdict(
            NOT_YET,
            f"{parts[0]} {parts[1]}; showing a difference of 10 points, about {about(whole, name)}.",
            whole,
        )
    return Verdict(NOT_YET, f"{parts[0]} {parts[1]}.", more)


def _paces(judged: Judged) -> tuple[int | None, int | None]:
    """More units of the pair until the treatment, and until the control, has enough for an interval."""
    effect, look = judged.effect, judged.effect.look
    sizes, target = (0.0, 0.0), MIN_EFFECTIVE_UNITS
    if look is not None:
        sizes = (look.treatment.effective_units, look.control.effective_units)
        target = look.needed if effect.metric == "pnl" and look.ready and look.error > 0.0 else target
    return (
        units_until_ready(sizes[0], effect.units, judged.share, target),
        units_until_ready(sizes[1], effect.units, 1.0 - judged.share, target),
    )


def _to_show(design: Design, judged: Judged) -> int | None:
    whole = units_for_rate(PLANNING_EFFECT, judged.share, design.v_plan_units, design.alpha)
    return None if whole is None else max(0, whole - judged.effect.units)


def _open(design: Design, judged: Judged) -> Verdict:
    effect = judged.effect
    seen = f"The lower bound is {_say(effect, effect.low)} ({_interval(design, effect)})"
    if judged.hidden_by_missing:
        return Verdict(NOT_YET, f"{seen}, but {_hidden(judged)}, so 0 is inside: find them.")
    seen = f"{seen}: 0 is inside."
    if effect.look is not None and effect.look.information >= plan_information(design.v_plan_units):
        planned = many(design.v_plan_units, design.counted)
        return Verdict(NO_DIFFERENCE, f"{seen} The planned evidence, {planned} at an even split, is in.")
    return _with_more(design, judged, effect.estimate or 0.0, seen)


def _hidden(judged: Judged) -> str:
    """Where the bound that leaves 0 would lie if the missing outcomes spoke against it."""
    effect, missing = judged.effect, judged.missing
    if effect.low is not None and effect.low > 0.0:
        return f"with the missing outcomes at their worst it is {_say(effect, effect.low + missing.worst)}"
    high = None if effect.high is None else effect.high + missing.best
    return f"with the missing outcomes at their best the upper bound is {_say(effect, high)}"


def _money_open(design: Design, primary: Judged, pnl: Judged) -> Verdict:
    seen = _above(design, primary.effect)
    if pnl.effect.low is None:
        return Verdict(NOT_YET, f"{seen} But net PnL cannot be judged yet: {_sentence(pnl.effect.reason)}")
    bound = _say(pnl.effect, pnl.effect.lower_one_sided)
    could = f"net PnL per {design.unit_name} could be worse{_by_margin(design)}"
    text = f"{seen} But {could}: its lower bound is {bound}."
    return _with_more(design, pnl, max(0.0, (pnl.effect.estimate or 0.0) + design.pnl_margin_usd), text)


def _with_more(design: Design, judged: Judged, target: float, seen: str) -> Verdict:
    look, rho = judged.effect.look, judged.effect.rho
    more = None
    if look is not None and rho is not None:
        seen_so_far = (judged.effect.units, look.information, look.variance, rho)
        more = units_needed(target / judged.to_door, *seen_so_far, design.alpha)
    if not more:
        return Verdict(NOT_YET, f"{seen} How many more it takes cannot be said from a difference this small.")
    name = about(more, "more " + design.counted)
    return Verdict(
        NOT_YET, f"{seen} About {name} would show the difference seen, if it is the true one.", more
    )


def _sentence(text: str) -> str:
    return f"{text}."
