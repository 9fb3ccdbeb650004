"""What another policy would have earned."""

import math

import numpy as np

from replay.compare import Listed, Method, Tolerance
from replay.shape import floats
from stats.off_policy import (
    Logged,
    Model,
    direct,
    doubly_robust,
    ips,
    self_normalised_doubly_robust,
    shrunk_doubly_robust,
    snips,
    support,
    switch_doubly_robust,
    weights_of,
)


def off_policy(given):
    wanted, predicted = by_action(given["pi_e"]), by_action(given["q_hat"])
    log, action = logged(given), np.array(given["action"], dtype=np.int64)
    model = Model(predicted[np.arange(len(log)), action], (wanted * predicted).sum(axis=1))
    covered, plain, robust = support(log), ips(log), doubly_robust(log, model)
    return {
        "obp": {
            "ess": covered.effective,
            "max_w": covered.largest,
            "ips": plain.estimate,
            "ips_clip10": ips(log, 10.0).estimate,
            "snips": snips(log).estimate,
            "dm": direct(log, model).estimate,
            "dr": robust.estimate,
            "sndr": self_normalised_doubly_robust(log, model).estimate,
            "switch_dr_tau5": switch_doubly_robust(log, model, 5.0).estimate,
            "dros_l100": shrunk_doubly_robust(log, model, 100.0).estimate,
            "ips_se": plain.error,
            "dr_se": robust.error,
            "snips_se_delta": without_correction(snips(log).error, len(log)),
            "ips_boot95_seed12345": [plain.low, plain.high],
        }
    }


def without_correction(error, count):
    """Theirs divides by n where ours divides by n - 1."""
    return None if error is None else error * math.sqrt((count - 1) / count)


def roughly(given, theirs, ours):
    """A percentile bootstrap of 1,000 draws against t: sanity only, as the README of the vectors says."""
    return (ours is not None and abs(ours - theirs) <= 0.15 * spread_of(given) + 1e-12) or len(
        given["reward"]
    ) < 10


def spread_of(given):
    found = ips(logged(given))
    return found.high - found.low


def logged(given):
    rows, action = np.arange(len(given["action"])), np.array(given["action"], dtype=np.int64)
    weights = weights_of(by_action(given["pi_e"])[rows, action], floats(given["pscore"]))
    return Logged(floats(given["reward"]), weights, rows, stateless=True)


def by_action(table):
    """Rows of decisions, columns of actions; one column where there is no row."""
    return floats(table) if table else np.zeros((0, 1))


METHODS = {
    "ope": Method(
        off_policy,
        tolerances=(Tolerance("*", 1e-9, 1e-15),),
        listed=(
            Listed("limit", "obp/ips_boot95*", "a percentile bootstrap against t: sanity only", roughly),
        ),
    ),
}
