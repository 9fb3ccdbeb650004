import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arms.episodes import Episode, digest_of, joined, windows
from arms.errors import EpisodeError


def episode(ticks, seed=0, market="m"):
    rng = np.random.default_rng(seed)
    states = rng.normal(size=(ticks, 4)).astype(np.float32)
    return Episode(market, states, rng.normal(size=(ticks, 3)).astype(np.float32), rng.random(ticks) < 0.7)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=5), st.integers(1, 9))
def test_a_window_is_the_markets_own_past_padded_in_front(sizes, window):
    episodes = [episode(size, seed) for seed, size in enumerate(sizes)]
    ticks = joined(episodes)
    gathered, lengths = windows(ticks, np.arange(sum(sizes)), window)
    row = 0
    for each in episodes:
        for t in range(len(each.states)):
            past = each.states[max(0, t - window + 1) : t + 1]
            assert lengths[row] == len(past)
            np.testing.assert_array_equal(gathered[row, window - len(past) :], past)
            assert not gathered[row, : window - len(past)].any()
            row += 1


def test_usable_rows_are_those_marked():
    episodes = [episode(5, 1), episode(7, 2)]
    marked = np.flatnonzero(np.concatenate([e.use for e in episodes]))
    np.testing.assert_array_equal(joined(episodes).usable, marked)


def test_shapes_and_nan_are_refused_by_name():
    good = episode(3)
    with pytest.raises(EpisodeError, match="episode bad: states"):
        Episode("bad", good.states, good.values[:2], good.use)
    states = good.states.copy()
    states[0, 0] = np.nan
    with pytest.raises(EpisodeError, match="episode bad holds NaN"):
        Episode("bad", states, good.values, good.use)
    with pytest.raises(EpisodeError, match="no episodes"):
        joined([])


def test_the_digest_notices_every_field():
    a = episode(6)
    flipped = Episode("m", a.states, a.values, ~a.use)
    assert (
        len({digest_of([a]), digest_of([a, a]), digest_of([flipped]), digest_of([episode(6, 0, "n")])}) == 4
    )
    assert digest_of([a]) == digest_of([episode(6)])
