"""What was fixed before the coins: the control's units from before the treatment had a share, and the plan's
deadline. Asks no database.
"""

from typing import Any

import numpy as np

from router.instants import instant_us
from router.report_rows import Judged, Read
from router.splits import rfc3339
from stats.design import Design, History
from stats.incumbent import history_of
from stats.scores import to_door
from stats.units import Units

LABEL = "the control's units that matured before the treatment's first share"


def first_share_us(found: Read, design: Design) -> int | None:
    """When the treatment first had a share; None while it had none."""
    treatment = design.pair[0]
    return next((stage.started_us for stage in found.stages if stage.weights[treatment] > 0.0), None)


def known_before(design: Design, found: Read, judged: Judged) -> History:
    """The control's record from before the treatment's first share; the empty one without such units."""
    return history_of(_earlier(judged, first_share_us(found, design)), design.pair[1])


def _earlier(judged: Judged, before_us: int | None) -> Units:
    """Those that had matured by then; all while no such moment is known."""
    if before_us is None:
        return judged.units
    matured_us = judged.cohort.matured_at_us[judged.rows]
    return judged.units.take(np.arange(int(np.searchsorted(matured_us, before_us, side="right"))))


def history_shape(design: Design, found: Read, history: History) -> dict[str, Any]:
    """Where the centre starts, at the door."""
    before_us = first_share_us(found, design)
    sd_micro = history.pnl_sd_micro
    return {
        "label": LABEL,
        "before": None if before_us is None else rfc3339(before_us),
        "units": history.units,
        "win_rate": history.win_rate,
        "profit_rate": history.profit_rate,
        "pnl_per_unit_usd": history.pnl_mean_micro * to_door("pnl"),
        "pnl_sd_usd": None if sd_micro is None else sd_micro * to_door("pnl"),
    }


def closed_units(found: Read, judged: Judged) -> int | None:
    """How many units had matured by the plan's deadline; None without one, or while it is ahead."""
    until = found.experiment.until
    if until is None or (until_us := instant_us(until, "until")) > judged.now_us:
        return None
    matured_us = judged.cohort.matured_at_us[judged.rows]
    return int(np.searchsorted(matured_us, until_us, side="right"))
