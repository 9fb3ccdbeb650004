"""Who looks at rollouts, and when last: a row an experiment, so that nobody looks more often than is wanted.

The claim of a look is a compare-and-set in SQL: of all who find one due, one gets it, with or without Redis.
"""

import msgspec
from sqlalchemy import Connection, Engine, select

from store import tables
from store.sql import in_transaction, insert_new, table_of

_LOOKS = table_of(tables.RolloutLook)
SAID_CHARACTERS = 500
_NEVER_US = -1
AHEAD_US = 60_000_000
"""A look of so much later was somebody's whose clock was wrong: nobody waits for it."""


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """A look at an experiment's rollout. at_us: when it began. every_us: 0 where it is to be the only one."""

    experiment: str
    at_us: int
    actor: str
    every_us: int
    said: str = ""


def claimed(engine: Engine, look: Look, free_before_us: int) -> bool:
    """Writes down that a look begins; False, with nothing written, where one began at
    free_before_us or later.

    Asked again and again, it takes no writer's lock until a look is due.
    """
    with engine.connect() as connection:
        before = last(connection, look.experiment)
    if before is not None and free_before_us <= before.at_us <= look.at_us + AHEAD_US:
        return False
    return in_transaction(engine, lambda c: _claimed(c, look, free_before_us))


def _claimed(connection: Connection, look: Look, free_before_us: int) -> bool:
    fields = msgspec.structs.asdict(look)
    connection.execute(insert_new(connection, _LOOKS), {**fields, "at_us": _NEVER_US})
    at_us, own = _LOOKS.c.at_us, _LOOKS.c.experiment == look.experiment
    is_free = own & ((at_us < free_before_us) | (at_us > look.at_us + AHEAD_US))
    del fields["said"]  # the last look's words stand until this one has its own
    return connection.execute(_LOOKS.update().where(is_free).values(fields)).rowcount > 0


def concluded(engine: Engine, look: Look, said: str) -> None:
    """What the look found; nothing where another has begun since."""
    mine = (
        (_LOOKS.c.experiment == look.experiment)
        & (_LOOKS.c.at_us == look.at_us)
        & (_LOOKS.c.actor == look.actor)
    )
    told = {"said": said[:SAID_CHARACTERS]}
    in_transaction(engine, lambda c: c.execute(_LOOKS.update().where(mine).values(told)))


def last(connection: Connection, key: str) -> Look | None:
    """The last look that began; None where nobody ever looked."""
    row = connection.execute(select(_LOOKS).where(_LOOKS.c.experiment == key)).mappings().one_or_none()
    return None if row is None else Look(**row)
