"""Serving: an artefact becomes a loaded arm, or is refused with the reason.

One thread per session, because a request is too small to share out and two threads on a busy machine are many
times slower. Needs numpy, msgspec, safetensors and onnxruntime; never torch.
"""

import math
from threading import Lock
from typing import Any, Final, cast

import numpy as np
import onnxruntime as ort
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from arms.artefact import Artefact, Golden, Output
from arms.errors import ActError, ArtefactError
from arms.onnx_bound import BoundRun
from arms.onnx_wire import check_self_contained
from arms.protocol import Acted
from arms.schema import StateSchema

IMPORTED: Final = "imported"
INLINE_KINDS: Final = frozenset({"base", "transformer"})
"""Graphs of our own, whose cost is known: they may run where decisions are answered."""
BUILT_IN_KINDS: Final = INLINE_KINDS | {IMPORTED}
BOUND_ROWS_MAX: Final = 32
"""Up to so many histories a run has memory of its own, a few KB a history; larger ones are rare."""
MAX_LENGTH: Final = 64
ROW_SUM_TOLERANCE: Final = 1e-3
TOLERANCE: Final = 1e-4  # of golden answers; values relative to the largest, if above 1
_LENGTHS: Final = tuple(np.array([n], dtype=np.int64) for n in range(MAX_LENGTH + 1))


class OnnxArm:
    """A loaded ONNX model with both inputs, `history` and `length`, and both outputs, `probs` and `value`."""

    __slots__ = ("_bound", "_lock", "_session", "_shape", "model", "window")

    def __init__(self, session: ort.InferenceSession, model: str, shape: tuple[int, int]) -> None:
        self._session = session
        self._shape = shape
        self._bound: dict[int, BoundRun] = {}
        self._lock = Lock()
        self.model = model
        self.window = shape[0]

    def act(self, histories: NDArray[np.float32], lengths: NDArray[np.int64]) -> Acted:
        """One row of probabilities per history. Raises ActError on a wrong shape or an answer that is no
        probability."""
        if histories.shape[1:] != self._shape:
            raise ActError(_misshapen(histories.shape, self._shape))
        acted = self._acted(histories, lengths)
        return _checked(acted.probs, acted.value)

    def act_one(self, history: NDArray[np.float32]) -> tuple[float, float, float, float]:
        """As `act` for a single history float32[k,F], 1 <= k, of which the newest states count, in a third of
        the time that it takes beside the model's own: probabilities of hold, buy and sell, and the value."""
        newest = history[-self.window :]
        if newest.shape[1:] != self._shape[1:]:
            raise ActError(_misshapen(history.shape, self._shape))
        with self._lock:
            found = self._bound_for(1).act_one(newest.tobytes(), len(newest))
        hold, buy, sell, value = found
        _check_row(hold, buy, sell)
        if not math.isfinite(value):
            raise ActError("the value is not finite")
        return found

    def _bound_for(self, rows: int) -> BoundRun:
        bound = self._bound.get(rows)
        if bound is None:
            bound = self._bound[rows] = BoundRun(self._session, rows, self._shape)
        return bound

    def _acted(self, histories: NDArray[np.float32], lengths: NDArray[np.int64]) -> Acted:
        rows = len(histories)
        if not 0 < rows <= BOUND_ROWS_MAX or lengths.shape != (rows,):
            probs, value = self._session.run(("probs", "value"), {"history": histories, "length": lengths})
            return Acted(cast("NDArray[np.float32]", probs), cast("NDArray[np.float32]", value))
        with self._lock:
            return self._bound_for(rows).act(histories, lengths)


class ImportedArm:
    """A user's own ONNX model: one input, one output. It sees zeros where the history is short, and has no
    critic."""

    __slots__ = ("_batch", "_input", "_output", "_session", "_shape", "model", "window")

    def __init__(
        self, session: ort.InferenceSession, model: str, shape: tuple[int, int], output: Output
    ) -> None:
        self._session = session
        self._shape = shape
        self._output = output
        self._input = session.get_inputs()[0].name
        self._batch = session.get_inputs()[0].shape[0]
        self.model = model
        self.window = shape[0]

    def act(self, histories: NDArray[np.float32], lengths: NDArray[np.int64]) -> Acted:
        """As OnnxArm.act; `lengths` is not passed on. A model with a fixed batch of 1 is run once per
        history."""
        if histories.shape[1:] != self._shape:
            raise ActError(_misshapen(histories.shape, self._shape))
        if self._batch == 1:
            raw = np.concatenate([self._run(histories[i : i + 1]) for i in range(len(histories))])
        else:
            raw = self._run(histories)
        probs = _softmax(raw) if self._output == "logits" else raw
        return _checked(probs, np.zeros(len(probs), dtype=np.float32))

    def _run(self, histories: NDArray[np.float32]) -> NDArray[np.float32]:
        return cast("NDArray[np.float32]", self._session.run(None, {self._input: histories})[0])


def load(artefact: Artefact, schema: StateSchema) -> OnnxArm | ImportedArm:
    """Refuses a wrong schema, weights that are not finite, unexpected inputs or outputs, and a failed
    self-test.

    The self-test also warms the session up, so the first request is as fast as the rest.
    """
    config = artefact.config
    if config.schema_hash != schema.hash:
        raise ArtefactError(
            f"model {artefact.id} was made for states {config.schema} ({config.schema_hash}), but the states "
            f"here are {schema.name} ({schema.hash}): train or import it again for this schema"
        )
    _check_weights(artefact)
    session = session_of(artefact.onnx, config.arm)
    shape = (config.window, schema.width)
    arm: OnnxArm | ImportedArm
    if config.kind == IMPORTED:
        check_imported(session, shape)
        arm = ImportedArm(session, artefact.id, shape, config.output)
    else:
        _check_built_in(session, shape)
        arm = OnnxArm(session, artefact.id, shape)
    _self_test(arm, artefact.golden)
    return arm


def window_of(
    history: NDArray[np.float32] | list[list[float]], window: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """One history, newest last, as ([1,window,F] front-padded with zeros, [1] how many states are real).

    `history` is already validated; a long one is cut to its newest `window` states.
    """
    newest = np.asarray(history[-window:], dtype=np.float32)
    real = len(newest)
    if real == window:
        return newest[None], _LENGTHS[real]
    padded = np.zeros((1, window, newest.shape[1]), dtype=np.float32)
    padded[0, window - real :] = newest
    return padded, _LENGTHS[real]


def session_of(onnx: bytes, name: str) -> ort.InferenceSession:
    """A single-threaded session over the bytes alone; a graph that wants other files is refused."""
    check_self_contained(onnx, name)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.load_model_format", "ONNX")  # what was checked, not .ort
    try:
        return ort.InferenceSession(onnx, sess_options=options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a dozen unrelated types
        raise ArtefactError(f"ONNX Runtime cannot load {name}: {_first_line(error)}") from error


def _self_test(arm: OnnxArm | ImportedArm, golden: Golden) -> None:
    try:
        histories = np.array(golden.history, dtype=np.float32)
        lengths = np.array(golden.length, dtype=np.int64)
        probs = np.array(golden.probs, dtype=np.float32)
        value = np.array(golden.value, dtype=np.float32)
    except (ValueError, OverflowError) as error:
        raise ArtefactError(f"golden.json of {arm.model} is ragged: export the model again") from error
    if not len(lengths) or probs.shape != (len(lengths), 3) or value.shape != lengths.shape:
        raise ArtefactError(f"golden.json of {arm.model} is incomplete: export the model again")
    try:
        acted = arm.act(histories, lengths)
    except Exception as error:  # the runtime raises unrelated types
        raise ArtefactError(f"model {arm.model} failed its self-test: {_first_line(error)}") from error
    scale = max(1.0, float(np.abs(value).max()))
    off = max(float(np.abs(acted.probs - probs).max()), float(np.abs(acted.value - value).max()) / scale)
    if not off <= TOLERANCE:
        raise ArtefactError(
            f"model {arm.model} failed its self-test: answers differ from golden.json by {off:.2g}, "
            f"more than {TOLERANCE:g}; the file was altered or this ONNX Runtime differs; export it again"
        )


def _check_weights(artefact: Artefact) -> None:
    if artefact.weights is None:
        return
    try:
        tensors = safetensors.numpy.load(artefact.weights)
    except (safetensors.SafetensorError, ValueError) as error:
        raise ArtefactError(
            f"model.safetensors of {artefact.id} cannot be read: {_first_line(error)}"
        ) from error
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise ArtefactError(
                f"weight {name} of {artefact.id} holds NaN or infinity: training failed, train it again"
            )


def _check_built_in(session: ort.InferenceSession, shape: tuple[int, int]) -> None:
    inputs = {node.name: (node.type, node.shape[1:]) for node in session.get_inputs()}
    outputs = {node.name: (node.type, node.shape[1:]) for node in session.get_outputs()}
    expected_in = {"history": ("tensor(float)", list(shape)), "length": ("tensor(int64)", [])}
    expected_out = {"probs": ("tensor(float)", [3]), "value": ("tensor(float)", [])}
    if inputs != expected_in or outputs != expected_out:
        raise ArtefactError(
            f"model.onnx has inputs {inputs} and outputs {outputs}, not {expected_in} and {expected_out}"
        )


def check_imported(session: ort.InferenceSession, shape: tuple[int, int]) -> None:
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1:
        raise ArtefactError(
            f"the ONNX has {len(inputs)} inputs and {len(outputs)} outputs: exactly one of each is expected"
        )
    wanted = f"float32 [n, {shape[0]}, {shape[1]}]"
    if inputs[0].type != "tensor(float)" or not _fits(inputs[0].shape, shape):
        raise ArtefactError(f"the ONNX input is {inputs[0].type} {inputs[0].shape}: {wanted} is expected")
    if outputs[0].type != "tensor(float)" or not _fits(outputs[0].shape, (3,)):
        raise ArtefactError(
            f"the ONNX output is {outputs[0].type} {outputs[0].shape}: float32 [n, 3] is expected"
        )


def _fits(declared: list[Any], inner: tuple[int, ...]) -> bool:
    """A named (dynamic) dimension fits anything; a fixed batch must be 1."""
    if len(declared) != len(inner) + 1 or (isinstance(declared[0], int) and declared[0] != 1):
        return False
    return all(
        not isinstance(have, int) or have == want for have, want in zip(declared[1:], inner, strict=True)
    )


def _checked(probs: NDArray[np.float32], value: NDArray[np.float32]) -> Acted:
    """Plain floats: for the few rows of one request they are ten times faster than array expressions."""
    for hold, buy, sell in probs.tolist():
        _check_row(hold, buy, sell)
    if not all(map(math.isfinite, value.tolist())):
        raise ActError("the value is not finite")
    return Acted(probs, value)


def _check_row(hold: float, buy: float, sell: float) -> None:
    if not (hold >= 0 and buy >= 0 and sell >= 0 and abs(hold + buy + sell - 1) <= ROW_SUM_TOLERANCE):
        raise ActError("the answer is not a probability over hold, buy, sell (each >= 0, sum 1)")


def _misshapen(given: tuple[int, ...], shape: tuple[int, int]) -> str:
    return f"histories have shape {list(given)}: this arm reads [n, {shape[0]}, {shape[1]}]"


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: NDArray[np.float32] = weights / weights.sum(axis=1, keepdims=True)
    return shares


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
