"""Asks a function of MLX that stands in a file; as a program it does so for somebody else.

    python mlx_asked.py model.mlxfn     histories, lengths on stdin -> probs, value on stdout, again and again

It imports nothing of ours, so that a process of it has begun in no time. Arrays travel as safetensors, each
set behind its length in eight bytes.
"""

import sys
from collections.abc import Callable
from typing import IO, Any, Final, cast

import mlx.core as mx
import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

SIZE_BYTES: Final = 8
Asked = Callable[[NDArray[np.float32], NDArray[np.int64]], tuple[NDArray[np.float32], NDArray[np.float32]]]


def asked_singly(file: str) -> Asked:
    """The first history alone, then all at once: a function holds two graphs, and both are tried."""
    function = cast("Callable[[mx.array, mx.array], tuple[mx.array, mx.array]]", mx.import_function(file))

    def asked(
        histories: NDArray[np.float32], lengths: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        probs, value = function(mx.array(histories), mx.array(lengths.astype(np.int32)))
        return np.array(probs), np.array(value)

    def answers(
        histories: NDArray[np.float32], lengths: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        probs, value = asked(histories, lengths)
        probs[:1], value[:1] = asked(histories[:1], lengths[:1])
        return probs, value

    return answers


def serve(file: str) -> None:
    """Until stdin ends, as it does when whoever asks is gone."""
    answers = asked_singly(file)
    while asked := received(sys.stdin.buffer):
        probs, value = answers(asked["history"], asked["length"])
        send(sys.stdout.buffer, {"probs": probs, "value": value})


def send(stream: IO[bytes], arrays: dict[str, NDArray[Any]]) -> None:
    """OSError: nobody listens."""
    content = safetensors.numpy.save(arrays)
    stream.write(len(content).to_bytes(SIZE_BYTES, "little") + content)
    stream.flush()


def received(stream: IO[bytes]) -> dict[str, NDArray[Any]]:
    """Empty where the stream ends, even in the middle of arrays."""
    size = int.from_bytes(stream.read(SIZE_BYTES), "little")
    content = stream.read(size)
    return safetensors.numpy.load(content) if size and len(content) == size else {}


if __name__ == "__main__":
    serve(sys.argv[1])
