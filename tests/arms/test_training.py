import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from arms.episodes import Episode, joined
from arms.errors import EpisodeError, TrainingError
from arms.torch_training import loss_of
from arms.training import Epoch, TrainingConfig, draw, greedy, lessons_of, pnl_moments


def ticks_of(values):
    values = np.array(values, dtype=np.float32)
    return joined(
        [Episode("m", np.zeros((len(values), 2), np.float32), values, np.ones(len(values), dtype=bool))]
    )


def test_lessons_weigh_actions_by_what_they_earn_above_the_worst():
    lessons = lessons_of(ticks_of([[0, 1, -2], [0, -1, -1]]))
    assert lessons.scale_usd == 2.0  # mean of ranges 3 and 1
    np.testing.assert_allclose(lessons.gains, [[1, 1.5, 0], [0.5, 0, 0]])
    assert lessons.best.tolist() == [1, 0]


def test_nothing_to_learn_is_said():
    with pytest.raises(EpisodeError, match="nothing to learn"):
        lessons_of(ticks_of([[0, 0, 0], [1, 1, 1]]))


@settings(max_examples=15, deadline=None)
@given(st.floats(0.05, 0.95), st.floats(0.2, 2), st.floats(0.1, 1.5), st.sampled_from([0.0, 1.0]))
def test_where_the_past_cannot_tell_the_expected_value_decides(chance_up, jump, cost, sharpness):
    """Two outcomes look alike; the loss is minimised by the action of the best expected value, holding
    included."""
    values = torch.tensor([[0.0, jump - cost, -jump - cost], [0.0, -jump - cost, jump - cost]])
    weight = torch.tensor([chance_up, 1 - chance_up])
    expected = (weight[:, None] * values).sum(0)
    top = torch.sort(expected).values
    if top[-1] - top[-2] < 0.05:
        return
    logits = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.05)
    gains = values - values.min(dim=1, keepdim=True).values
    for _ in range(250):
        optimizer.zero_grad()
        losses = loss_of(logits.expand(2, 3), torch.zeros(2), gains, values, sharpness)
        (losses * weight).sum().backward()
        optimizer.step()
    assert int(logits.argmax()) == int(expected.argmax())


@given(st.integers(0, 400), st.integers(1, 400), st.integers(10, 500), st.integers(0, 99))
def test_a_draw_has_no_repeats_and_weighs_by_the_inverse_chance(busy, quiet, rows, seed):
    best = np.array([1] * busy + [0] * quiet)
    drawn = draw(best, rows, np.random.default_rng(seed))
    assert len(set(drawn.index.tolist())) == len(drawn.index)
    assert (drawn.weight >= 0.999).all()
    if rows >= busy + quiet:
        assert len(drawn.index) == busy + quiet


def test_a_draw_is_unbiased_and_of_the_asked_size():
    best = np.array([1] * 3_000 + [0] * 30_000)
    totals = np.array(
        [
            [(drawn.weight * (best[drawn.index] == side)).sum() for side in (0, 1)]
            for drawn in (draw(best, 4_000, np.random.default_rng(seed)) for seed in range(50))
        ]
    )
    np.testing.assert_allclose(totals.mean(axis=0), [30_000, 3_000], rtol=0.02)
    assert abs(len(draw(best, 4_000, np.random.default_rng(0)).index) - 4_000) < 200


def test_moments_of_pnl():
    assert pnl_moments([1.0, 3.0]) == (2.0, 1.0)
    assert pnl_moments([5.0]) == (5.0, 0.0)
    for bad in ([], [1.0, float("nan")]):
        with pytest.raises(EpisodeError, match="finite net PnL"):
            pnl_moments(bad)


def test_the_progress_line_is_the_guides():
    epoch = Epoch(10, 100, 0.45211, 0.6119, pnl_usd=1.0, pnl_se_usd=0.25, samples_per_s=1e4)
    assert epoch.line == "Epoch 10/100: Loss=0.4521, Accuracy=0.612"
    assert epoch.score == 0.5


def test_a_config_out_of_range_is_refused():
    with pytest.raises(EpisodeError, match="batch_size is 0"):
        TrainingConfig(batch_size=0)


@pytest.mark.parametrize("spoiled", [np.nan, np.inf, -np.inf])
def test_a_net_that_answers_no_numbers_does_not_hold(spoiled):
    logits = np.array([[0.1, 0.3, 0.2], [0.0, 0.0, 1.0]], dtype=np.float32)
    assert greedy(logits).tolist() == [1, 2]
    logits[1, 1] = spoiled
    with pytest.raises(TrainingError, match="lower the learning rate"):
        greedy(logits)
