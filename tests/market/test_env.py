import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from market.env import MarketEnv
from market.errors import TapeError
from market.evaluation import play
from market.oracles import decoy_oracle
from market.worlds import DECOY_FAST, tape_of

TAPES = [tape_of(DECOY_FAST, seed) for seed in range(12)]


def test_it_is_a_gymnasium_environment():
    check_env(MarketEnv(TAPES, window=10), skip_render_check=True)


def test_rewards_add_up_to_what_evaluation_says():
    env, policy = MarketEnv(TAPES, window=10), decoy_oracle(10)
    for i, result in enumerate(play(policy, TAPES, window=10)):
        state, info = env.reset(options={"tape": i})
        total, over = 0.0, False
        while not over:
            action = policy(state[None], np.array([info["length"]]))[0]
            state, reward, over, _, info = env.step(action)
            total += reward
        assert total == pytest.approx(result.pnl_micro / 1e6)


def test_the_same_seed_draws_the_same_markets():
    def drawn():
        env = MarketEnv(TAPES, window=3)
        return [env.reset(seed=7)[1]["market"], *(env.reset()[1]["market"] for _ in range(5))]

    assert drawn() == drawn() and len(set(drawn())) > 1


def test_an_environment_needs_tapes():
    with pytest.raises(TapeError, match="no tapes"):
        MarketEnv([], window=3)
