"""Reads an ONNX file's protobuf just far enough to know that all its tensors lie in the file itself.

A tensor may name another file for its data, which ONNX Runtime then opens (relative to the working directory,
`..` included). Bytes can say so in many spellings (fields in any order, varints of any length), so they are
parsed as protobuf parsers do, not searched. The field numbers are those of onnx.proto, as a test checks.
"""

from typing import Final

from arms.errors import ArtefactError

INNER: Final[dict[str, dict[int, str]]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto",
        6: "GraphProto",
        10: "TensorProto",
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
    "TensorProto": {},
}
"""Which messages lead to a tensor, by field number."""
EXTERNAL_DATA: Final = 13
DATA_LOCATION: Final = 14
DEPTH_MAX: Final = 100
"""Messages within messages, as protobuf's own parser allows."""
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_VARINT_BYTES_MAX: Final = 10
_TAG_MAX: Final = (1 << 32) - 1


def check_self_contained(onnx: bytes, name: str) -> None:
    """ArtefactError where a tensor's data lie in another file, or where the bytes are no protobuf."""
    at, within = 0, [("ModelProto", len(onnx))]
    while within:
        kind, end = within[-1]
        if at == end:
            within.pop()
            continue
        at, inner = _field(onnx, kind, at, end, name)
        if inner is not None:
            within.append(inner)
            if len(within) > DEPTH_MAX:
                raise _broken(name)


def _field(onnx: bytes, kind: str, at: int, end: int, name: str) -> tuple[int, tuple[str, int] | None]:
    """Reads one field of a message. Returns where reading goes on, and the kind and the end of the message
    that is entered there, where the field is one that leads to a tensor."""
    tag, at = _varint(onnx, at, end, name)
    number, wire = tag >> 3, tag & 7
    if not number or tag > _TAG_MAX:  # parsers drop the bits above 32: another number to them than to us
        raise _broken(name)
    if wire == _VARINT:
        value, at = _varint(onnx, at, end, name)
        if kind == "TensorProto" and number == DATA_LOCATION and value:
            raise _external(name)
        return at, None
    if wire == _BYTES:
        size, at = _varint(onnx, at, end, name)
        if kind == "TensorProto" and number == EXTERNAL_DATA:
            raise _external(name)
    elif wire in {_FIXED64, _FIXED32}:
        size = 8 if wire == _FIXED64 else 4
    else:
        raise _broken(name)
    if at + size > end:
        raise _broken(name)
    if wire == _BYTES and number in INNER[kind]:
        return at, (INNER[kind][number], at + size)
    return at + size, None


def _varint(onnx: bytes, at: int, end: int, name: str) -> tuple[int, int]:
    value = 0
    for shift in range(0, 7 * _VARINT_BYTES_MAX, 7):
        if at >= end:
            break
        byte = onnx[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _broken(name)


def _external(name: str) -> ArtefactError:
    return ArtefactError(f"the ONNX of {name} keeps its weights in another file: save it as one file")


def _broken(name: str) -> ArtefactError:
    return ArtefactError(f"ONNX Runtime cannot load {name}: no ONNX file, or a damaged one; export it again")
