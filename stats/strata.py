"""Win rates compared within each stage of the split and then put together. One look, independent trials.

Pooling the stages' counts first compares different weeks (Simpson 1951); each of these compares like with
like, with other weights. A stage without trials in either arm says nothing and is left out.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stats.comparison import Comparison, by_normal, check_alpha, not_ready, refused
from stats.errors import DesignError
from stats.special import chi_square_sf
from stats.two_by_two import TwoByTwo

_NOTHING = "no stage has trials in both arms"


def mantel_haenszel(stages: Sequence[TwoByTwo], alpha: float = 0.05) -> Comparison:
    """Difference weighted by n1 n0 / N (Greenland and Robins 1985), with Sato's error (1989): right for many
    small stages as for few large ones.
    """
    return _pooled(stages, alpha, _mantel_haenszel)


def inverse_variance(stages: Sequence[TwoByTwo], alpha: float = 0.05) -> Comparison:
    """Weighted by 1 / Wald's variance; degenerate when a stage has none."""
    return _pooled(stages, alpha, _inverse_variance)


def post_stratified(stages: Sequence[TwoByTwo], alpha: float = 0.05) -> Comparison:
    """Weighted by the stage's size: the effect on all who came, at the price of a wide interval."""
    return _pooled(stages, alpha, _post_stratified)


def cochran_mantel_haenszel(stages: Sequence[TwoByTwo]) -> float | None:
    """p of "no difference in any stage" (Mantel and Haenszel 1959, no continuity correction); None where
    there is nothing to judge.
    """
    read = _readable(stages)
    if isinstance(read, Comparison):
        return None
    excess = math.fsum(_weight(stage) * stage.difference for stage in read)
    variance = math.fsum(_hypergeometric(stage) for stage in read)
    return chi_square_sf(excess**2 / variance, 1) if variance > 0.0 else None


def odds_ratio(stages: Sequence[TwoByTwo]) -> float | None:
    """Mantel and Haenszel's common odds ratio; None where it divides by 0."""
    top = math.fsum(
        stage.wins_1 * (stage.trials_0 - stage.wins_0) / stage.units for stage in stages if stage.units
    )
    low = math.fsum(
        stage.wins_0 * (stage.trials_1 - stage.wins_1) / stage.units for stage in stages if stage.units
    )
    return top / low if low > 0.0 else None


def risk_ratio(stages: Sequence[TwoByTwo]) -> float | None:
    """Mantel and Haenszel's common ratio of the rates; None where it divides by 0."""
    top = math.fsum(stage.wins_1 * stage.trials_0 / stage.units for stage in stages if stage.units)
    low = math.fsum(stage.wins_0 * stage.trials_1 / stage.units for stage in stages if stage.units)
    return top / low if low > 0.0 else None


@dataclass(frozen=True, slots=True)
class OverlapScore:
    """tau = sum (A - e)(Y - centre) / sum e(1-e). variance: sum (A - e)^2 (Y - centre)^2, of its numerator.

    tau is None without information.
    """

    tau: float | None
    variance: float


def overlap_score(stages: Sequence[TwoByTwo], shares: Sequence[float], centre: float) -> OverlapScore:
    """By the planned share e of each stage instead of the counts that came; trials are units."""
    if len(stages) != len(shares) or not all(0.0 <= share <= 1.0 for share in shares):
        raise DesignError("shares needs one planned share of the treatment, in [0, 1], per stage")
    pairs = list(zip(stages, shares, strict=True))
    information = math.fsum(e * (1.0 - e) * stage.units for stage, e in pairs)
    total = math.fsum(
        (1.0 - e) * (stage.wins_1 - centre * stage.trials_1) - e * (stage.wins_0 - centre * stage.trials_0)
        for stage, e in pairs
    )
    variance = math.fsum(
        (1.0 - e) ** 2 * _squares(stage.wins_1, stage.trials_1, centre)
        + e**2 * _squares(stage.wins_0, stage.trials_0, centre)
        for stage, e in pairs
    )
    return OverlapScore(total / information if information > 0.0 else None, variance)


_Weighing = Callable[[list[TwoByTwo]], tuple[float, float]]


def _pooled(stages: Sequence[TwoByTwo], alpha: float, weighing: _Weighing) -> Comparison:
    """`weighing` gives (estimate, variance)."""
    check_alpha(alpha)
    read = _readable(stages)
    if isinstance(read, Comparison):
        return read
    estimate, variance = weighing(read)
    return by_normal(estimate, math.sqrt(max(0.0, variance)), alpha)


def _mantel_haenszel(stages: list[TwoByTwo]) -> tuple[float, float]:
    whole = math.fsum(_weight(stage) for stage in stages)
    estimate = math.fsum(_weight(stage) * stage.difference for stage in stages) / whole
    tilt = math.fsum(_sato_p(stage) for stage in stages)
    spread = math.fsum(_sato_q(stage) for stage in stages)
    return estimate, (estimate * tilt + spread) / whole**2


def _inverse_variance(stages: list[TwoByTwo]) -> tuple[float, float]:
    variances = [_wald_variance(stage) for stage in stages]
    if min(variances) <= 0.0:
        return stages[0].difference if len(stages) == 1 else _mantel_haenszel(stages)[0], 0.0
    whole = math.fsum(1.0 / variance for variance in variances)
    estimate = math.fsum(stage.difference / var for stage, var in zip(stages, variances, strict=True)) / whole
    return estimate, 1.0 / whole


def _post_stratified(stages: list[TwoByTwo]) -> tuple[float, float]:
    whole = sum(stage.units for stage in stages)
    estimate = math.fsum(stage.units * stage.difference for stage in stages) / whole
    return estimate, math.fsum(stage.units**2 * _wald_variance(stage) for stage in stages) / whole**2


def _readable(stages: Sequence[TwoByTwo]) -> list[TwoByTwo] | Comparison:
    """The stages with trials in both arms, or why none can be read."""
    read = [stage for stage in stages if stage.trials_1 and stage.trials_0]
    if not read:
        return not_ready(_NOTHING)
    if max(stage.largest_cluster for stage in read) > 1:
        return refused("trials share coins: compare clustered by unit within the stages")
    return read


def _weight(stage: TwoByTwo) -> float:
    return stage.trials_1 * stage.trials_0 / stage.units


def _wald_variance(stage: TwoByTwo) -> float:
    rate_1, rate_0 = stage.rates
    return rate_1 * (1.0 - rate_1) / stage.trials_1 + rate_0 * (1.0 - rate_0) / stage.trials_0


def _hypergeometric(stage: TwoByTwo) -> float:
    """Variance of the treatment's wins, given all margins."""
    wins = stage.wins_1 + stage.wins_0
    if stage.units < 2:
        return 0.0
    return _weight(stage) * wins * (stage.units - wins) / (stage.units * (stage.units - 1))


def _sato_p(stage: TwoByTwo) -> float:
    n1, n0 = stage.trials_1, stage.trials_0
    return (n1**2 * stage.wins_0 - n0**2 * stage.wins_1 + n1 * n0 * (n0 - n1) / 2.0) / stage.units**2


def _sato_q(stage: TwoByTwo) -> float:
    lost_1, lost_0 = stage.trials_1 - stage.wins_1, stage.trials_0 - stage.wins_0
    return (stage.wins_1 * lost_0 + stage.wins_0 * lost_1) / (2.0 * stage.units)


def _squares(wins: int, trials: int, centre: float) -> float:
    return wins * (1.0 - centre) ** 2 + (trials - wins) * centre**2
