"""Deals the arms of an experiment's own log anew, many times: do the methods keep their error rates here?"""

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from sqlalchemy import Connection

from router.before import known_before
from router.question import Question
from router.report_rows import rows_of
from router.report_shape import design_of
from router.splits import rfc3339
from stats.design import Design
from stats.effect import Pair, effect
from stats.metric_effect import pair_of
from stats.permuted import METHODS, Log, calls, dealt, even_looks, planted, rate_of
from stats.scores import Scores, pair_rows, pair_scores, to_door
from stats.status import Metric
from stats.units import Units
from store.records import Fill

SCHEMA = "abctl.aa/1"
FEWEST_DAYS, EVEN_LOOKS = 10, 20
_LIFT, _LIFT_IN_SD = 0.05, 0.1
Shape = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """deals: how many. lift: planted in as many more; None takes 5 points of a rate, or a tenth of a unit's
    standard deviation of money. looks: None looks daily, or 20 times where there are fewer than 10 days.
    """

    key: str
    deals: int
    metric: Metric | None = None
    fill: Fill | None = None
    lift: float | None = None
    looks: int | None = None


def proved(
    connection: Connection,
    proof: Proof,
    now_us: int,
    generator: np.random.Generator,
    tell: Callable[[int], None] = lambda _deals: None,
) -> Shape:
    """The rates in their JSON shape (docs/aa.md). `status` is "cannot_say" where the log cannot be judged."""
    rows = rows_of(connection, Question(key=proof.key, fill=proof.fill), now_us)
    design, units = design_of(rows.found), rows.judged.units
    metric = proof.metric or design.metric
    log, how = _log(design, units, metric, proof.looks)
    pair = pair_of(design, metric, log.scores, known_before(design, rows.found, rows.judged))
    judged = effect(log.scores, pair)
    lift = _lift(proof.lift, log.scores, metric)
    head = {
        "schema": SCHEMA,
        "experiment": proof.key,
        "as_of": rfc3339(now_us),
        "fill": rows.judged.fill,
        "metric": metric,
        "alpha": design.alpha,
        "units": judged.units,
        "looks": len(np.unique(log.scores.day)),
        "looked": how,
        "deals": proof.deals,
        "lift": lift * to_door(metric),
    }
    if judged.status != "ok":
        nobody = {"no_difference": None, "planted": None}
        return head | {"status": "cannot_say", "reason": judged.reason} | nobody
    nothing, found = _counted(log, pair, proof.deals, lift, generator, tell)
    return head | {
        "status": "ok",
        "reason": "",
        "no_difference": _rates(nothing, proof.deals),
        "planted": _rates(found, proof.deals),
    }


def _log(design: Design, units: Units, metric: Metric, wanted: int | None) -> tuple[Log, str]:
    scores = pair_scores(units, *design.pair, metric)
    own = units.take(pair_rows(units, *design.pair))
    _, stratum = np.unique(np.column_stack([own.stage, scores.e]), axis=0, return_inverse=True)
    days = len(np.unique(scores.day))
    looks = wanted or (None if days >= FEWEST_DAYS else EVEN_LOOKS)
    how = "at the end of each day"
    if looks is not None:
        scores = replace(scores, day=even_looks(len(scores.e), looks))
        how = f"{looks} times, after as many units each"
    return Log(scores, stratum.reshape(-1).astype(np.int64), own.trades, own.trade_wins), how


def _lift(asked: float | None, scores: Scores, metric: Metric) -> float:
    if asked is not None:
        return asked / to_door(metric)
    if metric != "pnl":
        return _LIFT
    return _LIFT_IN_SD * float(np.std(scores.sums)) if len(scores.sums) else 0.0


def _counted(
    log: Log,
    pair: Pair,
    deals: int,
    lift: float,
    generator: np.random.Generator,
    tell: Callable[[int], None],
) -> tuple[Counter[str], Counter[str]]:
    """How often each method called, by "method ever" and "method last": nothing planted, and lift planted."""
    nothing, found = Counter[str](), Counter[str]()
    for number in range(1, deals + 1):
        fresh = dealt(log, generator)
        for counter, one in ((nothing, fresh), (found, planted(fresh, pair.metric, lift, generator))):
            for method, call in calls(one, pair).items():
                counter[f"{method} ever"] += call.ever
                counter[f"{method} last"] += call.last
        tell(number)
    return nothing, found


def _rates(counted: Counter[str], deals: int) -> Shape:
    return {
        method: {when: asdict(rate_of(counted[f"{method} {when}"], deals)) for when in ("ever", "last")}
        for method in METHODS
    }
