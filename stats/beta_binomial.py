"""What the counts leave to believe of two win rates: exact beta posteriors, integrated, never simulated.

Descriptive: a chance to win read again and again passes any threshold sooner or later. Correlated trials
must be deflated by their design effect, or the posterior is too sure.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stats.comparison import check_alpha, refused
from stats.errors import DesignError
from stats.root import crossing
from stats.special import beta_cdf, beta_quantile, beta_quantiles, beta_sf, log_beta
from stats.status import Status
from stats.two_by_two import TwoByTwo

Floats = npt.NDArray[np.float64]

_QUICK = np.polynomial.legendre.leggauss(12)
_FINE = np.polynomial.legendre.leggauss(24)  # where a moved belief ends, its distribution has a kink
_LEVELS = np.array([1e-16, 1e-14, 1e-12, 1e-10, 1e-8, 1e-6, 1e-4, 1e-2, 0.1, 0.3])
_FARTHEST = 700.0
LEAST_PRIOR = 0.05


@dataclass(frozen=True, slots=True)
class Beta:
    """What is believed of one win rate. a: wins + prior's, b: losses + prior's."""

    a: float
    b: float

    def __post_init__(self) -> None:
        if not (self.a > 0.0 and self.b > 0.0 and self.a + self.b < 1e15):
            raise DesignError(f"beta({self.a!r}, {self.b!r}): both are above 0, and not beyond 10^15")

    @property
    def mean(self) -> float:
        return self.a / (self.a + self.b)

    def interval(self, alpha: float = 0.05) -> tuple[float, float]:
        """Equal tails. With a = wins + 1/2, b = losses + 1/2: Jeffreys' interval."""
        check_alpha(alpha)
        return beta_quantile(alpha / 2.0, self.a, self.b), beta_quantile(1.0 - alpha / 2.0, self.a, self.b)


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """chance_to_win = P(p1 > p0). loss_ship = E max(p0 - p1, 0): expected loss of shipping the treatment;
    loss_keep = E max(p1 - p0, 0): of keeping the control. difference = E(p1 - p0).
    """

    status: Status = "ok"
    reason: str = ""
    treatment: Beta | None = None
    control: Beta | None = None
    chance_to_win: float | None = None
    loss_ship: float | None = None
    loss_keep: float | None = None
    difference: float | None = None


def belief(table: TwoByTwo, prior_a: float = 1.0, prior_b: float = 1.0, design_effect: float = 1.0) -> Belief:
    """The same prior for both arms; wins and losses are divided by `design_effect` first. Defined without any
    trial: then it is the prior's word.
    """
    if not design_effect >= 1.0:
        raise DesignError(f"design_effect is {design_effect!r}: it is 1 or more")
    if table.largest_cluster > 1 and design_effect == 1.0:
        no = refused("trials share coins: give their design effect")
        return Belief(status=no.status, reason=no.reason)
    treatment = _posterior(table.wins_1, table.trials_1, prior_a, prior_b, design_effect)
    control = _posterior(table.wins_0, table.trials_0, prior_a, prior_b, design_effect)
    gap = treatment.mean - control.mean
    better, worse = (treatment, control) if gap >= 0.0 else (control, treatment)
    rates, weights = _rule(better, worse, 0.0)
    above = beta_sf(rates, worse.a, worse.b)
    chance = 1.0 - float(weights @ above) if gap >= 0.0 else float(weights @ above)
    least = max(0.0, float(weights @ _regret(worse, rates, above)))
    return Belief(
        treatment=treatment,
        control=control,
        chance_to_win=min(1.0, max(0.0, chance)),
        loss_ship=least + max(0.0, -gap),
        loss_keep=least + max(0.0, gap),
        difference=gap,
    )


def difference_interval(treatment: Beta, control: Beta, alpha: float = 0.05) -> tuple[float, float]:
    """Equal tails of p1 - p0."""
    check_alpha(alpha)
    return _tail(treatment, control, alpha / 2.0), _tail(treatment, control, 1.0 - alpha / 2.0)


def _tail(treatment: Beta, control: Beta, level: float) -> float:
    return crossing(lambda gap: _below(treatment, control, gap) - level, -1.0, 1.0)


def _below(treatment: Beta, control: Beta, gap: float) -> float:
    """P(p1 - p0 <= gap)."""
    rates, weights = _rule(control, treatment, -gap)
    return float(weights @ beta_cdf(np.clip(rates + gap, 0.0, 1.0), treatment.a, treatment.b))


def _regret(over: Beta, rates: Floats, above: Floats) -> Floats:
    """E max(p - rate, 0), by I(a+1) = I(a) - x^a (1-x)^b / (a B(a, b)); above = P(p > rate)."""
    with np.errstate(divide="ignore"):
        edge = over.a * np.log(rates) + over.b * np.log1p(-rates) - log_beta(over.a, over.b)
    result: Floats = (over.mean - rates) * above + over.mean / over.a * np.exp(edge)
    return result


def _rule(over: Beta, other: Beta, shift: float) -> tuple[Floats, Floats]:
    """Points and weights to integrate over the belief `over`.

    Gauss-Legendre on panels of ln(p/(1-p)), where a beta density is smooth whatever its parameters, cut where
    it is thin and where `other`, moved by `shift`, rises. The weights add up to 1.
    """
    nodes, node_weights = _QUICK if shift == 0.0 else _FINE
    steps = _expit(_logits(other)) + shift
    steps = steps[(steps > 0.0) & (steps < 1.0)]
    own = _logits(over)
    moved = np.log(steps) - np.log1p(-steps)
    cuts = np.unique(np.append(own, moved[(moved > own.min()) & (moved < own.max())]))
    half = 0.5 * np.diff(cuts)
    logits = ((cuts[:-1] + half)[:, None] + half[:, None] * nodes).ravel()
    density = over.a * logits - (over.a + over.b) * np.logaddexp(0.0, logits)
    weights = np.exp(density - density.max()) * (half[:, None] * node_weights).ravel()
    return _expit(logits), weights / weights.sum()


def _logits(belief: Beta) -> Floats:
    """ln(p/(1-p)) at the levels from either end, the upper ones by the losses, so that none rounds to 1."""
    lower, upper = beta_quantiles(_LEVELS, belief.a, belief.b), beta_quantiles(_LEVELS, belief.b, belief.a)
    with np.errstate(divide="ignore"):
        ends = np.append(np.log(lower) - np.log1p(-lower), np.log1p(-upper) - np.log(upper))
    result: Floats = np.clip(ends, -_FARTHEST, _FARTHEST)
    return result


def _expit(logits: Floats) -> Floats:
    result: Floats = np.exp(-np.logaddexp(0.0, -logits))
    return result


def _posterior(wins: int, trials: int, prior_a: float, prior_b: float, design_effect: float) -> Beta:
    if not min(prior_a, prior_b) >= LEAST_PRIOR:
        raise DesignError(f"prior is beta({prior_a!r}, {prior_b!r}): both are {LEAST_PRIOR} or more, say 1")
    return Beta(prior_a + wins / design_effect, prior_b + (trials - wins) / design_effect)
