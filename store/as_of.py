"""The database as it stood: what had been received by a past moment, for one connection while it looks.

Temporary views and tables bear the names of the real ones and are found before them: whatever reads this
connection reads that moment, and nothing else need know. Unit totals of the moment are derived from
decisions, refused ones and outcomes by the code of `verify`. One transaction, rolled back at the end: nothing
stays. Time is that of receipt: what the writer had not brought to SQL yet by then is there all the same.
"""

from collections.abc import Generator
from contextlib import contextmanager

from sqlalchemy import (
    Connection,
    Engine,
    MetaData,
    Table,
    and_,
    case,
    exists,
    func,
    insert,
    null,
    select,
    text,
)
from sqlalchemy.schema import CreateIndex, CreateTable

from store import tables
from store.bulk import upsert
from store.errors import BadMoment, MomentPruned, UnknownExperiment
from store.expected import expected, held
from store.sql import table_of
from store.unit_spans import next_span

_UNITS = table_of(tables.Unit)
_BOTS = table_of(tables.UnitBot)
_OUTCOMES = table_of(tables.Outcome)
_VIEWS = {
    "decision": "received_at_us <= {at_us}",
    "unserved": "received_at_us <= {at_us}",
    "outcomeconflict": "received_at_us <= {at_us}",
    "deadletter": "at_us <= {at_us}",
    "split": "created_at_us <= {at_us}",
    "alias": "at_us <= {at_us}",
    "stage": "EXISTS (SELECT 1 FROM {schema}.split v WHERE v.experiment = s.experiment"
    " AND v.version = s.split_version AND v.created_at_us <= {at_us})",
}
"""Which rows of a table had come by then."""


@contextmanager
def as_of(engine: Engine, experiment: str, at_us: int, now_us: int) -> Generator[Connection]:
    """A connection that sees an experiment as it stood. Raises BadMoment before its beginning and after now,
    MomentPruned where decisions that say how it was are gone.

    It reads all decisions of the experiment up to then: seconds for a million.
    """
    with engine.connect() as connection:
        schema = _begin(connection)
        try:
            _check(connection, experiment, at_us, now_us)
            _shadow(connection, schema, experiment, at_us)
            _derive(connection, experiment)
            yield connection
        finally:
            connection.rollback()


def _begin(connection: Connection) -> str:
    """One moment of the database too; where its tables are, quoted."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN")
        return "main"
    connection.execution_options(isolation_level="REPEATABLE READ")
    return str(connection.execute(text("SELECT current_schema()")).scalar_one())


def _check(connection: Connection, experiment: str, at_us: int, now_us: int) -> None:
    known = table_of(tables.Experiment).c
    created_us = connection.execute(select(known.created_at_us).where(known.key == experiment)).scalar()
    if created_us is None:
        raise UnknownExperiment(experiment)
    if at_us > now_us:
        raise BadMoment("as_of lies in the future: give a past moment, or leave it out for now")
    if at_us < created_us:
        raise BadMoment(f"as_of lies before {experiment!r} was created: give a later moment")
    u = _UNITS.c
    torn = and_(u.pruned_at_us.is_not(None), u.first_at_us <= at_us, u.last_at_us > at_us)
    units = connection.execute(select(func.count()).where(u.experiment == experiment, torn)).scalar_one()
    if units:
        raise MomentPruned(
            f"as_of lies within the life of {units:,} units of {experiment!r} whose decisions were pruned:"
            " how they stood then is not in SQL any more; give a moment after their last decision, or restore"
            " a backup"
        )


def _shadow(connection: Connection, schema: str, experiment: str, at_us: int) -> None:
    quoted = connection.dialect.identifier_preparer.quote_identifier(schema)
    for name, holds in _VIEWS.items():
        rows = holds.format(at_us=int(at_us), schema=quoted)
        body = f"SELECT * FROM {quoted}.{name} s WHERE {rows}"  # noqa: S608 - our names, a number
        connection.exec_driver_sql(f"CREATE TEMPORARY VIEW {name} AS {body}")
    closed = f"CASE WHEN archived_at_us <= {int(at_us)} THEN archived_at_us END AS archived_at_us"
    names = (column.name for column in table_of(tables.Experiment).c)
    columns = ", ".join(closed if name == "archived_at_us" else name for name in names)
    body = f"SELECT {columns} FROM {quoted}.experiment"  # noqa: S608 - our names, a number
    connection.exec_driver_sql(f"CREATE TEMPORARY VIEW experiment AS {body}")
    for table in (_UNITS, _BOTS, _OUTCOMES):
        _fresh(connection, table)
    _copy_pruned(connection, schema, experiment, at_us)
    _copy_outcomes(connection, schema, experiment, at_us)


def _fresh(connection: Connection, table: Table) -> None:
    """An empty temporary table of the same name, with its indexes."""
    own = table.to_metadata(MetaData())
    made = str(CreateTable(own).compile(dialect=connection.dialect))
    connection.exec_driver_sql(made.replace("CREATE TABLE", "CREATE TEMPORARY TABLE", 1))
    for index in sorted(own.indexes, key=lambda i: str(i.name)):
        connection.execute(CreateIndex(index))


def _real(table: Table, schema: str) -> Table:
    return table.to_metadata(MetaData(), schema=schema)


def _copy_pruned(connection: Connection, schema: str, experiment: str, at_us: int) -> None:
    """Units whose decisions are gone, and were all there by then: what decisions said of them stands."""
    units, bots = _real(_UNITS, schema), _real(_BOTS, schema)
    whole = and_(
        units.c.experiment == experiment, units.c.pruned_at_us.is_not(None), units.c.last_at_us <= at_us
    )
    connection.execute(insert(_UNITS).from_select(_names(_UNITS), select(units).where(whole)))
    same = and_(units.c.experiment == bots.c.experiment, units.c.unit == bots.c.unit)
    own = select(bots).join(units, same).where(whole)
    connection.execute(insert(_BOTS).from_select(_names(_BOTS), own))


def _copy_outcomes(connection: Connection, schema: str, experiment: str, at_us: int) -> None:
    """Outcomes received by then; a trade whose decision came later was parked: it had no unit yet."""
    outcomes, units = _real(_OUTCOMES, schema), _real(_UNITS, schema)
    decisions = _real(table_of(tables.Decision), schema)
    o = outcomes.c
    decided_later = exists().where(
        decisions.c.experiment == o.experiment,
        decisions.c.decision_id == o.decision_id,
        decisions.c.received_at_us > at_us,
    )
    begun_later = exists().where(
        units.c.experiment == o.experiment,
        units.c.unit == o.unit,
        units.c.pruned_at_us.is_not(None),
        units.c.first_at_us > at_us,
    )
    parked = and_(o.kind == "trade", decided_later | begun_later)
    hidden = {"unit": case((parked, null()), else_=o.unit), "bot": case((parked, null()), else_=o.bot)}
    columns = [hidden.get(name, o[name]) for name in _names(_OUTCOMES)]
    received = select(*columns).where(o.experiment == experiment, o.received_at_us <= at_us)
    connection.execute(insert(_OUTCOMES).from_select(_names(_OUTCOMES), received))


def _names(table: Table) -> list[str]:
    return [column.name for column in table.c]


def _derive(connection: Connection, experiment: str) -> None:
    """The unit totals of the moment, a span at a time."""
    after: str | None = None
    while True:
        span = next_span(connection, experiment, after)
        book = expected(connection, span, held(connection, span)).book
        upsert(connection, _UNITS, list(book.units.values()))
        bots = [
            {"experiment": experiment, "unit": unit, "bot": bot, "first_at_us": first_us}
            for (unit, bot), first_us in book.bots.items()
        ]
        upsert(connection, _BOTS, bots)
        if span.upto is None:
            return
        after = span.upto
