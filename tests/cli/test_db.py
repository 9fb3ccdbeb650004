"""`abctl db`: on a real data directory, beside a running service and without one, on both engines."""

import json
import re
import shutil
import sqlite3
import subprocess
import threading
import time
import urllib.request
import uuid
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import polars as pl
import psycopg
import pytest
from sqlalchemy import make_url

from cli import failures, long_work
from cli.own_service import OwnService
from store.data_dir import DataDir
from store.journal import Journal, Quota
from store.records import Decision, MarketOutcome, TradeOutcome, Unserved

PAGE = Path(__file__).parents[2] / "docs" / "backup.md"
DAY_US = 86_400_000_000
OLD_UNITS, YOUNG_UNITS, EACH = 30, 5, 4
REFUSED_EVERY = 10
REFUSED_OLD = OLD_UNITS // REFUSED_EVERY
MOST_MICRO = 2**53
ODD_MICRO = MOST_MICRO + 1  # the total of unit-0, where c has 1: no float is equal to it


def history():
    """Old units and young ones, of both arms, with trades and reports."""
    now_us = time.time_ns() // 1_000
    encode = msgspec.msgpack.Encoder().encode
    for number in range(OLD_UNITS + YOUNG_UNITS):
        unit, arm = f"unit-{number}", ("base", "transformer")[number % 2]
        at_us = now_us - (200 if number < OLD_UNITS else 2) * DAY_US
        for n in range(EACH):
            bot = "c" if (number, n) == (0, EACH - 1) else "b"
            yield encode(decision(f"d{number}-{n}", (unit, bot), arm, at_us + n))
        if number % REFUSED_EVERY == 0:
            yield encode(refused((unit, "b"), arm, at_us + EACH))
        said = {"fee_micro": 7, "fill": "paper", "closed_at_us": at_us + 9, "received_at_us": at_us + 9}
        yield encode(
            TradeOutcome(
                experiment="main",
                decision_id=f"d{number}-0",
                pnl_micro=number - 9,
                stake_micro=500_000,
                entry_price=0.5,
                exit_price=None,
                side="up",
                won=None,
                **said,
            )
        )
        for bot, pnl_micro in (("b", MOST_MICRO), ("c", 1)) if number == 0 else (("b", number - 9),):
            yield encode(
                MarketOutcome(
                    experiment="main",
                    unit=unit,
                    bot=bot,
                    pnl_micro=pnl_micro,
                    stake_micro=500_000,
                    trades=1,
                    won=None,
                    **said,
                )
            )


def decision(name, whose, arm, at_us):
    unit, bot = whose
    return Decision(
        decision_id=name,
        experiment="main",
        unit=unit,
        bot=bot,
        arm=arm,
        served_arm=arm,
        reason="assigned",
        binding="started_at",
        split_version=1,
        weights={"base": 0.5, "transformer": 0.5},
        forced=False,
        eligible=True,
        split_stale=False,
        received_at_us=at_us,
        started_at_us=at_us - 5,
        sent_started_at_us=at_us - 5,
        as_of_us=None,
        action="hold",
        probs=(0.8, 0.1, 0.1),
        value=0.25,
        model="m",
        schema="s",
        state=bytes(72),
        history_digest=bytes(8),
        history_used=1,
        latency_us=700,
    )


def refused(whose, arm, at_us):
    unit, bot = whose
    return Unserved(
        experiment="main",
        unit=unit,
        bot=bot,
        arm=arm,
        reason="overloaded",
        split_version=1,
        weights={"base": 0.5, "transformer": 0.5},
        forced=False,
        eligible=True,
        split_stale=False,
        received_at_us=at_us,
        started_at_us=at_us - EACH - 5,
        sent_started_at_us=at_us - EACH - 5,
    )


def journaled(data_dir):
    """A dead process's journal: the only way in."""
    place = DataDir(data_dir).prepare()
    journal = Journal(place.journals / "main" / uuid.uuid4().hex, Quota(place.journals, 1 << 30))
    for payload in history():
        journal.append(payload)
    journal.close()


def settled(service):
    """Waits until SQL holds what the journals hold."""
    give_up_at = time.monotonic() + 30
    while json.loads(service.command("status", "--json"))["journal_bytes_not_in_sql"] != 0:
        assert time.monotonic() < give_up_at, service.log.read_text()[-2000:]
        time.sleep(0.1)


@pytest.fixture(scope="module")
def once_served(tmp_path_factory):
    """A data directory that a service has worked in and left."""
    service = OwnService(tmp_path_factory.mktemp("db") / "data")
    journaled(service.data_dir)
    service.start()
    settled(service)
    service.stop()
    return service.data_dir


@pytest.fixture
def data(once_served, tmp_path, monkeypatch):
    """A copy of it, which commands find by themselves."""
    shutil.copytree(once_served, tmp_path / "data")
    monkeypatch.setenv("ABCTL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("ABCTL_ACTOR", "ada")
    return tmp_path / "data"


@pytest.fixture
def serving(data):
    service = OwnService(data)
    service.start()
    yield service
    service.stop()


def rows(data, query, *values):
    with closing(sqlite3.connect(data / "abctl.db", timeout=10)) as file:
        return file.execute(query, values).fetchall()


def change(data, statement):
    with closing(sqlite3.connect(data / "abctl.db", timeout=10)) as file, file:
        assert file.execute(statement).rowcount > 0


def told(abctl, *words):
    """What a command says as JSON; it must be done."""
    ran = abctl("db", *words, "--json")
    assert ran.code == failures.OK, ran.err
    return json.loads(ran.out)


def report(abctl, *words):
    ran = abctl("report", "--days", "365", *words, "--json")
    assert ran.code == failures.OK, ran.err
    return json.loads(ran.out)


def said(url, name, pnl_usd=1.0, unit=None):
    """An outcome that the service acknowledges."""
    body = {
        "kind": "market",
        "unit": unit or f"u-{name}",
        "bot": name,
        "pnl_usd": pnl_usd,
        "fill": "paper",
        "closed_at": time.time_ns() // 1_000_000,
    }
    request = urllib.request.Request(
        f"{url}/v1/outcomes", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as reply:
        return json.load(reply)["results"][0]["status"]


class Load:
    """A bot that reports all the time; `acknowledged` is what the service has taken."""

    def __init__(self, url):
        self._url, self._stop, self.acknowledged = url, threading.Event(), []
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        while not self._stop.is_set():
            name = uuid.uuid4().hex
            if said(self._url, name) == "accepted":
                self.acknowledged.append(name)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()


class TestChecking:
    def test_a_base_that_is_right(self, abctl, data):
        ran = abctl("db", "verify")
        assert (ran.code, ran.err) == (failures.OK, "")
        (line,) = ran.out.splitlines()
        assert line.startswith("main: 35 units, 140 decisions, 4 refused ones")
        assert line.endswith(": 0 differences")
        (main,) = told(abctl, "verify")["experiments"]
        assert (main["experiment"], main["units"], main["decisions"]) == ("main", 35, 140)

    def test_every_difference_is_named_and_repaired(self, abctl, data):
        before = rows(data, "SELECT * FROM unit ORDER BY unit")
        change(data, "UPDATE unit SET pnl_micro = 5 WHERE unit = 'unit-0'")
        change(data, "DELETE FROM unitbot WHERE unit = 'unit-7'")
        ran = abctl("db", "verify")
        assert ran.code == failures.REFUSED
        assert f"differs: main unit 'unit-0' pnl_micro: stored 5, derived {ODD_MICRO}\n" in ran.out
        assert "differs: main unitbot 'unit-7' 'b' row: stored 'absent', derived 'present'\n" in ran.out
        assert ran.sentence == "2 differences; `abctl db rebuild` repairs totals"
        shape = json.loads(abctl("db", "verify", "--json").out)
        assert shape["differences"] == 2
        assert shape["experiments"][0]["differences"][0] == {
            "experiment": "main",
            "table": "unit",
            "key": ["unit-0"],
            "column": "pnl_micro",
            "stored": 5,
            "derived": ODD_MICRO,
        }
        assert told(abctl, "rebuild")["differences"] == 2
        assert rows(data, "SELECT * FROM unit ORDER BY unit") == before
        assert rows(data, "SELECT actor FROM audit WHERE action = 'db.rebuild'") == [("ada",)]
        assert abctl("db", "rebuild").out.endswith(": 0 repaired\n")
        assert abctl("db", "verify").code == failures.OK

    def test_a_row_that_sql_lost_is_no_work_for_rebuild(self, abctl, serving, data):
        assert said(serving.url, "gone") == "accepted"
        settled(serving)
        assert abctl("db", "verify").code == failures.OK
        change(data, "DELETE FROM outcome WHERE bot = 'gone'")
        told_so = abctl("db", "verify")
        assert told_so.code == failures.REFUSED
        assert "restore a backup (docs/backup.md)" in told_so.sentence
        assert "rebuild" not in told_so.sentence

    def test_a_name_cannot_write_a_line_of_its_own(self, abctl, data):
        change(data, "UPDATE unit SET unit = 'x\nmain: 0 differences\x1b[2J' WHERE unit = 'unit-3'")
        out = abctl("db", "verify").out
        assert "\x1b" not in out
        assert "\nmain: 0 differences" not in out


class TestRoom:
    def test_exports_hold_exact_money(self, abctl, data, tmp_path):
        shape = told(abctl, "export", "--parquet", "out")
        assert shape["folder"] == str(tmp_path / "out")
        for name, table in (("outcomes", "outcome"), ("units", "unit")):
            frame = pl.read_parquet(tmp_path / "out" / f"{name}.parquet")
            assert frame.schema["pnl_micro"] == pl.Int64
            held = [n for (n,) in rows(data, f"SELECT pnl_micro FROM {table}")]
            assert sorted(frame["pnl_micro"].to_list()) == sorted(held)
        assert ODD_MICRO in frame["pnl_micro"].to_list()

    def test_moments_hold_exact_money_and_the_report_s_counts(self, abctl, data):
        strata, arms = told(abctl, "moments")["strata"], report(abctl)["arms"]
        held = rows(data, "SELECT pnl_micro FROM unit WHERE excluded IS NULL")
        assert sum(s["pnl_micro"] for s in strata if s["mature"]) <= sum(n for (n,) in held)
        for arm in arms:
            own = [s for s in strata if s["arm"] == arm]
            for name in ("units", "mature", "pending", "missing", "excluded"):
                assert sum(s[name] for s in own) == arms[arm][name], (arm, name)
        out = abctl("db", "moments").out
        assert "Unit totals of main" in out
        assert all(arm in out for arm in arms)

    def test_the_sql_of_moments_says_the_same_of_an_export(self, abctl, data, tmp_path):
        strata = told(abctl, "moments")["strata"]
        told(abctl, "export", "--parquet", "out")
        query = abctl("db", "moments", "--sql-for", "units").out
        units = pl.scan_parquet(tmp_path / "out" / "units.parquet")
        found = pl.SQLContext(units=units).execute(query).collect()
        assert sorted(found["pnl_micro"].to_list()) == sorted(s["pnl_micro"] for s in strata)
        assert ODD_MICRO in found["pnl_micro"].to_list() or found["pnl_micro"].max() > MOST_MICRO
        for wrong in (("--sql-for", "units", "--json"), ("--cap-usd", "inf")):
            assert abctl("db", "moments", *wrong).code == failures.USAGE

    def test_a_part_of_time(self, abctl, data):
        yesterday = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 86_400 * 10))
        old = told(abctl, "export", "--parquet", "old", "--until", yesterday)
        young = told(abctl, "export", "--parquet", "young", "--since", yesterday)
        assert (old["files"][0]["rows"], young["files"][0]["rows"]) == (
            OLD_UNITS * EACH,
            YOUNG_UNITS * EACH,
        )

    def test_reports_are_equal_before_and_after_a_prune(self, abctl, data):
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
        before, totals = (
            report(abctl, "--as-of", now),
            rows(data, "SELECT unit, pnl_micro, decisions FROM unit ORDER BY 1"),
        )
        told(abctl, "export", "--parquet", "out")
        words = ("prune", "--older-than", "90d", "--exported", "out")
        dry = told(abctl, *words, "--dry-run")
        assert dry["dry_run"]
        assert len(rows(data, "SELECT 1 FROM decision")) == (OLD_UNITS + YOUNG_UNITS) * EACH
        done = told(abctl, *words, "--vacuum")
        assert done["experiments"] == dry["experiments"]
        assert done["experiments"] == [
            {
                "experiment": "main",
                "units": OLD_UNITS,
                "decisions": OLD_UNITS * EACH,
                "unsound": 0,
                "not_exported": 0,
                "unserved": REFUSED_OLD,
            }
        ]
        assert rows(data, "SELECT unit FROM unserved") == [(f"unit-{OLD_UNITS}",)]
        assert done["room"]["after"]["free_bytes"] == 0
        assert len(rows(data, "SELECT 1 FROM decision")) == YOUNG_UNITS * EACH
        assert report(abctl, "--as-of", now) == before
        assert rows(data, "SELECT unit, pnl_micro, decisions FROM unit ORDER BY 1") == totals
        assert abctl("db", "verify").code == failures.OK
        assert told(abctl, "rebuild")["differences"] == 0
        assert rows(data, "SELECT actor FROM audit WHERE action = 'db.prune'") == [("ada",)]
        assert "main: 0 decisions of 0 units are gone\n" in abctl("db", *words).out

    @pytest.mark.parametrize("words", [(), ("--exported", "young")])
    def test_what_is_in_no_export_stays(self, abctl, data, words):
        told(abctl, "export", "--parquet", "young", "--since", "2026-01-01", "--until", "2026-01-02")
        refused = abctl("db", "prune", "--older-than", "90d", *words)
        assert refused.code == failures.REFUSED
        assert refused.sentence.startswith(f"{OLD_UNITS * EACH + REFUSED_OLD} decisions of 'main'")
        assert "--exported DIR" in refused.sentence
        assert len(rows(data, "SELECT 1 FROM decision")) == (OLD_UNITS + YOUNG_UNITS) * EACH
        dry = abctl("db", "prune", "--older-than", "90d", "--dry-run", *words)
        assert (dry.code, "in no export that was named" in dry.out) == (failures.OK, True)
        assert dry.out.startswith("main: 120 decisions and 3 refused ones of 30 units would go\n")

    def test_without_an_export_it_must_be_said(self, abctl, data):
        done = told(abctl, "prune", "--older-than", "90d", "--without-export")
        assert done["experiments"][0]["decisions"] == OLD_UNITS * EACH

    @pytest.mark.parametrize(
        ("words", "code", "mark"),
        [
            (("prune", "--older-than", "ninety"), failures.REFUSED, "write a whole number and h, d or w"),
            (("prune", "--older-than", "1h"), failures.REFUSED, "say 25h or more"),
            (
                ("prune", "--older-than", "9d", "--exported", "x", "--without-export"),
                failures.REFUSED,
                "leave one out",
            ),
            (("prune", "--older-than", "9d", "--exported", "x"), failures.REFUSED, "is not a whole export"),
            (("prune", "--older-than", "9d", "--without-export", "-e", "x"), failures.NOT_FOUND, "main"),
            (("export", "--parquet", "data"), failures.REFUSED, "name another place"),
            (("export", "--parquet", "x", "--since", "monday"), failures.REFUSED, "2026-01-31"),
            (("export", "--parquet", "x", "-e", "x"), failures.NOT_FOUND, "abctl experiment list"),
            (("backup", "data"), failures.REFUSED, "name another place"),
            (("verify", "-e", "x"), failures.NOT_FOUND, "main"),
            (("rebuild", "-e", "x"), failures.NOT_FOUND, "main"),
        ],
    )
    def test_what_cannot_be_is_one_sentence_with_the_remedy(self, abctl, data, words, code, mark):
        ran = abctl("db", *words)
        assert ran.code == code
        assert mark in ran.err.splitlines()[-1]
        assert not Path("x").exists()

    @pytest.mark.parametrize(
        "words",
        [
            ("verify",),
            ("rebuild",),
            ("export", "--parquet", "x"),
            ("prune", "--older-than", "9d", "--without-export"),
            ("backup", "x"),
        ],
    )
    def test_without_a_database_nothing_is_made(self, abctl, words):
        ran = abctl("db", *words)
        assert ran.code == failures.NOT_FOUND
        assert "nothing here yet" in ran.sentence
        assert list(Path.cwd().iterdir()) == []


def test_beside_a_service_under_load(abctl, data, serving):
    """Every command is done, nobody's outcome is lost, and totals follow from rows afterwards."""
    with Load(serving.url) as load:
        assert abctl("db", "verify").code == failures.OK
        told(abctl, "export", "--parquet", "out")
        told(abctl, "rebuild")
        told(abctl, "prune", "--older-than", "90d", "--exported", "out", "--vacuum")
        told(abctl, "backup", "copy")
        assert abctl("db", "verify").code == failures.OK
    assert said(serving.url, "b", 3.0, "unit-0") == "accepted"  # contradicts what SQL has; settled there
    assert said(serving.url, "late", 3.0, "unit-2") == "accepted"  # a bot that never decided there
    settled(serving)
    kept = {bot for (bot,) in rows(data, "SELECT bot FROM outcome WHERE kind = 'market'")}
    assert kept >= {*load.acknowledged, "late"}
    assert len(load.acknowledged) > 20
    assert rows(data, "SELECT key FROM outcomeconflict") == [('["unit-0","b"]',)]
    assert rows(data, "SELECT pnl_micro FROM unit WHERE unit = 'unit-0'") == [(ODD_MICRO,)]
    assert abctl("db", "verify").code == failures.OK


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_a_backup_is_restored_as_the_page_says(abctl, engine, request, tmp_path, monkeypatch):
    """Under load; then everything of the original is lost."""
    url = request.getfixturevalue("fresh_postgres_url") if engine == "postgresql" else ""
    monkeypatch.setenv("ABCTL_DATABASE_URL", url)
    monkeypatch.setenv("ABCTL_DATA_DIR", str(tmp_path / "data"))
    service = OwnService(tmp_path / "data", {"ABCTL_DATABASE_URL": url})
    journaled(service.data_dir)
    request.addfinalizer(service.stop)
    service.start()
    with Load(service.url) as load:
        while len(load.acknowledged) < 50:
            time.sleep(0.01)
        before = list(load.acknowledged)
        made = told(abctl, "backup", "backups/monday")
    service.stop()
    totals = told(abctl, "verify")["experiments"][0]
    shutil.rmtree(service.data_dir)
    assert {p.name for p in Path("backups/monday").iterdir()} == {
        "journal",
        "pepper",
        Path(made["database"]).name,
    }
    if url:
        lose_and_restore(url)
    (copied,) = re.findall(r"^cp -a .+$", PAGE.read_text(), re.MULTILINE)
    subprocess.run(copied.split(), check=True)
    monkeypatch.setenv("ABCTL_DATA_DIR", "restored")
    assert abctl("db", "verify").code == failures.OK
    again = OwnService(Path("restored").resolve(), {"ABCTL_DATABASE_URL": url})
    request.addfinalizer(again.stop)
    again.start()
    settled(again)
    shape = told(abctl, "verify")["experiments"][0]
    told(abctl, "export", "--parquet", "out")
    again.stop()
    assert shape["decisions"] == totals["decisions"] == (OLD_UNITS + YOUNG_UNITS) * EACH
    outcomes = pl.read_parquet("out/outcomes.parquet")
    assert set(outcomes["bot"].to_list()) >= set(before)
    assert ODD_MICRO in pl.read_parquet("out/units.parquet")["pnl_micro"].to_list()
    letters = pl.read_parquet("out/dead_letters.parquet")
    assert set(letters["reason"].to_list()) <= {"unfinished or damaged record"}


def lose_and_restore(url):
    """The database is dropped; the page's own commands bring it back."""
    plain = make_url(url).set(drivername="postgresql")
    admin = plain.set(database="postgres").render_as_string(hide_password=False)
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{plain.database}" WITH (FORCE)')
    page = re.findall(r"^(?:createdb|pg_restore) .+$", PAGE.read_text(), re.MULTILINE)
    assert [line.split()[0] for line in page] == ["createdb", "pg_restore"]
    made, filled = page
    assert made == "createdb --host=127.0.0.1 --username=abctl abctl"
    subprocess.run(["createdb", f"--maintenance-db={admin}", str(plain.database)], check=True)
    shown = "postgresql://abctl@127.0.0.1:5432/abctl"
    assert shown in filled
    own = filled.replace(shown, plain.render_as_string(hide_password=False))
    subprocess.run(own.split(), check=True)


def test_progress_is_told_where_it_takes_long(abctl, data, monkeypatch):
    monkeypatch.setattr(long_work, "EVERY_S", 0.0)
    for words in (("verify",), ("export", "--parquet", "x"), ("prune", "--older-than", "9d", "--dry-run")):
        ran = abctl("db", *words, "--json")
        assert " so far)" in ran.err
        json.loads(ran.out)


def test_others_get_their_turn(monkeypatch):
    rests = []
    monkeypatch.setattr(long_work.time, "sleep", rests.append)
    ticks = iter(range(100))
    monkeypatch.setattr(long_work.time, "monotonic", lambda: next(ticks))
    assert list(long_work.giving_way(iter("abc"))) == ["a", "b", "c"]
    assert len(rests) == 3
    assert min(rests) > 0.1  # as long as a waiting SQLite sleeps at most
