"""A function of MLX asked by many processes at once: without a GPU it computes on one core, and slowly."""

import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

from arms import mlx_asked
from arms.errors import ArtefactError
from arms.exported_folder import Asking, Part, parts_of

_Process = subprocess.Popen[bytes]


def asked_by(file: Path, processes: int) -> Asking:
    """Each process gets the next part when its answer is here; answers come in the order of the parts, and no
    process outlives the last one or an end before it. ArtefactError: a process failed."""

    def asking(histories: NDArray[np.float32], lengths: NDArray[np.int64]) -> Iterator[Part]:
        parts = list(parts_of(histories, lengths))
        with ExitStack() as stack:
            crowd = [stack.enter_context(_started(file)) for _ in parts[:processes]]
            for process, part in zip(crowd, parts, strict=False):
                _send(process, part)
            for number in range(len(parts)):
                process = crowd[number % len(crowd)]
                found = _received(process)
                if number + len(crowd) < len(parts):
                    _send(process, parts[number + len(crowd)])
                yield found

    return asking


@contextmanager
def _started(file: Path) -> Generator[_Process]:
    """In a session of its own: Ctrl-C is for whoever asks."""
    program = [sys.executable, "-P", mlx_asked.__file__, str(file)]
    pipe = subprocess.PIPE
    with subprocess.Popen(  # noqa: S603 - our own program
        program, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()
            with suppress(BrokenPipeError):  # of what was not sent whole
                cast("IO[bytes]", process.stdin).close()


def _send(process: _Process, part: tuple[NDArray[np.float32], NDArray[np.int64]]) -> None:
    history, length = part
    try:
        mlx_asked.send(cast("IO[bytes]", process.stdin), {"history": history, "length": length})
    except BrokenPipeError:
        raise _failed(process) from None


def _received(process: _Process) -> Part:
    told = mlx_asked.received(cast("IO[bytes]", process.stdout))
    if not told:
        raise _failed(process)
    return told["probs"], told["value"]


def _failed(process: _Process) -> ArtefactError:
    said = cast("IO[bytes]", process.stderr).read().decode(errors="replace").strip().splitlines()
    why = said[-1] if said else f"it ended with {process.wait()}"
    return ArtefactError(f"a process that asks MLX failed ({why}): nothing is written; export it again")
