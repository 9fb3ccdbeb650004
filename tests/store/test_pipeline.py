"""Journal -> Redis stream -> writer -> SQL: nothing is lost and nothing counts twice, whoever dies."""

import os
import subprocess
import time

import pytest
import redis
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError

from store import journal, keys, sql
from store.clock import wall_clock_us
from store.journal import Journal, Quota, frame_bytes, segment_path
from store.lease import Lease
from store.shipper import Shipper, lag_bytes
from store.sql import open_engine
from store.stream import ShipmentStream, open_redis
from store.writer import Writer


class Node:
    """A data directory's shipper and writer, as the service runs them."""

    def __init__(self, root, url, engine, key, make, name="node"):
        self.root, self.engine, self.key, self.make = root, engine, key, make
        self.redis = open_redis(url)
        self.stream = ShipmentStream(self.redis, key, name)
        self.shipper = Shipper(root / key, self.stream, make.marks(engine))
        self.writer = Writer(engine, key, self.stream, wall_clock_us)
        self.lease = Lease(self.redis, keys.leader(key, "writer"), name, term_ms=300)
        self.quota = Quota(root, 1 << 30)

    def journal(self, name, segment_bytes=journal.SEGMENT_BYTES):
        return Journal(self.root / self.key / name, self.quota, segment_bytes)

    def write(self, to, numbers, **changed):
        for number in numbers:
            to.append(self.make.encode(self.make.decision(self.key, f"d{number:04d}", **changed)))

    def step(self):
        stored = self.writer.step()
        return stored.decisions + stored.outcomes + stored.duplicates + stored.conflicts + stored.dead

    def carry(self):
        """Rounds until everything is in SQL."""
        for _ in range(50):
            moved = self.shipper.ship() + self.step()
            self.shipper.settle()
            self.writer.recover()
            if not moved and not self.lag():
                return
        raise AssertionError("the journals never reached SQL")

    def lag(self):
        return lag_bytes(self.root, self.make.marks(self.engine))

    def ids(self):
        query = "SELECT decision_id FROM decision WHERE experiment = :e ORDER BY decision_id"
        return [row["decision_id"] for row in self.make.rows(self.engine, query, e=self.key)]

    def dead(self):
        return self.make.rows(self.engine, "SELECT * FROM deadletter WHERE experiment = :e", e=self.key)


@pytest.fixture
def key(redis_token):
    return redis_token


@pytest.fixture
def node(tmp_path, server_url, engine, key, make):
    node = Node(tmp_path / "journal", server_url, engine, key, make)
    yield node
    node.redis.close()


@pytest.fixture
def local(tmp_path, fresh_valkey_url, sqlite_engine, key, make):
    """One pair of servers, where the seam under test is neither."""
    node = Node(tmp_path / "journal", fresh_valkey_url, sqlite_engine, key, make)
    yield node
    node.redis.close()


def names(count):
    return [f"d{number:04d}" for number in range(count)]


class TestSeams:
    """Every pair of servers."""

    def test_everything_arrives_once(self, node):
        one, two = node.journal("one", 2_000), node.journal("two", 2_000)
        node.write(one, range(30))
        node.write(two, range(20, 50), received_at_us=2_000)
        node.carry()
        assert node.ids() == names(50)
        assert node.stream.depth() == 0
        assert node.make.totals_are_derived(node.engine, node.key)[0]["decisions"] == 50
        for each in (one, two):
            assert len(journal.segment_starts(node.root / node.key / each.id)) == 1
            each.close()
        node.carry()
        assert journal.journal_folders(node.root / node.key) == []

    def test_a_backlog_is_stored_batch_by_batch(self, node, monkeypatch):
        """The next one is decoded while one is stored; a failure in the middle loses and doubles nothing."""
        monkeypatch.setattr("store.writer.BATCH_BYTES", 1)
        one = node.journal("one", 500)
        for number in range(12):
            node.write(one, [number])
            node.shipper.ship()
        assert [node.step() for _ in range(3)] == [1, 1, 1]
        with monkeypatch.context() as broken:
            broken.setattr(node.writer, "engine", open_engine("postgresql://nobody@127.0.0.1:9/none"))
            with pytest.raises(OperationalError):
                node.step()
        assert node.step() == 1
        node.carry()
        assert node.ids() == names(12)
        assert node.dead() == []
        assert node.make.totals_are_derived(node.engine, node.key)[0]["decisions"] == 12
        one.close()

    def test_what_a_crash_of_the_system_took_is_named_and_the_rest_arrives(self, node):
        """The end of a segment was not on the disk yet, the next one was."""
        one = node.journal("one", 2_000)
        node.write(one, range(30))
        folder = node.root / node.key / "one"
        first, second, *_ = journal.segment_starts(folder)
        held = journal.read_from(folder, first, 1 << 20)
        kept = next(journal.frames(held, first)).stop
        os.truncate(journal.segment_path(folder, first), kept + 5)
        lost = [frame for frame in journal.frames(held, first) if frame.start >= kept]
        node.carry()
        assert node.ids() == [name for n, name in enumerate(names(30)) if not 1 <= n <= len(lost)]
        dead = [(row["position"], row["reason"]) for row in node.dead()]
        assert [position for position, _ in sorted(dead)] == [kept, kept + 5]
        assert second == lost[-1].stop
        one.close()

    def test_a_crash_that_left_nothing_of_the_newest_segment_is_named_and_the_journal_ends(self, node):
        """Its name was on the disk, and neither its bytes nor the end of the one before."""
        one = node.journal("one", 2_000)
        node.write(one, range(14))
        folder = node.root / node.key / "one"
        one.close()
        first, last = journal.segment_starts(folder)
        os.truncate(journal.segment_path(folder, first), last - 30)
        os.truncate(journal.segment_path(folder, last), 0)
        node.carry()
        node.shipper.settle()
        assert (node.lag(), folder.exists()) == (0, False)
        assert node.dead() != []
        assert len(node.ids()) > 0

    def test_shipments_come_again_and_out_of_order(self, node):
        one = node.journal("one")
        node.write(one, range(30))
        data = journal.read_from(node.root / node.key / "one", 0, 1 << 20)
        cut = list(journal.frames(data, 0))[14].stop
        shipment = node.make.shipment("one", [])
        for start, stop in ((cut, len(data)), (0, cut), (0, len(data)), (cut, len(data)), (0, cut)):
            node.stream.add(type(shipment)("one", start, data[start:stop]))
        while node.step():
            pass
        assert node.ids() == names(30)
        one.close()

    def test_a_writer_killed_between_commit_and_acknowledgement(self, node, server_url, sql_url):
        one = node.journal("one")
        node.write(one, range(10))
        node.shipper.ship()
        script = """
import os, signal, sys
from store.clock import wall_clock_us
from store.sql import open_engine
from store.stream import ShipmentStream, open_redis
from store.writer import Writer

class Dying(ShipmentStream):
    def finish(self, entries):
        os.kill(os.getpid(), signal.SIGKILL)

url, sql, key = sys.argv[1:]
writer = Writer(open_engine(sql), key, Dying(open_redis(url), key, "node"), wall_clock_us)
while True:
    writer.step()
"""
        child = node.make.python(script, server_url, sql_url, node.key)
        assert child.wait(20) == -9
        child.stdout.close()
        assert node.ids() == names(10)
        assert node.stream.depth() == 1
        stored = node.writer.step()
        assert (stored.decisions, stored.duplicates) == (0, 0)
        assert node.stream.depth() == 0
        assert node.make.totals_are_derived(node.engine, node.key)[0]["decisions"] == 10
        one.close()

    def test_the_stream_is_emptied(self, node):
        one = node.journal("one")
        node.write(one, range(10))
        node.carry()
        node.write(one, range(10, 20))
        node.shipper.ship()
        node.redis.delete(keys.stream(node.key))
        node.write(one, range(20, 30))
        node.shipper.ship()
        node.carry()
        assert node.ids() == names(30)
        one.close()

    def test_records_that_sql_refuses(self, node):
        one = node.journal("one")
        node.write(one, [0])
        node.write(one, [1], split_version=2**63)
        node.write(one, [2], unit="a\0b")
        node.write(one, [3])
        node.carry()
        refused = 2 if node.engine.dialect.name == "postgresql" else 1
        assert len(node.dead()) == refused
        assert len(node.ids()) == 4 - refused
        one.close()

    def test_a_sum_that_no_column_holds_blocks_nobody(self, node):
        """2**53 x 1,024 is 2**63: SQLite says "integer overflow", PostgreSQL "out of range"."""
        one, make, key = node.journal("one"), node.make, node.key
        bots = [f"b{n:04d}" for n in range(1_030)]
        for bot in bots:
            one.append(make.encode(make.decision(key, f"d-{bot}", bot=bot)))
        for bot in bots[:1_023]:
            one.append(make.encode(make.market(key, bot=bot, pnl_micro=2**53)))
        node.carry()
        for bot in bots[1_023:]:
            one.append(make.encode(make.market(key, bot=bot, pnl_micro=2**53)))
        node.write(one, [0], unit="u2")
        node.carry()
        assert len(node.dead()) == 7
        assert "d0000" in node.ids()
        query = "SELECT pnl_micro FROM unit WHERE experiment = :e AND unit = 'u1'"
        assert make.rows(node.engine, query, e=key) == [{"pnl_micro": 1_023 * 2**53}]
        one.close()


class TestSqlGone:
    def test_postgresql_drops_the_connection(self, tmp_path, fresh_valkey_url, fresh_postgres_url, key, make):
        from store import schema

        engine = open_engine(fresh_postgres_url)
        schema.upgrade(engine)
        node = Node(tmp_path / "journal", fresh_valkey_url, engine, key, make)
        one = node.journal("one")
        node.write(one, range(5))
        node.shipper.ship()
        other = open_engine(fresh_postgres_url)
        with other.connect() as locker:
            locker.execute(text("LOCK TABLE decision"))
            victim = make.python(
                WRITE_ONCE, fresh_valkey_url, engine.url.render_as_string(hide_password=False), key
            )
            waiting = (
                "SELECT pid FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            wait_until(lambda: make.rows(other, waiting))
            for row in make.rows(other, waiting):
                make.rows(other, "SELECT pg_terminate_backend(:pid)", pid=row["pid"])
            assert victim.communicate(timeout=20)[0].strip() == "OperationalError"
        assert node.ids() == []
        node.carry()
        assert node.ids() == names(5)
        assert node.dead() == []
        one.close()
        other.dispose()
        engine.dispose()
        node.redis.close()

    @pytest.mark.parametrize("missing", ["DROP TABLE decision", "ALTER TABLE unit DROP COLUMN stale"])
    def test_a_database_that_is_not_migrated_makes_no_dead_letter(self, local, missing):
        node, one = local, local.journal("one")
        node.write(one, range(3))
        node.shipper.ship()
        try:
            with node.engine.begin() as connection:
                connection.execute(text(missing))
            with pytest.raises(DBAPIError):
                node.writer.step()
            assert node.dead() == []
        finally:
            one.close()

    def test_sqlite_is_locked_by_another_process(self, local, make, monkeypatch):
        monkeypatch.setattr(sql, "_SQLITE_BUSY_MS", 20)
        one = local.journal("one")
        local.write(one, range(5))
        local.shipper.ship()
        script = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""
        locker = make.python(script, local.engine.url.database, stdin=subprocess.PIPE)
        assert locker.stdout.readline() == "locked\n"
        for _ in range(3):
            with pytest.raises(OperationalError, match="locked"):
                local.writer.step()
        locker.communicate("")
        local.carry()
        assert local.ids() == names(5)
        assert local.dead() == []
        one.close()


WRITE_ONCE = """
import sys
from store.clock import wall_clock_us
from store.sql import open_engine
from store.stream import ShipmentStream, open_redis
from store.writer import Writer
stream = ShipmentStream(open_redis(sys.argv[1]), sys.argv[3], "node")
writer = Writer(open_engine(sys.argv[2]), sys.argv[3], stream, wall_clock_us)
try:
    while not writer.step().decisions:
        pass
    print("stored")
except Exception as error:
    print(type(error).__name__)
"""


def wait_until(true, timeout_s=15.0):
    deadline_s = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


class TestJournals:
    """What happens on the journal's side, with one pair of servers."""

    def test_redis_forgets_everything(self, local):
        one = local.journal("one", 2_000)
        local.write(one, range(30))
        local.carry()
        local.write(one, range(30, 60))
        local.shipper.ship()
        local.redis.flushall()
        local.carry()
        assert local.ids() == names(60)
        one.close()

    def test_redis_forgets_while_a_shipper_restarts(self, local, tmp_path, fresh_valkey_url):
        one = local.journal("one")
        local.write(one, range(30))
        local.shipper.ship()
        local.redis.flushall()
        again = Node(local.root, fresh_valkey_url, local.engine, local.key, local.make, "again")
        again.carry()
        assert local.ids() == names(30)
        again.redis.close()
        one.close()

    def test_nothing_is_deleted_before_sql_holds_it(self, local):
        one = local.journal("one", 2_000)
        local.write(one, range(30))
        folder = local.root / local.key / "one"
        starts = journal.segment_starts(folder)
        local.shipper.ship()
        local.shipper.settle()
        assert journal.segment_starts(folder) == starts
        local.carry()
        assert journal.segment_starts(folder) == starts[-1:]
        one.close()

    def test_a_dead_workers_journal_is_adopted(self, local, make):
        script = """
import os, signal, sys
from pathlib import Path
from store.journal import Journal, Quota
root = Path(sys.argv[1])
one = Journal(root / sys.argv[2] / "dead", Quota(root, 1 << 30), 2000)
for payload in sys.stdin.read().split():
    one.append(bytes.fromhex(payload))
os.kill(os.getpid(), signal.SIGKILL)
"""
        records = [make.encode(make.decision(local.key, name)).hex() for name in names(30)]
        child = make.python(script, local.root, local.key, stdin=subprocess.PIPE)
        child.communicate(" ".join(records))
        assert child.returncode == -9
        local.carry()
        assert local.ids() == names(30)
        assert journal.journal_folders(local.root / local.key) == []

    def test_a_torn_tail_is_a_dead_letter_and_the_journal_goes(self, local):
        one = local.journal("one")
        local.write(one, range(3))
        one.close()
        torn = frame_bytes(b"never answered")[:-4]
        with segment_path(local.root / local.key / "one", 0).open("ab") as file:
            file.write(torn)
        local.carry()
        assert local.ids() == names(3)
        assert [bytes(letter["content"]) for letter in local.dead()] == [torn]
        assert local.lag() == 0
        assert journal.journal_folders(local.root / local.key) == []

    @pytest.mark.parametrize("place", [0, 5, 6, 7, 9, 40])
    def test_flipped_bytes_cost_one_record_also_while_the_worker_lives(self, local, place):
        one = local.journal("one")
        local.write(one, [0])
        begin = one.position
        local.write(one, range(1, 5))
        with segment_path(local.root / local.key / "one", 0).open("r+b") as file:
            file.seek(begin + place)
            byte = file.read(1)
            file.seek(begin + place)
            file.write(bytes([byte[0] ^ 0x55]))
        local.carry()
        assert local.ids() == ["d0000", "d0002", "d0003", "d0004"]
        assert [letter["position"] for letter in local.dead()] == [begin]
        one.close()

    def test_a_database_from_a_backup_says_what_is_gone_and_goes_on(self, local):
        one = local.journal("one", 2_000)
        local.write(one, range(30))
        local.carry()
        with local.engine.begin() as connection:
            for table in ("decision", "unit", "unitbot", "journalmark"):
                connection.execute(text(f"DELETE FROM {table}"))
        local.write(one, range(30, 40))
        local.carry()
        assert local.ids()[-10:] == [f"d{n:04d}" for n in range(30, 40)]
        (letter,) = local.dead()
        assert "backup" in letter["reason"]
        assert local.lag() == 0
        one.close()

    def test_a_shipper_killed_at_any_moment(self, local, make, fresh_valkey_url):
        one = local.journal("one", 4_000)
        script = """
import sys
from pathlib import Path
from store.ingest import marks_of
from store.shipper import Shipper
from store.sql import open_engine
from store.stream import ShipmentStream, open_redis
url, sql, root, key = sys.argv[1:]
engine = open_engine(sql)
def marks(journals):
    with engine.connect() as connection:
        return marks_of(connection, journals)
shipper = Shipper(Path(root) / key, ShipmentStream(open_redis(url), key, "x"), marks)
print("ready", flush=True)
while True:
    shipper.ship()
    shipper.settle()
"""
        sqlite_url = local.engine.url.render_as_string()
        for round_ in range(3):
            child = make.python(script, fresh_valkey_url, sqlite_url, local.root, local.key)
            child.stdout.readline()
            for number in range(round_ * 20, round_ * 20 + 20):
                local.write(one, [number])
                local.writer.step()
            child.kill()
            child.communicate()
        local.carry()
        assert local.ids() == names(60)
        assert make.totals_are_derived(local.engine, local.key)[0]["decisions"] == 60
        one.close()

    def test_the_stream_is_never_filled_beyond_its_depth(self, local, monkeypatch):
        monkeypatch.setattr("store.shipper.DEPTH", 5)
        monkeypatch.setattr("store.shipper.SHIPMENT_BYTES", 300)
        one, two = local.journal("one"), local.journal("two")
        local.write(one, range(20))
        local.write(two, range(20, 40))
        local.shipper.ship()
        assert local.stream.depth() == 5
        local.carry()
        assert local.ids() == names(40)
        one.close()
        two.close()

    def test_folders_that_are_no_journals_yet_are_left_alone(self, local):
        (local.root / local.key / ".staging").mkdir(parents=True)
        local.carry()
        assert (local.root / local.key / ".staging").is_dir()
        assert lag_bytes(local.root / "never", local.make.marks(local.engine)) == 0


class TestTwoNodes:
    """Two data directories on one Redis and one PostgreSQL."""

    @pytest.fixture
    def nodes(self, tmp_path, server_url, fresh_postgres_url, key, make):
        from store import schema

        engines = [open_engine(fresh_postgres_url), open_engine(fresh_postgres_url)]
        schema.upgrade(engines[0])
        nodes = [
            Node(tmp_path / name, server_url, engine, key, make, name)
            for name, engine in zip(("a", "b"), engines, strict=True)
        ]
        yield nodes
        for each in nodes:
            each.redis.close()
            each.engine.dispose()

    def test_one_writes_for_both_and_the_other_takes_over(self, nodes):
        a, b = nodes
        journals = [node.journal(f"of-{name}") for node, name in zip(nodes, "ab", strict=True)]
        a.write(journals[0], range(10))
        b.write(journals[1], range(10, 20))
        a.shipper.ship()
        b.shipper.ship()
        assert (a.lease.hold(), b.lease.hold(), a.lease.hold()) == (True, False, True)
        while a.step():
            pass
        assert a.ids() == names(20)
        b.write(journals[1], range(20, 30))
        b.shipper.ship()
        assert a.stream.take()  # a takes them and dies
        wait_until(b.lease.hold)
        b.step()
        time.sleep(1.1)
        b.carry()
        assert b.ids() == names(30)
        assert b.make.totals_are_derived(b.engine, b.key)[0]["decisions"] == 30
        for each in journals:
            each.close()

    def test_two_writers_at_once_are_no_harm(self, nodes, server_url, key):
        a, b = nodes
        journals = [node.journal(f"of-{name}") for node, name in zip(nodes, "ab", strict=True)]
        url = a.engine.url.render_as_string(hide_password=False)
        writers = [a.make.python(WRITE_ON, server_url, url, key, name) for name in "ab"]
        for number in range(0, 60, 2):
            a.write(journals[0], [number])
            b.write(journals[1], [number + 1])
            a.shipper.ship()
            b.shipper.ship()
        wait_until(lambda: len(a.ids()) == 60)
        for writer in writers:
            writer.kill()
            writer.communicate()
        assert a.dead() == []
        assert a.make.totals_are_derived(a.engine, key)[0]["decisions"] == 60
        for each in journals:
            each.close()


WRITE_ON = """
import sys
from store.clock import wall_clock_us
from store.sql import open_engine
from store.stream import ShipmentStream, open_redis
from store.writer import Writer
stream = ShipmentStream(open_redis(sys.argv[1]), sys.argv[3], sys.argv[4])
writer = Writer(open_engine(sys.argv[2]), sys.argv[3], stream, wall_clock_us)
while True:
    if writer.step().gaps:
        writer.recover()
"""


class TestLease:
    def test_one_holder_at_a_time(self, server_url, key):
        client = open_redis(server_url)
        a, b = (Lease(client, keys.leader(key, "role"), name, 200) for name in "ab")
        assert (a.hold(), b.hold(), a.hold()) == (True, False, True)
        b.release()
        assert not b.hold()
        a.release()
        assert b.hold()
        time.sleep(0.25)
        assert a.hold()
        client.close()


def test_a_dead_redis_is_an_error_and_not_a_loss(tmp_path, sqlite_engine, key, make):
    node = Node(tmp_path / "journal", f"unix://{tmp_path / 'nobody.sock'}", sqlite_engine, key, make)
    one = node.journal("one")
    node.write(one, range(3))
    with pytest.raises(redis.RedisError):
        node.shipper.ship()
    assert node.lag() == journal.end_of(node.root / key / "one") > 0
    assert [path.name for path in (node.root / key).iterdir()] == ["one"]
    one.close()
