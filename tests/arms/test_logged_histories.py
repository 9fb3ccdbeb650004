"""Histories made again from newest states and digests are those that were sent, or are not known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arms.logged_histories import UNKNOWN, digest_of, lengths_of, windows_of
from arms.onnx_runtime import MAX_LENGTH, window_of


def sent_by(seed, lengths):
    """States, and for each decision what a bot sent that keeps so many of them."""
    states = np.random.default_rng(seed).normal(size=(len(lengths), 3)).astype(np.float32)
    return states, [states[max(0, i + 1 - n) : i + 1] for i, n in enumerate(lengths)]


LENGTHS = st.lists(st.integers(1, MAX_LENGTH), min_size=1, max_size=90)


@given(st.integers(0, 1000), LENGTHS, st.integers(1, MAX_LENGTH))
def test_what_was_sent_is_found_and_given_as_a_service_gives_it(seed, lengths, window):
    states, sent = sent_by(seed, lengths)
    found = lengths_of(states, [digest_of(history) for history in sent])
    assert found.tolist() == [len(history) for history in sent]
    histories, real = windows_of(states, found, window)
    for row, history in enumerate(sent):
        expected, length = window_of(history, window)
        np.testing.assert_array_equal(histories[row], expected[0])
        assert real[row] == length[0]


@given(st.integers(0, 1000), LENGTHS, st.data())
def test_what_the_log_does_not_hold_is_unknown(seed, lengths, data):
    states, sent = sent_by(seed, lengths)
    row = data.draw(st.integers(0, len(lengths) - 1))
    before = np.full((1, 3), 9.0, dtype=np.float32)  # a tick at which the bot did not ask
    digests = [digest_of(history) for history in sent]
    digests[row] = digest_of(np.concatenate([before, sent[row]]))
    found = lengths_of(states, digests)
    assert found[row] == UNKNOWN
    assert np.count_nonzero(found == UNKNOWN) == 1


def test_a_window_of_one_needs_no_length_and_others_do():
    states, _ = sent_by(1, [1, 2])
    histories, real = windows_of(states, np.zeros(2, np.int64), 1)
    np.testing.assert_array_equal(histories[:, 0], states)
    assert real.tolist() == [1, 1]
    with pytest.raises(ValueError, match="UNKNOWN"):
        windows_of(states, np.array([1, UNKNOWN]), 2)
