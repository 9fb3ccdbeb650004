"""What the arms must learn in worlds whose truth is known: trained here, judged on fresh markets.

The transformer sees 10 ticks and can know the direction at a cue; base sees 3 and cannot. Base's own oracle
therefore never trades and earns 0, so its distance is measured on the scale of the long oracle (ADR 0008).
ABCTL_TEST_LEARNING=full (`make learning-full`) adds the `default` pair, 20 ticks against 5.
"""

import os
from dataclasses import dataclass

import numpy as np
import pytest

from arms.artefact import read_artefact
from arms.onnx_runtime import load
from arms.schema import MARKET_V1
from arms.training import TrainingConfig
from cli.lab import same_starters, simulated_course, train_artefact, train_starters
from cli.starters import starters_folder
from market.evaluation import play, totals_of
from market.oracles import decoy_oracle
from market.worlds import DECOY, DECOY_FAST, NOISE_FAST, World, tape_of

FRESH_SEED = 7_000_000
MARKETS = 400
ARMS = ("base", "transformer")
pytestmark = pytest.mark.timeout(900)


@dataclass(frozen=True)
class Pair:
    """A preset of both arms and the world that it is made for. long, short: its windows in ticks."""

    preset: str
    world: World
    long: int
    short: int
    markets: int
    epochs: int


FAST = Pair("fast", DECOY_FAST, long=10, short=3, markets=1200, epochs=24)
FAST_IN_NOISE = Pair("fast", NOISE_FAST, long=10, short=3, markets=1200, epochs=10)
DEFAULT = Pair("default", DECOY, long=20, short=5, markets=1500, epochs=24)
PAIRS = [FAST, DEFAULT] if os.environ.get("ABCTL_TEST_LEARNING") == "full" else [FAST]


@dataclass(frozen=True)
class Played:
    """Both arms on the same fresh markets. pnl_usd: float[n] per arm."""

    tapes: tuple
    results: dict
    totals: dict

    def pnl_usd(self, arm):
        return np.array([result.pnl_micro / 1e6 for result in self.results[arm]])


def policy_of(artefact):
    """The artefact as it is served: its ONNX in ONNX Runtime."""
    arm = load(artefact, MARKET_V1)
    return lambda histories, lengths: arm.act(histories, lengths).probs.argmax(axis=1)


def played(world, artefacts):
    tapes = tuple(tape_of(world, FRESH_SEED + i) for i in range(MARKETS))
    results = {arm: play(policy_of(a), tapes, a.window) for arm, a in artefacts.items()}
    return Played(tapes, results, {arm: totals_of(r) for arm, r in results.items()})


def trained(pair, folder):
    course = simulated_course(pair.world.name, pair.markets, seed=3)
    config = TrainingConfig(epochs=pair.epochs, seed=3)
    return {a: train_artefact(a, pair.preset, course, config, folder / a)[0] for a in ARMS}


@pytest.fixture(scope="module", params=PAIRS, ids=lambda pair: pair.preset)
def decoy(request, tmp_path_factory):
    pair = request.param
    return pair, played(pair.world, trained(pair, tmp_path_factory.mktemp("decoy")))


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    return played(NOISE_FAST, trained(FAST_IN_NOISE, tmp_path_factory.mktemp("noise")))


def check_decoy(pair, found):
    """The transformer earns 60% of the long oracle at least; base is within 10% of that from its own."""
    windows = (pair.long, pair.short)
    long, short = (totals_of(play(decoy_oracle(w), found.tapes, w)).pnl_per_market_usd for w in windows)
    assert short == 0.0
    assert found.totals["transformer"].pnl_per_market_usd >= 0.6 * long
    assert abs(found.totals["base"].pnl_per_market_usd - short) <= 0.1 * long


def test_trained_arms_use_what_they_can_see_in_the_decoy_world(decoy):
    check_decoy(*decoy)


def test_the_planted_effect_is_at_least_30_points(decoy):
    totals = decoy[1].totals
    gap = totals["transformer"].profit_share - totals["base"].profit_share
    assert gap >= 0.3


def test_shipped_starter_models_use_what_they_can_see_in_the_decoy_world():
    starters = {arm: read_artefact(starters_folder() / arm) for arm in ARMS}
    check_decoy(FAST, played(DECOY_FAST, starters))


def test_training_the_starters_again_gives_the_same_ids(tmp_path):
    """`abctl model starters --check`, with one epoch."""
    said, config = [], TrainingConfig(epochs=1)
    ids = train_starters(tmp_path, said.append, config)
    assert ids == {arm: read_artefact(tmp_path / arm).id for arm in ARMS}
    assert same_starters(tmp_path, said.append, config), said
    for arm in ARMS:
        short = ids[arm][:12]
        assert f"{arm}: held {short}, trained again {short}: the same to the bit" in said


def test_a_model_that_learned_something_else_is_not_the_same(tmp_path):
    said = []
    train_starters(tmp_path, said.append, TrainingConfig(epochs=1))
    assert not same_starters(tmp_path, said.append, TrainingConfig(epochs=2)), said


def test_trained_arms_hold_in_the_noise_world(noise):
    for arm in ARMS:
        assert noise.totals[arm].traded_share <= 0.02


def test_the_difference_in_the_noise_world_is_not_distinguishable_from_nothing(noise):
    difference = noise.pnl_usd("transformer") - noise.pnl_usd("base")
    if all(noise.totals[arm].traded_share == 0 for arm in ARMS):
        assert (difference == 0).all(), "nobody traded: no market may differ, and there is no interval"
        return
    half_width = 1.96 * difference.std(ddof=1) / np.sqrt(len(difference))
    assert half_width > 0
    assert abs(difference.mean()) <= half_width
