import itertools

import numpy as np
import pytest

from arms.episodes import Episode
from arms.epochs import Watch
from arms.errors import ArtefactError, TrainingError
from arms.onnx_runtime import load
from arms.presets import preset_of
from arms.schema import MARKET_V1
from arms.torch_export import answers, export, restored
from arms.torch_training import policy_of, train
from arms.training import TrainingConfig

QUICK = TrainingConfig(epochs=12, rows_per_epoch=6_000, patience=2, batch_size=64)


@pytest.fixture(scope="module")
def worlds(lag_world):
    return lag_world(1, 1_200), lag_world(2, 150)


def oracle(episodes):
    return float(np.mean([e.values.max(axis=1).sum() for e in episodes]))


def test_the_transformer_learns_what_base_cannot_see(worlds, evaluate_on):
    learn, judge = worlds
    far = train(learn, preset_of("transformer", "fast"), QUICK, evaluate_on(judge))
    near = train(learn, preset_of("base", "fast"), QUICK, evaluate_on(judge))
    assert far.trained.metrics["pnl_per_market_usd"] > 0.9 * oracle(judge)
    assert abs(near.trained.metrics["pnl_per_market_usd"]) < 0.05 * oracle(
        judge
    )  # it knows that it cannot know


def test_noise_is_not_traded(lag_world, evaluate_on):
    learn, judge = lag_world(3, 200, cost=1.2), lag_world(4, 100, cost=1.2)
    fitted = train(learn, preset_of("transformer", "fast"), TrainingConfig(epochs=2), evaluate_on(judge))
    assert fitted.trained.metrics["pnl_per_market_usd"] == 0


def test_the_same_seed_gives_the_same_model(worlds, evaluate_on, tmp_path):
    learn, judge = worlds[0][:60], worlds[1][:10]
    preset = preset_of("transformer", "fast")

    def made(seed, folder):
        config = TrainingConfig(epochs=2, rows_per_epoch=500, seed=seed)
        fitted = train(learn, preset, config, evaluate_on(judge))
        return export(fitted.net, preset, "transformer", MARKET_V1, fitted.trained, tmp_path / folder)

    first = made(5, "a")
    assert made(5, "b").id == first.id
    assert made(6, "c").id != first.id
    load(first, MARKET_V1)


def test_progress_is_reported_with_the_given_clock(worlds, evaluate_on):
    seen, clock = [], itertools.count()
    train(
        worlds[0][:20], preset_of("base", "fast"), TrainingConfig(epochs=3, rows_per_epoch=300),
        evaluate_on(worlds[1][:5]), Watch(seen.append, lambda: float(next(clock))),
    )  # fmt: skip
    assert [(e.epoch, e.epochs) for e in seen] == [(1, 3), (2, 3), (3, 3)]
    assert all(200 < e.samples_per_s < 400 for e in seen)


def test_a_loss_that_explodes_stops_with_the_batch_named(worlds, evaluate_on):
    states = np.full((40, 18), 1e38, dtype=np.float32)
    values = np.tile(np.array([0, 1, -1], dtype=np.float32), (40, 1))
    wild = Episode("wild", states, values, np.ones(40, dtype=bool))
    with pytest.raises(TrainingError, match="epoch 1, batch 1 is nan"):
        train([wild], preset_of("base", "fast"), QUICK, evaluate_on(worlds[1][:2]))


def test_the_policy_reads_its_own_window_of_any_history(net_of):
    net = net_of("base")
    policy = policy_of(net, 3)
    histories = np.random.default_rng(0).uniform(-1, 1, (50, 9, 18)).astype(np.float32)
    own = policy(histories[:, -3:], np.full(50, 3))
    np.testing.assert_array_equal(policy(histories, np.full(50, 9)), own)
    short = histories[:, -1:]
    padded = np.concatenate([np.zeros((50, 2, 18), np.float32), short], axis=1)
    np.testing.assert_array_equal(policy(short, np.ones(50, np.int64)), policy(padded, np.ones(50, np.int64)))


def test_a_net_comes_back_from_its_artefact(exported, net_of):
    artefact, preset = exported("transformer"), preset_of("transformer", "fast")
    histories = np.random.default_rng(0).uniform(-1, 1, (4, 10, 18)).astype(np.float32)
    lengths = np.array([1, 5, 10, 10])
    for mine, theirs in zip(
        answers(restored(artefact, preset, 18), histories, lengths),
        answers(net_of("transformer"), histories, lengths),
        strict=True,
    ):
        np.testing.assert_array_equal(mine, theirs)


def test_nan_weights_are_not_exported(net_of, tmp_path):
    import torch

    from arms.artefact import Trained

    net = net_of("base")
    with torch.no_grad():
        net.actor.fc1.bias[0] = torch.nan
    with pytest.raises(ArtefactError, match=r"weight actor\.fc1\.bias"):
        export(net, preset_of("base", "fast"), "base", MARKET_V1, Trained(), tmp_path / "m")
