"""A record together with where it stands in its journal."""

from typing import Generic, NamedTuple, TypeVar

from store.records import Record

R_co = TypeVar("R_co", bound=Record, covariant=True)


class Stamped(NamedTuple, Generic[R_co]):
    """A record and its place; `order` decides which of two that compete for a key came first."""

    record: R_co
    journal_id: str
    position: int

    @property
    def order(self) -> tuple[int, str, int]:
        """(received_at_us, journal id, position): total and the same on every node."""
        return (self.record.received_at_us, self.journal_id, self.position)
