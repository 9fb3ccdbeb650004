"""An arm in a process of its own: what it does to itself, it does to nobody else.

`python -P -c "from arms.aside import main; main()" FD` serves one arm over a socket that it inherits. Frames
are a length (u32, little-endian) and so many bytes. First comes `Hello`, as msgpack; the answer is a status
byte and `Facts`, as msgpack, or why the arm was refused. Then each question is SHAPE, histories as float32
and lengths as int64; each answer a status byte, then probabilities and values as float32, or why there are
none. It ends with the socket.

The kernel ends a process whose arm is far too late, whatever that does and whether or not anybody watches.
"""

import os
import signal
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final, cast

import msgspec
import numpy as np

from arms.artefact import artefact_of
from arms.errors import ArmError, ArtefactError
from arms.protocol import Acted, Arm, loader_of
from arms.schema import Feature, StateSchema

OK: Final = b"\x00"
FAILED: Final = b"\x01"
LENGTH: Final = struct.Struct("<I")
SHAPE: Final = struct.Struct("<III")
"""Rows, window, width."""
_LATE_TIMES: Final = 2.0


class Hello(msgspec.Struct, frozen=True):
    """files: the artefact's, by name. schema: as msgpack. limit_s: how long a run may take."""

    files: dict[str, bytes]
    schema: bytes
    limit_s: float


def hello_of(files: dict[str, bytes], schema: StateSchema, limit_s: float) -> Hello:
    """The first frame."""
    return Hello(files, msgspec.msgpack.encode(schema), limit_s)


def schema_of(packed: bytes) -> StateSchema:
    """The schema with its numbers as they were, whole or not, for its hash tells them apart."""
    plain = msgspec.msgpack.decode(packed)
    return StateSchema(plain["name"], tuple(Feature(**each) for each in plain["features"]), plain["tick_us"])


class Facts(msgspec.Struct, frozen=True):
    """What the loaded arm says of itself."""

    model: str
    window: int


def main() -> None:
    """Serves until the socket ends."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the worker decides when this ends
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    os.dup2(2, 1)  # what an arm prints is no answer
    with (
        suppress(ConnectionError),
        socket.socket(fileno=int(sys.argv[1])) as link,
        link.makefile("rwb") as both,
    ):
        serve(cast("BinaryIO", both))


def serve(stream: BinaryIO) -> None:
    """Loads the arm that the first frame names, and answers what follows."""
    first = received(stream)
    if first is None:
        return
    hello = msgspec.msgpack.decode(first, type=Hello)
    try:
        arm = loaded(hello)
    except Exception as error:  # noqa: BLE001 - somebody else's code; what it raises is its refusal
        send(stream, FAILED + why(error))
        return
    send(stream, OK + msgspec.msgpack.encode(Facts(arm.model, arm.window)))
    while (frame := received(stream)) is not None:
        send(stream, answered(arm, frame, hello.limit_s))


def loaded(hello: Hello) -> Arm:
    """The arm, as its kind's loader makes it."""
    artefact, schema = artefact_of(Path("artefact"), hello.files), schema_of(hello.schema)
    if artefact.schema_hash != schema.hash:
        raise ArtefactError(
            f"model {artefact.id} was made for states {artefact.config.schema} ({artefact.schema_hash}),"
            f" not for {schema.name} ({schema.hash}): make it again for this schema"
        )
    return loader_of(artefact.kind)(artefact, schema)


def answered(arm: Arm, frame: bytes, limit_s: float) -> bytes:
    """One run's answer, whatever the arm does short of taking the process with it."""
    rows, window, width = SHAPE.unpack_from(frame)
    stop = SHAPE.size + 4 * rows * window * width
    histories = np.frombuffer(frame[SHAPE.size : stop], "<f4").reshape(rows, window, width)
    lengths = np.frombuffer(frame[stop:], "<i8")
    signal.setitimer(signal.ITIMER_REAL, _LATE_TIMES * limit_s)
    try:
        acted = arm.act(histories, lengths)
        return OK + _packed(acted, rows)
    except Exception as error:  # noqa: BLE001 - somebody else's code
        return FAILED + why(error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)


def _packed(acted: Acted, rows: int) -> bytes:
    probs, value = np.asarray(acted.probs, "<f4"), np.asarray(acted.value, "<f4")
    if probs.shape != (rows, 3) or value.shape != (rows,):
        raise ArmError(
            f"the arm answered {list(probs.shape)} and {list(value.shape)}, not [{rows}, 3] and [{rows}]"
        )
    return probs.tobytes() + value.tobytes()


def unpacked(payload: bytes, rows: int) -> Acted:
    """The other way round. Raises ValueError on another size."""
    numbers = np.frombuffer(payload, "<f4")
    if len(numbers) != 4 * rows:
        raise ValueError(f"{len(numbers)} numbers for {rows} histories")
    return Acted(numbers[: 3 * rows].reshape(rows, 3), numbers[3 * rows :])


def why(error: Exception) -> bytes:
    """The first line of what went wrong."""
    text = (str(error).splitlines() or [""])[0]
    return (text if isinstance(error, ArmError) else f"{type(error).__name__}: {text}").encode()[:2000]


def framed(payload: bytes) -> bytes:
    """A frame."""
    return LENGTH.pack(len(payload)) + payload


def send(stream: BinaryIO, payload: bytes) -> None:
    """One frame, at once."""
    stream.write(framed(payload))
    stream.flush()


def received(stream: BinaryIO) -> bytes | None:
    """The next frame; None where the other side is gone."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    payload = stream.read(length)
    return payload if len(payload) == length else None
