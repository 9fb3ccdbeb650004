"""A toy market: at a cue, the sign of feature 0 `lag` ticks ago says which way to trade."""

import numpy as np
import pytest

from arms.artefact import Trained
from arms.episodes import Episode, joined, windows
from arms.presets import preset_of
from arms.schema import MARKET_V1

CUE, SIGN = 8, 0


def _market(rng, name, ticks, lag, cues, cost):
    states = rng.uniform(-0.2, 0.2, (ticks, 18)).astype(np.float32)
    states[:, CUE] = 0
    values = np.zeros((ticks, 3), dtype=np.float32)
    values[:, 1:] = -cost
    slots = rng.choice(np.arange(1, ticks // (2 * lag)), cues, replace=False)
    for cue in slots * 2 * lag + rng.integers(0, 3, cues):
        sign = rng.choice([-1, 1])
        states[cue - lag, SIGN] = sign
        states[cue, CUE] = 1
        values[cue, 1:] = (sign - cost, -sign - cost)
    return Episode(name, states, values, np.ones(ticks, dtype=bool))


@pytest.fixture(scope="session")
def lag_world():
    def make(seed, markets, ticks=60, lag=7, cues=2, cost=0.6):
        rng = np.random.default_rng(seed)
        return [_market(rng, f"m{i}", ticks, lag, cues, cost) for i in range(markets)]

    return make


@pytest.fixture(scope="session")
def evaluate_on():
    def make(episodes, window=10):
        ticks = joined(episodes)
        rows = np.arange(len(ticks.states))
        history, lengths = windows(ticks, rows, window)

        def evaluate(policy):
            earned = ticks.values[rows, policy(history, lengths)]
            return np.bincount(ticks.starts, weights=earned)[np.unique(ticks.starts)].tolist()

        return evaluate

    return make


@pytest.fixture(scope="session")
def net_of():
    """An untrained net with fixed weights, in evaluation mode."""
    import torch

    from arms.torch_nets import DecisionNet

    torch.set_num_threads(1)

    def make(kind, name="fast", seed=0):
        torch.manual_seed(seed)
        return DecisionNet(preset_of(kind, name), MARKET_V1.width).eval()

    return make


@pytest.fixture
def exported(net_of, tmp_path):
    from arms.torch_export import export

    def make(kind, name="fast", folder="model"):
        preset = preset_of(kind, name)
        return export(net_of(kind, name), preset, kind, MARKET_V1, Trained(), tmp_path / folder)

    return make


@pytest.fixture(scope="session")
def shared(shared_dir):
    return shared_dir
