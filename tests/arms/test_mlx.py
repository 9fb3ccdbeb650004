"""The nets in MLX against those in torch: same weights, answers, loss and gradients; and it learns."""

from dataclasses import replace

import mlx.core as mx
import mlx.nn as mlx_nn
import numpy as np
import pytest
import torch
from mlx.utils import tree_flatten

from arms import mlx_export, mlx_training, torch_export, torch_training
from arms.artefact import Trained
from arms.attention import attention_of
from arms.cloning import Batch
from arms.episodes import Episode
from arms.errors import ArtefactError, TrainingError
from arms.mlx_nets import DecisionNet, weights_of, with_weights
from arms.onnx_runtime import load
from arms.presets import PRESETS, preset_of
from arms.schema import MARKET_V1
from arms.training import TrainingConfig

F = MARKET_V1.width
EVERY = sorted(PRESETS)


def twins(net_of, kind, name):
    """An untrained torch net, and MLX's with its weights, neither with dropout."""
    net = net_of(kind, name)
    twin = with_weights(DecisionNet(preset_of(kind, name), F), torch_export.weights_of(net))
    twin.eval()
    return net, twin


def inputs(window, rows=256, seed=0):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, window + 1, rows)
    histories = rng.uniform(-1, 1, (rows, window, F)).astype(np.float32)
    histories *= (np.arange(window)[None, :] >= window - lengths[:, None])[:, :, None]
    return histories, lengths.astype(np.int64)


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_same_weights_same_answers(net_of, kind, name):
    net, twin = twins(net_of, kind, name)
    histories, lengths = inputs(preset_of(kind, name).window)
    probs, value = torch_export.answers(net, histories, lengths)
    twin_probs, twin_value = mlx_export.answers(twin, histories, lengths)
    assert np.abs(twin_probs - probs).max() < 1e-5
    assert np.abs(twin_value - value).max() < 1e-4


@pytest.mark.parametrize("name", ["default", "large", "fast"])
def test_both_look_at_the_same_and_so_does_the_artefact(net_of, name, tmp_path):
    """Per layer and head, of every query: MLX's own weights, torch's, and numpy's of the file."""
    net, twin = twins(net_of, "transformer", name)
    preset = preset_of("transformer", name)
    histories, lengths = inputs(preset.window, rows=32)
    ours = mlx_export.attention(twin, histories, lengths)
    theirs = torch_export.attention(net, histories, lengths)
    assert ours.shape == (32, preset.layers, preset.heads, preset.window, preset.window)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)
    assert not np.isnan(ours[:, :-1]).any() and np.isnan(ours[:, -1, :, :-1]).all()
    np.testing.assert_allclose(ours[:, :, :, -1].sum(axis=-1), 1, atol=1e-5)
    assert not ours[lengths == 1][:, :, :, -1, :-1].any(), "padding is never read"
    artefact = mlx_export.export(twin, preset, "transformer", MARKET_V1, Trained(), tmp_path / "m")
    for row in range(4):
        own = attention_of(artefact, histories[row], int(lengths[row])).weights
        np.testing.assert_allclose(ours[row], own, rtol=0, atol=1e-5)


@pytest.mark.parametrize("backend", [mlx_export, torch_export])
def test_base_looks_at_nothing_and_says_so(net_of, backend):
    net, twin = twins(net_of, "base", "fast")
    with pytest.raises(ArtefactError, match="only a transformer attends"):
        backend.attention(twin if backend is mlx_export else net, *inputs(3, rows=1))


@pytest.mark.parametrize(("kind", "name"), [("base", "fast"), ("transformer", "fast")])
def test_same_loss_and_gradients(net_of, kind, name):
    net, twin = twins(net_of, kind, name)
    histories, lengths = inputs(preset_of(kind, name).window, rows=64)
    rng = np.random.default_rng(1)
    values = rng.normal(size=(64, 3)).astype(np.float32)
    gains = values - values.min(axis=1, keepdims=True)
    logits, value = net(torch.from_numpy(histories), torch.from_numpy(lengths))
    told = torch.from_numpy(gains), torch.from_numpy(values)
    loss = torch_training.loss_of(logits, value, *told, 1.0).mean()
    net.zero_grad()
    loss.backward()

    def twin_loss():
        twin_logits, twin_value = twin(mx.array(histories), mx.array(lengths))
        return mlx_training.loss_of(twin_logits, twin_value, mx.array(gains), mx.array(values), 1.0).mean()

    found, gradients = mlx_nn.value_and_grad(twin, twin_loss)()
    assert float(found.item()) == pytest.approx(float(loss.detach()), rel=1e-5)
    ours = {label: np.array(gradient) for label, gradient in tree_flatten(gradients)}
    theirs = {label: parameter.grad.numpy() for label, parameter in net.named_parameters()}
    assert set(ours) == set(theirs)
    for label, gradient in theirs.items():
        assert ours[label] == pytest.approx(gradient, abs=2e-5), label


def test_one_step_of_both_is_the_same(net_of):
    """Adam, clipping and the running mean included."""
    preset, config = replace(preset_of("transformer", "fast"), dropout=0.0), TrainingConfig()
    torch.manual_seed(0)
    ours, theirs = mlx_training._Learner(preset, F, config), torch_training._Learner(preset, F, config)
    with_weights(ours._net, torch_export.weights_of(theirs._net))
    with_weights(ours._averaged, torch_export.weights_of(theirs._net))
    histories, lengths = inputs(preset.window, rows=64)
    rng = np.random.default_rng(2)
    values = rng.normal(size=(64, 3)).astype(np.float32)
    gains, best = values - values.min(axis=1, keepdims=True), values.argmax(axis=1)
    batch = Batch(histories, lengths, gains, values, np.ones(64, dtype=np.float32), best)
    for _ in range(3):
        for learner in (ours, theirs):
            learner.start_epoch()
        found, expected = ours.step(batch, 1e-3), theirs.step(batch, 1e-3)
        assert found[0] == pytest.approx(expected[0], rel=1e-4)
        assert found[1] == expected[1]
    for name, weight in torch_export.weights_of(theirs._averaged).items():
        assert weights_of(ours._averaged)[name] == pytest.approx(weight, abs=2e-5), name


@pytest.fixture(scope="module")
def worlds(lag_world):
    return lag_world(1, 1_200), lag_world(2, 150)


def test_it_learns(worlds, evaluate_on):
    learn, judge = worlds
    config = TrainingConfig(epochs=12, rows_per_epoch=6_000, patience=2, batch_size=64)
    best = float(np.mean([e.values.max(axis=1).sum() for e in judge]))
    fitted = mlx_training.train(learn, preset_of("transformer", "fast"), config, evaluate_on(judge))
    assert fitted.trained.metrics["pnl_per_market_usd"] > 0.9 * best


@pytest.mark.parametrize("kind", ["base", "transformer"])
def test_an_artefact_of_mlx_serves_and_is_a_torch_net_too(worlds, evaluate_on, kind, tmp_path):
    learn, judge = worlds[0][:60], worlds[1][:10]
    preset, config = preset_of(kind, "fast"), TrainingConfig(epochs=2, rows_per_epoch=500)
    fitted = mlx_training.train(learn, preset, config, evaluate_on(judge))
    artefact = mlx_export.export(fitted.net, preset, kind, MARKET_V1, fitted.trained, tmp_path / "mlx")
    arm = load(artefact, MARKET_V1)
    histories, lengths = inputs(preset.window, rows=4096)
    served = arm.act(histories, lengths).probs
    again = torch_export.restored(artefact, preset, F)
    assert np.abs(torch_export.answers(again, histories, lengths)[0] - served).max() < 1e-5
    assert np.abs(mlx_export.answers(fitted.net, histories, lengths)[0] - served).max() < 1e-5
    torch_made = torch_export.export(again, preset, kind, MARKET_V1, Trained(), tmp_path / "torch")
    back = mlx_export.restored(torch_made, preset, F)
    assert np.abs(mlx_export.answers(back, histories, lengths)[0] - served).max() < 1e-5


def test_the_same_seed_gives_the_same_model(worlds, evaluate_on, tmp_path):
    learn, judge = worlds[0][:60], worlds[1][:10]
    preset = preset_of("transformer", "fast")

    def made(seed, folder):
        config = TrainingConfig(epochs=2, rows_per_epoch=500, seed=seed)
        fitted = mlx_training.train(learn, preset, config, evaluate_on(judge))
        return mlx_export.export(
            fitted.net, preset, "transformer", MARKET_V1, fitted.trained, tmp_path / folder
        )

    first = made(5, "a")
    assert made(5, "b").id == first.id
    assert made(6, "c").id != first.id


def test_a_loss_that_explodes_stops_with_the_batch_named(evaluate_on, worlds):
    states = np.full((40, F), 1e38, dtype=np.float32)
    values = np.tile(np.array([0, 1, -1], dtype=np.float32), (40, 1))
    wild = Episode("wild", states, values, np.ones(40, dtype=bool))
    with pytest.raises(TrainingError, match="epoch 1, batch 1 is nan"):
        mlx_training.train([wild], preset_of("base", "fast"), TrainingConfig(), evaluate_on(worlds[1][:2]))
