"""Sample ratio mismatch: did the coin fall as the split said? Judged within each stage, never across.

Per stage a chi-square p (one look) and a Dirichlet-multinomial e-value (Lindon and Malek, NeurIPS 2022:
valid under peeking); over the stages the e-values multiply. Pooled counts against the current split would
be a sure false alarm.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stats.boundary import e_from_log, p_from_log_e
from stats.special import chi_square_sf
from stats.units import Stage

ALARM_E = 1000.0
ALARM_P = 0.01
CONCENTRATION = 100.0
LEAST_EXPECTED = 5.0
"""Units in an arm below which Pearson's chi-square errs (Cochran, Biometrics 10, 1954)."""
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Srm:
    """p = min(1, 1/E), alarm at E >= 1000; of a log that is looked at once p is the chi-square's, alarm below
    0.01. rule: which of them, with its number. impossible: units in an arm whose share was 0 (no e-value).
    """

    p: float
    e_value: float
    alarm: bool
    impossible: int
    rule: str


def srm(stages: Sequence[Stage], concentration: float = CONCENTRATION) -> Srm:
    """However often it is looked at."""
    total = sum(log_e(stage.counts, stage.weights, concentration) for stage in stages)
    e_value, alarm = e_from_log(total), total >= math.log(ALARM_E)
    rule = f"E = {e_value:.3g}, alarm at {ALARM_E:,.0f}"
    return Srm(p_from_log_e(total), e_value, alarm, _strays(stages), rule)


def srm_once(stages: Sequence[Stage], concentration: float = CONCENTRATION) -> Srm:
    """Of a log that was whole before anybody looked: one look, by chi-square added up over the stages."""
    total = sum(log_e(stage.counts, stage.weights, concentration) for stage in stages)
    p = _at_one_look(stages).p
    said = "nothing to judge" if p is None else f"p = {p:.2g}"
    rule = f"chi-square at one look, {said}, alarm below {ALARM_P:g}"
    alarm = p is not None and p < ALARM_P
    return Srm(1.0 if p is None else p, e_from_log(total), alarm, _strays(stages), rule)


def _strays(stages: Sequence[Stage]) -> int:
    return sum(impossible(stage) for stage in stages)


def log_e(counts: Sequence[int], weights: Sequence[float], concentration: float = CONCENTRATION) -> float:
    """ln E = ln B(k theta + n) - ln B(k theta) - sum n ln theta; 0 without units. Arms of weight 0 are
    dropped.
    """
    arms = _planned(counts, weights)
    units = sum(count for count, _ in arms)
    if units == 0 or len(arms) < 2:
        return 0.0
    moved = math.lgamma(concentration) - math.lgamma(concentration + units)
    return moved + sum(
        math.lgamma(concentration * share + count)
        - math.lgamma(concentration * share)
        - count * math.log(share)
        for count, share in arms
    )


@dataclass(frozen=True, slots=True)
class ChiSquare:
    """One look. p None: nothing to judge (df 0)."""

    statistic: float
    df: int
    p: float | None


def chi_square_p(counts: Sequence[int], weights: Sequence[float]) -> float | None:
    """Pearson's chi-square on (arms with weight) - 1 degrees of freedom; None for no units or one arm."""
    return chi_square([(counts, weights)]).p


def chi_square(stages: Sequence[tuple[Sequence[int], Sequence[float]]]) -> ChiSquare:
    """Pearson's, added up over stages of (counts, weights), each against its own split; arms of weight 0 are
    dropped.
    """
    statistic, df = 0.0, 0
    for counts, weights in stages:
        arms = _planned(counts, weights)
        units = sum(count for count, _ in arms)
        if units and len(arms) > 1:
            statistic += sum((count - units * share) ** 2 / (units * share) for count, share in arms)
            df += len(arms) - 1
    return ChiSquare(statistic, df, chi_square_sf(statistic, df) if df else None)


def _at_one_look(stages: Sequence[Stage]) -> ChiSquare:
    """Pearson's over the stages that have LEAST_EXPECTED units in every arm. The others, as many as there are
    propensities in a log of somebody's own, are judged together: their arms' sums against what the coins lead
    to, by the coins' own covariance; left out where even together they are too few.
    """
    large = [stage for stage in stages if _least_expected([stage]) >= LEAST_EXPECTED]
    small = [stage for stage in stages if _least_expected([stage]) < LEAST_EXPECTED and _fallen(stage)]
    found = chi_square([(stage.counts, stage.weights) for stage in large])
    if not small or _least_expected(small) < LEAST_EXPECTED:
        return found
    more = _together(small)
    statistic, df = found.statistic + more.statistic, found.df + more.df
    return ChiSquare(statistic, df, chi_square_sf(statistic, df))


def _least_expected(stages: Sequence[Stage]) -> float:
    """Units expected in the arm that is to get the fewest; infinite where no coin falls."""
    expected = np.sum([_shares(stage) * _fallen(stage) for stage in stages], axis=0)
    live = expected[expected > 0.0]
    return float(live.min()) if len(live) > 1 else math.inf


def _together(stages: Sequence[Stage]) -> ChiSquare:
    """(O - E)' V^-1 (O - E), V = sum n (diag p - p p'), on the rank of V."""
    off, spread = np.zeros(len(stages[0].counts)), np.zeros((len(stages[0].counts),) * 2)
    for stage in stages:
        share, units = _shares(stage), _fallen(stage)
        off += np.where(share > 0.0, stage.counts, 0.0) - units * share
        spread += units * (np.diag(share) - np.outer(share, share))
    statistic = float(off @ np.linalg.pinv(spread, hermitian=True) @ off)
    df = int(np.linalg.matrix_rank(spread, hermitian=True))
    return ChiSquare(statistic, df, chi_square_sf(statistic, df))


def _shares(stage: Stage) -> Floats:
    weights = np.asarray(stage.weights, dtype=np.float64)
    whole = float(weights.sum())
    return weights / whole if whole > 0.0 else weights


def _fallen(stage: Stage) -> int:
    """Units of the arms that have a share."""
    return sum(count for count, _ in _planned(stage.counts, stage.weights))


def likelihood_ratio_p(counts: Sequence[int], weights: Sequence[float]) -> float | None:
    """Wilks' G of one stage: what Pearson's approximates. None for no units or one arm."""
    arms = _planned(counts, weights)
    units = sum(count for count, _ in arms)
    if units == 0 or len(arms) < 2:
        return None
    half = math.fsum(count * math.log(count / (units * share)) for count, share in arms if count)
    return chi_square_sf(max(0.0, 2.0 * half), len(arms) - 1)


def impossible(stage: Stage) -> int:
    return sum(count for count, weight in zip(stage.counts, stage.weights, strict=True) if weight == 0.0)


def _planned(counts: Sequence[int], weights: Sequence[float]) -> list[tuple[int, float]]:
    whole = math.fsum(weights)
    return [(count, weight / whole) for count, weight in zip(counts, weights, strict=True) if weight > 0.0]
