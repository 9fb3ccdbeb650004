"""Weights trained elsewhere: the real ones of LACUNA against a forward pass written here from a description.

That pass is the oracle: plain numpy in float64, from the NOTICE beside the weights and section 1 of the
research page on arms, without a line of ours. MLX names, [out,in] matrices, 5 states of 18 features, the
oldest first.
"""

import io
import itertools
import json
import pickle

import numpy as np
import pytest
import safetensors.numpy
import torch

from arms.artefact import read_artefact
from arms.errors import ArtefactError
from arms.foreign_file import holds_weights
from arms.foreign_weights import import_weights
from arms.onnx_runtime import load, window_of
from arms.presets import preset_of
from arms.schema import MARKET_V1
from arms.torch_nets import DecisionNet

TOLERANCE = 1e-5
N, STATES, F = 4096, 5, 18
FC = {
    "actor.temporal_encoder": ((64, 90), (32, 64)),
    "actor": ((64, 50), (64, 64), (3, 64)),
    "critic.temporal_encoder": ((64, 90), (32, 64)),
    "critic": ((96, 50), (96, 96), (1, 96)),
}


def layer(tensors, name, x):
    """tanh(LayerNorm(Linear))."""
    prefix, number = name.rsplit(".", 1)
    y = x @ tensors[f"{prefix}.fc{number}.weight"].astype(float).T + tensors[f"{prefix}.fc{number}.bias"]
    centred = y - y.mean(-1, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return np.tanh(normed * tensors[f"{prefix}.ln{number}.weight"] + tensors[f"{prefix}.ln{number}.bias"])


def oracle(tensors, history):
    """Probabilities of one history [k,18], k >= 1, the newest last: what is lacking in front is zeros."""
    stacked = np.concatenate([np.zeros((STATES, F)), history])[-STATES:].ravel()
    temporal = layer(tensors, "actor.temporal_encoder.2", layer(tensors, "actor.temporal_encoder.1", stacked))
    hidden = layer(tensors, "actor.2", layer(tensors, "actor.1", np.concatenate([history[-1], temporal])))
    logits = tensors["actor.fc3.weight"].astype(float) @ hidden + tensors["actor.fc3.bias"]
    return np.exp(logits) / np.exp(logits).sum()


def random_histories(seed, count, lengths):
    """Within the schema's ranges; lengths are taken in turn."""
    rng = np.random.default_rng(seed)
    sizes = itertools.islice(itertools.cycle(lengths), count)
    return [rng.uniform(MARKET_V1.low, MARKET_V1.high, (k, F)).astype(np.float32) for k in sizes]


def made_up(seed=0):
    """Tensors of the right names and shapes."""
    rng, tensors = np.random.default_rng(seed), {}
    for prefix, shapes in FC.items():
        for i, (out, width) in enumerate(shapes, start=1):
            tensors[f"{prefix}.fc{i}.weight"] = rng.normal(0, 0.3, (out, width)).astype(np.float32)
            tensors[f"{prefix}.fc{i}.bias"] = rng.normal(0, 0.3, out).astype(np.float32)
            if i < 3:
                tensors[f"{prefix}.ln{i}.weight"] = rng.normal(1, 0.2, out).astype(np.float32)
                tensors[f"{prefix}.ln{i}.bias"] = rng.normal(0, 0.2, out).astype(np.float32)
    return tensors


@pytest.fixture
def imported(tmp_path):
    """(arm, tensors) of a file."""

    def make(path):
        import_weights(path, tmp_path / "model", "base", MARKET_V1)
        return load(read_artefact(tmp_path / "model"), MARKET_V1), safetensors.numpy.load_file(path)

    return make


@pytest.fixture(scope="session")
def lacuna(shared_part):
    return shared_part("data", "lacuna_weights", "rl_model.safetensors")


@pytest.fixture
def written(tmp_path):
    """A file of tensors."""

    def write(tensors):
        safetensors.numpy.save_file(tensors, tmp_path / "w.safetensors")
        return tmp_path / "w.safetensors"

    return write


def far(arm, tensors, histories):
    """The largest difference from the oracle; every history goes its own way through window_of."""
    windows = [window_of(history, arm.window) for history in histories]
    probs = arm.act(np.concatenate([w for w, _ in windows]), np.concatenate([n for _, n in windows])).probs
    return np.abs(probs - [oracle(tensors, history.astype(float)) for history in histories]).max()


def test_the_real_weights_answer_as_their_description_says(imported, lacuna):
    arm, tensors = imported(lacuna)
    assert sum(t.size for t in tensors.values()) == 38_756
    assert far(arm, tensors, random_histories(1, N, [5, 6, 20, 64])) < TOLERANCE


def test_short_histories_are_front_padded_with_zeros(imported, lacuna):
    arm, tensors = imported(lacuna)
    histories = random_histories(2, N, [1, 2, 3, 4])
    assert far(arm, tensors, histories) < TOLERANCE
    assert all(window_of(h, arm.window)[1] == len(h) for h in histories[:4])


def test_what_stands_in_the_padding_changes_nothing(imported, lacuna):
    arm, _ = imported(lacuna)
    lengths = np.arange(64) % 4 + 1
    dirty = np.stack(random_histories(3, 64, [5]))
    clean = dirty * (np.arange(5) >= 5 - lengths[:, None])[:, :, None]
    np.testing.assert_array_equal(arm.act(dirty, lengths).probs, arm.act(clean, lengths).probs)


def test_the_bounds_of_every_feature_too(imported, lacuna):
    arm, tensors = imported(lacuna)
    corners = np.random.default_rng(4).integers(0, 2, (256, 5, F)).astype(bool)
    assert far(arm, tensors, list(np.where(corners, MARKET_V1.high, MARKET_V1.low))) < TOLERANCE


def test_padding_and_order_matter_to_these_weights(imported, lacuna):
    """Else the tests above could not tell a wrong order or padding from the right one."""
    _, tensors = imported(lacuna)
    histories = random_histories(5, 64, [5])
    truth = np.array([oracle(tensors, h) for h in histories])
    backwards = np.array([oracle(tensors, np.concatenate([h[:4][::-1], h[4:]])) for h in histories])
    repeated = np.array([oracle(tensors, np.repeat(h[-1:], 5, axis=0)) for h in histories])
    alone = np.array([oracle(tensors, h[-1:]) for h in histories])
    assert np.abs(truth - backwards).max() > 100 * TOLERANCE
    assert np.abs(alone - repeated).max() > 100 * TOLERANCE


def test_the_actor_is_our_base_net(lacuna):
    """Names and layers are those of the net that training uses, so the mapping is a rename."""
    tensors = safetensors.numpy.load_file(lacuna)
    net = DecisionNet(preset_of("base", "default"), F).eval()
    renamed = {
        name.replace("actor.temporal_encoder", "temporal_encoder"): torch.from_numpy(tensor)
        for name, tensor in tensors.items()
        if name.startswith("actor.")
    }
    told = net.load_state_dict(renamed, strict=False)
    assert told.unexpected_keys == []
    assert all(name.startswith("critic.") for name in told.missing_keys)
    histories = random_histories(6, 256, [5])
    with torch.inference_mode():
        logits, _ = net(torch.from_numpy(np.stack(histories)), torch.full((256,), 5))
    probs = torch.softmax(logits, -1).numpy()
    assert np.abs(probs - [oracle(tensors, h.astype(float)) for h in histories]).max() < TOLERANCE


def test_the_artefact_keeps_the_file_and_says_where_it_is_from(lacuna, tmp_path):
    one = import_weights(lacuna, tmp_path / "one", "base", MARKET_V1)
    assert one.weights == lacuna.read_bytes()
    assert (one.kind, one.window, one.trained.origin) == ("base", 5, "rl_model.safetensors")
    assert import_weights(lacuna, tmp_path / "two", "base", MARKET_V1).id == one.id


def test_it_has_no_value_in_usd(imported, written):
    arm, _ = imported(written(made_up()))
    acted = arm.act(np.stack(random_histories(7, 40, [5])), np.full(40, 5))
    assert acted.value.shape == (40,)
    assert not acted.value.any()


@pytest.mark.parametrize("seed", range(3))
def test_any_weights_of_that_shape(imported, written, seed):
    arm, tensors = imported(written(made_up(seed)))
    assert far(arm, tensors, random_histories(seed, 500, [1, 2, 3, 4, 5, 9])) < TOLERANCE


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_floats_are_taken_as_float32(imported, written, dtype):
    arm, tensors = imported(written({name: t.astype(dtype) for name, t in made_up().items()}))
    assert far(arm, tensors, random_histories(8, 200, [3, 5])) < TOLERANCE


def without(name):
    return lambda tensors: tensors.pop(name)


def put(name, value):
    return lambda tensors: tensors.update({name: value})


def at(name, index, value):
    def change(tensors):
        tensors[name].flat[index] = value

    return change


def as_type(name, dtype):
    return lambda tensors: tensors.update({name: tensors[name].astype(dtype)})


def turned(name):
    return lambda tensors: tensors.update({name: np.ascontiguousarray(tensors[name].T)})


ENCODER = "actor.temporal_encoder"
FILE = "of w.safetensors"
BROKEN = {
    "missing": (
        without("actor.ln2.bias"),
        "has no tensor actor.ln2.bias [64]: all 36 tensors",
        "save the whole model",
    ),
    "critic missing": (
        without("critic.fc3.weight"),
        "has no tensor critic.fc3.weight [1, 96]",
        "save the whole model",
    ),
    "extra": (
        put("actor.fc4.bias", np.zeros(3, np.float32)),
        'has a tensor "actor.fc4.bias" that',
        "leave it out",
    ),
    "strange name": (put("a\x1b[2J\n", np.zeros(1, np.float32)), r'"a\u001b[2J\n"', "leave it out"),
    "transposed": (
        turned(f"{ENCODER}.fc1.weight"),
        f"tensor {ENCODER}.fc1.weight {FILE} has shape [90, 64] instead of [64, 90]",
        "transpose it",
    ),
    "one action more": (
        put("actor.fc3.weight", np.zeros((4, 64), np.float32)),
        f"tensor actor.fc3.weight {FILE} has shape [4, 64] instead of [3, 64]",
        "export another net as ONNX",
    ),
    "a dimension more": (
        put("critic.fc3.bias", np.zeros((1, 1), np.float32)),
        f"tensor critic.fc3.bias {FILE} has shape [1, 1] instead of [1]",
        "export another net as ONNX",
    ),
    "NaN": (
        at("actor.fc1.bias", 7, np.nan),
        f"tensor actor.fc1.bias {FILE} has 1 of 64 numbers that are not finite",
        "earlier checkpoint",
    ),
    "infinite critic": (
        at("critic.fc2.weight", 0, -np.inf),
        f"tensor critic.fc2.weight {FILE} has 1 of 9216 numbers that are not finite",
        "earlier checkpoint",
    ),
    "too large for float32": (
        put("actor.fc3.bias", np.array([0, 1e300, 0])),
        f"tensor actor.fc3.bias {FILE} has 1 of 3 numbers that are not finite in float32",
        "earlier checkpoint",
    ),
    "integers": (
        as_type("actor.fc2.weight", np.int64),
        f"tensor actor.fc2.weight {FILE} is I64: weights must be one of F16, F32, F64",
        "save it as float32",
    ),
    "booleans": (as_type("actor.ln1.weight", np.bool_), f"tensor actor.ln1.weight {FILE} is BOOL", "float32"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_tensors_that_break_a_rule_are_named(written, tmp_path, case):
    change, said, remedy = BROKEN[case]
    tensors = made_up()
    change(tensors)
    check_refused(written(tensors), tmp_path, said, remedy)


def test_brain_floats_are_named(tmp_path):
    """NumPy cannot read them."""
    tensors = {name: torch.from_numpy(tensor) for name, tensor in made_up().items()}
    tensors["actor.fc1.weight"] = tensors["actor.fc1.weight"].bfloat16()
    from safetensors.torch import save_file

    save_file(tensors, tmp_path / "b.safetensors")
    check_refused(
        tmp_path / "b.safetensors", tmp_path, "actor.fc1.weight of b.safetensors is BF16", "float32"
    )


def test_the_older_model_without_an_encoder_is_refused(shared_part, tmp_path):
    old = shared_part("data", "lacuna_weights", "rl_model_prob_pnl.safetensors")
    check_refused(old, tmp_path, f"has no tensor {ENCODER}.fc1.weight [64, 90] and 23 more", "save the whole")


def check_refused(path, tmp_path, said, remedy):
    """In one sentence of one line; nothing is written."""
    with pytest.raises(ArtefactError) as refused:
        import_weights(path, tmp_path / "model", "base", MARKET_V1)
    sentence = str(refused.value)
    assert said in sentence
    assert remedy in sentence
    assert sentence.isprintable()
    assert not (tmp_path / "model").exists()


def saved(kind):
    """made_up() as somebody else keeps it."""
    tensors, file = made_up(), io.BytesIO()
    if kind == "pickle":
        pickle.dump(tensors, file)
    elif kind == "npz":
        np.savez(file, **tensors)
    else:
        torch.save(
            {n: torch.from_numpy(t) for n, t in tensors.items()},
            file,
            _use_new_zipfile_serialization=kind == "pt",
        )
    return file.getvalue()


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("pickle", "is a pickle"),
        ("old pt", "is a pickle"),
        ("pt", "is a zip archive"),
        ("npz", "is a zip archive"),
    ],
)
@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".npz"])
def test_what_may_hold_a_pickle_is_not_opened(tmp_path, kind, said, suffix):
    path = tmp_path / f"w{suffix}"
    path.write_bytes(saved(kind))
    assert holds_weights(path)
    check_refused(path, tmp_path, said, "mlx.core.save_safetensors")


def test_a_pickle_is_never_executed(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    (tmp_path / "w.safetensors").write_bytes(pickle.dumps(Evil()))
    check_refused(tmp_path / "w.safetensors", tmp_path, "is a pickle", "save the tensors")
    assert not (tmp_path / "ran").exists()


def test_a_file_cut_anywhere_is_refused(tmp_path):
    whole = safetensors.numpy.save(made_up())
    header = 8 + int.from_bytes(whole[:8], "little")
    path = tmp_path / "w.safetensors"
    for size in (1, 7, 8, 9, 500, header - 1, header, header + 1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        said = "ends within" if size > 8 else "is no safetensors file"
        check_refused(path, tmp_path, said, "copy it again" if size > 8 else "save the tensors")


def test_the_tensor_that_is_cut_is_named(tmp_path):
    """In the order of the file, where the last tensor ends last."""
    whole = safetensors.numpy.save(made_up())
    length = int.from_bytes(whole[:8], "little")
    ends = {name: entry["data_offsets"][1] for name, entry in json.loads(whole[8 : 8 + length]).items()}
    (tmp_path / "w.safetensors").write_bytes(whole[:-1])
    last, end = max(ends.items(), key=lambda each: each[1])
    said = f'ends within tensor "{last}": {end - 1:,} of {end:,} bytes are there'
    check_refused(tmp_path / "w.safetensors", tmp_path, said, "copy it again")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (safetensors.numpy.save(made_up()) + b"\0", "each byte must belong to one"),
        ((4).to_bytes(8, "little") + b"{x}}", "no list of tensors"),
        ((12).to_bytes(8, "little") + b'{"a":[1, 2]}', "no list of tensors"),
        (b"\x08\x00not it at all", "is no safetensors file"),
        (b"", "1 to 67,108,864 bytes"),
    ],
)
def test_what_is_no_safetensors_file(tmp_path, content, said):
    (tmp_path / "w.safetensors").write_bytes(content)
    check_refused(tmp_path / "w.safetensors", tmp_path, said, "")


def test_a_header_as_long_as_a_pickle_begins_is_no_pickle(imported, written, tmp_path):
    """The first bytes 80 04 are also a header's length of 1,152 modulo 65,536."""
    body = safetensors.numpy.save(made_up())
    length = int.from_bytes(body[:8], "little")
    wanted = 0x0480 + 0x10000
    padded = wanted.to_bytes(8, "little") + body[8 : 8 + length].ljust(wanted) + body[8 + length :]
    (tmp_path / "w.safetensors").write_bytes(padded)
    arm, tensors = imported(tmp_path / "w.safetensors")
    assert far(arm, tensors, random_histories(9, 20, [5])) < TOLERANCE


def test_onnx_and_folders_are_no_weights(tmp_path):
    assert not any(holds_weights(tmp_path / name) for name in ("m.onnx", "model", "policy"))
    assert holds_weights(tmp_path / "M.SAFETENSORS")
