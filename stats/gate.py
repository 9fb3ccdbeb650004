"""Gates: may the treatment take all units, must it lose them? One-sided bounds, each with a rho of its own.

Promotion asks every metric to be not worse than its limit, at level a_p each: an intersection-union test
needs no correction (Berger 1982). Rollback asks any of G metrics to be worse, at a_r / G each (Bonferroni).
Both bounds are the half-normal mixture (Robbins 1970; Howard et al. 2021) and hold at every look together;
promotion's is tightest at 0.6 of the planned variance, rollback's at 0.15, to see harm early.

A gate is answered in three values: what cannot be said is neither yes nor no.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from stats.conditions import Condition
from stats.effect import Effect, bounds_one_sided
from stats.missing import MissingBounds
from stats.plan import GateKind
from stats.scale import PROMOTION_SHARE, ROLLBACK_SHARE, gate_rho
from stats.sequence import Look
from stats.status import Answer, Metric, Status
from stats.words import NAMES, level, signed


@dataclass(frozen=True, slots=True, kw_only=True)
class GateBound:
    """A one-sided bound at the door (a share, or USD a unit): from below for promotion, above for rollback.

    limit: what it has to pass. missing: how far the missing outcomes could shift it against the gate. level:
    its error. tuned_share: of the planned variance, where it is tightest; None of a planned look. bound is
    None where status is not ok.
    """

    metric: Metric
    status: Status
    reason: str
    bound: float | None
    limit: float
    missing: float
    level: float
    tuned_share: float | None

    @property
    def shifted(self) -> float | None:
        """Where the bound is if the missing outcomes speak against the gate."""
        return None if self.bound is None else self.bound + self.missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """level: the chance of a false yes, over all metrics and looks. more_units: about how many until it can
    be asked again; None where that is not known, or it can be asked now.
    """

    answer: Answer
    sentence: str
    level: float
    bounds: tuple[GateBound, ...]
    more_units: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedLook:
    """planned: at which share of the plan; fraction: what was held when it came; units: those it saw.

    critical: the z to reach, None while next to nothing may be spent. spent: error up to and with it, of each
    metric.
    """

    planned: float
    fraction: float
    units: int
    critical: float | None
    spent: float
    answer: Answer
    bounds: tuple[GateBound, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gates:
    """kind: how promotion is decided; rollback is watched by the sequence whatever the kind. conditions: what
    promotion asks beside its bounds; may_promote: both together.
    """

    kind: GateKind
    promote: Gate
    rollback: Gate
    looks: tuple[NamedLook, ...] = ()
    conditions: tuple[Condition, ...] = ()
    may_promote: Answer = "cannot say"


@dataclass(frozen=True, slots=True)
class Asked:
    """An effect at the door, with what its gates need. limit: promotion's, 0 or below, at the door.

    v_plan: planned variance, on the scale of the effect's look; None while the scale of money is unknown.
    """

    effect: Effect
    missing: MissingBounds
    to_door: float
    limit: float
    v_plan: float | None


def lower_bound(look: Look, metric: Metric, v_plan: float, share: float, alpha: float) -> float:
    """What the effect is above with 1 - alpha at all looks together, tightest at `share` of the plan; in the
    unit of the scores; of a look that is `enough`.
    """
    return bounds_one_sided(look, metric, gate_rho(v_plan, share, alpha), alpha)[0]


def upper_bound(look: Look, metric: Metric, v_plan: float, share: float, alpha: float) -> float:
    """What the effect is below, as `lower_bound`."""
    return bounds_one_sided(look, metric, gate_rho(v_plan, share, alpha), alpha)[1]


def promotion_bounds(asked: Sequence[Asked], alpha: float) -> tuple[GateBound, ...]:
    """By the sequence, at this moment; alpha: of each metric."""
    return tuple(bound_from_below(one, _sequential(one, lower_bound, alpha), alpha) for one in asked)


def bound_from_below(
    asked: Asked, found: float | None, alpha: float, tuned_share: float | None = PROMOTION_SHARE
) -> GateBound:
    """found: in the unit of the scores; None where the effect's status is not ok."""
    return GateBound(
        metric=asked.effect.metric,
        status=asked.effect.status,
        reason=asked.effect.reason,
        bound=None if found is None else found * asked.to_door,
        limit=asked.limit,
        missing=asked.missing.worst,
        level=alpha,
        tuned_share=tuned_share,
    )


def bound_from_above(asked: Asked, found: float | None, alpha: float) -> GateBound:
    """As `bound_from_below`; harm is below 0."""
    return GateBound(
        metric=asked.effect.metric,
        status=asked.effect.status,
        reason=asked.effect.reason,
        bound=None if found is None else found * asked.to_door,
        limit=0.0,
        missing=asked.missing.best,
        level=alpha,
        tuned_share=ROLLBACK_SHARE,
    )


_Bounding = Callable[[Look, Metric, float, float, float], float]


def _sequential(asked: Asked, bounding: _Bounding, alpha: float) -> float | None:
    effect, v_plan = asked.effect, asked.v_plan
    if effect.status != "ok" or effect.look is None or v_plan is None:
        return None
    share = PROMOTION_SHARE if bounding is lower_bound else ROLLBACK_SHARE
    return bounding(effect.look, effect.metric, v_plan, share, alpha)


def promotion(bounds: tuple[GateBound, ...], alpha: float, unit_name: str) -> Gate:
    """By bounds of one moment, at level alpha each."""
    answer = all_of(map(above_limit, bounds))
    begun = {"yes": "Yes", "no": "Not shown", "cannot say": "Cannot say"}[answer]
    sentence = f"{begun}: {said_from_below(bounds, unit_name)} ({level(alpha)} one-sided, at any look)."
    return Gate(answer=answer, sentence=sentence, level=alpha, bounds=bounds)


def rollback(asked: Sequence[Asked], alpha: float, unit_name: str) -> Gate:
    """alpha: in all, over the metrics."""
    each = alpha / len(asked)
    bounds = tuple(bound_from_above(one, _sequential(one, upper_bound, each), each) for one in asked)
    answer = any_of(map(below_limit, bounds))
    begun = {"yes": "Yes, harm is shown", "no": "No harm is shown", "cannot say": "Cannot say"}[answer]
    told = "; ".join(_said(bound, "at most", unit_name) for bound in bounds)
    apart = " each" if len(bounds) > 1 else ""
    sentence = f"{begun}: {told} ({level(each)} one-sided{apart}, at any look)."
    return Gate(answer=answer, sentence=sentence, level=alpha, bounds=bounds)


def closed(reason: str, alpha: float) -> Gate:
    """A gate of which nothing can be said."""
    return Gate(answer="cannot say", sentence=f"Cannot say: {reason}.", level=alpha, bounds=())


def above_limit(bound: GateBound) -> Answer:
    if bound.shifted is None:
        return "cannot say"
    return "yes" if bound.shifted > bound.limit else "no"


def below_limit(bound: GateBound) -> Answer:
    if bound.shifted is None:
        return "cannot say"
    return "yes" if bound.shifted < bound.limit else "no"


def all_of(answers: Iterable[Answer]) -> Answer:
    """No if one is no, yes if each is yes (Kleene's strong logic)."""
    given = set(answers)
    return "no" if "no" in given else "cannot say" if "cannot say" in given else "yes"


def any_of(answers: Iterable[Answer]) -> Answer:
    """Yes if one is yes, no if each is no."""
    given = set(answers)
    return "yes" if "yes" in given else "cannot say" if "cannot say" in given else "no"


def said_from_below(bounds: Sequence[GateBound], unit_name: str) -> str:
    """What was found and what had to be; of a bound that cannot be said, why."""
    return "; ".join(f"{_said(bound, 'at least', unit_name)}{_wanted(bound)}" for bound in bounds)


def _said(bound: GateBound, side: str, unit_name: str) -> str:
    what = f"{NAMES[bound.metric]} per {unit_name}"
    if bound.bound is None or bound.shifted is None:
        return f"{what}: {bound.reason}"
    text = f"{what} {side} {signed(bound.metric, bound.bound)}"
    if not bound.missing:
        return text
    return f"{text} ({signed(bound.metric, bound.shifted)} if the missing outcomes speak against it)"


def _wanted(bound: GateBound) -> str:
    if bound.bound is None:
        return ""
    return f", must be above {signed(bound.metric, bound.limit) if bound.limit else '0'}"
