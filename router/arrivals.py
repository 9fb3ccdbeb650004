"""When the outcomes of units came, of those whose window has closed: columns for `stats.resolution`. Pure."""

import numpy as np

from router.cohort import Bools, arm_index, propensities
from router.report_begun import DAY_US
from router.report_rows import Judged, Read
from stats.design import Design
from stats.resolution import Arrivals, Resolution, ages_of, resolution, unjudged

_REPLAYED = "replayed units take as long as the machine does: the age of their outcomes says nothing"


def resolution_of(design: Design, found: Read, judged: Judged) -> Resolution:
    """Whether outcomes come as fast in either arm."""
    experiment = found.experiment
    ages_s = ages_of(experiment.unit_duration_s, experiment.attribution_s)
    if judged.fill == "replay":
        return unjudged(design, ages_s, "not_ready", _REPLAYED)
    return resolution(design, arrivals_of(found, judged), ages_s)


def arrivals_of(found: Read, judged: Judged) -> Arrivals:
    """Not excluded units of the judged fill, and those of which no outcome says its fill."""
    experiment, columns, mature = found.experiment, found.columns, judged.rows
    lost = np.flatnonzero(_lost(found, judged))
    starts_us = np.concatenate([columns.started_at_us[mature], columns.started_at_us[lost]])
    order = np.argsort(starts_us, kind="stable")
    arm = [judged.units.arm, arm_index(experiment, columns.arm[lost])]
    e = [judged.units.e, propensities(experiment, columns.weights[lost])]
    taken_us = np.maximum(columns.settled_at_us[mature] - columns.started_at_us[mature], 0)
    span_us = (experiment.unit_duration_s + experiment.attribution_s) * 1_000_000
    return Arrivals(
        arm=np.concatenate(arm)[order],
        e=np.concatenate(e)[order],
        day=(starts_us[order] + span_us) // DAY_US,
        taken_us=np.concatenate([taken_us, np.full(len(lost), -1, dtype=np.int64)])[order],
    )


def _lost(found: Read, judged: Judged) -> Bools:
    """Missing units; one whose outcomes are of another fill is none of this comparison's."""
    fill = found.columns.fill
    silent = fill == None  # noqa: E711 - element by element
    lost: Bools = judged.cohort.missing & (silent | (fill == judged.fill) | (fill == "mixed"))
    return lost
