"""The floor: the least that answers a decision over HTTP in Python, with a stock ONNX model.

    python bench/speed/floor_app.py MODEL.onnx ARM WINDOW

Parse, run, reply with the fields that abctl replies with. No routing, no binding, no log, no checks, no
metrics. What can be made beforehand is: inputs and outputs of the session are bound to fixed memory, and rows
are packed straight into it.
"""

import os
import struct
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime as ort
from asgi import serve

FEATURES = 18
ACTIONS = ("hold", "buy", "sell")
_PACK_ROW = struct.Struct(f"<{FEATURES}f").pack_into
_ROW_BYTES = 4 * FEATURES
_ENCODE = msgspec.json.Encoder().encode
_JSON = (b"content-type", b"application/json")


class Asked(msgspec.Struct):
    """What a bot sends."""

    unit: str
    history: list[list[float]]
    started_at: int
    bot: str


class Probs(msgspec.Struct):
    """Probabilities of the three actions."""

    hold: float
    buy: float
    sell: float


class Reply(msgspec.Struct):
    """What abctl replies, field by field."""

    decision_id: str
    experiment: str
    unit: str
    arm: str
    served_arm: str
    reason: str
    binding: str
    action: str
    probs: Probs
    value: float
    propensity: dict[str, float]
    split_version: int
    split_stale: bool
    model: str
    history_used: int
    latency_us: int


_DECODE = msgspec.json.Decoder(Asked).decode


class Model:
    """One session that reads from and writes to fixed memory."""

    def __init__(self, path: Path, window: int) -> None:
        self.window = window
        self._rows = np.zeros((1, window, FEATURES), dtype=np.float32)
        self._length = np.array([window], dtype=np.int64)
        self._probs = np.zeros((1, 3), dtype=np.float32)
        self._value = np.zeros(1, dtype=np.float32)
        self._memory = self._rows.data.cast("B")
        self._session = session_of(path)
        self._bound = self._session.io_binding()
        fixed = ort.OrtValue.ortvalue_from_numpy
        self._bound.bind_ortvalue_input("history", fixed(self._rows))
        self._bound.bind_ortvalue_input("length", fixed(self._length))
        self._bound.bind_ortvalue_output("probs", fixed(self._probs))
        self._bound.bind_ortvalue_output("value", fixed(self._value))

    def answer(self, history: list[list[float]]) -> tuple[list[float], float]:
        """Probabilities and value of the newest states."""
        newest = history[-self.window :]
        offset = (self.window - len(newest)) * _ROW_BYTES
        self._memory[:offset] = bytes(offset)
        self._length[0] = len(newest)
        for row in newest:
            _PACK_ROW(self._memory, offset, *row)
            offset += _ROW_BYTES
        self._session.run_with_iobinding(self._bound)
        return self._probs[0].tolist(), float(self._value[0])

    def check(self) -> None:
        """That bound memory is what the session works on."""
        history = np.random.default_rng(0).uniform(0, 1, (1, self.window, FEATURES)).astype(np.float32)
        given = {"history": history, "length": np.array([self.window])}
        probs, value = self._session.run(("probs", "value"), given)
        mine = self.answer(history[0].tolist())
        if not np.allclose(mine[0], probs[0], atol=1e-5) or not np.isclose(mine[1], value[0], atol=1e-4):
            raise SystemExit(f"the floor answers {mine}, its model {probs[0]}, {value[0]}")


def session_of(path: Path) -> ort.InferenceSession:
    """One thread, nothing spins."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


class Floor:
    """Bare ASGI: any POST is a decision."""

    def __init__(self, model: Model, arm: str) -> None:
        self._model = model
        self._arm = arm
        self._propensity = {"base": float(arm == "base"), "transformer": float(arm == "transformer")}

    async def __call__(self, _scope: Any, receive: Any, send: Any) -> None:
        """One request."""
        began_ns = time.perf_counter_ns()
        message = await receive()
        body = message["body"]
        while message.get("more_body"):
            message = await receive()
            body += message["body"]
        reply = self._reply(_DECODE(body), began_ns)
        headers = [_JSON, (b"content-length", b"%d" % len(reply))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": reply})

    def _reply(self, asked: Asked, began_ns: int) -> bytes:
        probs, value = self._model.answer(asked.history)
        return _ENCODE(
            Reply(
                f"{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}",
                "main",
                asked.unit,
                self._arm,
                self._arm,
                "assigned",
                "started_at",
                ACTIONS[probs.index(max(probs))],
                Probs(*probs),
                value,
                self._propensity,
                1,
                False,
                "0123456789abcdef0123456789abcdef",
                min(len(asked.history), self._model.window),
                (time.perf_counter_ns() - began_ns) // 1000,
            )
        )


if __name__ == "__main__":
    stock = Model(Path(sys.argv[1]), int(sys.argv[3]))
    stock.check()
    serve(Floor(stock, sys.argv[2]))
