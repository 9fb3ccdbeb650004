import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import msgspec
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from arms.artefact import GOLDEN, WEIGHTS, Golden, read_artefact, write_artefact
from arms.errors import ActError, ArtefactError
from arms.onnx_runtime import BOUND_ROWS_MAX, load, session_of, window_of
from arms.presets import PRESETS, preset_of
from arms.schema import MARKET_V1, Feature, StateSchema


@pytest.mark.parametrize(("kind", "name"), list(PRESETS))
def test_the_graph_answers_as_the_full_torch_module(exported, net_of, kind, name):
    from arms.torch_export import answers

    arm, window = load(exported(kind, name), MARKET_V1), preset_of(kind, name).window
    rng = np.random.default_rng(3)
    histories = rng.uniform(-1, 1, (32, window, 18)).astype(np.float32)  # garbage in the padding, too
    lengths = rng.integers(1, window + 1, 32)
    probs, value = answers(net_of(kind, name), histories, lengths)
    acted = arm.act(histories, lengths)
    assert acted.probs.dtype == acted.value.dtype == np.float32
    np.testing.assert_allclose(acted.probs, probs, atol=1e-5)
    np.testing.assert_allclose(acted.value, value, atol=1e-5)


@pytest.mark.parametrize("kind", ["base", "transformer"])
def test_a_batch_answers_as_its_members_do_alone(exported, kind):
    arm = load(exported(kind), MARKET_V1)
    histories = np.random.default_rng(4).uniform(-1, 1, (7, arm.window, 18)).astype(np.float32)
    lengths = np.array([1, 2, 3, 3, 3, 2, 1])
    together = arm.act(histories, lengths)
    for i in range(7):
        alone = arm.act(histories[i : i + 1], lengths[i : i + 1])
        np.testing.assert_allclose(alone.probs[0], together.probs[i], atol=1e-6)


@pytest.mark.parametrize("rows", [1, 2, BOUND_ROWS_MAX, BOUND_ROWS_MAX + 1])
def test_memory_of_its_own_changes_no_answer_and_keeps_none(exported, rows):
    arm = load(exported("transformer"), MARKET_V1)
    session = session_of(exported("transformer").onnx, "transformer")
    rng = np.random.default_rng(5)
    kept = []
    for _ in range(3):
        histories = rng.uniform(-1, 1, (rows, arm.window, 18)).astype(np.float32)
        lengths = rng.integers(1, arm.window + 1, rows)
        probs, value = session.run(("probs", "value"), {"history": histories, "length": lengths})
        kept.append((arm.act(histories, lengths), probs, value))
    for acted, probs, value in kept:  # also once later runs have used the memory
        np.testing.assert_array_equal(acted.probs, probs)
        np.testing.assert_array_equal(acted.value, value)


def test_several_threads_get_their_own_answers(exported):
    arm = load(exported("base"), MARKET_V1)
    histories = np.random.default_rng(6).uniform(-1, 1, (64, 1, arm.window, 18)).astype(np.float32)
    lengths = np.array([arm.window])
    alone = [arm.act(each, lengths).probs for each in histories]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda each: arm.act(each, lengths).probs, np.repeat(histories, 8, axis=0)))
    np.testing.assert_array_equal(together, np.repeat(alone, 8, axis=0))


def test_the_model_id_is_the_artefacts(exported):
    artefact = exported("base")
    arm = load(artefact, MARKET_V1)
    assert (arm.model, arm.window) == (artefact.id, 3)


def test_another_schema_is_refused(exported):
    other = StateSchema("other", (Feature("x", "1", 0, 1),), 500_000)
    with pytest.raises(ArtefactError, match="was made for states market-v1"):
        load(exported("base"), other)


def test_an_altered_answer_fails_the_self_test(exported, tmp_path):
    exported("base")
    path = tmp_path / "model" / GOLDEN
    golden = msgspec.json.decode(path.read_bytes(), type=Golden)
    probs = [[p[1], p[2], p[0]] for p in golden.probs]
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(golden, probs=probs)))
    with pytest.raises(ArtefactError, match="failed its self-test: answers differ"):
        load(read_artefact(tmp_path / "model"), MARKET_V1)


def test_an_empty_self_test_is_refused(exported, tmp_path):
    artefact = exported("base")
    empty = Golden(history=[], length=[], probs=[], value=[])
    written = write_artefact(tmp_path / "empty", artefact.config, empty, artefact.onnx, artefact.weights)
    with pytest.raises(ArtefactError, match="incomplete"):
        load(written, MARKET_V1)


def test_nan_weights_are_refused_by_name(exported, tmp_path):
    exported("base")
    path = tmp_path / "model" / WEIGHTS
    tensors = safetensors.numpy.load_file(path)
    tensors["actor.fc2.bias"] = np.full_like(tensors["actor.fc2.bias"], np.nan)
    path.write_bytes(safetensors.numpy.save(tensors))
    with pytest.raises(ArtefactError, match=r"weight actor\.fc2\.bias"):
        load(read_artefact(tmp_path / "model"), MARKET_V1)


def test_broken_weights_and_graphs_are_refused(exported, tmp_path):
    artefact = exported("base")
    broken = write_artefact(tmp_path / "w", artefact.config, artefact.golden, artefact.onnx, b"no tensors")
    with pytest.raises(ArtefactError, match="cannot be read"):
        load(broken, MARKET_V1)
    broken = write_artefact(
        tmp_path / "g", artefact.config, artefact.golden, artefact.onnx[:500], artefact.weights
    )
    with pytest.raises(ArtefactError, match="ONNX Runtime cannot load base"):
        load(broken, MARKET_V1)


def test_a_graph_of_another_window_is_refused(exported, tmp_path):
    base, transformer = exported("base"), exported("transformer", folder="other")
    mixed = write_artefact(tmp_path / "mixed", base.config, base.golden, transformer.onnx, base.weights)
    with pytest.raises(ArtefactError, match=r"model\.onnx has inputs"):
        load(mixed, MARKET_V1)


def test_a_wrong_shape_and_an_impossible_answer_are_act_errors(exported):
    arm = load(exported("base"), MARKET_V1)
    with pytest.raises(ActError, match="this arm reads"):
        arm.act(np.zeros((1, 4, 18), dtype=np.float32), np.array([1]))
    with pytest.raises(ActError, match="not a probability"):
        arm.act(np.full((1, 3, 18), np.nan, dtype=np.float32), np.array([3]))


@given(st.integers(1, 64), st.integers(1, 64))
def test_a_window_is_the_newest_states_behind_zeros(states, window):
    history = np.random.default_rng(states).random((states, 18), dtype=np.float32) + 1
    for form in (history, history.tolist()):
        padded, length = window_of(form, window)
        real = min(states, window)
        assert padded.shape == (1, window, 18)
        assert length.tolist() == [real]
        np.testing.assert_array_equal(padded[0, window - real :], history[-real:])
        assert not padded[0, : window - real].any()


def test_graphs_with_weights_elsewhere_are_refused(tmp_path, net_of):
    import onnx
    from onnx.external_data_helper import convert_model_to_external_data

    from arms.onnx_graph import graph_of
    from arms.torch_export import weights_of

    preset = preset_of("base", "fast")
    model = onnx.load_from_string(
        graph_of(weights_of(net_of("base")), preset, 18, np.zeros((0, 0), np.float32))
    )
    convert_model_to_external_data(model, location="stolen.bin", size_threshold=0)
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(ArtefactError, match="another file"):
        session_of((tmp_path / "model.onnx").read_bytes(), "x")


def test_serving_leaves_torch_and_onnx_unimported():
    script = (
        "import sys, arms.onnx_runtime, arms.onnx_import, arms.protocol\n"
        "import arms.episodes, arms.training, arms.presets\n"
        "print(sorted({'torch', 'onnx', 'mlx', 'scipy', 'gymnasium'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert run.stdout.strip() == "[]"
