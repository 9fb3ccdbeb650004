"""How old the states were that bots sent, where they said so: counted from decisions, so asked for rarely."""

from dataclasses import dataclass

from sqlalchemy import Connection, and_, func, select

from store import tables
from store.sql import table_of

_DECISIONS = table_of(tables.Decision)
STALE_US = 5_000_000
"""Older than that on its arrival, a state is stale: ten ticks of a bot that asks every half second."""


@dataclass(frozen=True, slots=True)
class StateAges:
    """Answered decisions of an arm. dated: those whose `as_of` is known; stale: of them, by STALE_US."""

    dated: int
    stale: int

    @property
    def stale_rate(self) -> float | None:
        """None where no state has a time."""
        return self.stale / self.dated if self.dated else None


def state_ages(connection: Connection, experiment: str, arm: str) -> StateAges:
    """Of the units that were assigned to the arm; forced decisions and those outside are not its own. Reads
    all decisions.
    """
    c = _DECISIONS.c
    own = and_(c.experiment == experiment, c.arm == arm, c.forced.is_(False), c.eligible.is_(True))
    is_stale = c.received_at_us - c.as_of_us > STALE_US
    counts = select(func.count(), func.count().filter(is_stale)).where(own, c.as_of_us.is_not(None))
    dated, stale = connection.execute(counts).one()
    return StateAges(int(dated), int(stale))
