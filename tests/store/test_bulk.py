"""Many rows at once mean the same on both engines, and on PostgreSQL the same by either way."""

import math

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError

from store import decision_rows, tables
from store.bulk import add_new, set_columns, upsert
from store.copying import fits
from store.lookup import EXPERIMENT, Lookup
from store.refusal import is_refusal
from store.sql import in_transaction, table_of

DECISIONS = table_of(tables.Decision)
UNITS = table_of(tables.Unit)
ODD_TEXT = 'tab\t, newline\n, \\backslash\\, quote", \\N, ünïcode, {curly}, 100%'


@pytest.fixture
def row(make):
    """row("d1", unit="u"): a row of tables.Decision."""
    return lambda name, **changed: decision_rows.row_of(make.decision(decision_id=name, **changed), "j", 7)


def ids(engine, make):
    return [r["decision_id"] for r in make.rows(engine, "SELECT decision_id FROM decision ORDER BY 1")]


def add(engine, rows):
    return in_transaction(engine, lambda c: add_new(c, DECISIONS, rows, ("decision_id",)))


def test_new_rows_are_told_from_those_that_were_there(engine, make, row):
    first = [row("d1"), row("d2")]
    assert add(engine, first) == first
    assert [r["decision_id"] for r in add(engine, [row("d2", unit="other"), row("d3")])] == ["d3"]
    assert add(engine, [row("d1")]) == []
    assert add(engine, []) == []
    assert ids(engine, make) == ["d1", "d2", "d3"]
    assert make.rows(engine, "SELECT unit FROM decision WHERE decision_id = 'd2'") == [{"unit": "u1"}]


def test_every_value_arrives_as_it_was(engine, make, row):
    sent = row("d1", unit=ODD_TEXT, state=bytes(range(256)), value=1e-300, as_of_us=None, forced=True)
    add(engine, [sent])
    [held] = make.rows(engine, "SELECT * FROM decision")
    assert {name: bytes(v) if isinstance(v, memoryview) else v for name, v in held.items()} == sent


@pytest.mark.parametrize(
    "change", [{"value": math.nan}, {"history_used": 2**40}, {"split_version": -(2**40)}]
)
def test_what_copy_would_not_refuse_goes_another_way(row, change):
    """NaN is NULL to SQLite; the driver sends the lower 32 bits of a number that its column cannot hold."""
    good = row("d1")
    assert fits(DECISIONS, [good])
    assert not fits(DECISIONS, [good, row("d2", **change)])
    assert not fits(DECISIONS, [{"experiment": "main"}])


@pytest.mark.parametrize("change", [{"history_used": 2**31}, {"value": math.nan}])
def test_postgresql_refuses_and_never_cuts_off(fresh_postgres_url, make, row, change):
    from store import schema
    from store.sql import open_engine

    engine = open_engine(fresh_postgres_url)
    schema.upgrade(engine)
    with pytest.raises(DBAPIError, check=is_refusal):
        add(engine, [row("d1"), row("d2", **change)])
    assert ids(engine, make) == []
    engine.dispose()


def test_an_upsert_sets_what_it_names_and_no_more(engine, make):
    key = {"experiment": "main", "unit": "u1"}
    times = dict.fromkeys(("started_at_us", "first_at_us", "first_position", "last_at_us"), 2**53 + 1)
    facts = {"arm": "base", "split_version": 1, "weights": "{}", "contaminated": False, "start_conflicts": 0}
    first = key | times | facts | {"first_journal_id": "j", "excluded": None}
    in_transaction(engine, lambda c: upsert(c, UNITS, [first]))
    in_transaction(engine, lambda c: set_columns(c, UNITS, [key | {"pnl_micro": -(2**62), "fill": "live"}]))
    in_transaction(engine, lambda c: set_columns(c, UNITS, [key | {"unit": "unknown", "fill": "paper"}]))
    in_transaction(engine, lambda c: upsert(c, UNITS, [first | {"arm": "transformer"}]))
    [held] = make.rows(engine, "SELECT * FROM unit")
    assert (held["arm"], held["pnl_micro"], held["fill"]) == ("transformer", -(2**62), "live")
    assert (held["decisions"], held["started_at_us"]) == (0, 2**53 + 1)


def test_nothing_is_left_of_a_batch_that_failed(engine, make, row):
    """Whatever was staged or copied before it."""

    def work(connection):
        add_new(connection, DECISIONS, [row("d1")], ("decision_id",))
        add_new(connection, DECISIONS, [row("d1"), row("d2")], ("decision_id",))
        raise OverflowError("stop")

    with pytest.raises(OverflowError):
        in_transaction(engine, work)
    assert ids(engine, make) == []
    add(engine, [row("d1"), row("d2")])
    assert ids(engine, make) == ["d1", "d2"]


def test_a_lookup_finds_what_an_index_knows(engine, row):
    names = [f"d{n}" for n in range(900)] + [ODD_TEXT]
    add(engine, [row(name) for name in names])
    found = Lookup(DECISIONS.select().where(DECISIONS.c.experiment == EXPERIMENT), DECISIONS.c.decision_id)
    with engine.connect() as connection:
        held = [r.decision_id for r in found.rows(connection, "main", [*names[100:], "unknown"])]
        assert sorted(held) == sorted(names[100:])
        assert list(found.rows(connection, "other", names)) == []
        assert list(found.rows(connection, "main", [])) == []


def test_a_lookup_reads_only_what_it_finds_in_a_table_that_nobody_analysed(fresh_postgres_url, row):
    """A list of values does not: PostgreSQL takes it for half of the table."""
    from store import schema
    from store.sql import open_engine

    engine = open_engine(fresh_postgres_url)
    schema.upgrade(engine)
    query = DECISIONS.select().where(DECISIONS.c.experiment == EXPERIMENT)
    found = Lookup(query, DECISIONS.c.unit)
    with engine.begin() as connection:
        rows = [row(f"d{n}", unit=f"u{n}") for n in range(20_000)]
        add_new(connection, DECISIONS, rows, ("decision_id",))
        before = touched(connection)
        assert len(list(found.rows(connection, "main", [f"u{n}" for n in range(400)]))) == 400
        assert touched(connection) - before <= 800
    engine.dispose()


def touched(connection):
    """Rows of the table that this transaction has read, by an index or without."""
    read = ("pg_stat_get_xact_tuples_returned", "pg_stat_get_xact_tuples_fetched")
    query = "SELECT " + " + ".join(f"{name}('decision'::regclass)" for name in read)
    return connection.execute(text(query)).scalar_one()


def test_a_lost_server_is_said_as_sqlalchemy_says_it(fresh_postgres_url, row):
    from store import schema
    from store.sql import open_engine

    engine = open_engine(fresh_postgres_url)
    schema.upgrade(engine)

    def work(connection):
        pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        with engine.connect() as other:
            other.execute(text(f"SELECT pg_terminate_backend({pid})"))
            other.commit()
        add_new(connection, DECISIONS, [row(f"d{n}") for n in range(50_000)], ("decision_id",))

    with pytest.raises((OperationalError, DBAPIError)) as caught:
        in_transaction(engine, work)
    assert not is_refusal(caught.value)
    assert add(engine, [row("d1")]) == [row("d1")]
    engine.dispose()
