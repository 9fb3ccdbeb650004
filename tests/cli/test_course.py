"""What is learned from and what judges: in time, and apart."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arms.errors import EpisodeError
from cli.lab import WORLDS, recorded_course

TAPE = WORLDS["decoy-fast"].tape(0)
LENGTH_US = TAPE.end_us - int(TAPE.tick_us[0])


def tape_of(window, asset, start_us=None):
    """A market of a window; windows follow each other without a gap."""
    begin_us = window * LENGTH_US if start_us is None else start_us
    shift_us = begin_us - int(TAPE.tick_us[0])
    end_us = (window + 1) * LENGTH_US
    return replace(TAPE, market=f"{asset}-{window}", tick_us=TAPE.tick_us + shift_us, end_us=end_us)


@given(st.integers(3, 40), st.integers(1, 4))
def test_no_window_both_teaches_and_judges_and_one_lies_between(windows, assets):
    tapes = [tape_of(window, asset) for window in range(windows) for asset in range(assets)]
    course = recorded_course("r", tapes)
    learned, judged = ({tape.end_us for tape in part} for part in (course.lessons, course.judges))
    assert max(learned) + LENGTH_US < min(judged)
    assert len(learned) + len(judged) == windows - 1
    assert max(tape.end_us for tape in course.lessons) <= min(int(t.tick_us[0]) for t in course.judges)
    assert len(course.lessons) == assets * len(learned) and len(course.judges) == assets * len(judged)


def test_the_assets_of_one_window_are_one(tmp_path):
    with pytest.raises(EpisodeError, match="has 1 windows of playable markets"):
        recorded_course("r", [tape_of(0, asset) for asset in "abcd"])


def test_a_judge_that_begins_before_the_lessons_end_is_left_out():
    tapes = [tape_of(window, "a") for window in range(5)]
    early = tape_of(4, "b", start_us=LENGTH_US)
    course = recorded_course("r", [*tapes, early])
    assert early.market not in {tape.market for tape in (*course.lessons, *course.judges)}
    with pytest.raises(EpisodeError, match="begins before the lessons end"):
        recorded_course("r", [*tapes[:4], early])
