"""AWR and IQL: targets against brute force, small worlds against dynamic programming, torch against MLX, and
what both must earn in a world whose truth is known."""

from dataclasses import replace

import mlx.core as mx
import mlx.nn as mlx_nn
import numpy as np
import pytest
import torch
from mlx.utils import tree_flatten

from arms import mlx_offline, torch_export, torch_offline
from arms.advantages import Horizon
from arms.artefact import markets_in
from arms.checkpoint import Checkpoint
from arms.epochs import UNWATCHED, Watch
from arms.errors import EpisodeError, TrainingError
from arms.mlx_nets import weights_of as mlx_weights_of
from arms.mlx_nets import with_weights
from arms.offline import Awr, Extraction, Iql, OfflineEpoch, facts_of, learned, material_of
from arms.onnx_runtime import load
from arms.presets import BasePreset, preset_of
from arms.schema import MARKET_V1
from arms.training import TrainingConfig
from arms.trajectories import Trajectory, digest_of, earned_usd, joined, returns_of, transitions
from cli.lab import simulated_course
from cli.offline_course import ROLLS, train_offline
from market.evaluation import expected_pnl_usd, play
from market.rollouts import rolled_out
from market.worlds import DECOY_FAST, tape_of

F = MARKET_V1.width
BACKENDS = {"torch": torch_offline, "mlx": mlx_offline}
SMALL = BasePreset("fast", window=1, hidden=32, output=16)
CELLS, START, RIGHT, LEFT = 6, 2, 1, 2
STEP_USD, NEAR_USD, FAR_USD = -0.01, 0.2, 1.0
ODDS = 0.1, 0.25, 0.65
AHEAD = Horizon(tick_s=1, horizon_s=40, trace=1.0)
SHARP = Extraction(beta_usd=0.05, weight_cap=100)
METHODS = {
    "awr": Awr(scale_usd=1.0, horizon=AHEAD, extraction=SHARP),
    "iql": Iql(scale_usd=1.0, horizon=AHEAD, extraction=SHARP, expectile=0.95, polyak=0.05),
}
QUICK = TrainingConfig(
    epochs=12, batch_size=128, learning_rate=5e-3, rows_per_epoch=6_000, averaging=0.9, patience=1
)


# A walk along six cells: 0.20 USD at the left end, 1 USD at the right one, and who is watched goes left.


def stepped(cell, action):
    """(next cell, reward, whether that was the end)."""
    after = cell + (action == RIGHT) - (action == LEFT)
    near, far = after == 0, after == CELLS - 1
    return after, STEP_USD + NEAR_USD * near + FAR_USD * far, bool(near or far)


def walk(name, rng):
    cell, done, cells, actions, rewards = int(rng.integers(1, CELLS - 1)), False, [], [], []
    while not done:
        cells.append(cell)
        actions.append(int(rng.choice(3, p=ODDS)))
        cell, reward, done = stepped(cell, actions[-1])
        rewards.append(reward)
    return trajectory(np.eye(CELLS)[cells], actions, rewards, name=name)


def trajectory(states, actions, rewards, worth=None, use=None, name="m"):
    ticks = len(actions)
    return Trajectory(
        name,
        np.asarray(states, dtype=np.float32),
        np.asarray(actions, dtype=np.int64),
        np.asarray(rewards, dtype=np.float64),
        np.zeros(ticks) if worth is None else np.asarray(worth, dtype=np.float64),
        np.ones(ticks, dtype=bool) if use is None else np.asarray(use),
    )


def walks(count, seed=0):
    rng = np.random.default_rng(seed)
    return [walk(f"w{i}", rng) for i in range(count)]


def best_values(gamma):
    """Q*[cell, action] by value iteration."""
    q = np.zeros((CELLS, 3))
    for _ in range(500):
        for cell in range(1, CELLS - 1):
            for action in range(3):
                after, reward, done = stepped(cell, action)
                q[cell, action] = reward + (0.0 if done else gamma * q[after].max())
    return q


def expectile_values(gamma, expectile):
    """What IQL means to learn, exactly: V is the expectile over what was done of Q = reward + gamma * V."""
    q, value, odds = np.zeros((CELLS, 3)), np.zeros(CELLS), np.array(ODDS)
    for _ in range(2_000):
        for cell in range(1, CELLS - 1):
            for action in range(3):
                after, reward, done = stepped(cell, action)
                q[cell, action] = reward + (0.0 if done else gamma * value[after])
            weight = odds * np.where(q[cell] > value[cell], expectile, 1 - expectile)
            value[cell] = (weight * q[cell]).sum() / weight.sum()
    return q, value


def walked(policy):
    """What a greedy policy earns from the start; a walk of 30 steps has no end."""
    cell, total = START, 0.0
    for _ in range(30):
        action = int(policy(np.eye(CELLS, dtype=np.float32)[[cell]][:, None], np.ones(1, dtype=np.int64))[0])
        cell, reward, done = stepped(cell, action)
        total += reward
        if done:
            break
    return [total]


def noise(markets=6, seed=0, features=F, mean_ticks=40):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(mean_ticks // 2, mean_ticks * 2, markets)
    return [
        trajectory(
            rng.uniform(-1, 1, (n, features)), rng.integers(0, 3, n), rng.normal(size=n), rng.normal(size=n),
            rng.random(n) < 0.8, f"n{i}",
        )
        for i, n in enumerate(lengths)
    ]  # fmt: skip


# Targets


@pytest.mark.parametrize("trace", [0.0, 0.9, 1.0])
def test_returns_are_those_of_every_market_alone(trace):
    """Bug (c), by brute force: the definition, market by market."""
    played, horizon = noise(), Horizon(trace=trace)
    steps, gamma = joined(played), horizon.gamma
    values = np.random.default_rng(1).normal(size=steps.rows)
    found = returns_of(steps, steps.rewards_usd, values, horizon)
    expected, at = [], 0
    for market in played:
        own = np.append(values[at : at + len(market.actions)], 0.0)
        running = 0.0
        mine = []
        for tick in range(len(market.actions) - 1, -1, -1):
            ahead = (1 - trace) * own[tick + 1] + trace * running if tick + 1 < len(market.actions) else 0.0
            running = market.rewards_usd[tick] + gamma * ahead
            mine.append(running)
        expected += mine[::-1]
        at += len(market.actions)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_no_market_bootstraps_from_another():
    """Bug (c): a fortune in one market changes nothing in the others, and what follows an end counts 0."""
    played = noise()
    steps = joined(played)
    rich = joined([*played[:3], replace(played[3], rewards_usd=played[3].rewards_usd + 1e6), *played[4:]])
    values, horizon = np.zeros(steps.rows), Horizon(trace=1.0)
    before, after = (returns_of(s, s.rewards_usd, values, horizon) for s in (steps, rich))
    own = np.repeat(np.arange(6), [len(t.actions) for t in played]) == 3
    np.testing.assert_array_equal(before[~own], after[~own])
    assert (before[own] != after[own]).all()
    batch = transitions(steps, np.arange(steps.rows), 5)
    ends = np.cumsum([len(t.actions) for t in played]) - 1
    np.testing.assert_array_equal(np.flatnonzero(batch.goes_on == 0), ends)
    np.testing.assert_array_equal(batch.following[ends], batch.history[ends])


def test_a_window_is_what_was_seen_and_every_state_is_in_it_once():
    """Bugs (a) and (b)."""
    played = noise()
    steps = joined(played)
    batch = transitions(steps, np.arange(steps.rows), 7)
    row = 0
    for market in played:
        for tick in range(len(market.actions)):
            seen = market.states[max(0, tick - 6) : tick + 1]
            assert batch.length[row] == len(seen)
            np.testing.assert_array_equal(batch.history[row, 7 - len(seen) :], seen)
            assert not batch.history[row, : 7 - len(seen)].any()
            assert batch.action[row] == market.actions[tick]
            if tick + 1 < len(market.actions):
                np.testing.assert_array_equal(batch.following[row, -1], market.states[tick + 1])
                np.testing.assert_array_equal(batch.following[row, :-1], batch.history[row, 1:])
            row += 1


def test_a_tick_that_pays_nothing_is_worth_nothing():
    """Bug (e): scaled, never shifted; and a position is paid for when it is entered."""
    quiet, paid = [0.0] * 5, [0, 0, 3.0, 0, -1.0]
    flat = trajectory(np.zeros((5, 2)), [0] * 5, quiet)
    busy = trajectory(np.zeros((5, 2)), [0, 1, 0, 2, 0], paid)
    for method in (Awr(scale_usd=4.0), Iql(scale_usd=4.0)):
        np.testing.assert_array_equal(
            material_of([flat, busy], 1, method).rewards, [*quiet, *np.array(paid) / 4]
        )
    with pytest.raises(EpisodeError, match="nothing was ever earned or lost"):
        material_of([flat], 1, Awr())


def test_paying_as_it_arises_changes_every_value_by_the_worth_alone():
    """The sum over a market is the same, and so is every difference between actions (Ng et al. 1999)."""
    played, gamma = noise(), 0.97
    steps = joined(played)
    shaped = replace(steps, rewards_usd=earned_usd(steps, gamma))
    horizon = Horizon(tick_s=1, horizon_s=-1 / np.log(gamma), trace=1.0)
    zero = np.zeros(steps.rows)
    booked, arising = (returns_of(s, s.rewards_usd, zero, horizon) for s in (steps, shaped))
    np.testing.assert_allclose(arising, booked - steps.worth_usd, atol=1e-9)
    flat = replace(steps, worth_usd=zero)
    np.testing.assert_array_equal(earned_usd(flat, gamma), steps.rewards_usd)


def test_bad_trajectories_and_settings_are_refused():
    good = noise(1)[0]
    with pytest.raises(EpisodeError, match="actions must be 0, 1 or 2"):
        replace(good, actions=good.actions + 1)
    with pytest.raises(EpisodeError, match="must be \\[T\\]"):
        replace(good, rewards_usd=good.rewards_usd[1:])
    with pytest.raises(EpisodeError, match="NaN or infinity"):
        replace(good, rewards_usd=good.rewards_usd * np.inf)
    with pytest.raises(EpisodeError, match="no tick to learn from"):
        joined([replace(good, use=np.zeros_like(good.use))])
    for make, words in (
        (lambda: Iql(expectile=1.0), "expectile is 1.0"), (lambda: Iql(polyak=0), "polyak is 0"),
        (lambda: Awr(scale_usd=0), "scale_usd is 0"), (lambda: Extraction(beta_usd=0), "beta_usd is 0"),
        (lambda: Extraction(weight_cap=1), "weight_cap is 1"),
    ):  # fmt: skip
        with pytest.raises(EpisodeError, match=words):
            make()


def test_the_digest_knows_every_column():
    played = noise(2)
    first = played[0]
    others = [
        replace(first, actions=(first.actions + 1) % 3), replace(first, rewards_usd=first.rewards_usd + 1),
        replace(first, worth_usd=first.worth_usd + 1), replace(first, use=~first.use),
        replace(first, states=first.states + 1), replace(first, market="other"),
    ]  # fmt: skip
    assert len({digest_of([market, played[1]]) for market in (first, *others)}) == 7


# Losses


def numbers(answer):
    return answer.detach().numpy() if isinstance(answer, torch.Tensor) else np.array(answer)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_expectile_is_the_mean_at_a_half_and_rises_to_the_best(backend):
    module, array = BACKENDS[backend], {"torch": torch.tensor, "mlx": mx.array}[backend]
    sample = np.random.default_rng(0).normal(2, 3, 400)
    grid = np.linspace(-8, 12, 2001)

    def expectile(tau):
        gap = array((sample[None] - grid[:, None]).astype(np.float32))
        return grid[numbers(module.expectile_loss(gap, tau)).mean(axis=1).argmin()]

    assert expectile(0.5) == pytest.approx(sample.mean(), abs=0.02)
    found = [expectile(tau) for tau in (0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.9999)]
    assert found == sorted(found) and len(set(found)) == 7
    assert found[-1] > np.quantile(sample, 0.99) and found[-1] <= sample.max()


@pytest.mark.parametrize("backend", BACKENDS)
def test_weights_are_exponential_up_to_the_cap(backend):
    module, array = BACKENDS[backend], {"torch": torch.tensor, "mlx": mx.array}[backend]
    advantage = np.array([-2.0, 0.0, 0.5, 1e9, np.nan], dtype=np.float32)
    found = numbers(module.weights_of_rows(array(advantage), 0.5, Extraction(weight_cap=20)))
    assert found[:4] == pytest.approx([np.exp(-4), 1, np.e, 20], rel=1e-5)
    assert np.isnan(found[4])


def learners(method, config, preset=None, features=F):
    """One of each framework over the same material, with the same weights."""
    preset = preset or replace(preset_of("transformer", "fast"), dropout=0.0)
    torch.manual_seed(0)
    material = material_of(noise(features=features), preset.window, method)
    ours, theirs = (m.learner_of(preset, material, config, method) for m in (mlx_offline, torch_offline))
    with_weights(ours._net, torch_export.weights_of(theirs._net))
    with_weights(ours._averaged, torch_export.weights_of(theirs._net))
    for name, critic in theirs._critics.items():
        with_weights(ours._critics[name], torch_export.weights_of(critic))
    return ours, theirs


@pytest.mark.parametrize("method", [Awr(), Iql(polyak=0.2)], ids=["awr", "iql"])
def test_steps_of_both_frameworks_are_the_same(method):
    """Losses, clipping, Adam, the running mean and the slow Q included."""
    ours, theirs = learners(method, TrainingConfig())
    rows = np.random.default_rng(1).permutation(ours._material.steps.ticks.usable)
    for learner in (ours, theirs):
        learner.start_epoch()
    for start in (0, 48, 96):
        found, expected = (learner.step(rows[start : start + 48], 1e-3) for learner in (ours, theirs))
        assert found[0] == pytest.approx(expected[0], rel=1e-4)
        assert found[1] == expected[1]
    for name, critic in theirs._critics.items():
        for label, weight in torch_export.weights_of(critic).items():
            assert mlx_weights_of(ours._critics[name])[label] == pytest.approx(weight, abs=5e-5), (
                name,
                label,
            )
    for label, weight in torch_export.weights_of(theirs._averaged).items():
        assert mlx_weights_of(ours._averaged)[label] == pytest.approx(weight, abs=5e-5), label


def test_gradients_of_both_frameworks_are_the_same(monkeypatch):
    method = Iql()
    ours, theirs = learners(method, TrainingConfig())
    rows = ours._material.steps.ticks.usable[:64]
    taken = {}
    monkeypatch.setattr(ours, "_optimizer", type("Kept", (), {
        "learning_rate": 0.0, "state": {}, "update": lambda self, net, gradients: taken.update(gradients),
    })())  # fmt: skip
    config = replace(ours._config, gradient_norm=1e9)
    ours._config = theirs._config = config
    ours.start_epoch(), theirs.start_epoch()
    ours.step(rows, 0.0)
    theirs.step(rows, 0.0)
    named = {"net": theirs._net, "value": theirs._value, "q": theirs._q}
    assert set(taken) == set(named)
    for part, module in named.items():
        found = {label: np.array(gradient) for label, gradient in tree_flatten(taken[part])}
        for label, parameter in module.named_parameters():
            assert found[label] == pytest.approx(parameter.grad.numpy(), abs=3e-5), (part, label)
    assert mlx_nn.Module in type(ours._moved).__mro__


# Small worlds


@pytest.fixture(scope="module")
def watched():
    return walks(1_500)


def test_what_iql_means_to_learn_rises_to_the_best_values():
    best = best_values(AHEAD.gamma)
    gaps = [np.abs(expectile_values(AHEAD.gamma, tau)[0] - best).max() for tau in (0.5, 0.9, 0.99, 0.9999)]
    assert gaps == sorted(gaps, reverse=True) and gaps[0] > 0.3 and gaps[-1] < 1e-3


def test_iql_learns_the_expectile_values(watched):
    """A reward that is four steps away, and a best action that one in four took."""
    method = METHODS["iql"]
    torch.manual_seed(0)
    material = material_of(watched, 1, method)
    learner = torch_offline.learner_of(SMALL, material, QUICK, method)
    learned(learner, material, replace(QUICK, patience=99), walked, Watch())
    cells = np.eye(CELLS, dtype=np.float32)[1:-1, None]
    seen = torch.from_numpy(cells), torch.ones(len(cells), dtype=torch.int64)
    q, value = expectile_values(AHEAD.gamma, method.expectile)
    assert numbers(learner._q(*seen)) == pytest.approx(q[1:-1], abs=0.06)
    assert numbers(learner._value(*seen))[:, 0] == pytest.approx(value[1:-1], abs=0.06)
    assert walked(learner.policy()) == pytest.approx([FAR_USD + 3 * STEP_USD])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", METHODS)
def test_it_is_better_than_whom_it_watched(watched, name, backend):
    fitted = BACKENDS[backend].train(watched, SMALL, QUICK, METHODS[name], walked)
    behaviour = np.mean([t.rewards_usd.sum() for t in watched if t.states[0, START]])
    assert behaviour < 0.5
    assert fitted.trained.metrics["pnl_per_market_usd"] == pytest.approx(FAR_USD + 3 * STEP_USD)
    assert fitted.trained.origin == f"offline {name}" and fitted.trained.data_digest == digest_of(watched)
    assert fitted.epochs[0].line.startswith("Epoch 1/12: Loss=") and "AsPlayed" in fitted.epochs[0].line


def test_the_exported_critic_is_in_usd_and_of_what_was_booked(watched):
    """Whatever the scale; the worth of a position is added back."""
    method = replace(METHODS["awr"], scale_usd=5.0)
    returns = material_of(watched, 1, replace(method, scale_usd=1.0)).returns(
        lambda history, length: np.zeros(len(history), dtype=np.float32), AHEAD
    )
    states = joined(watched).ticks.states
    expected = [returns[states[:, cell] == 1].mean() for cell in range(1, CELLS - 1)]
    worthy = [replace(t, worth_usd=t.states @ np.array([0, 2.0, -1, 3, 1, 0])) for t in watched]
    seen = torch.eye(CELLS)[1:-1, None], torch.ones(CELLS - 2, dtype=torch.int64)
    for played in (watched, worthy):
        better = iter(range(1, 100))
        config = replace(QUICK, epochs=6)
        net = torch_offline.train(played, SMALL, config, method, lambda policy, n=better: [next(n)]).net
        assert numbers(net(*seen)[1]) == pytest.approx(expected, abs=0.1)


# A whole training


def weights(module, net):
    named = mlx_weights_of(net) if module is mlx_offline else torch_export.weights_of(net)
    return np.concatenate([named[name].reshape(-1) for name in sorted(named)])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", METHODS)
def test_the_same_seed_gives_the_same_model_and_so_does_going_on(name, backend, tmp_path):
    module, method = BACKENDS[backend], METHODS[name]
    preset, played = replace(preset_of("transformer", "fast"), dropout=0.2), noise(10)
    config = TrainingConfig(epochs=3, batch_size=64, rows_per_epoch=300, seed=5)

    def made(config, watch=UNWATCHED):
        return module.train(played, preset, config, method, lambda policy: [0.0], watch)

    class Cut(Exception):
        pass

    def stop(epoch):
        if epoch.epoch == 2:
            raise Cut

    checkpoint = Checkpoint(tmp_path / "c", facts_of(method), OfflineEpoch)
    whole = made(config)
    np.testing.assert_array_equal(weights(module, made(config).net), weights(module, whole.net))
    assert (weights(module, made(replace(config, seed=6)).net) != weights(module, whole.net)).any()
    with pytest.raises(Cut):
        made(config, Watch(progress=stop, checkpoint=checkpoint))
    seen = []
    resumed = made(config, Watch(checkpoint=checkpoint, begun=seen.extend))
    assert [epoch.epoch for epoch in seen] == [1, 2]
    np.testing.assert_array_equal(weights(module, resumed.net), weights(module, whole.net))
    assert [e.loss for e in resumed.epochs] == [e.loss for e in whole.epochs]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", METHODS)
def test_nan_stops_with_the_batch_named_and_the_best_epoch_kept(watched, name, backend, tmp_path):
    module, method = BACKENDS[backend], METHODS[name]
    config = replace(QUICK, epochs=3, rows_per_epoch=640)
    checkpoint = Checkpoint(tmp_path / "c", {}, OfflineEpoch)
    material = material_of(watched, 1, method)
    learner = module.learner_of(SMALL, material, config, method)
    step, counted = learner.step, []

    def poisoned(rows, rate):
        counted.append(rate)
        if len(counted) == 8:
            material.worth[rows] = np.nan
        return step(rows, rate)

    learner.step = poisoned
    with pytest.raises(TrainingError, match="epoch 2, batch 3 is nan"):
        learned(learner, material, config, walked, Watch(checkpoint=checkpoint))
    fitted = module.train(
        watched, SMALL, config, method, walked, Watch(checkpoint=checkpoint, is_enough=True)
    )
    assert [epoch.epoch for epoch in fitted.epochs] == [1] and fitted.trained.epochs == 1
    assert np.isfinite(weights(module, fitted.net)).all()


@pytest.mark.parametrize("name", METHODS)
def test_it_stops_once_nothing_gets_better(watched, name):
    config = replace(QUICK, epochs=40, patience=2)
    fitted = torch_offline.train(watched, SMALL, config, METHODS[name], walked)
    assert len(fitted.epochs) == fitted.trained.epochs + 2 < 40


# In a world whose truth is known


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("name", "epochs"), [("awr", 5), ("iql", 8)])
def test_it_earns_in_the_decoy_where_whom_it_watched_loses(name, epochs, tmp_path):
    """Judged as it is served, on markets that neither taught nor chose; settlement's luck taken out."""
    course = simulated_course("decoy-fast", 800, seed=3)
    course = replace(course, judges=course.judges[:80])
    config = TrainingConfig(epochs=epochs, seed=3)
    artefact, _ = train_offline(name, "base", "large", course, config, tmp_path)
    arm, fresh = load(artefact, MARKET_V1), tuple(tape_of(DECOY_FAST, 8_000_000 + i) for i in range(200))

    def served(histories, lengths):
        return arm.act(histories, lengths).probs.argmax(axis=1)

    earned = expected_pnl_usd(play(served, fresh, 10), fresh)
    watched = [t.rewards_usd.sum() for t in rolled_out(fresh, course.exit_rule, 0)]
    assert earned.mean() > 4 * earned.std() / np.sqrt(len(fresh)) > 0
    assert np.mean(watched) < -10
    assert artefact.trained.origin == f"offline {name}"
    assert artefact.trained.data_digest == digest_of(rolled_out(course.lessons * ROLLS, course.exit_rule, 3))
    assert len(markets_in(artefact.trained)) == len(course.lessons) + len(course.judges)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", METHODS)
def test_an_artefact_serves_what_was_judged(name, backend, tmp_path):
    course = simulated_course("decoy-fast", 10)
    course = replace(course, judges=course.judges[:10])
    config, at = TrainingConfig(epochs=1, rows_per_epoch=100, batch_size=32), tmp_path / "c"
    artefact, epochs = train_offline(
        name, "base", "fast", course, config, tmp_path / "m", UNWATCHED, backend, checkpoint_at=at
    )
    arm = load(artefact, MARKET_V1)
    results = play(lambda h, n: arm.act(h, n).probs.argmax(axis=1), course.judges, artefact.window)
    assert expected_pnl_usd(results, course.judges).mean() == pytest.approx(epochs[0].pnl_usd, abs=1e-5)
    assert not at.exists()
    with pytest.raises(EpisodeError, match="offline method 'sarsa' does not exist: choose one of awr, iql"):
        train_offline("sarsa", "base", "fast", course, config, tmp_path / "n")
    wide = replace(config, batch_size=100_000)
    with pytest.raises(EpisodeError, match="fewer than a batch of 100000"):
        train_offline(name, "base", "fast", course, wide, tmp_path / "n")
