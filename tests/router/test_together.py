"""Courses that are begun and answered together end as tasks would, and become tasks only where they must."""

import asyncio
from contextlib import contextmanager, nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.together import Together


class Work:
    """What arms are to decisions: futures that are answered at the end of a run, at most `rows` of them."""

    def __init__(self, rows=100):
        self.rows, self.waiting, self.runs = rows, [], []

    def ask(self):
        answer = asyncio.get_running_loop().create_future()
        self.waiting.append(answer)
        return answer

    @contextmanager
    def one_run(self):
        yield
        now, self.waiting = self.waiting[: self.rows], self.waiting[self.rows :]
        self.runs.append(len(now))
        for answer in now:
            answer.set_result("answered")


def test_what_came_in_one_turn_is_one_run_and_makes_no_task():
    work, tasks, said = Work(), set(), []

    async def course(number):
        said.append((number, await work.ask()))

    async def turn():
        together = Together(work.one_run)
        for number in range(16):
            together.put(course(number), tasks)
        assert said == []
        await asyncio.sleep(0)
        assert tasks == set()

    asyncio.run(turn())
    assert said == [(number, "answered") for number in range(16)]
    assert work.runs == [16]


def test_who_finds_no_room_in_the_run_becomes_a_task_that_is_known_while_it_lasts():
    work, tasks, said = Work(rows=2), set(), []

    async def course(number):
        said.append((number, await work.ask()))

    async def turns():
        together = Together(work.one_run)
        for number in range(3):
            together.put(course(number), tasks)
        await asyncio.sleep(0)
        assert [number for number, _ in said] == [0, 1]
        (left,) = tasks
        work.waiting.pop().set_result("later")
        await left
        await asyncio.sleep(0)
        assert tasks == set()

    asyncio.run(turns())
    assert said[2] == (2, "later")


STEPS = st.lists(st.sampled_from(["ask", "turn", "sleep", "task", "error"]), max_size=5)


@given(st.lists(STEPS, max_size=6))
def test_a_course_goes_the_way_that_it_goes_as_a_task(courses):
    """Whatever it waits for, in any order: the same is said, and the same errors are seen."""
    assert outcomes(courses, as_tasks=False) == outcomes(courses, as_tasks=True)


async def broken():
    raise LookupError("broken")


def awaited(step, work):
    return {
        "ask": work.ask,
        "turn": lambda: asyncio.sleep(0, "turned"),
        "sleep": lambda: asyncio.sleep(0.0001, "slept"),
        "task": lambda: asyncio.create_task(asyncio.sleep(0, "ran")),
        "error": lambda: asyncio.create_task(broken()),
    }[step]()


async def course_of(steps, work, said):
    for step in steps:
        try:
            said.append(await awaited(step, work))
        except LookupError as error:
            said.append(str(error))


def outcomes(courses, as_tasks):
    said = [[] for _ in courses]

    async def run():
        work, tasks = Work(), set()
        together = Together(work.one_run)
        for steps, mine in zip(courses, said, strict=True):
            made = course_of(steps, work, mine)
            tasks.add(asyncio.create_task(made)) if as_tasks else together.put(made, tasks)
        while any(len(mine) < len(steps) for steps, mine in zip(courses, said, strict=True)):
            await asyncio.sleep(0.0002)
            with work.one_run():
                pass
        await asyncio.gather(*tasks)

    asyncio.run(asyncio.wait_for(run(), 10))
    return said


def test_a_course_that_is_cancelled_hears_of_it():
    tasks, heard = set(), []

    async def course():
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            heard.append("cancelled")
            raise

    async def turns():
        Together(nullcontext).put(course(), tasks)
        await asyncio.sleep(0)
        (task,) = tasks
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(turns())
    assert heard == ["cancelled"]


def test_a_course_that_ends_at_once_is_over():
    tasks, said = set(), []

    async def course():
        said.append("said")

    async def turn():
        Together(nullcontext).put(course(), tasks)
        await asyncio.sleep(0)

    asyncio.run(turn())
    assert (said, tasks) == (["said"], set())


def test_a_course_that_breaks_its_promise_costs_no_other():
    work, tasks, said = Work(), set(), []

    async def course(number):
        if number == 1:
            raise ValueError("a fault of ours")
        said.append((number, await work.ask()))

    async def turn():
        together = Together(work.one_run)
        for number in range(3):
            together.put(course(number), tasks)
        await asyncio.sleep(0)

    asyncio.run(turn())
    assert said == [(0, "answered"), (2, "answered")]
