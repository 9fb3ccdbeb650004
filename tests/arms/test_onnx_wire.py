"""An ONNX file that would make ONNX Runtime open another file is refused, however it is spelt."""

import contextlib

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from arms.errors import ArtefactError
from arms.onnx_runtime import session_of
from arms.onnx_wire import DATA_LOCATION, DEPTH_MAX, EXTERNAL_DATA, INNER, check_self_contained

SHAPE = (54, 3)


def tensor(location=None):
    """Weights in the model, or in the file that `location` names."""
    held = numpy_helper.from_array(np.zeros(SHAPE, np.float32), "w")
    if location is not None:
        held.ClearField("raw_data")
        held.data_location = TensorProto.EXTERNAL
        entry = held.external_data.add()
        entry.key, entry.value = "location", location
    return held


def graph_of(weights, place):
    """A model with its weights in an initializer, or in the constant of a node."""
    constants = [helper.make_node("Constant", [], ["w"], value=weights)] if place == "node" else []
    nodes = [
        *constants,
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("Gemm", ["f", "w"], ["g"]),
        helper.make_node("Softmax", ["g"], ["p"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 18])]
    outputs = [helper.make_tensor_value_info("p", TensorProto.FLOAT, ["n", 3])]
    held = [] if place == "node" else [weights]
    return helper.make_graph(nodes, "g", inputs, outputs, held)


def model(location=None, place="initializer"):
    graph = graph_of(tensor(location), place)
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()


def respelt(onnx_bytes, location):
    """The same model with `value` before `key`: protobuf takes fields in any order."""
    value = b"\x12" + bytes([len(location)]) + location.encode()
    usual = b"\x0a\x08location" + value
    assert onnx_bytes.count(usual) == 1
    return onnx_bytes.replace(usual, value + b"\x0a\x08location")


@pytest.fixture
def secret(tmp_path, monkeypatch):
    """A file beside the process that a model must not read."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.bin").write_bytes(np.zeros(SHAPE, np.float32).tobytes())
    return "secret.bin"


def opened_by_the_runtime(content):
    ort.InferenceSession(content, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("place", ["initializer", "node"])
@pytest.mark.parametrize("spell", [lambda content, _: content, respelt])
def test_weights_in_another_file_are_refused(secret, place, spell):
    content = spell(model(secret, place), secret)
    if place == "initializer":
        opened_by_the_runtime(content)  # the danger is real: the runtime alone reads the file
    with pytest.raises(ArtefactError, match="another file"):
        session_of(content, "odd")


def test_a_location_without_its_flag_and_a_flag_without_a_location_are_refused():
    for change in (
        lambda held: held.ClearField("data_location"),
        lambda held: held.ClearField("external_data"),
    ):
        held = tensor("x")
        change(held)
        content = helper.make_model(graph_of(held, "initializer")).SerializeToString()
        with pytest.raises(ArtefactError, match="another file"):
            check_self_contained(content, "odd")


def test_lengths_of_unusual_spelling_are_understood():
    content = model("x")
    overlong = content.replace(b"\x0a\x08location", b"\x0a\x88\x00location")
    assert overlong != content
    with pytest.raises(ArtefactError):
        check_self_contained(overlong, "odd")


def varint(value):
    groups = [value >> shift & 0x7F for shift in range(0, max(value.bit_length(), 1), 7)]
    return bytes([group | 0x80 for group in groups[:-1]] + groups[-1:])


def field(number, content, high=0):
    """A field that holds bytes, its tag with bits above the 32 that a tag has."""
    return varint(high << 32 | number << 3 | 2) + varint(len(content)) + content


def spelt_with_high_bits(where, high):
    """A model whose weights lie in secret.bin, one of the three tags that lead there with bits too high."""
    held, whole = tensor("secret.bin"), helper.make_model(
        graph_of(tensor(), "initializer"), opset_imports=[helper.make_opsetid("", 17)], ir_version=9
    )  # fmt: skip
    entry = held.external_data[0].SerializeToString()
    del held.external_data[:]
    held.ClearField("data_location")
    location = varint((high if where == "tensor" else 0) << 32 | DATA_LOCATION << 3) + b"\x01"
    weights = held.SerializeToString() + field(EXTERNAL_DATA, entry, high * (where == "tensor")) + location
    del whole.graph.initializer[:]
    graph = whole.graph.SerializeToString() + field(5, weights, high * (where == "graph"))
    whole.ClearField("graph")
    return whole.SerializeToString() + field(7, graph, high * (where == "model"))


@pytest.mark.parametrize("high", [1, 2, 4])
@pytest.mark.parametrize("where", ["model", "graph", "tensor"])
def test_a_tag_with_bits_that_parsers_drop_hides_nothing(secret, where, high):
    opened_by_the_runtime(spelt_with_high_bits(where, 0))
    opened_by_the_runtime(spelt_with_high_bits(where, high))  # the same to the runtime: it reads the file
    with pytest.raises(ArtefactError, match="damaged"):
        session_of(spelt_with_high_bits(where, high), "odd")


WAYS = [(kind, number) for kind, fields in INNER.items() for number in fields]


@pytest.mark.parametrize(("kind", "number"), WAYS)
def test_on_every_way_to_a_tensor_another_file_is_found(kind, number):
    """Subgraphs, functions, sparse tensors, training: each field that can hold a tensor, however deep."""
    passed, refused = (
        way_to(kind, field(number, way_from(INNER[kind][number], held.SerializeToString())))
        for held in (tensor(), tensor("x"))
    )
    check_self_contained(passed, "good")
    with pytest.raises(ArtefactError, match="another file"):
        check_self_contained(refused, "odd")


def way_from(kind, content):
    """A message of this kind with the tensor `content` in it."""
    if kind == "TensorProto":
        return content
    number, inner = next(iter(INNER[kind].items()))
    return field(number, way_from(inner, content))


def way_to(kind, content):
    """A model with this content in a message of this kind."""
    while kind != "ModelProto":
        kind, number = next((k, n) for k, inner in INNER.items() for n, i in inner.items() if i == kind)
        content = field(number, content)
    return content


def test_messages_are_nested_as_deep_as_parsers_take_and_no_deeper():
    def nested(levels):
        content = b""
        for _ in range(levels // 3):  # of a graph in an attribute of a node of a graph
            content = field(1, field(5, field(6, content)))
        return field(7, content)

    check_self_contained(nested(DEPTH_MAX - 4), "good")
    for levels in (DEPTH_MAX + 2, 30_000):
        with pytest.raises(ArtefactError, match="damaged"):
            check_self_contained(nested(levels), "odd")


BROKEN = {
    "group": b"\x3b\x3c",
    "field 0": b"\x00\x00",
    "field 0 with bytes": b"\x02\x00",
    "cut": b"\x3a\x05",
    "size of 64 bits": b"\x3a" + b"\xff" * 9 + b"\x01",
    "endless": b"\x80" * 11,
    "cut number": b"\x39\x00",
    "no type": b"\x3e\x00",
    "no value": b"\x08",
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_what_no_parser_takes_is_refused(content):
    with pytest.raises(ArtefactError, match="damaged"):
        check_self_contained(content, "odd")


@pytest.mark.parametrize("place", ["initializer", "node"])
def test_weights_in_the_file_pass(place):
    check_self_contained(model(place=place), "good")
    session_of(model(place=place), "good")


def test_a_tensor_named_location_is_no_offence():
    held = tensor()
    held.name = "location"
    graph = graph_of(held, "initializer")
    graph.node[1].input[1] = "location"
    session_of(helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 17)])
               .SerializeToString(), "good")  # fmt: skip


@given(st.binary(max_size=300))
def test_no_bytes_whatever_are_anything_but_checked_or_refused(content):
    with contextlib.suppress(ArtefactError):
        check_self_contained(content, "odd")


@given(st.data())
def test_what_the_parser_finds_external_is_never_passed(data):
    """Against the real parser: a model whose bytes were changed anywhere."""
    content = bytearray(model("secret.bin"))
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    parsed = onnx.ModelProto()
    try:
        parsed.ParseFromString(bytes(content))
    except Exception:  # noqa: BLE001 - what the parser refuses, the runtime refuses
        return
    if any(t.external_data or t.data_location for t in parsed.graph.initializer):
        with pytest.raises(ArtefactError):
            check_self_contained(bytes(content), "odd")


def leads_to_a_tensor(message, seen=()):
    """Whether a message of onnx.proto can hold a tensor, however deep."""
    if message.name == "TensorProto":
        return True
    inner = [f.message_type for f in message.fields if f.type == FieldDescriptor.TYPE_MESSAGE]
    return any(leads_to_a_tensor(m, (*seen, message.name)) for m in inner if m.name not in seen)


def test_the_numbers_are_those_of_onnx():
    reached, waiting = {}, [onnx.ModelProto.DESCRIPTOR]
    while waiting:
        message = waiting.pop()
        if message.name in reached:
            continue
        inner = {f.number: f.message_type for f in message.fields if f.type == FieldDescriptor.TYPE_MESSAGE}
        kept = {number: m for number, m in inner.items() if leads_to_a_tensor(m)}
        reached[message.name] = {number: m.name for number, m in kept.items()}
        waiting += kept.values()
    reached["TensorProto"] = {}
    assert reached == INNER
    numbers = {f.name: f.number for f in onnx.TensorProto.DESCRIPTOR.fields}
    assert (numbers["external_data"], numbers["data_location"]) == (EXTERNAL_DATA, DATA_LOCATION)
