"""PPO: what is stored is what was seen and paid; stable-baselines3 as an oracle; and it learns, in both
frameworks."""

import math
import warnings
from dataclasses import replace
from itertools import product

import mlx.core as mx
import mlx.nn as mlx_nn
import numpy as np
import pytest
import torch
from mlx.utils import tree_flatten

from arms import mlx_export, mlx_ppo, torch_export, torch_ppo
from arms.advantages import Horizon, Trail, advantages_of
from arms.artefact import Trained, markets_in, names_in, read_artefact
from arms.checkpoint import Checkpoint
from arms.environment import drawn, rollout
from arms.epochs import Watch
from arms.errors import ArtefactError, EpisodeError, TrainingError
from arms.mlx_nets import weights_of as mlx_weights_of
from arms.mlx_nets import with_weights
from arms.mlx_training import policy_of as mlx_policy_of
from arms.onnx_runtime import load
from arms.ppo import Clipping, PpoBatch, PpoConfig, PpoEpoch, minibatches, standardised, weighed
from arms.presets import BasePreset, preset_of
from arms.schema import MARKET_V1
from arms.torch_nets import DecisionNet
from arms.torch_training import policy_of
from cli.lab import Course, simulated_course
from cli.ppo_course import train_ppo
from cli.starters import starters_folder
from market.evaluation import expected_pnl_usd, play
from market.labels import DECOY_EXIT
from market.vector_env import VectorEnv
from market.worlds import DECOY_FAST, tape_of

F = MARKET_V1.width
BACKENDS = {"torch": torch_ppo, "mlx": mlx_ppo}
CELLS, START, RIGHT, LEFT = 6, 1, 1, 2
CHAIN_TICKS, STEP_USD, NEAR_USD, FAR_USD = 12, -0.01, 0.2, 1.0
BEST_USD = FAR_USD + 4 * STEP_USD
SMALL = BasePreset("fast", window=1, hidden=32, output=16)


class Chain:
    """N walks along six cells, in step: 0.20 USD one step to the left, 1 USD four steps to the right."""

    def __init__(self, markets):
        self.cell, self.age = np.full(markets, START), np.zeros(markets, dtype=int)
        self.markets, self.shape, self.digest = markets, (1, CELLS), "c" * 32

    def observe(self):
        return np.eye(CELLS, dtype=np.float32)[self.cell][:, None], np.ones(self.markets, dtype=np.int64)

    def step(self, actions):
        self.cell += (actions == RIGHT).astype(int) - (actions == LEFT)
        self.age += 1
        near, far = self.cell == 0, self.cell == CELLS - 1
        done = near | far | (self.age == CHAIN_TICKS)
        self.cell[done], self.age[done] = START, 0
        return STEP_USD + NEAR_USD * near + FAR_USD * far, done

    def state(self):
        return {"cell": self.cell.copy(), "age": self.age.copy()}

    def restore(self, state):
        self.cell, self.age = state["cell"].copy(), state["age"].copy()


def walked(policy):
    """What every one of four walks earns; they are all the same when the policy is greedy."""
    chain, total = Chain(4), np.zeros(4)
    while True:
        rewards, done = chain.step(policy(*chain.observe()))
        total += rewards
        if done.all():
            return total.tolist()


def decoys(first, count):
    return tuple(tape_of(DECOY_FAST, first + i) for i in range(count))


def uneven_env():
    """Four places, tapes of 20 to 100 ticks."""
    columns = ("tick_us", "prices", "depths", "features")
    tapes = [
        replace(tape, **{name: getattr(tape, name)[:ticks] for name in columns})
        for tape, ticks in zip(decoys(0, 9), range(20, 110, 10), strict=True)
    ]
    return VectorEnv(tapes, markets=4, window=10, seed=3)


def judge_on(tapes):
    def evaluate(policy):
        return [float(usd) for usd in expected_pnl_usd(play(policy, tapes, 10), tapes)]

    return evaluate


def learner_of(module, net, config, window=10):
    return module.Learner(net, window, config)


def batch_of(rng, n, window=10, spread=0.5):
    """A batch whose odds have moved on since it was drawn, ratios on both sides of the clip."""
    lengths = rng.integers(1, window + 1, n)
    history = rng.uniform(-1, 1, (n, window, F)).astype(np.float32)
    history *= (np.arange(window) >= window - lengths[:, None])[:, :, None]
    columns = (
        rng.normal(math.log(1 / 3), spread, n),
        standardised(rng.normal(size=n)),
        rng.normal(size=(2, n)),
    )
    log_prob, advantage, (target, old) = (column.astype(np.float32) for column in columns)
    return PpoBatch(
        history, lengths.astype(np.int64), rng.integers(0, 3, n), log_prob, advantage, target, old
    )


# What is stored


@pytest.fixture(scope="module")
def played(net_of):
    """A rollout across ends of markets of different lengths, with what was observed on the way."""
    env, config = uneven_env(), PpoConfig()
    learner, seen = learner_of(torch_ppo, net_of("transformer"), config), []

    def answer(histories, lengths):
        seen.append((histories.copy(), lengths.copy()))
        return learner.answer()(histories, lengths)

    rng = np.random.default_rng(1)
    rollout(env, answer, 33, rng)  # so that the one that is looked at begins in mid-market
    seen.clear()
    return rollout(env, answer, 90, rng), seen, learner


def test_a_state_enters_the_history_once_and_training_sees_what_played(played):
    """Bug (b): every window, bit for bit, across ends of markets and from before the rollout."""
    kept, seen, _ = played
    histories, lengths = (np.concatenate(parts) for parts in zip(*seen[:-1], strict=True))
    windows, real = kept.windows(np.arange(kept.rows))
    np.testing.assert_array_equal(windows, histories)
    np.testing.assert_array_equal(real, lengths)
    assert kept.done.any(axis=0).all() and (kept.lengths[0] == 10).any()
    whole = kept.states[:, 0]
    assert not (whole[1:] == whole[:-1]).all(axis=1).any()


def test_action_odds_and_value_of_a_tick_are_stored_with_its_own_state(played):
    """Bug (a): the net gives the stored odds and values again, so every ratio is 1 before the first step."""
    kept, _, learner = played
    odds, values = learner.answer()(*kept.windows(np.arange(kept.rows)))
    actions = kept.actions.reshape(-1)
    np.testing.assert_allclose(odds[np.arange(kept.rows), actions], kept.log_probs.reshape(-1), atol=2e-6)
    np.testing.assert_allclose(values, kept.values.reshape(-1), atol=2e-5)
    np.testing.assert_array_equal(odds.argmax(axis=1), kept.greedy.reshape(-1))
    shifted = odds[np.arange(kept.rows - 4) + 4, actions[:-4]]
    assert np.abs(shifted - kept.log_probs.reshape(-1)[:-4]).max() > 1e-3, "no state looks like the next"


def test_rewards_are_those_of_the_stored_actions_in_the_stored_markets(played):
    """Bug (a): the same actions played again pay the same, at the same ticks."""
    kept, _, learner = played
    env = uneven_env()
    rollout(env, learner.answer(), 33, np.random.default_rng(1))
    for tick in range(len(kept.actions)):
        rewards, done = env.step(kept.actions[tick])
        np.testing.assert_array_equal(rewards, kept.rewards_usd[tick])
        np.testing.assert_array_equal(done, kept.done[tick])


def test_no_market_bootstraps_from_another(played):
    """Bug (c): a fortune in one market changes advantages of its own ticks alone."""
    kept, _, _ = played
    place = 1
    end = int(np.flatnonzero(kept.done[:, place])[0])
    rich = kept.rewards_usd.copy()
    rich[end + 1 :, place] += 1e6
    before, after = (weighed(run, PpoConfig())[0] for run in (kept, replace(kept, rewards_usd=rich)))
    changed = before != after
    assert changed[end + 1 :, place].all()
    changed[end + 1 :, place] = False
    assert not changed.any()


def test_a_tick_that_pays_nothing_is_worth_nothing(played):
    """Bug (e): rewards are divided by a constant; no mean comes off."""
    kept, _, _ = played
    config = PpoConfig(reward_scale_usd=4.0, horizon=Horizon(trace=0.0))
    silent = replace(kept, values=np.zeros_like(kept.values), last_values=np.zeros_like(kept.last_values))
    advantages, targets = weighed(silent, config)
    np.testing.assert_allclose(advantages, kept.rewards_usd / 4.0, rtol=1e-12)
    assert (targets[kept.rewards_usd == 0] == 0).all() and (kept.rewards_usd == 0).mean() > 0.5


def test_actions_are_drawn_with_their_odds():
    odds = np.array([0.7, 0.25, 0.05])
    counts = np.bincount(drawn(np.tile(np.log(odds), (20_000, 1)), np.random.default_rng(0)), minlength=3)
    assert np.abs(counts / 20_000 - odds).max() < 4 * math.sqrt(0.25 / 20_000)


def test_every_pass_goes_through_every_row_once():
    config = PpoConfig(passes=3, batch_size=10)
    batches = minibatches(41, config, np.random.default_rng(0))
    assert [len(rows) for rows in batches] == [10, 10, 10, 11] * 3
    for start in (0, 4, 8):
        assert sorted(np.concatenate(batches[start : start + 4])) == list(range(41))


def test_standardised_advantages_have_mean_0_and_deviation_1():
    rng = np.random.default_rng(0)
    found = standardised(rng.normal(3, 7, 500))
    assert found.mean() == pytest.approx(0, abs=1e-12) and found.std(ddof=1) == pytest.approx(1)
    assert not standardised(np.full(5, 3.0)).any()


# The loss and its step


def test_both_frameworks_have_the_same_loss_and_gradients(net_of):
    batch, clipping = batch_of(np.random.default_rng(1), 96), Clipping(value=0.3, entropy_weight=0.01)
    net = net_of("transformer")
    told = torch_ppo.told_of(batch)
    logits, value = net(torch.from_numpy(batch.history), torch.from_numpy(batch.length))
    expected = torch_ppo.loss_of(logits, value, told, clipping)
    net.zero_grad()
    expected[0].backward()
    twin = with_weights(
        mlx_ppo.DecisionNet(preset_of("transformer", "fast"), F), torch_export.weights_of(net)
    )
    twin.eval()

    def twin_loss():
        answers = twin(mx.array(batch.history), mx.array(batch.length))
        return mlx_ppo.loss_of(*answers, mlx_ppo.told_of(batch), clipping)

    found, gradients = mlx_nn.value_and_grad(twin, twin_loss)()
    assert [part.item() for part in found] == pytest.approx([part.item() for part in expected], rel=1e-4)
    ours = {name: np.array(gradient) for name, gradient in tree_flatten(gradients)}
    for name, parameter in net.named_parameters():
        assert ours[name] == pytest.approx(parameter.grad.numpy(), abs=2e-5), name


def test_one_step_of_both_is_the_same(net_of):
    config, rng = PpoConfig(target_kl=10.0), np.random.default_rng(2)
    theirs = learner_of(torch_ppo, DecisionNet(preset_of("transformer", "fast"), F), config)
    weights = torch_export.weights_of(theirs._net)
    ours = learner_of(mlx_ppo, mlx_ppo.DecisionNet(preset_of("transformer", "fast"), F), config)
    with_weights(ours._net, weights)
    for _ in range(3):
        batch = batch_of(rng, 64)
        found, expected = (learner.step(batch, config.clipping, 1e-3) for learner in (ours, theirs))
        assert (found.loss, found.kl, found.entropy) == pytest.approx(
            (expected.loss, expected.kl, expected.entropy), rel=1e-3
        )
        assert found.taken and expected.taken
    for name, weight in torch_export.weights_of(theirs._net).items():
        assert mlx_weights_of(ours._net)[name] == pytest.approx(weight, abs=5e-5), name


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_step_beyond_the_kl_or_without_a_finite_loss_is_not_taken(backend):
    module, preset = BACKENDS[backend], preset_of("base", "fast")
    learner = learner_of(module, module.DecisionNet(preset, F), PpoConfig(target_kl=1e-3), 3)
    rng = np.random.default_rng(0)
    batch = batch_of(rng, 32, window=3, spread=1.0)
    held = learner.answer()(batch.history, batch.length)
    far = learner.step(batch, Clipping(), 0.1)
    broken = learner.step(replace(batch, target=batch.target * np.inf), Clipping(), 0.1)
    assert far.kl > 1e-3 and not far.taken
    assert not math.isfinite(broken.loss) and not broken.taken
    for before, after in zip(held, learner.answer()(batch.history, batch.length), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("backend", BACKENDS)
def test_while_only_the_critic_learns_the_odds_stay(backend):
    module, preset = BACKENDS[backend], preset_of("base", "fast")
    learner = learner_of(module, module.DecisionNet(preset, F), PpoConfig(), 3)
    batch = batch_of(np.random.default_rng(0), 32, window=3, spread=0.01)
    odds, values = learner.answer()(batch.history, batch.length)
    step = learner.step(replace(batch), Clipping(policy_weight=0.0, entropy_weight=0.0), 1e-2)
    after = learner.answer()(batch.history, batch.length)
    assert step.taken or step.kl > PpoConfig().target_kl
    np.testing.assert_array_equal(after[0], odds)
    assert step.taken is bool((after[1] != values).any())


# stable-baselines3 as an oracle


@pytest.fixture(scope="module")
def sb3():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("stable_baselines3", reason="stable-baselines3 is not installed")


@pytest.fixture(scope="module")
def chain_env(sb3):
    import gymnasium

    class One(gymnasium.Env):
        """The same chain, one walk at a time, as gymnasium has it."""

        observation_space = gymnasium.spaces.Box(0, 1, (CELLS,), np.float32)
        action_space = gymnasium.spaces.Discrete(3)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.chain = Chain(1)
            return self.chain.observe()[0][0, 0], {}

        def step(self, action):
            rewards, done = self.chain.step(np.array([int(action)]))
            return self.chain.observe()[0][0, 0], float(rewards[0]), bool(done[0]), False, {}

    return One


def test_advantages_are_those_of_stable_baselines3(sb3):
    from gymnasium import spaces
    from stable_baselines3.common.buffers import RolloutBuffer

    rng = np.random.default_rng(0)
    for gamma, trace in product((0.9, 0.998), (0.0, 0.95, 1.0)):
        shape = 120, 5
        buffer = RolloutBuffer(120, spaces.Box(-1, 1, (1,)), spaces.Discrete(3), "cpu", trace, gamma, 5)
        buffer.reset()
        done = rng.random(shape) < 0.05
        # In float64: its own float32 sums are good to 1e-5 only.
        buffer.rewards, buffer.values = rng.normal(size=shape), rng.normal(size=shape)
        buffer.advantages = np.zeros(shape)
        buffer.episode_starts = np.concatenate((np.ones((1, 5)), done[:-1]))
        last = rng.normal(size=5)
        buffer.compute_returns_and_advantage(torch.from_numpy(last), done[-1])
        found = advantages_of(Trail(buffer.rewards, buffer.values, done, last), gamma, trace)
        np.testing.assert_allclose(found, buffer.advantages, atol=1e-9)
        np.testing.assert_allclose(found + buffer.values, buffer.returns, atol=1e-9)


@pytest.mark.parametrize("value_clip", [None, 0.2])
def test_the_loss_is_that_of_stable_baselines3(sb3, chain_env, value_clip):
    """One minibatch through its own train(), which logs what it computed; the odds are odds of another
    policy, so ratios leave the clip on both sides."""
    from stable_baselines3.common.logger import configure

    rows, rng = 64, np.random.default_rng(3)
    model = sb3.PPO(
        "MlpPolicy", chain_env(), n_steps=rows, batch_size=rows, n_epochs=1, ent_coef=0.01, vf_coef=0.5,
        clip_range=0.2, clip_range_vf=value_clip, learning_rate=1e-9, seed=0, device="cpu",
    )  # fmt: skip
    model.set_logger(configure(format_strings=[]))
    buffer = model.rollout_buffer
    buffer.reset()
    cells = rng.integers(0, CELLS, rows)
    buffer.observations[:, 0] = np.eye(CELLS, dtype=np.float32)[cells]
    buffer.actions[:, 0, 0] = rng.integers(0, 3, rows)
    buffer.log_probs[:, 0] = rng.normal(math.log(1 / 3), 0.5, rows)
    for column in (buffer.advantages, buffer.returns, buffer.values):
        column[:, 0] = rng.normal(size=rows)
    buffer.full = True
    advantage = standardised(buffer.advantages[:, 0].astype(np.float64)).astype(np.float32)
    states = torch.from_numpy(buffer.observations[:, 0].copy())
    columns = buffer.actions[:, 0, 0].astype(np.int64), buffer.log_probs[:, 0], advantage
    told = torch_ppo.Told(
        *(torch.from_numpy(a.copy()) for a in (*columns, buffer.returns[:, 0], buffer.values[:, 0]))
    )
    with torch.no_grad():
        logits = model.policy.get_distribution(states).distribution.logits
        value = model.policy.predict_values(states)[:, 0]
    model.train()
    log = model.logger.name_to_value
    loss, kl, entropy = torch_ppo.loss_of(
        logits, value, told, Clipping(value=value_clip, value_weight=0.5, entropy_weight=0.01)
    )
    assert 0.2 < log["train/clip_fraction"] < 0.95
    assert loss.item() == pytest.approx(log["train/loss"], abs=1e-6)
    assert kl.item() == pytest.approx(log["train/approx_kl"], abs=1e-6)
    assert -entropy.item() == pytest.approx(log["train/entropy_loss"], abs=1e-6)


CHAIN_CONFIG = PpoConfig(
    epochs=30, ticks=64, passes=6, batch_size=256, learning_rate=3e-3, target_kl=0.1, critic_epochs=0,
    reward_scale_usd=1.0, patience=6, clipping=Clipping(entropy_weight=0.01),
    horizon=Horizon(tick_s=1, horizon_s=100),
)  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
def test_it_finds_the_far_end_of_the_chain(backend):
    fitted = BACKENDS[backend].train(Chain(16), SMALL, CHAIN_CONFIG, walked)
    assert fitted.trained.metrics["pnl_per_market_usd"] == pytest.approx(BEST_USD)
    assert fitted.trained.origin == "ppo" and fitted.trained.data_digest == "c" * 32


def test_stable_baselines3_finds_the_same_end(sb3, chain_env):
    from stable_baselines3.common.env_util import make_vec_env

    torch.set_num_threads(1)
    config = CHAIN_CONFIG
    model = sb3.PPO(
        "MlpPolicy", make_vec_env(chain_env, n_envs=16, seed=0), n_steps=config.ticks,
        batch_size=config.batch_size, n_epochs=config.passes, learning_rate=config.learning_rate,
        gamma=config.horizon.gamma, gae_lambda=config.horizon.trace, ent_coef=0.01, max_grad_norm=0.5,
        target_kl=config.target_kl, seed=0, device="cpu",
    )  # fmt: skip
    model.learn(12 * 16 * config.ticks)
    earned = walked(lambda states, _: model.predict(states[:, 0], deterministic=True)[0])
    assert earned == pytest.approx([BEST_USD] * 4)


# A whole training


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_same_seed_gives_the_same_model(backend):
    def weights(seed):
        config = replace(CHAIN_CONFIG, epochs=2, seed=seed)
        net = BACKENDS[backend].train(Chain(4), SMALL, config, walked).net
        named = mlx_weights_of(net) if backend == "mlx" else torch_export.weights_of(net)
        return np.concatenate([named[name].reshape(-1) for name in sorted(named)])

    first = weights(5)
    np.testing.assert_array_equal(weights(5), first)
    assert (weights(6) != first).any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_loss_that_explodes_stops_and_the_best_weights_are_kept(backend, tmp_path):
    class Broken(Chain):
        """Pays a fortune from its 130th tick on: the loss is no longer a float32."""

        ticks = 0

        def step(self, actions):
            self.ticks += 1
            rewards, done = super().step(actions)
            return rewards * (1e25 if self.ticks > 130 else 1), done

    config, checkpoint = replace(CHAIN_CONFIG, epochs=9), Checkpoint(tmp_path / "c", {}, PpoEpoch)
    with pytest.raises(TrainingError, match=r"the loss of epoch 3, batch 1 is .*: lower the learning rate"):
        BACKENDS[backend].train(Broken(16), SMALL, config, walked, Watch(checkpoint=checkpoint))
    enough = Watch(checkpoint=checkpoint, is_enough=True)
    fitted = BACKENDS[backend].train(Chain(16), SMALL, config, walked, enough)
    assert len(fitted.epochs) == 2
    scores = [fitted.trained.metrics["start_pnl_per_market_usd"], *(epoch.pnl_usd for epoch in fitted.epochs)]
    assert fitted.trained.metrics["pnl_per_market_usd"] == pytest.approx(max(scores))
    policy = policy_of(fitted.net, 1) if backend == "torch" else mlx_policy_of(fitted.net, 1)
    assert walked(policy)[0] == pytest.approx(max(scores))


def named_weights(backend, net):
    return mlx_weights_of(net) if backend == "mlx" else torch_export.weights_of(net)


class Killed(Exception):
    """Where a process would die."""


def dying_after(batches):
    """A watch's `batch` that dies after so many steps of this run."""
    left = iter(range(batches))

    def batch(_share):
        if next(left, None) is None:
            raise Killed

    return batch


def course_env():
    """Eight places, played on through ends of markets; an epoch ends in the middle of them."""
    return VectorEnv(decoys(0, 5), markets=8, window=10, seed=3)


PLAYED = PpoConfig(
    epochs=4, ticks=70, passes=2, batch_size=128, critic_epochs=1, learning_rate=3e-3, target_kl=1.0
)


@pytest.mark.parametrize("backend", BACKENDS)
def test_whenever_it_is_killed_it_ends_with_the_same_bits(backend, tmp_path):
    """Every run plays in an environment of its own, and one that dies leaves nothing but the file."""
    preset, judge = preset_of("transformer", "fast"), judge_on(decoys(5_000_000, 4))
    train = BACKENDS[backend].train
    whole = train(course_env(), preset, PLAYED, judge)
    checkpoint, runs, before = Checkpoint(tmp_path / "c", {}, PpoEpoch), 0, []
    while True:
        runs += 1
        watch = Watch(batch=dying_after(10), checkpoint=checkpoint, begun=lambda e: before.append(len(e)))
        try:
            ended = train(course_env(), preset, PLAYED, judge, watch)
            break
        except Killed:
            continue
    assert runs > 2 and before == sorted(before) and before[0] == 0 and before[-1] > 1
    assert ended.trained == whole.trained and ended.trained.epochs > 0, "no mere start"
    assert [replace(e, samples_per_s=0.0) for e in ended.epochs] == [
        replace(e, samples_per_s=0.0) for e in whole.epochs
    ]
    ours, theirs = (named_weights(backend, fitted.net) for fitted in (ended, whole))
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


def another(name, array):
    """A value of the same kind."""
    if "environment" not in name:
        return np.asarray(array * 2)
    return ((array + 1) % (3 if "actions" in name else 5)).astype(array.dtype)


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_part_of_its_checkpoint_is_needed(backend, tmp_path):
    """With another net, optimizer, dice or environment the end is another one."""
    checkpoint = Checkpoint(tmp_path / "c", {}, PpoEpoch)
    preset, config = preset_of("base", "fast"), replace(PLAYED, epochs=3, batch_size=280)
    env, train = VectorEnv(decoys(0, 5), markets=4, window=3, seed=3), BACKENDS[backend].train

    def facts(fitted):
        return [(epoch.loss, epoch.kl, epoch.played_usd) for epoch in fitted.epochs]

    def judge(_policy):
        return [1.0]

    def gone_on():
        fresh = VectorEnv(decoys(0, 5), markets=4, window=3, seed=3)
        return train(fresh, preset, config, judge, Watch(checkpoint=checkpoint))

    with pytest.raises(Killed):
        train(env, preset, config, judge, Watch(batch=dying_after(4), checkpoint=checkpoint))
    standing = checkpoint.load()
    assert len(standing.epochs) == 2
    whole = gone_on()
    other = np.random.default_rng(9).bit_generator.state
    changed = [replace(standing, rng=dict(other))]
    for part in ("net", "adam", "environment/drawn", "environment/actions", "environment/tape"):
        state = {
            name: another(name, array) if name.startswith(part) else array
            for name, array in standing.state.items()
        }
        changed.append(replace(standing, state=state))
    for standing in changed:
        checkpoint.save(standing)
        again = gone_on()
        assert facts(again)[:2] == facts(whole)[:2]
        assert facts(again)[2:] != facts(whole)[2:]


def test_it_stops_once_nothing_gets_better():
    seen = []
    fitted = torch_ppo.train(Chain(16), SMALL, replace(CHAIN_CONFIG, epochs=40), walked, Watch(seen.append))
    kept = fitted.trained.epochs
    assert len(seen) == kept + CHAIN_CONFIG.patience < 40
    assert max(seen, key=lambda epoch: epoch.score) is seen[kept - 1]
    assert all(0 <= epoch.accuracy <= 1 and math.isfinite(epoch.played_usd) for epoch in seen)
    assert seen[0].line.startswith("Epoch 1/40: Loss=") and "Accuracy" not in seen[0].line


@pytest.fixture(scope="module")
def timid(tmp_path_factory):
    """The shipped clone, made timid by a bias on holding, so that it misses half of its chances."""
    preset = preset_of("transformer", "fast")
    net = torch_export.restored(read_artefact(starters_folder() / "transformer"), preset, F)
    with torch.no_grad():
        net.actor.fc3.bias[0] += 0.3
    return torch_export.export(
        net, preset, "transformer", MARKET_V1, Trained(markets="0" * 16), tmp_path_factory.mktemp("timid")
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_start_plays_and_judges_as_before(timid, backend):
    """It plays sharper odds, and the critic in other units; both come back."""
    preset, module = preset_of("transformer", "fast"), BACKENDS[backend]
    env = VectorEnv(decoys(0, 8), markets=4, window=10, seed=0)
    fitted = module.train(env, preset, PpoConfig(epochs=1, ticks=5), lambda policy: [1.0], start=timid)
    assert fitted.trained.epochs == 0 and fitted.trained.origin == f"ppo from {timid.id}"
    histories, lengths = (np.asarray(a) for a in (timid.golden.history, timid.golden.length))
    export = mlx_export if backend == "mlx" else torch_export
    probs, value = export.answers(fitted.net, histories.astype(np.float32), lengths)
    assert value == pytest.approx(np.array(timid.golden.value), rel=1e-4, abs=1e-5)
    assert probs == pytest.approx(np.array(timid.golden.probs), abs=1e-4)


def served(artefact):
    arm = load(artefact, MARKET_V1)
    return lambda histories, lengths: arm.act(histories, lengths).probs.argmax(axis=1)


def test_it_improves_a_timid_clone(timid, tmp_path):
    """Judged as it is served, on markets that neither taught nor chose."""
    course = Course("decoy-fast", decoys(6_000_000, 128), decoys(5_000_000, 60), DECOY_EXIT)
    config = PpoConfig(epochs=5, ticks=150, passes=3, batch_size=512)
    artefact, epochs = train_ppo("transformer", "fast", course, config, tmp_path, start=timid)
    fresh = judge_on(decoys(8_000_000, 120))
    before, after = (np.mean(fresh(served(model))) for model in (timid, artefact))
    assert after > before + 2.0
    assert len(epochs) == 5 and artefact.trained.epochs > config.critic_epochs
    met = markets_in(artefact.trained)
    assert {tape.digest for tape in (*course.lessons, *course.judges)} | {"0" * 16} == met
    assert artefact.trained.names == "", "the start's are unknown"


def test_mlx_goes_on_from_a_model_of_torch_and_its_model_serves(timid, tmp_path):
    course = Course("decoy-fast", decoys(6_000_000, 64), decoys(5_000_000, 20), DECOY_EXIT)
    config = PpoConfig(epochs=2, ticks=40, passes=1, batch_size=512, critic_epochs=0)
    artefact, _ = train_ppo("transformer", "fast", course, config, tmp_path, backend="mlx", start=timid)
    earned = np.mean(judge_on(course.judges)(served(artefact)))
    assert earned == pytest.approx(artefact.trained.metrics["pnl_per_market_usd"], abs=1e-5)
    assert earned >= artefact.trained.metrics["start_pnl_per_market_usd"]


def test_from_scratch_in_the_course(tmp_path):
    course, seen = simulated_course("decoy-fast", 10), []
    course = replace(course, judges=course.judges[:10])
    config, watch = PpoConfig(epochs=2, ticks=10, batch_size=256), Watch(seen.append)
    artefact, epochs = train_ppo("base", "fast", course, config, tmp_path, watch)
    assert artefact.trained.origin == "ppo" and tuple(seen) == epochs
    assert len(markets_in(artefact.trained)) == len(names_in(artefact.trained)) == 20
    load(artefact, MARKET_V1)


def test_what_a_start_has_met_stays_unknown(net_of, tmp_path):
    preset, course = preset_of("base", "fast"), simulated_course("decoy-fast", 10)
    course = replace(course, judges=course.judges[:5])
    start = torch_export.export(net_of("base"), preset, "base", MARKET_V1, Trained(), tmp_path / "start")
    config = PpoConfig(epochs=1, ticks=5, batch_size=256)
    artefact, _ = train_ppo("base", "fast", course, config, tmp_path / "on", start=start)
    assert artefact.trained.markets == ""


def test_a_start_of_another_kind_is_refused(timid, tmp_path):
    course = simulated_course("decoy-fast", 10)
    with pytest.raises(ArtefactError, match="is a transformer/fast and cannot start a base/fast"):
        train_ppo("base", "fast", course, PpoConfig(), tmp_path, start=timid)


def test_a_course_that_stops_before_it_was_better_writes_nothing(tmp_path):
    course = simulated_course("decoy-fast", 10)
    course = replace(course, judges=course.judges[:5])
    config = PpoConfig(epochs=4, ticks=200, learning_rate=1e30, target_kl=1e30, critic_epochs=0)
    with pytest.raises(
        TrainingError, match=r"the loss of epoch 1, batch \d+ is (nan|inf): lower the learning rate"
    ):
        train_ppo("base", "fast", course, config, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_window_that_does_not_fit_is_refused(backend):
    env = VectorEnv(decoys(0, 2), markets=1, window=4, seed=0)
    with pytest.raises(EpisodeError, match="shows 4 states and fast reads 10"):
        BACKENDS[backend].train(env, preset_of("transformer", "fast"), PpoConfig(), walked)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        *((PpoConfig, {name: 0}) for name in ("epochs", "ticks", "passes", "learning_rate", "target_kl")),
        *((PpoConfig, {name: math.nan}) for name in ("gradient_norm", "start_sharpness", "reward_scale_usd")),
        (PpoConfig, {"batch_size": 1}),
        (PpoConfig, {"critic_epochs": -1}),
        (PpoConfig, {"patience": 0}),
        (Clipping, {"ratio": 1.0}),
        (Clipping, {"value": 0.0}),
        (Clipping, {"entropy_weight": -0.1}),
        (Clipping, {"value_weight": math.inf}),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(kind, wrong):
    with pytest.raises(EpisodeError, match=next(iter(wrong))):
        kind(**wrong)


def test_whoever_looks_on_can_end_it_after_a_batch():
    """Ctrl-C does so."""
    shares = []

    def tell(share):
        shares.append(share)
        if len(shares) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        torch_ppo.train(Chain(16), SMALL, CHAIN_CONFIG, walked, Watch(batch=tell))
    assert len(shares) == 3
    assert shares == sorted(shares) and 0 < shares[0] <= 1
