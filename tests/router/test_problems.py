"""Problems as sentences, and the small parts of the door that need no server."""

from contextlib import contextmanager

import pytest

from router.instants import instant_us
from router.journals import segment_bytes_of, sync_all
from router.known import Known
from router.problems import Problem, invalid, shown


def test_a_problem_is_its_sentence_and_leaves_context_managers_unharmed():
    @contextmanager
    def inside():
        yield

    with pytest.raises(Problem) as raised, inside():
        raise invalid("share", "must be small")
    assert str(raised.value) == "share: must be small"
    assert raised.value.body()["field"] == "share"


def test_headers_say_when_and_how():
    problem = Problem(503, "x", "y", retry_after_s=1, allow="POST")
    assert problem.headers() == {"retry-after": "1", "allow": "POST"}
    assert "field" not in problem.body()


def test_what_is_shown_is_short():
    assert shown("a") == "'a'"
    assert len(shown("a" * 10**6)) < 100


@pytest.mark.parametrize(
    ("sent", "us"),
    [
        (1_767_225_600_000, 1_767_225_600_000_000),
        ("2026-01-01T00:00:00Z", 1_767_225_600_000_000),
        ("2026-01-01T01:00:00.000001+01:00", 1_767_225_600_000_001),
    ],
)
def test_times_are_microseconds_inside(sent, us):
    assert instant_us(sent, "closed_at") == us


@pytest.mark.parametrize(
    "sent", [0, -1, 1_767_225_600, 10**30, "1999-12-31T23:59:59Z", "2100-01-01T00:00:00Z", ""]
)
def test_times_out_of_this_century_name_their_field(sent):
    with pytest.raises(Problem) as raised:
        instant_us(sent, "closed_at")
    assert raised.value.field == "closed_at"


def test_a_memory_forgets_the_least_recently_used():
    known = Known(2)
    known.put("a", 1)
    known.put("b", 2)
    assert known.get("a") == 1
    known.put("c", 3)
    assert (known.get("a"), known.get("b"), known.get("c"), len(known)) == (1, None, 3, 2)


def test_a_segment_is_a_small_part_of_its_quota():
    assert segment_bytes_of(1 << 20) == 1 << 17
    assert segment_bytes_of(2 << 30) == 8 << 20


def test_syncing_closes_every_file_even_where_one_fails(tmp_path):
    import os

    good = os.open(tmp_path / "good", os.O_CREAT | os.O_WRONLY)
    read_end, write_end = os.pipe()  # a pipe cannot be synced
    os.close(read_end)
    with pytest.raises(OSError, match="Errno"):
        sync_all([write_end, good])
    for descriptor in (write_end, good):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)
