"""Arms in the worker's thread: batches of what is there, deadlines, faults that stay with who caused them."""

import asyncio

import numpy as np
import pytest

from arms.protocol import Acted
from arms.schema import MARKET_V1
from router.inline import Inline, InlineArm
from router.lineup import Lineup
from router.pace import KEPT_S, Pace
from router.serving import Answer, Silence
from router.station import EJECTED, ROWS_MAX, TOO_LATE
from router.together import Together

WIDTH = MARKET_V1.width


class Arm:
    """Buys with the probability that stands in the newest state's first feature; out of range is a fault."""

    def __init__(self, model="m1", window=2, clock=None, takes_s=0.0):
        self.model, self.window, self.runs = model, window, []
        self._clock, self._takes_s = clock, takes_s

    def act(self, histories, lengths):
        self.runs.append((histories.copy(), lengths.copy()))
        if self._clock is not None:
            self._clock.now_s += self._takes_s * len(histories)
        buy = histories[:, -1, 0]
        if (buy > 1).any():
            raise RuntimeError("out of range")
        probs = np.stack([1 - buy, buy, np.zeros_like(buy)], axis=1)
        return Acted(probs, np.zeros(len(buy), np.float32))


class Clock:
    now_s = 100.0

    def __call__(self):
        return self.now_s


def history(first, rows=2):
    made = np.zeros((rows, WIDTH), np.float32)
    made[:, 0] = first
    return made


def lineup_of(clock=None, **arms):
    lineup = Lineup(clock or Clock(), lambda: 0.5)
    for name, arm in arms.items():
        lineup.serve(name, arm)
    return lineup


def asked(lineup, *questions):
    async def ask():
        return await asyncio.gather(*(lineup.ask(*question) for question in questions))

    return asyncio.run(ask())


def test_what_is_there_at_once_is_one_run_and_each_gets_its_own_answer():
    arm = Arm()
    answers = asked(lineup_of(a=arm), *(("a", history(i / 16), None) for i in range(16)))
    assert [answer.probs[1] for answer in answers] == [i / 16 for i in range(16)]
    assert len(arm.runs) == 1


def test_a_run_has_at_most_so_many_rows():
    arm = Arm()
    asked(lineup_of(a=arm), *(("a", history(0.5), None) for _ in range(2 * ROWS_MAX + 1)))
    assert [len(histories) for histories, _ in arm.runs] == [ROWS_MAX, ROWS_MAX, 1]


def test_a_lone_history_waits_for_nobody():
    """In as many turns of the loop as it takes to be called: there is no timer to wait for."""
    lineup = lineup_of(a=Arm())

    async def turns():
        answer, count = lineup.ask("a", history(0.5), None), 0
        while not answer.done():
            await asyncio.sleep(0)
            count += 1
        return count

    assert asyncio.run(turns()) == 1


def test_what_is_asked_inside_of_one_run_is_answered_at_its_end():
    """Up to a run's rows; the rest as ever, in the next turns of the loop."""
    arm = Arm()
    lineup = lineup_of(a=arm)

    async def ask():
        with lineup.one_run():
            answers = [lineup.ask("a", history(i / 64), None) for i in range(ROWS_MAX + 2)]
            assert not any(answer.done() for answer in answers)
        assert [answer.done() for answer in answers] == [True] * ROWS_MAX + [False] * 2
        return [(await answer).probs[1] for answer in answers]

    assert asyncio.run(ask()) == [i / 64 for i in range(ROWS_MAX + 2)]
    assert [len(histories) for histories, _ in arm.runs] == [ROWS_MAX, 2]


def test_one_run_with_nothing_to_answer_is_none():
    lineup = lineup_of(a=Arm())
    with lineup.one_run():
        pass
    assert lineup._inline._arms["a"].arm.runs == []


def test_short_histories_are_padded_in_front_and_long_ones_cut():
    arm = Arm(window=3)
    answers = asked(lineup_of(a=arm), ("a", history(0.25, 1), None), ("a", history(0.75, 5), None))
    histories, lengths = arm.runs[0]
    assert lengths.tolist() == [1, 3]
    assert histories[0, :2].tolist() == np.zeros((2, WIDTH)).tolist()
    assert [answer.history_used for answer in answers] == [1, 3]


def test_a_history_that_the_arm_cannot_take_costs_the_others_nothing():
    answers = asked(lineup_of(a=Arm()), *(("a", history(first), None) for first in (0.5, 2.0, 0.25)))
    assert [type(answer) for answer in answers] == [Answer, Silence, Answer]
    assert answers[1].reason == "fallback:error"
    assert "out of range" in answers[1].why


def test_an_arm_that_keeps_failing_is_asked_no_more():
    arm = Arm()
    lineup = lineup_of(a=arm)
    for _ in range(5):
        asked(lineup, ("a", history(2.0), None))
    assert asked(lineup, ("a", history(0.5), None)) == [EJECTED]
    assert len(arm.runs) == 5


def test_an_arm_without_a_model_names_the_command_that_gives_it_one():
    [silence] = asked(lineup_of(), ("mine", history(0.5), None))
    assert silence.reason == "fallback:no_model"
    assert "`abctl model promote ID --arm mine`" in silence.why


def test_another_model_answers_what_waits_for_the_one_before():
    first, second = Arm("m1"), Arm("m2")
    lineup = lineup_of(a=first)

    async def ask():
        answer = lineup.ask("a", history(0.5), None)
        lineup.serve("a", second)
        return await answer

    assert asyncio.run(ask()).model == "m2"
    assert first.runs == []
    assert lineup.models == {"a": "m2"}


def test_who_would_come_late_is_told_at_once_and_by_measurement():
    clock = Clock()
    arm = Arm(clock=clock, takes_s=0.010)
    lineup = lineup_of(clock, a=arm)
    assert isinstance(asked(lineup, ("a", history(0.5), clock() + 0.005))[0], Answer)  # nothing is known yet
    assert asked(lineup, ("a", history(0.5), clock() + 0.005)) == [TOO_LATE]
    assert isinstance(asked(lineup, ("a", history(0.5), clock() + 0.020))[0], Answer)
    clock.now_s += KEPT_S + 1  # nothing that is known still counts: it gets its chance
    assert isinstance(asked(lineup, ("a", history(0.5), clock() + 0.005))[0], Answer)


def test_a_batch_ends_before_the_earliest_deadline_in_it():
    """At 10 ms a row, a deadline in 45 ms leaves room for four rows in its batch; the rest follows."""
    clock = Clock()
    arm = Arm(clock=clock, takes_s=0.010)
    lineup = lineup_of(clock, a=arm)
    for rows in (1, 2, 4, 8):
        asked(lineup, *(("a", history(0.5), None) for _ in range(rows)))
    arm.runs.clear()
    began_s, ended_s = clock(), []
    questions = [("a", history(0.5), began_s + 0.045), *(("a", history(0.5), None) for _ in range(7))]

    async def ask():
        waits = [lineup.ask(*question) for question in questions]
        waits[0].add_done_callback(lambda _: ended_s.append(clock()))
        return await asyncio.gather(*waits)

    assert all(isinstance(answer, Answer) for answer in asyncio.run(ask()))
    assert len(arm.runs[0][0]) == 4
    assert ended_s[0] <= began_s + 0.045


def test_what_waits_at_other_arms_counts_as_well():
    """One thread serves them all, so a history waits for the runs of others, too."""
    clock = Clock()
    slow, fast = Arm(clock=clock, takes_s=0.020), Arm(clock=clock, takes_s=0.001)
    lineup = lineup_of(clock, slow=slow, fast=fast)
    asked(lineup, ("slow", history(0.5), None))
    asked(lineup, ("fast", history(0.5), None))
    late = ("fast", history(0.5), clock() + 0.010)
    answers = asked(lineup, ("slow", history(0.5), None), late)
    assert answers[1] == TOO_LATE


def test_the_pace_borrows_from_the_nearest_size():
    clock = Clock()
    pace = Pace(clock)
    assert pace.expected_s(1) == 0
    pace.note(4, 0.002)
    assert pace.expected_s(3) == 0.002
    assert pace.expected_s(1) == 0.002
    assert pace.expected_s(16) == pytest.approx(0.008)
    for _ in range(99):
        pace.note(4, 0.001)
    assert pace.expected_s(4) == 0.002  # the 99th percentile of 100


def test_removing_an_arm_answers_what_waits():
    inline = Inline(Clock())
    lineup = lineup_of()
    station = lineup._station("m1", 2)
    inline.serve("a", InlineArm(Arm(), station))

    async def ask():
        answer = inline.ask("a", history(0.5), None)
        inline.remove("a")
        return await answer

    assert asyncio.run(ask()).reason == "fallback:starting"


def test_a_backlog_has_one_run_a_turn_however_many_begin_together():
    """Each run that is made at once takes the place of the one that was scheduled, and adds none."""
    arm, runs = Arm(), []
    lineup = lineup_of(base=arm)

    async def ask():
        await lineup.ask("base", history(0.5), None)

    async def turns():
        together, tasks = Together(lineup.one_run), set()
        for _ in range(40 * ROWS_MAX):
            together.put(ask(), tasks)
        for _ in range(12):
            before = len(arm.runs)
            together.put(ask(), tasks)
            await asyncio.sleep(0)
            runs.append(len(arm.runs) - before)
        await asyncio.gather(*tasks)

    asyncio.run(turns())
    assert max(runs) <= 2
