"""What a logged decision was sent, made again from the log: each row keeps its newest state and a digest of
all that were sent with it.

Where a bot asks at every tick the states before are those of its decisions before. The digest proves it;
where no number of them fits, nobody knows what an arm saw.
"""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from arms.onnx_runtime import MAX_LENGTH

UNKNOWN = 0
Floats = NDArray[np.float32]


def digest_of(history: Floats) -> bytes:
    """blake2b-8 over the states, oldest first, as little-endian float32."""
    return blake2b(np.ascontiguousarray(history, dtype="<f4").tobytes(), digest_size=8).digest()


def lengths_of(states: Floats, digests: Sequence[bytes]) -> NDArray[np.int64]:
    """int64[n]: how many states, up to its own, each decision was sent; UNKNOWN where the digest fits none.

    states: float32[n,F], of the decisions of one bot in one unit, in order.
    """
    found: list[int] = []
    guess = 1
    for row, digest in enumerate(digests):
        most = min(row + 1, MAX_LENGTH)
        tried = dict.fromkeys((min(guess + 1, most), min(guess, most), *range(1, most + 1)))
        fits = (n for n in tried if digest_of(states[row + 1 - n : row + 1]) == digest)
        found.append(next(fits, UNKNOWN))
        guess = found[-1] or guess + 1
    return np.array(found, dtype=np.int64)


def windows_of(states: Floats, lengths: NDArray[np.int64], window: int) -> tuple[Floats, NDArray[np.int64]]:
    """Histories [n,window,F], zeros before the first real state, and how many are real, as an arm gets them.

    A window of 1 needs the newest state alone, so no length. Other rows with an UNKNOWN length raise
    ValueError.
    """
    if window > 1 and np.any(lengths == UNKNOWN):
        raise ValueError("lengths holds UNKNOWN: leave out what cannot be made again")
    real = np.ones_like(lengths) if window == 1 else np.minimum(lengths, window)
    histories = np.zeros((len(states), window, states.shape[1]), dtype=np.float32)
    for row, length in enumerate(real.tolist()):
        histories[row, window - length :] = states[row + 1 - length : row + 1]
    return histories, real
