"""What paper says of a rollout's treatment: the evidence of its shadow, at the level that the plan gives it.

Paper may open the first stage and shorten stages below half; it never carries an arm beyond (`rollout`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from arms.fills import MICRO
from router.evidence import Bound
from router.report_rows import Rows
from router.report_shadow import calibration_of, plan_clusters_of, void_doubt
from router.rollout_plan import Plan
from router.shadow_units import Pairs, pairs_of
from stats.paired import paired, paired_low
from store import shadow_settings
from store.records import ShadowSetting
from store.shadow_units import ShadowUnits, read_shadow_units

_CHANGED = (
    "the shadow was switched anew since the rollout began, and a second paper is not a second chance:"
    " `abctl rollout abort`, and start another one"
)
LEAST_WINDOWS = 100
"""Before money moves: of a treatment that buys what is nearly sure a few windows show no loss yet."""
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Papers:
    """Of units that give a pair, float64[n] in USD: shadow less served, and live less paper of the served
    arm; int64[n]: the window of each. void: units that should have given one.
    """

    differences: Floats
    live_less_paper: Floats
    window: NDArray[np.int64]
    void: int = 0

    @classmethod
    def of(cls, pairs: Pairs) -> "Papers":
        """From what SQL held."""
        void = sum(pairs.void.values())
        return cls(pairs.paper_usd, pairs.live_less_paper_usd, pairs.window, void)


@dataclass(frozen=True, slots=True)
class Terms:
    """plan_clusters: where the bound is tightest. margin_usd: how far live may lie from paper. alpha: of the
    question whether it does.
    """

    plan_clusters: float
    margin_usd: float
    alpha: float


def shadow_of(
    connection: Connection, rows: Rows, plan: Plan, treatment: str, begun_us: int
) -> Bound | msgspec.UnsetType:
    """As SQL had it at the moment of the rows; UNSET where the plan does not ask. begun_us: the rollout's
    start.
    """
    if plan.shadow is msgspec.UNSET:
        return msgspec.UNSET
    experiment, at_us = rows.found.experiment, rows.judged.now_us
    every = tuple(s for s in shadow_settings.every(connection, experiment.key) if s.since_us <= at_us)
    setting = its_setting(every, treatment, begun_us)
    if setting is None or every[-1].arm != treatment:
        reason = f"a minute ago {treatment} decided nothing on paper: `abctl split shadow {treatment}`"
        return Bound(status="not_ready", reason=reason)
    if setting != every[-1]:
        return Bound(status="not_ready", reason=_CHANGED)
    units = _since(read_shadow_units(connection, setting), begun_us)
    pairs = pairs_of(experiment, setting, units, rows.judged.fill, at_us)
    terms = Terms(plan_clusters_of(experiment), setting.margin_micro / MICRO, experiment.alpha)
    return shadow_bound(Papers.of(pairs), terms, plan.alpha.shadow)


def _since(found: ShadowUnits, begun_us: int) -> ShadowUnits:
    """Units of the rollout's own time: it begins at a moment of somebody's choice."""
    return replace(found, units=[unit for unit in found.units if unit["first_at_us"] >= begun_us])


def its_setting(every: Sequence[ShadowSetting], treatment: str, begun_us: int) -> ShadowSetting | None:
    """The one setting that a rollout's paper is judged under: in force when it began, else the first one
    after. A bound that began anew with each setting would come true of an equal arm in the end.
    """
    before = [setting for setting in every if setting.since_us <= begun_us]
    after = [setting for setting in every if setting.since_us > begun_us]
    return next((setting for setting in (*before[-1:], *after) if setting.arm == treatment), None)


def shadow_bound(papers: Papers, terms: Terms, level: float) -> Bound:
    """low: one-sided at `level`; only where live surely lies within its margin of paper."""
    found = paired_low(papers.differences, papers.window, terms.plan_clusters, level)
    if found.status != "ok":
        return Bound(status=found.status, reason=found.reason, estimate=found.estimate)
    is_few = found.clusters < LEAST_WINDOWS
    few = f"{found.clusters} of at least {LEAST_WINDOWS} windows" if is_few else ""
    doubt = few or void_doubt(len(papers.window), papers.void)
    if doubt:
        return Bound(status="not_ready", reason=doubt, estimate=found.estimate)
    gap = paired(papers.live_less_paper, papers.window, terms.plan_clusters, terms.alpha)
    calibration = calibration_of(gap, terms.margin_usd)
    if calibration["status"] != "ok":
        return Bound(status="not_ready", reason=calibration["reason"], estimate=found.estimate)
    return Bound(status="ok", estimate=found.estimate, low=found.low)
