"""Runs shadow arms off the reply path: in the idle time of a worker, behind every decision that waits.

A bounded queue. What finds no room, no memory or no answer is counted and ends its life for both arms: a life
with a hole in it would compare two different price paths.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from arms.schema import StateSchema
from arms.shadow import UNBORN, History, Life, acted, columns_of, looked, shown, voided
from router import metrics
from router.journals import Journals
from router.known import Known
from router.lineup import Lineup
from router.problems import Problem
from router.serving import Answer, Silence, action_of
from router.shadow_job import Job, Key, kept, number_of, record_of, revived
from store import keys
from store.lives import NO_ANSWER, Lives, Saved
from store.records import Action

QUEUE_MAX: Final = 512
ROWS_MAX: Final = 8
"""Of one run: a decision that comes during it waits for no more."""
_VOID_REMEMBERED: Final = 20_000
_OUTLIVES_S: Final = 3_600
_LOG = logging.getLogger("abctl.router")


@dataclass(slots=True)
class _Turn:
    """A tick on its way. before: the life that it goes on with. action: what the shadow arm said."""

    job: Job
    before: Life
    life: Life
    action: Action = "hold"

    @property
    def history(self) -> History:
        """What the shadow arm sees."""
        return shown(self.life, self.job.history)


class Shadows:
    """One worker's. `take` from the event loop; `run` is a task of its own."""

    def __init__(self, lineup: Lineup, journals: Journals, lives: Lives, schema: StateSchema) -> None:
        self._lineup = lineup
        self._journals = journals
        self._lives = lives
        self._columns = columns_of(schema)
        self._queue: deque[Job] = deque()
        self._void: Known[tuple[Key, int], bool] = Known(_VOID_REMEMBERED)
        self._wake = asyncio.Event()
        self._running = 0

    def take(self, job: Job) -> None:
        """Lets a tick wait for its turn, or ends its life where there is no room. Never waits."""
        if self._void.get((job.key, job.setting.number)):
            metrics.count_shadow_ticks("void", 1)
        elif len(self._queue) >= QUEUE_MAX:
            self._end(job, "dropped")
        else:
            self._queue.append(job)
            self._wake.set()

    def waiting(self) -> int:
        """How many ticks wait for their turn or are in it."""
        return len(self._queue) + self._running

    async def run(self) -> None:
        """For ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                await self._step()

    async def idle(self) -> None:
        """Returns when nothing waits and no arm of this thread is asked for anything."""
        while not self._lineup.is_idle():
            await self._lineup.after_a_run()

    async def close(self) -> None:
        """Lets go of what it holds; ticks that still wait are lost, and their lives void."""
        await self._lives.close()

    async def _step(self) -> None:
        """One batch, of one arm and of different lives, in their order."""
        await self.idle()
        batch = self._next_batch()
        self._running = len(batch)
        try:
            await self._live(batch)
        except NO_ANSWER:
            for job in batch:
                self._end(job, "no_memory")
        except Exception:  # noqa: BLE001 - whatever it is: decisions go on, and so do the other lives
            _LOG.exception("a tick of shadow arm %s failed", batch[0].setting.arm)
            for job in batch:
                self._end(job, "failed")
        finally:
            self._running = 0

    def _next_batch(self) -> list[Job]:
        batch = [self._queue.popleft()]
        taken = {batch[0].key}
        while self._queue and len(batch) < ROWS_MAX:
            job = self._queue[0]
            if job.key in taken or job.setting.arm != batch[0].setting.arm:
                break
            taken.add(job.key)
            batch.append(self._queue.popleft())
        return batch

    async def _live(self, batch: Sequence[Job]) -> None:
        contents = await self._lives.load([_name(job) for job in batch])
        turns = [self._looked(job, content) for job, content in zip(batch, contents, strict=True)]
        alive = [turn for turn in turns if not turn.life.void]
        answers = await self._answers(batch[0].setting.arm or "", [turn.history for turn in alive])
        for turn, answer in zip(alive, answers, strict=True):
            _decide(turn, answer)
        written = await self._lives.save([_saved(turn) for turn in turns])
        for turn, is_written in zip(turns, written, strict=True):
            self._note(turn if is_written else _raced(turn))

    def _looked(self, job: Job, content: bytes | None) -> _Turn:
        before = revived(content)
        life = looked(before, job.tick, job.history, self._columns, job.rules)
        return _Turn(job, before, life)

    async def _answers(self, arm: str, histories: list[History]) -> Sequence[Answer | Silence]:
        """At once where the arm serves in this thread and is well: decisions that wait for it come first."""
        if not histories:
            return []
        await self.idle()
        at_once = self._lineup.answered_at_once(arm, histories)
        if at_once is not None:
            return at_once
        return await asyncio.gather(*(self._lineup.ask(arm, history, None) for history in histories))

    def _note(self, turn: _Turn) -> None:
        """Journals a tick; of a life that was void before, nothing is left to say."""
        if turn.life.void:
            self._forget(turn.job)
        if turn.before.void:
            metrics.count_shadow_ticks("void", 1)
        else:
            self._journal(turn.job, turn.life, turn.action, turn.life.void or "lived")

    def _end(self, job: Job, why: str) -> None:
        """Ends a life that misses a tick, for both arms."""
        if self._void.get((job.key, job.setting.number)):
            metrics.count_shadow_ticks("void", 1)
            return
        self._forget(job)
        self._journal(job, voided(UNBORN, why), "hold", why)

    def _forget(self, job: Job) -> None:
        self._void.put((job.key, job.setting.number), True)

    def _journal(self, job: Job, life: Life, action: Action, became: str) -> None:
        """A tick that the journal does not take is missing in SQL, and so its life is void there."""
        try:
            self._journals.append(job.experiment.key, record_of(job, life, action))
        except Problem:
            became = "unlogged"
        metrics.count_shadow_ticks(became, 1)


def _name(job: Job) -> str:
    return keys.life(*job.key, job.setting.number)


def _decide(turn: _Turn, answer: Answer | Silence) -> None:
    job = turn.job
    if isinstance(answer, Silence):
        turn.life = voided(turn.life, "no_answer")
        return
    turn.action = action_of(job.experiment, answer, job.decision_id)[0]
    turn.life = acted(turn.life, number_of(turn.action), number_of(job.served_action), job.rules)


def _raced(turn: _Turn) -> _Turn:
    """Another worker went on with the same life meanwhile: one of the two ticks is out of order."""
    turn.life = voided(turn.life, "raced")
    return turn


def _saved(turn: _Turn) -> Saved:
    job = turn.job
    ttl_s = min(max(0, job.left_us // 1_000_000), job.experiment.unit_duration_s) + _OUTLIVES_S
    return Saved(_name(job), turn.before.ticks, turn.life.ticks, kept(turn.life), ttl_s)
