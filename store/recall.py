"""Puts first sights back into a Redis that may have forgotten them, and vouches for one that remembers all.

Law: while the word stands that `vouch` gave, Redis knows the start of every unit in which somebody asked,
but for those that a worker has yet to tell: it does so within 20 ms, and, if Redis did not answer it, as soon
as Redis does. What it drops meanwhile is counted, what dies with it is not (store/untold.py).

A Redis that was emptied, or came back with less than it had, has no word until every start is back that SQL
knows; and SQL is asked only when it holds what the journals of this node held. Meanwhile workers are sure of
nothing and ask again. Units that only another node has journaled and not carried yet do not come back.
"""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import redis
from sqlalchemy import Engine, select

from store import keys, tables
from store.bindings import VOUCH_S
from store.records import Experiment
from store.sql import table_of

PAGE_UNITS = 2_000
_UNITS = table_of(tables.Unit)


# One script: the server whose run is compared must be the one that is given the word.
_VOUCH = """
local run = string.match(redis.call('info', 'server'), 'run_id:(%w+)')
local held = redis.call('get', KEYS[1]) or ''
if held == run then redis.call('set', KEYS[2], run, 'px', ARGV[1]) end
return {run, held}
"""
_FINISH = "if redis.call('get', KEYS[1]) == ARGV[1] then redis.call('set', KEYS[1], ARGV[2]) end"


@dataclass(slots=True)
class _Work:
    """What is left to do for one run of the server.

    token: stands in Redis meanwhile, so that a loss is noticed. ends: how far the journals must be in SQL
    before it is asked.
    """

    run_id: str
    token: str
    ends: Mapping[str, int]
    after: str = ""


@dataclass(slots=True)
class Recall:
    """One experiment's. ends: where its journals end now. marks: how far SQL holds journals."""

    client: "redis.Redis"
    engine: Engine
    experiment: Experiment
    ends: Callable[[], dict[str, int]]
    marks: Callable[[list[str]], dict[str, int]]
    _work: _Work | None = field(default=None)

    @property
    def is_behind(self) -> bool:
        """Whether starts are being brought back."""
        return self._work is not None

    def vouch(self) -> tuple[str, str]:
        """Gives the word anew where this run of Redis remembers everything. Any node may; asks no SQL.

        Returns the run of the server, and what stands in Redis for the one that remembers.
        """
        client: Any = self.client
        both = keys.remembering(self.experiment.key), keys.vouched(self.experiment.key)
        run_id, held = client.eval(_VOUCH, len(both), *both, round(VOUCH_S * 1000))
        return run_id.decode(), held.decode()

    def step(self, now_us: int) -> None:
        """Brings the next page of starts back, if any are missing. One node at a time."""
        run_id, held = self.vouch()
        if held == run_id:
            self._work = None
            return
        work = self._work
        if work is None or (work.run_id, work.token) != (run_id, held):
            work = self._work = self._begun(run_id)
        if work.ends:
            marks = self.marks(list(work.ends))
            work.ends = {journal: end for journal, end in work.ends.items() if marks[journal] < end}
            return
        page = self._page(work.after, now_us)
        self._tell(page, now_us)
        if len(page) == PAGE_UNITS:
            work.after = page[-1][0]
            return
        client: Any = self.client
        client.eval(_FINISH, 1, keys.remembering(self.experiment.key), work.token, work.run_id)

    def _begun(self, run_id: str) -> _Work:
        token = uuid.uuid4().hex
        self.client.delete(keys.vouched(self.experiment.key))
        self.client.set(keys.remembering(self.experiment.key), token)
        return _Work(run_id, token, self.ends())

    def _page(self, after: str, now_us: int) -> list[tuple[str, int, int]]:
        """(unit, start, last decision) of the next units by name whose time is not over."""
        c = _UNITS.c
        query = select(c.unit, c.started_at_us, c.last_at_us).where(
            c.experiment == self.experiment.key,
            c.unit > after,
            c.last_at_us > now_us - self._span_s() * 1_000_000,
        )
        with self.engine.connect() as connection:
            rows = connection.execute(query.order_by(c.unit).limit(PAGE_UNITS))
            return [(row.unit, row.started_at_us, row.last_at_us) for row in rows]

    def _tell(self, page: list[tuple[str, int, int]], now_us: int) -> None:
        """SQL's start is the first one, whatever Redis was told since."""
        with self.client.pipeline(transaction=False) as pipe:
            for unit, started_at_us, last_at_us in page:
                left_s = self._span_s() - (now_us - last_at_us) // 1_000_000
                pipe.set(keys.binding(self.experiment.key, unit), str(started_at_us), ex=left_s)
            pipe.execute()

    def _span_s(self) -> int:
        """How long after its last decision a unit may be met again, in seconds."""
        e = self.experiment
        return e.lifetime_s + e.unit_duration_s + e.attribution_s
