"""A foreign log in SQL, on both engines: once, wherever an import was cut off, and nothing else beside it."""

import json

import msgspec
import pytest

import store.imported
from store import experiments
from store.errors import BadForeignLog
from store.imported import Import, store_import
from store.verify import Counts, verify

NOW_US = 7_000_000
UNITS = 40


class Killed(Exception):
    """Stands for a process that died here."""


def made(make, units=UNITS, digest="d1"):
    experiment, first = make.experiment_and_split("own")
    records = [make.decision("own", f"d{i}", f"u{i}", started_at_us=1_000) for i in range(units)]
    records += [make.trade("own", f"d{i}", fill="replay") for i in range(units)]
    records += [make.market("own", f"u{i}", fill="replay") for i in range(units)]
    return Import(
        experiment=msgspec.structs.replace(experiment, imported=True),
        splits=(first, make.split("own", 2, 500_000), make.split("own", 3, 250_000)),
        payloads=[make.encode(record) for record in records],
        digest=digest,
        actor="me",
        detail=json.dumps({"sha256": digest}),
    )


def put(engine, what):
    return store_import(engine, what, lambda: NOW_US, lambda _bytes: None)


@pytest.fixture
def small_pieces(monkeypatch):
    """So that a small log is many shipments."""
    monkeypatch.setattr(store.imported, "_PIECE_BYTES", 1_000)


def assert_whole(engine, make):
    units = make.totals_are_derived(engine, "own")
    assert (len(units), sum(unit["pnl_micro"] for unit in units)) == (UNITS, UNITS * 240_000)
    assert [row["version"] for row in make.rows(engine, "SELECT version FROM split ORDER BY version")] == [
        1,
        2,
        3,
    ]
    (row,) = make.rows(engine, "SELECT archived_at_us FROM experiment WHERE key = 'own'")
    assert row["archived_at_us"] == NOW_US


def test_once_and_again(engine, make, small_pieces):
    assert put(engine, made(make)) is True
    audit = make.rows(engine, "SELECT * FROM audit ORDER BY id")
    assert put(engine, made(make)) is False
    assert make.rows(engine, "SELECT * FROM audit ORDER BY id") == audit
    assert_whole(engine, make)
    (noted,) = [row for row in audit if row["action"] == "log.import"]
    assert (noted["at_us"], noted["actor"], json.loads(noted["detail"])) == (NOW_US, "me", {"sha256": "d1"})


@pytest.mark.parametrize("pieces", [0, 1, 5, 10])
def test_goes_on_where_it_was_cut_off(engine, make, small_pieces, pieces):
    told = []

    def die(stop):
        told.append(stop)
        if len(told) > pieces:
            raise Killed

    with pytest.raises(Killed):
        store_import(engine, made(make), lambda: NOW_US, die)
    assert put(engine, made(make)) is True
    assert_whole(engine, make)


@pytest.mark.parametrize("name", ["append_split", "create", "archive"])
def test_goes_on_where_it_was_cut_off_among_the_splits(engine, make, monkeypatch, name):
    whole = getattr(experiments, name)

    def then_die(*words):
        whole(*words)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(experiments, name, then_die)
        with pytest.raises(Killed):
            put(engine, made(make))
    put(engine, made(make))
    assert_whole(engine, make)


def test_another_log_of_the_same_name_is_refused(engine, make):
    put(engine, made(make))
    before = make.rows(engine, "SELECT * FROM audit ORDER BY id")
    with pytest.raises(BadForeignLog, match="holds something else"):
        put(engine, made(make, units=3, digest="d2"))
    assert make.rows(engine, "SELECT * FROM audit ORDER BY id") == before
    assert_whole(engine, make)


def test_an_experiment_of_one_s_own_is_not_imported_into(engine, make):
    experiments.create(engine, *make.experiment_and_split("own"), "me")
    with pytest.raises(BadForeignLog, match="holds something else"):
        put(engine, made(make))
    assert make.rows(engine, "SELECT unit FROM unit") == []


def test_verify_finds_no_difference(engine, make, small_pieces, tmp_path):
    put(engine, made(make))
    with engine.connect() as connection:
        counts = sum((step.counts for step in verify(connection, "own", tmp_path)), Counts())
    assert (counts.units, counts.decisions, counts.differences) == (UNITS, UNITS, 0)
