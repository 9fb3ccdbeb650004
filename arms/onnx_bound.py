"""A session's run over memory of its own for one number of histories: nothing is allocated or converted.

ONNX Runtime wraps and unwraps arrays anew at every `run`; for a small model that costs as much as the model.
"""

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from arms.protocol import Acted


class BoundRun:
    """Of a graph with inputs `history` and `length` and outputs `probs` and `value`. Not thread-safe."""

    def __init__(self, session: ort.InferenceSession, rows: int, shape: tuple[int, int]) -> None:
        self._session = session
        self._histories = np.zeros((rows, *shape), dtype=np.float32)
        self._lengths = np.ones(rows, dtype=np.int64)
        self._probs = np.zeros((rows, 3), dtype=np.float32)
        self._value = np.zeros(rows, dtype=np.float32)
        self._memory = self._histories.data.cast("B")
        self._binding = session.io_binding()
        wrapped = ort.OrtValue.ortvalue_from_numpy  # without a copy: the array is the memory
        self._binding.bind_ortvalue_input("history", wrapped(self._histories))
        self._binding.bind_ortvalue_input("length", wrapped(self._lengths))
        self._binding.bind_ortvalue_output("probs", wrapped(self._probs))
        self._binding.bind_ortvalue_output("value", wrapped(self._value))

    def act_one(self, states: bytes, length: int) -> tuple[float, float, float, float]:
        """Of a run for one history. states: its newest states as float32 bytes, at most a window of them;
        length: how many. The probabilities of hold, buy and sell, and the value, all unchecked."""
        self._memory[: -len(states)] = bytes(len(self._memory) - len(states))
        self._memory[-len(states) :] = states
        self._lengths[0] = length
        self._session.run_with_iobinding(self._binding)
        hold, buy, sell = self._probs.tolist()[0]
        return hold, buy, sell, float(self._value[0])

    def act(self, histories: NDArray[np.float32], lengths: NDArray[np.int64]) -> Acted:
        """histories: float32[rows,window,F]; lengths: int64[rows]. The answer is a copy."""
        np.copyto(self._histories, histories)
        np.copyto(self._lengths, lengths)
        self._session.run_with_iobinding(self._binding)
        return Acted(self._probs.copy(), self._value.copy())
