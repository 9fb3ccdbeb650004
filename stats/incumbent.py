"""The control's own record from before the treatment had any share: where the centre and the scale start.

Those units came before the first coin, so whatever is taken of them is fixed before the coins that it helps
to judge, and no bound is the worse for it. Too few of them say less than the default, which then stays.
"""

import numpy as np

from stats.design import History
from stats.exact import exact_sum
from stats.units import Units

FEWEST = 20


def history_of(units: Units, control: int) -> History:
    """units: mature ones that matured before the treatment's first share; control: its index in the arms."""
    own = units.take((units.arm == control) & (units.e == 0.0))
    fills, count = int(np.count_nonzero(own.traded)), len(own)
    if count < FEWEST:
        return History(units=count)
    default = History()
    wins = int(np.count_nonzero(own.won & own.traded))
    return History(
        win_rate=wins / fills if fills >= FEWEST else default.win_rate,
        profit_rate=int(np.count_nonzero(own.won)) / count,
        pnl_mean_micro=exact_sum(own.pnl_micro) / count,
        pnl_sd_micro=_sd(own) if fills >= FEWEST else None,
        units=count,
    )


def _sd(units: Units) -> float | None:
    """About the whole mean in int64, so that a huge common offset costs no digits."""
    middle = exact_sum(units.pnl_micro) // len(units)
    sd = float(np.std((units.pnl_micro - middle).astype(np.float64), ddof=1))
    return sd if sd > 0.0 else None
