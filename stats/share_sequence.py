"""A share watched as it comes, at any number of looks: the beta mixture of coin flips.

E(share) = B(a + wins, b + losses) / (B(a, b) share^wins (1-share)^losses) has mean 1 when `share` is true
(Ville 1939; Robbins 1970), so the shares with E < 1/alpha cover the true one at every moment at once. a, b
are fixed before the flips; those of the planned share times a concentration make it the e-value of `srm`.
"""

import math

from stats import boundary
from stats.comparison import check_alpha
from stats.errors import DesignError, UnitsError
from stats.interval import Interval
from stats.root import crossing

_NEAR = 1e-15


def log_e(wins: int, losses: int, share: float, a: float = 1.0, b: float = 1.0) -> float:
    """ln E against `share` in (0, 1)."""
    _check(wins, losses, a, b)
    if not 0.0 < share < 1.0:
        raise DesignError(f"share is {share!r}: a share inside (0, 1) can be tested")
    return _log_e(wins, losses, share, a, b)


def share_bounds(wins: int, losses: int, alpha: float = 0.05, a: float = 1.0, b: float = 1.0) -> Interval:
    """Shares not refuted so far, at every look together; (0, 1) before any flip. Contains wins / flips."""
    _check(wins, losses, a, b)
    check_alpha(alpha)
    if wins + losses == 0:
        return Interval(0.0, 1.0)
    level, seen = -math.log(alpha), wins / (wins + losses)
    low, high = 0.0, 1.0
    if wins:
        low = crossing(lambda share: _log_e(wins, losses, share, a, b) - level, _NEAR * seen, seen)
    if losses:
        high = 1.0 - crossing(
            lambda rest: _log_e(losses, wins, rest, b, a) - level, _NEAR * (1.0 - seen), 1.0 - seen
        )
    return Interval(min(low, seen), max(high, seen))


def tuned_share_bounds(wins: int, losses: int, alpha: float, n_opt: float) -> Interval:
    """As `share_bounds`, each share tested by a prior around itself, tightest after `n_opt` flips (Howard et
    al. 2021, proposition 7).
    """
    _check(wins, losses, 1.0, 1.0)
    check_alpha(alpha)
    if wins + losses == 0:
        return Interval(0.0, 1.0)
    strength = max(boundary.tuned_rho(n_opt, alpha / 2.0) - 1.0, 1e-3)
    level, seen = -math.log(alpha), wins / (wins + losses)

    def excess(won: int, lost: int, share: float) -> float:
        return _log_e(won, lost, share, strength * share, strength * (1.0 - share)) - level

    def edge(won: int, lost: int) -> float:
        least, most = _NEAR, min(won / (won + lost), 1.0 - _NEAR)
        if won == 0 or excess(won, lost, least) <= 0.0:
            return 0.0
        return crossing(lambda share: excess(won, lost, share), least, most)

    return Interval(min(edge(wins, losses), seen), max(1.0 - edge(losses, wins), seen))


def _log_e(wins: int, losses: int, share: float, a: float, b: float) -> float:
    mixed = math.lgamma(a + wins) + math.lgamma(b + losses) - math.lgamma(a + b + wins + losses)
    prior = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    likelihood = (wins * math.log(share) if wins else 0.0) + (losses * math.log1p(-share) if losses else 0.0)
    return mixed - prior - likelihood


def _check(wins: int, losses: int, a: float, b: float) -> None:
    if min(wins, losses) < 0 or not (a > 0.0 and b > 0.0):
        raise UnitsError(
            f"{wins} wins, {losses} losses, prior ({a!r}, {b!r}): counts are 0 or more, priors above 0"
        )
