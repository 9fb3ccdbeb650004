"""A split whose commit is held up takes effect a whole lead after it was dated; nobody confirms meanwhile."""

import sqlite3
import threading
import time

import pytest

from router import change, snapshot
from router.definition import experiment_of
from router.snapshot import first_split
from store import experiments, schema
from store.clock import wall_clock_us
from store.sql import open_engine

BY = change.By("test", "test")
LEAD_US = 1_100_000


def prepared(url):
    engine = open_engine(url)
    schema.upgrade(engine)
    fields = {"key": "main", "arms": ["base", "transformer"], "control": "base"}
    made = experiment_of(fields, wall_clock_us())
    experiments.ensure(engine, made, first_split(made, "test"), "test")
    return engine


def test_the_lead_begins_when_the_database_is_free(tmp_path):
    """A writer that waits for SQLite's lock must not spend its lead in the queue."""
    engine = prepared(f"sqlite:///{tmp_path / 'abctl.db'}")
    held = threading.Event()

    def hold():
        connection = sqlite3.connect(tmp_path / "abctl.db", isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        held.set()
        time.sleep(0.5)
        connection.execute("COMMIT")
        connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    asked_us = wall_clock_us()
    made = change.set_share(engine, "main", "transformer", "0.5", BY, wall_clock_us, LEAD_US)
    thread.join()
    assert made.split.effective_at_us >= asked_us + 400_000 + LEAD_US
    assert change.history(engine, "main")[-1] == made.split
    engine.dispose()


@pytest.fixture
def engine(fresh_postgres_url):
    engine = prepared(fresh_postgres_url)
    yield engine
    engine.dispose()


def test_nothing_is_confirmed_while_a_version_is_on_its_way(engine):
    dated, commit = threading.Event(), threading.Event()

    def slow_clock():
        now_us = wall_clock_us()
        dated.set()
        commit.wait(10)
        return now_us

    def change_it():
        change.set_share(engine, "main", "transformer", "0.5", BY, slow_clock, LEAD_US)

    before = snapshot.read(engine, wall_clock_us())
    thread = threading.Thread(target=change_it)
    thread.start()
    assert dated.wait(10)
    during = snapshot.read(engine, wall_clock_us())
    kept = snapshot.after(during, before)
    commit.set()
    thread.join()
    now_us = wall_clock_us()
    later = snapshot.read(engine, now_us)
    assert before.confirmed_at_us > 0
    assert during.confirmed_at_us == 0
    assert kept.confirmed_at_us == before.confirmed_at_us
    assert kept.views == during.views
    assert kept.views["main"] is before.views["main"], "what is remembered with a view holds on"
    assert (later.confirmed_at_us, len(later.views["main"].history)) == (now_us, 2)


def test_many_readers_and_writers_never_confirm_too_much(engine):
    """Whoever confirmed a moment knows every version that was dated before it."""
    over, confirmed = threading.Event(), []

    def read():
        while not over.is_set():
            found = snapshot.read(engine, wall_clock_us())
            confirmed.append((found.confirmed_at_us, len(found.views["main"].history)))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(1, 20):
        change.set_share(engine, "main", "transformer", str(number / 20), BY, wall_clock_us, 0)
    over.set()
    for reader in readers:
        reader.join()
    dates = [split.created_at_us for split in change.history(engine, "main")]
    assert len({count for _, count in confirmed}) > 2
    for confirmed_at_us, known in confirmed:
        assert known >= sum(at_us < confirmed_at_us for at_us in dates)
