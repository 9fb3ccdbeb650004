"""Golden cases: histories and the answers a model must give to them, checked whenever it is loaded."""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from arms.artefact import Golden
from arms.schema import StateSchema

CASES: Final = 8
SEED: Final = 18
INPUT_DECIMALS: Final = 4
ANSWER_DECIMALS: Final = 7


def golden_inputs(schema: StateSchema, window: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The same histories for every model of a schema and window: random within range, the first ones
    short."""
    rng = np.random.default_rng(SEED)
    low, high = schema.low.astype(np.float64), schema.high.astype(np.float64)
    histories = np.round(rng.uniform(low, high, (CASES, window, schema.width)), INPUT_DECIMALS).astype(
        np.float32
    )
    lengths = np.minimum(np.arange(1, CASES + 1), window).astype(np.int64)
    lengths[-2:] = window
    for row, length in enumerate(lengths):
        histories[row, : window - length] = 0
    return histories, lengths


def golden_of(
    histories: NDArray[np.float32],
    lengths: NDArray[np.int64],
    probs: NDArray[np.float32],
    value: NDArray[np.float32],
) -> Golden:
    return Golden(
        history=np.round(histories.astype(np.float64), INPUT_DECIMALS).tolist(),
        length=lengths.tolist(),
        probs=np.round(probs.astype(np.float64), ANSWER_DECIMALS).tolist(),
        value=np.round(value.astype(np.float64), ANSWER_DECIMALS).tolist(),
    )


def answers_apart(one: Golden, other: Golden) -> float:
    """The largest difference of two models' probabilities; infinite where they were asked otherwise."""
    if (one.history, one.length) != (other.history, other.length):
        return math.inf
    return float(np.abs(np.array(one.probs) - np.array(other.probs)).max())
