"""The decisions of mature units, line by line, as VW reads them: those that `abctl ope` weighs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from router.logged_units import read_logged_units
from store.dsjson import line_of
from store.logged_actions import LoggedAction, units_in


@dataclass(frozen=True, slots=True)
class Features:
    """What the states of one schema are called; those of others get numbers."""

    schema_hash: str
    names: Sequence[str]

    def of(self, action: LoggedAction) -> Sequence[str]:
        """A name per feature of the decision's state."""
        width = len(action.state) // 4
        if action.schema_hash == self.schema_hash and width == len(self.names):
            return self.names
        return [f"f{i:02d}" for i in range(width)]


def dsjson_lines(
    connection: Connection,
    key: str,
    now_us: int,
    features: Features,
    tell: Callable[[int], None] = lambda _lines: None,
) -> Iterator[bytes]:
    """Whole units, in the order of the database. Of units that are not mature rewards are not known yet."""
    chosen = read_logged_units(connection, key, now_us)
    count = 0
    for unit, actions in units_in(connection, chosen.wanted):
        if unit not in chosen.by_name:
            continue
        for action in actions:
            yield line_of(action, features.of(action))
        count += len(actions)
        tell(count)
