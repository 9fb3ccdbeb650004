"""Somebody's file of named tensors, read without trusting it: names, shapes, types, and that all are finite.

Only safetensors is read. A pickle runs code as it is opened, and archives of torch and NumPy may hold one, so
neither is opened, not even to look.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import safetensors
from numpy.typing import NDArray

from arms.errors import ArtefactError

SUFFIXES: Final = frozenset({".safetensors", ".npz", ".pickle", ".pkl", ".pt", ".pth", ".zip"})
DTYPES: Final[dict[str, str]] = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}
SHOWN_CHARACTERS: Final = 80
LENGTH_BYTES: Final = 8
METADATA: Final = "__metadata__"
_SAVE_AGAIN: Final = "save the tensors with save_file of safetensors, or mlx.core.save_safetensors"

_deserialize: Callable[[bytes], list[tuple[str, Mapping[str, Any]]]] = safetensors.deserialize

Shapes = dict[str, tuple[int, ...]]
Tensors = dict[str, NDArray[np.float32]]


class _Entry(msgspec.Struct, frozen=True):
    """Of a safetensors header: where the bytes of a tensor begin and end, behind the header."""

    data_offsets: tuple[int, int]


def holds_weights(file: Path) -> bool:
    """Whether a file's name is one of weights, or of what people keep weights in."""
    return file.suffix.lower() in SUFFIXES


def checked_tensors(content: bytes, name: str, shapes: Shapes) -> Tensors:
    """Exactly the tensors of `shapes`, as float32; else ArtefactError says which one breaks which rule.

    name: the file's, for what is said.
    """
    try:
        found = dict(_deserialize(content))
    except safetensors.SafetensorError as error:
        raise ArtefactError(f"{name} {_why_unreadable(content)}") from error
    _check_names(name, list(found), shapes)
    return {tensor: _checked(name, tensor, found[tensor], shape) for tensor, shape in shapes.items()}


def _check_names(name: str, found: list[str], shapes: Shapes) -> None:
    missing = [tensor for tensor in shapes if tensor not in found]
    if missing:
        raise ArtefactError(
            f"{name} has no tensor {missing[0]} {list(shapes[missing[0]])}{_and_more(missing)}: all "
            f"{len(shapes)} tensors of a LACUNA base net are needed; save the whole model, and import one "
            f"that abctl trained by its folder"
        )
    extra = sorted(set(found) - shapes.keys())
    if extra:
        raise ArtefactError(
            f"{name} has a tensor {_shown(extra[0])}{_and_more(extra)} that a LACUNA base net has not: what "
            f"it does would be lost, so leave it out of the file, or export another net as ONNX"
        )


def _checked(name: str, tensor: str, info: Mapping[str, Any], shape: tuple[int, ...]) -> NDArray[np.float32]:
    dtype = DTYPES.get(info["dtype"])
    if dtype is None:
        raise ArtefactError(
            f"tensor {tensor} of {name} is {info['dtype']}: weights must be one of {', '.join(DTYPES)}; "
            f"save it as float32"
        )
    if tuple(info["shape"]) != shape:
        raise ArtefactError(
            f"tensor {tensor} of {name} has shape {list(info['shape'])} instead of {list(shape)}: widths are "
            f"fixed and matrices are [out, in]; transpose it, or export another net as ONNX"
        )
    with np.errstate(over="ignore"):  # a float64 too large for float32 is infinite, and refused as such
        array: NDArray[np.float32] = np.frombuffer(info["data"], dtype).reshape(shape).astype(np.float32)
    wrong = int(np.count_nonzero(~np.isfinite(array)))
    if wrong:
        raise ArtefactError(
            f"tensor {tensor} of {name} has {wrong} of {array.size} numbers that are not finite in float32: "
            f"weights must be; take an earlier checkpoint, or train it again"
        )
    return array


def _why_unreadable(content: bytes) -> str:
    if content.startswith(b"PK"):
        return (
            f"is a zip archive, as torch.save and numpy.savez make: only safetensors is read; {_SAVE_AGAIN}"
        )
    if len(content) > 1 and content[0] == 0x80 and 2 <= content[1] <= 5:
        return f"is a pickle, which can run code when it is read: only safetensors is; {_SAVE_AGAIN}"
    header_bytes = int.from_bytes(content[:LENGTH_BYTES], "little")
    if content[LENGTH_BYTES : LENGTH_BYTES + 1] != b"{" or header_bytes < 2:
        return f"is no safetensors file, which starts with the length of a JSON header: {_SAVE_AGAIN}"
    if LENGTH_BYTES + header_bytes > len(content):
        return f"ends within its header, before any tensor: {len(content):,} bytes are not all; copy it again"
    return _why_uncovered(content[LENGTH_BYTES:][:header_bytes], len(content) - LENGTH_BYTES - header_bytes)


def _why_uncovered(header: bytes, held: int) -> str:
    """held: bytes behind the header."""
    try:
        entries = {k: v for k, v in msgspec.json.decode(header, type=dict[str, Any]).items() if k != METADATA}
        ends = {k: msgspec.convert(v, _Entry).data_offsets[1] for k, v in entries.items()}
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError):
        return f"has a header that is no list of tensors: {_SAVE_AGAIN}"
    cut = [tensor for tensor, end in sorted(ends.items(), key=lambda each: each[1]) if end > held]
    if cut:
        whole = max(ends.values())
        return f"ends within tensor {_shown(cut[0])}: {held:,} of {whole:,} bytes are there; copy it again"
    return f"has a header that does not fit its tensors: each byte must belong to one; {_SAVE_AGAIN}"


def _shown(tensor: str) -> str:
    """A name that somebody else chose."""
    return json.dumps(tensor[:SHOWN_CHARACTERS])


def _and_more(tensors: list[str]) -> str:
    return f" and {len(tensors) - 1} more" if len(tensors) > 1 else ""
