"""When a request is sent again, and ids that make this harmless."""

from abctl_client.errors import AbctlError, unanswered
from abctl_client.ids import decision_id
from abctl_client.resend import BACKOFF_MAX_S, Patience
from hypothesis import given
from hypothesis import strategies as st

LOST = unanswered("no_answer", 0, "gone")
HASTY = Patience(timeout_s=5.0)
PATIENT = Patience(timeout_s=5.0, patience_s=60.0)


def busy(retry_after_s=None, status=503):
    return AbctlError({"status": status, "type": "urn:abctl:problem:busy"}, retry_after_s)


def test_one_resend_without_patience():
    assert HASTY.pause_s(LOST, 1, 0.0, 0.5) == 0.0
    assert HASTY.pause_s(LOST, 2, 0.0, 0.5) is None
    assert HASTY.pause_s(busy(2.0), 1, 0.0, 0.5) == 2.0
    assert HASTY.pause_s(busy(30.0), 1, 0.0, 0.5) is None
    assert HASTY.pause_s(unanswered("timed_out", 0, ""), 1, 5.0, 0.5) is None


def test_refusals_and_strange_answers_are_final():
    for error in (busy(status=422), busy(status=500), busy(status=429), unanswered("bad_answer", 200, "")):
        assert PATIENT.pause_s(error, 1, 0.0, 0.5) is None


@given(
    st.integers(2, 10_000),
    st.floats(0, 100),
    st.floats(0, 1, exclude_max=True),
    st.sampled_from([None, 1.0, 30.0]),
)
def test_patience_is_kept_and_never_exceeded(sent, elapsed_s, draw, asked_s):
    pause_s = PATIENT.pause_s(busy(asked_s), sent, elapsed_s, draw)
    if pause_s is None:
        assert elapsed_s + max(BACKOFF_MAX_S, asked_s or 0.0) > 60.0
    else:
        assert elapsed_s + pause_s <= 60.0
        assert pause_s >= (asked_s or 0.05)
        assert pause_s <= max(BACKOFF_MAX_S, asked_s or 0.0)


@given(st.integers(0, 2**48 - 2), st.binary(min_size=10, max_size=10), st.binary(min_size=10, max_size=10))
def test_ids_sort_by_time_and_keep_their_randomness(now_ms, one, other):
    first, second = decision_id(now_ms, one), decision_id(now_ms + 1, other)
    assert first < second
    assert len(first) == 32
    assert int(first[:12], 16) == now_ms
    assert bytes.fromhex(first[12:]) == one
