"""A snapshot shows one moment to every read in it, and keeps no writer waiting."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from store.ingest import ingest
from store.snapshot import snapshot

COUNTS = "SELECT (SELECT count(*) FROM decision), (SELECT count(*) FROM unit)"


def test_what_is_committed_later_is_not_seen(engine, make):
    one = make.shipment("j", [make.decision()])
    ingest(engine, "main", [one], 9_000)
    with engine.connect() as connection:
        with snapshot(connection):
            more = make.shipment("j", [make.decision(decision_id="d2", unit="u2")], one.stop)
            assert ingest(engine, "main", [more], 9_000).decisions == 1
            assert tuple(connection.execute(text(COUNTS)).one()) == (1, 1)
        with snapshot(connection):
            assert tuple(connection.execute(text(COUNTS)).one()) == (2, 2)


def test_nothing_is_kept_of_it_after_an_error(engine):
    with engine.connect() as connection:
        with pytest.raises(RuntimeError, match="stop"), snapshot(connection):
            raise RuntimeError("stop")
        assert not connection.in_transaction()


def test_postgresql_lets_nothing_be_written_in_it(fresh_postgres_url):
    from store.sql import open_engine

    engine = open_engine(fresh_postgres_url)
    with engine.connect() as connection, snapshot(connection), pytest.raises(DBAPIError, match="read-only"):
        connection.execute(text("CREATE TABLE x (y int)"))
    engine.dispose()
