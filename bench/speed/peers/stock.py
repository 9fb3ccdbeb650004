"""The stock model as every peer runs it: numpy and ONNX Runtime, one thread."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

ACTIONS = ("hold", "buy", "sell")
WINDOW = 20


class Stock:
    """The export of the transformer."""

    def __init__(self, path: str | Path) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def answers(self, histories: Sequence[Sequence[Sequence[float]]]) -> list[dict[str, Any]]:
        """One answer for each history of WINDOW rows."""
        rows = np.array(histories, dtype=np.float32)
        lengths = np.full(len(rows), WINDOW, dtype=np.int64)
        probs, value = self._session.run(("probs", "value"), {"history": rows, "length": lengths})
        return [
            {"action": ACTIONS[max(range(3), key=p.__getitem__)], "probs": p, "value": v}
            for p, v in zip(probs.tolist(), value.tolist(), strict=True)
        ]
