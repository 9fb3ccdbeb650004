"""Looks after the open rollouts of every experiment, as a process beside the workers of a service.

One steward of all nodes leads an experiment's rollout, by a lock in Redis; each interval has one look, by a
claim in SQL; each step is taken once, by the number of its line. Only the last is needed to be right: where
Redis is away every steward leads, and finds that another one has the look.
"""

import logging
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import redis
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from store import keys, rollouts
from store.clock import Clock
from store.errors import Overtaken
from store.fenced_lease import FencedLease, kept

if TYPE_CHECKING:
    from router.evidence import Evidence
    from router.rollout_steps import EvidenceOf, Looked, Open

ROLE = "rollout"
ALONE = ""
"""The mark of who leads because Redis cannot say who does."""
_LOG = logging.getLogger("abctl.rollout")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a steward works with. actor: its name in lines; holder: its name in locks, which no other process
    has. root: the data directory, whose KILL file it obeys.
    """

    engine: Engine
    root: Path
    actor: str
    holder: str
    clock: Clock
    lead_us: int
    every_us: int


@dataclass(slots=True)
class Steward:
    """complaints: the last error of each experiment, so that a lasting one is logged once."""

    terms: Terms
    redis: "redis.Redis"
    complaints: dict[str, str] = field(default_factory=dict)
    _leases: dict[str, FencedLease] = field(default_factory=dict)
    _marks: dict[str, str] = field(default_factory=dict)

    def round(self) -> "list[Looked]":
        """A look at each open rollout that this steward leads and whose look is due. Never raises."""
        try:
            with self.terms.engine.connect() as connection:
                found = rollouts.open_ones(connection)
        except SQLAlchemyError as error:
            self._complain("", error)
            return []
        self.complaints.pop("", None)
        return [told for told in map(self._attend, found) if told is not None]

    def release(self) -> None:
        """Lets others lead at once."""
        for key, mark in self._marks.items():
            with suppress(redis.RedisError):
                self._leases[key].release(mark)

    def _attend(self, key: str) -> "Looked | None":
        mark = self._led(key)
        if mark is None:
            return None
        try:
            with self._kept(key, mark):
                found = self._look(key, mark)
        except Exception as error:  # noqa: BLE001 - the rollouts of other experiments must be looked after
            self._complain(key, error)
            return None
        self.complaints.pop(key, None)
        if found is not None and found.is_news:
            _LOG.info("%s: %s: %s", key, found.verdict.action, found.verdict.reason)
        return found

    def _look(self, key: str, mark: str) -> "Looked | None":
        """The statistics come with the first open rollout, not with every start of a service."""
        from router.evidence_here import evidence_here
        from router.rollout_steps import Hands
        from router.rollout_watch import looked_when_due

        terms = self.terms
        hands = Hands(
            engine=terms.engine, key=key, actor=terms.actor, clock=terms.clock, lead_us=terms.lead_us
        )
        evidence = self.still_led(key, mark, evidence_here(terms.engine, terms.root))
        return looked_when_due(hands, evidence, terms.every_us)

    def still_led(self, key: str, mark: str, evidence_of: "EvidenceOf") -> "EvidenceOf":
        """The same evidence; Overtaken where somebody else leads by the time that it is there."""

        def evidence(found: "Open", now_us: int) -> "Evidence":
            seen = evidence_of(found, now_us)
            if mark != ALONE and not self._is_led_by(key, mark):
                raise Overtaken(key)
            return seen

        return evidence

    def _led(self, key: str) -> str | None:
        """The mark under which this steward leads, or None. A Redis that is away or full keeps nobody off."""
        try:
            mark = self._lease(key).lead()
        except redis.RedisError:
            return ALONE
        if mark is None:
            self._marks.pop(key, None)
        else:
            self._marks[key] = mark
        return mark

    def _is_led_by(self, key: str, mark: str) -> bool:
        try:
            return self._lease(key).is_led_by(mark)
        except redis.RedisError:
            return True

    @contextmanager
    def _kept(self, key: str, mark: str) -> Generator[None]:
        if mark == ALONE:
            yield
        else:
            with kept(self._lease(key)):
                yield

    def _lease(self, key: str) -> FencedLease:
        return self._leases.setdefault(
            key, FencedLease(self.redis, keys.leader(key, ROLE), self.terms.holder)
        )

    def _complain(self, key: str, error: Exception) -> None:
        said = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        if self.complaints.get(key) != said:
            _LOG.warning("the rollout%s was not looked at: %s", f" of {key}" if key else "s", said)
        self.complaints[key] = said
