"""The first start of a unit that any process bound, kept in Redis."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

import redis.asyncio
from redis.driver_info import DriverInfo
from redis.exceptions import RedisError

from store import keys
from store.untold import Untold, UntoldStarts

TIMEOUT_S = 0.05
_BACKSTOP_S = 10.0
"""The client's own limit: ours is the one that counts, for it knows when the loop itself was late."""
_LOOKS = 40
"""So many turns of the loop a question has after TIMEOUT_S before Redis is called silent: one that connects
first needs up to 29, one on an open connection 8 (redis 8.1). An idle loop has them within a millisecond.
"""
PAUSE_S = 0.5
"""For so long nobody asks a Redis that did not answer: its silence costs few decisions their TIMEOUT_S."""
VOUCH_S = 5.0
"""For so long counts the last word that Redis remembers every first sight (see store/recall.py)."""
TOLD_AT_ONCE = 64
"""Starts or questions in one pipeline: a longer one would hold up decisions while it is written."""
T = TypeVar("T")
_LOG = logging.getLogger("abctl.bindings")
# RuntimeError is uvloop's word for a connection that was reset.
_SILENCE = (RedisError, OSError, RuntimeError)
# The word counts in the run of the server that it was given to: another may have begun with an old snapshot.
_ASK = """
local held = redis.call('set', KEYS[1], ARGV[1], 'nx', 'get', 'ex', ARGV[2])
local run = string.match(redis.call('info', 'server'), 'run_id:(%w+)')
return {held, redis.call('get', KEYS[2]) == run}
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """The start that binds a unit. is_sure: nobody has forgotten an earlier one, so it stays."""

    start_us: int
    is_sure: bool


class FirstSight(Protocol):
    """Where the first sight of a unit is kept."""

    async def first_seen(self, experiment: str, unit: str, now_us: int, ttl_s: int) -> Seen | None:
        """When any process first saw the unit (now, if nobody did); None where nobody answers in time."""
        ...

    def tell(self, experiment: str, unit: str, start_us: int, ttl_s: int) -> None:
        """Notes the start of a unit for all processes, unless it has one. Never waits."""
        ...

    async def flush(self) -> None:
        """Carries what was told to where all processes see it. Called again and again."""
        ...

    def dropped(self) -> int:
        """How many starts that were told found no room since this was last asked."""
        ...


class _Question(NamedTuple):
    """A unit whose first sight somebody waits for."""

    experiment: str
    unit: str
    now_us: int
    ttl_s: int
    asked_s: float
    answer: "asyncio.Future[Seen | None]"


class RedisFirstSight:
    """Shared by all processes; Redis answers within TIMEOUT_S or not at all.

    Who asks while a question is on its way goes with the next: many new units cost few connections.
    An answer is sure only while somebody vouches for the memory of Redis: one that came back empty would make
    two starts of one. A unit that Redis does not know may also be one that another process has not told yet,
    so whoever was cut off waits VOUCH_S before it is sure of one: the others were cut off, too.
    """

    def __init__(self, url: str, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._redis = redis.asyncio.Redis.from_url(
            url,
            socket_timeout=_BACKSTOP_S,
            socket_connect_timeout=_BACKSTOP_S,
            retry=None,
            driver_info=DriverInfo(),  # else each connection looks for the client's own version on the disk
        )
        self._monotonic_s = monotonic_s
        self._ask_at_s = 0.0
        self._believe_at_s = 0.0
        self._is_silent = False
        self._untold = UntoldStarts()
        self._questions: deque[_Question] = deque()
        self._asking: asyncio.Task[None] | None = None
        self._hanging_up: asyncio.Task[None] | None = None

    async def first_seen(self, experiment: str, unit: str, now_us: int, ttl_s: int) -> Seen | None:
        """Atomic; Redis keeps what it was asked with where it knew nothing."""
        if not self._may_ask():
            return None
        answer: asyncio.Future[Seen | None] = asyncio.get_running_loop().create_future()
        self._questions.append(_Question(experiment, unit, now_us, ttl_s, self._monotonic_s(), answer))
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        return await answer

    async def _ask(self) -> None:
        """Until nobody waits; a silence is the answer to all of them, and to who has waited long enough."""
        while asked := self._next_questions(await self._lateness_s()):
            try:
                said = await _in_time(self._said(asked))
            except _SILENCE:
                self._went_silent()
                asked += self._all_questions()
                said = [None] * len(asked)
            except BaseException as error:
                _refuse(asked + self._all_questions(), error)
                raise
            for question, seen in zip(asked, said, strict=True):
                _answer(question, seen)

    async def _lateness_s(self) -> float:
        """How long the loop takes for all else before it comes back here."""
        began_s = self._monotonic_s()
        await asyncio.sleep(0)
        return self._monotonic_s() - began_s

    def _next_questions(self, lateness_s: float) -> list[_Question]:
        """None of those that have waited for too long, unless it was for ourselves."""
        next_: list[_Question] = []
        while self._questions and len(next_) < TOLD_AT_ONCE:
            question = self._questions.popleft()
            if self._monotonic_s() - question.asked_s > TIMEOUT_S + (_LOOKS + 1) * lateness_s:
                _answer(question, None)
            else:
                next_.append(question)
        return next_

    def _all_questions(self) -> list[_Question]:
        waiting = list(self._questions)
        self._questions.clear()
        return waiting

    async def _said(self, asked: list[_Question]) -> list[Seen | None]:
        async with self._redis.pipeline(transaction=False) as pipe:
            client: Any = pipe
            for one in asked:
                known = keys.binding(one.experiment, one.unit), keys.vouched(one.experiment)
                client.eval(_ASK, len(known), *known, str(one.now_us), one.ttl_s)
            replies = await pipe.execute(raise_on_error=False)
        if all(isinstance(reply, RedisError) for reply in replies):
            raise replies[0]
        self._is_silent, self._ask_at_s = False, 0.0
        believes = self._monotonic_s() >= self._believe_at_s
        return [_seen(one, reply, believes=believes) for one, reply in zip(asked, replies, strict=True)]

    def _may_ask(self) -> bool:
        now_s = self._monotonic_s()
        if now_s < self._ask_at_s:
            return False
        if self._is_silent:  # one asks for all
            self._ask_at_s = now_s + PAUSE_S
        return True

    def _went_silent(self) -> None:
        """A connection that failed may look open, so none is kept. No decision waits for that."""
        now_s = self._monotonic_s()
        self._is_silent = True
        self._ask_at_s, self._believe_at_s = now_s + PAUSE_S, now_s + VOUCH_S
        if self._hanging_up is None or self._hanging_up.done():
            self._hanging_up = asyncio.create_task(self._hang_up())

    async def _hang_up(self) -> None:
        """One at a time: two that wait for the same connection's end cancel each other's wait."""
        with suppress(*_SILENCE):
            await self._redis.connection_pool.disconnect(inuse_connections=False)

    def tell(self, experiment: str, unit: str, start_us: int, ttl_s: int) -> None:
        """Notes it here; `flush` tells Redis."""
        self._untold.put(Untold(keys.binding(experiment, unit), start_us, ttl_s))

    def dropped(self) -> int:
        """How many starts were dropped because Redis took none for long, since this was last asked."""
        return self._untold.dropped()

    async def flush(self) -> None:
        """Tells Redis what waits. While it is silent everything stays, as far as there is room."""
        while self._untold and self._may_ask():
            starts = self._untold.take(TOLD_AT_ONCE)
            is_told = False
            try:
                is_told = await self._told(starts)
            finally:
                if not is_told:
                    self._untold.give_back(starts)

    async def _told(self, starts: list[Untold]) -> bool:
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                for start in starts:
                    pipe.set(start.key, str(start.start_us), nx=True, ex=start.ttl_s)
                await _in_time(pipe.execute())
        except _SILENCE:
            self._went_silent()
            return False
        self._is_silent, self._ask_at_s = False, 0.0
        return True

    async def close(self) -> None:
        """Closes the connections. What is still untold is lost to the other processes."""
        if self._untold:
            _LOG.warning("Redis was never told the starts of %d units: it did not answer", len(self._untold))
        if self._hanging_up is not None:
            await self._hanging_up
        await self._redis.aclose()


class _Patience:
    """Ends a wait TIMEOUT_S from now. A loop that was busy for longer has not looked whether the answer is
    there, and its timers come first: so it looks."""

    def __init__(self, limit: asyncio.Timeout) -> None:
        self._limit = limit
        self._looks = _LOOKS
        self._next: asyncio.Handle = asyncio.get_running_loop().call_later(TIMEOUT_S, self._look)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self._looks -= 1
        if self._looks >= 0:
            self._next = loop.call_soon(self._look)
        else:
            self._limit.reschedule(loop.time())

    def end(self) -> None:
        self._next.cancel()


async def _in_time(work: Awaitable[T]) -> T:
    """Its result, or TimeoutError."""
    async with asyncio.timeout(None) as limit:
        patience = _Patience(limit)
        try:
            return await work
        finally:
            patience.end()


def _seen(question: _Question, reply: Any, *, believes: bool) -> Seen | None:
    """What Redis says of a unit; None where it holds something else under the unit's key."""
    if isinstance(reply, RedisError):
        _LOG.warning("Redis holds no start of unit %r where it should: %s", question.unit, reply)
        return None
    held, vouched = reply
    if held is None:
        return Seen(question.now_us, bool(vouched) and believes)
    if not held.isdigit():
        _LOG.warning("Redis holds %r as the start of unit %r: remove that key", held, question.unit)
        return None
    return Seen(int(held), bool(vouched))


def _answer(question: _Question, seen: Seen | None) -> None:
    if not question.answer.done():
        question.answer.set_result(seen)


def _refuse(asked: list[_Question], error: BaseException) -> None:
    """A fault of ours, or the end of the loop: whoever waits must hear of it."""
    for question in asked:
        if isinstance(error, asyncio.CancelledError):
            question.answer.cancel()
        elif not question.answer.done():
            question.answer.set_exception(error)


class MemoryFirstSight:
    """One process alone."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], int] = {}

    async def first_seen(self, experiment: str, unit: str, now_us: int, ttl_s: int) -> Seen | None:
        """The same law without a server; nothing expires."""
        del ttl_s
        return Seen(self._seen.setdefault((experiment, unit), now_us), is_sure=True)

    def tell(self, experiment: str, unit: str, start_us: int, ttl_s: int) -> None:
        """Known at once."""
        del ttl_s
        self._seen.setdefault((experiment, unit), start_us)

    def dropped(self) -> int:
        """None."""
        return 0

    async def flush(self) -> None:
        """Nothing waits."""
