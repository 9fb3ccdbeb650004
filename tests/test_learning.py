"""What the arms must learn in worlds whose truth is known: trained here, judged on fresh markets.

The transformer sees 10 ticks and can know the direction at a cue; base sees 3 and cannot. Base's own oracle
therefore never trades and earns 0, so its distance is measured on the scale of the long oracle.
"""

from dataclasses import dataclass

import numpy as np
import pytest

from arms.artefact import read_artefact
from arms.onnx_runtime import load
from arms.schema import MARKET_V1
from arms.training import TrainingConfig
from cli.lab import simulated_course, train_artefact
from cli.starters import starters_folder
from market.evaluation import play, totals_of
from market.oracles import decoy_oracle
from market.worlds import DECOY_FAST, NOISE_FAST, tape_of

FRESH_SEED = 7_000_000
MARKETS = 400
pytestmark = pytest.mark.timeout(400)


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


def trained(world, epochs, folder):
    course = simulated_course(world.name, seed=3)
    config = TrainingConfig(epochs=epochs, seed=3)
    arms = ("base", "transformer")
    return {a: train_artefact(a, "fast", course, config, folder / a, lambda _: None)[0] for a in arms}


@pytest.fixture(scope="module")
def decoy(tmp_path_factory):
    return played(DECOY_FAST, trained(DECOY_FAST, 24, tmp_path_factory.mktemp("decoy")))


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    return played(NOISE_FAST, trained(NOISE_FAST, 10, tmp_path_factory.mktemp("noise")))


def check_decoy(found):
    """The transformer earns 60% of the long oracle at least; base is within 10% of that from its own."""
    long, short = (totals_of(play(decoy_oracle(w), found.tapes, w)).pnl_per_market_usd for w in (10, 3))
    assert short == 0.0
    assert found.totals["transformer"].pnl_per_market_usd >= 0.6 * long
    assert abs(found.totals["base"].pnl_per_market_usd - short) <= 0.1 * long


def test_trained_arms_use_what_they_can_see_in_the_decoy_world(decoy):
    check_decoy(decoy)


def test_the_planted_effect_is_at_least_30_points(decoy):
    gap = decoy.totals["transformer"].profit_share - decoy.totals["base"].profit_share
    assert gap >= 0.3


def test_shipped_starter_models_use_what_they_can_see_in_the_decoy_world():
    starters = {arm: read_artefact(starters_folder() / arm) for arm in ("base", "transformer")}
    check_decoy(played(DECOY_FAST, starters))


def test_trained_arms_hold_in_the_noise_world(noise):
    for arm in ("base", "transformer"):
        assert noise.totals[arm].traded_share <= 0.02


def test_the_difference_in_the_noise_world_is_not_distinguishable_from_nothing(noise):
    difference = noise.pnl_usd("transformer") - noise.pnl_usd("base")
    half_width = 1.96 * difference.std(ddof=1) / np.sqrt(len(difference))
    assert abs(difference.mean()) <= half_width or not difference.any()
