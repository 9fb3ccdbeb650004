"""A backup holds every record that was acknowledged before it began, and no secret leaves by argv.

The whole restore, on either engine and under load, is in tests/cli/test_db.py.
"""

import os
import sqlite3
import stat
import threading

import msgspec
import pytest
from sqlalchemy import make_url

from store import backup, experiments, schema
from store.backup import back_up
from store.data_dir import DataDir
from store.errors import StoreUnavailable, TargetExists
from store.ingest import Shipment, ingest
from store.journal import Journal, Quota, drop_segments, end_of, frames, journal_folders, read_from
from store.records import Record
from store.snapshot import snapshot
from store.sql import open_engine
from store.verify import verify

NOW_US = 9_000
SECRET = "hunter2 '%/"  # noqa: S105


@pytest.fixture
def node(tmp_path, make):
    """A data directory with its database."""
    place = DataDir(tmp_path / "data").prepare()
    engine = open_engine(f"sqlite:///{place.database}")
    schema.upgrade(engine)
    experiments.create(engine, *make.experiment_and_split(), "me")
    yield place, engine
    engine.dispose()


@pytest.fixture
def journal(node):
    place, _ = node
    made = Journal(place.journals / "main" / "j", Quota(place.journals, 1 << 30), segment_bytes=2_000)
    yield made
    made.close()


def carry(engine, folder, position):
    """What the service does all the time: to SQL, then off the disk."""
    while data := read_from(folder, position, 1 << 20):
        ingest(engine, "main", [Shipment(folder.name, position, data)], NOW_US)
        position += len(data)
    drop_segments(folder, position)
    return position


def differences(folder):
    place = DataDir(folder)
    engine = open_engine(f"sqlite:///{place.database}")
    with engine.connect() as connection, snapshot(connection):
        found = [d for step in verify(connection, "main", place.journals) for d in step.differences]
    engine.dispose()
    return found


def held(folder):
    """Ids of the decisions in a backup's database and journals."""
    with sqlite3.connect(folder / "abctl.db") as file:
        ids = {name for (name,) in file.execute("SELECT decision_id FROM decision")}
    file.close()
    for path in journal_folders(folder / "journal" / "main"):
        for segment in path.glob("*.seg"):
            ids |= {
                msgspec.msgpack.decode(frame.payload, type=Record).decision_id
                for frame in frames(segment.read_bytes(), 0)
                if frame.payload is not None
            }
    return ids


def test_what_was_acknowledged_is_in_it_while_the_service_works(node, journal, make, tmp_path):
    place, engine = node
    stop, acknowledged, folder = threading.Event(), [], place.journals / "main" / "j"

    def write():
        while not stop.is_set():
            name = f"d{len(acknowledged)}"
            journal.append(make.encode(make.decision(decision_id=name, unit=name)))
            acknowledged.append(name)
            if len(acknowledged) % 5 == 0:
                journal.sync()

    def ship():
        position = 0
        while not stop.is_set():
            position = carry(engine, folder, position)

    workers = [threading.Thread(target=work) for work in (write, ship)]
    for worker in workers:
        worker.start()
    try:
        for number in range(4):
            while len(acknowledged) < 200 * (number + 1):
                pass
            before = set(acknowledged)
            back_up(place, engine.url, tmp_path / f"backup{number}")
            assert held(tmp_path / f"backup{number}") >= before
            assert differences(tmp_path / f"backup{number}") == []
    finally:
        stop.set()
        for worker in workers:
            worker.join()


@pytest.mark.parametrize("copied", ["_copy_journal", "_copy_database"])
def test_nothing_slips_through_between_the_two_copies(node, journal, make, tmp_path, monkeypatch, copied):
    """Whichever is copied first, just then everything goes to SQL and off the disk."""
    place, engine = node
    names = [f"d{n}" for n in range(40)]
    for name in names:
        journal.append(make.encode(make.decision(decision_id=name)))
    copy = getattr(backup, copied)

    def then_carried(*given):
        done = copy(*given)
        carry(engine, place.journals / "main" / "j", 0)
        return done

    monkeypatch.setattr(backup, copied, then_carried)
    back_up(place, engine.url, tmp_path / "backup")
    assert held(tmp_path / "backup") == {*names}


def test_marks_behind_the_copied_journal_are_no_difference(node, journal, make, tmp_path, monkeypatch):
    """SQL is copied last: its marks may be behind the end of a journal that was copied before."""
    place, engine = node
    folder = place.journals / "main" / "j"
    journal.append(make.encode(make.decision()))
    copied = backup._copy_database

    def later(*given):
        journal.append(make.encode(make.decision(decision_id="d2")))
        carry(engine, folder, 0)
        return copied(*given)

    monkeypatch.setattr(backup, "_copy_database", later)
    back_up(place, engine.url, tmp_path / "backup")
    assert end_of(tmp_path / "backup" / "journal" / "main" / "j") < end_of(folder)
    assert differences(tmp_path / "backup") == []


def test_it_is_for_its_owner_alone_and_has_what_nobody_can_make_again(node, journal, tmp_path):
    place, engine = node
    (place.root / "pepper").write_text("p" * 64)
    (place.root / "KILL").write_text("main/base")
    for name in ("audit", "revoked"):
        (place.root / name).mkdir()
        (place.root / name / "1.json").write_text("{}")
        (place.root / name / ".lock").write_text("")
    (place.root / "service.log").write_text("noise")
    made = back_up(place, engine.url, tmp_path / "backups" / "monday")
    found = {str(p.relative_to(made.folder)) for p in made.folder.rglob("*") if p.is_file()}
    assert found == {
        "KILL",
        "abctl.db",
        "audit/1.json",
        "pepper",
        "revoked/1.json",
        f"journal/main/j/{0:020d}.seg",
    }
    assert stat.S_IMODE(made.folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE((made.folder / name).stat().st_mode) for name in found} == {0o600}
    assert (made.journals, made.database_bytes) == (1, (made.folder / "abctl.db").stat().st_size)


def test_nothing_is_ever_overwritten(node, tmp_path):
    place, engine = node
    back_up(place, engine.url, tmp_path / "backup")
    with pytest.raises(TargetExists, match="name another place"):
        back_up(place, engine.url, tmp_path / "backup")


def test_a_damaged_database_is_told_before_it_replaces_a_good_backup(node, make, tmp_path):
    place, engine = node
    records = [make.decision(decision_id=f"d{n}", state=bytes(500)) for n in range(200)]
    ingest(engine, "main", [make.shipment("j", records)], NOW_US)
    engine.dispose()
    content = bytearray(place.database.read_bytes())
    for page in range(20, 40):
        content[page * 4096 : page * 4096 + 200] = b"\xff" * 200
    place.database.write_bytes(content)
    with pytest.raises((StoreUnavailable, sqlite3.DatabaseError), match=r"damaged|malformed"):
        back_up(place, engine.url, tmp_path / "backup")
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


class TestPostgresql:
    URL = make_url("postgresql+psycopg://ada@db.example:5433/abctl?sslmode=require").set(password=SECRET)

    @pytest.fixture
    def pg_dump(self, tmp_path, monkeypatch):
        """A program of that name that writes down how it was called."""
        program = tmp_path / "bin" / "pg_dump"
        program.parent.mkdir()
        program.write_text(
            '#!/bin/sh\nprintf "%s\\n" "$@" > "$NOTES/argv"\nprintf "%s" "$PGPASSWORD" > "$NOTES/password"\n'
            'for word in "$@"; do case "$word" in --file=*) echo dump > "${word#--file=}";; esac; done\n'
            "echo no such $PGPASSWORD >&2\nexit ${FAILS:-0}\n"
        )
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setenv("NOTES", str(tmp_path))
        return tmp_path

    @pytest.mark.parametrize("place", ["user part", "query"])
    def test_the_password_is_in_no_argument(self, node, pg_dump, place):
        url = self.URL
        if place == "query":
            url = url._replace(password=None).update_query_dict({"password": SECRET})
        made = back_up(node[0], url, pg_dump / "backup")
        argv = (pg_dump / "argv").read_text()
        assert "hunter2" not in argv
        assert "--dbname=postgresql://ada@db.example:5433/abctl?sslmode=require\n" in argv
        assert (pg_dump / "password").read_text() == SECRET
        assert made.database == pg_dump / "backup" / "abctl.pgdump"

    def test_what_pg_dump_says_is_told_and_nothing_is_left(self, node, pg_dump, monkeypatch):
        monkeypatch.setenv("FAILS", "1")
        with pytest.raises(StoreUnavailable, match="pg_dump failed: no such"):
            back_up(node[0], self.URL, pg_dump / "backup")
        assert not list(pg_dump.glob("*backup*"))
        assert not list(pg_dump.glob(".*"))

    def test_without_pg_dump_the_remedy_is_named(self, node, tmp_path, monkeypatch):
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(StoreUnavailable, match="install the server's version"):
            back_up(node[0], self.URL, tmp_path / "backup")
