"""What verify names is exactly what was tampered with, on either engine, also beside a writer."""

import random
import shutil
import threading
import time
import uuid

import pytest
from sqlalchemy import text

from store import expected, experiments, tables, unit_spans
from store.differences import Difference
from store.ingest import Shipment, ingest
from store.journal import Journal, Quota, drop_segments, end_of, read_from, segment_path
from store.outcome_rows import market_key
from store.snapshot import snapshot
from store.sql import open_engine, table_of
from store.verify import Counts, experiments_in, verify

NOW_US = 9_000
NOBODY = "nobody here"


def put(engine, *shipments, experiment="main"):
    return ingest(engine, experiment, list(shipments), NOW_US)


def verified(engine, folder, experiment="main"):
    """The counts and every difference."""
    counts, found = Counts(), []
    with engine.connect() as connection, snapshot(connection):
        for step in verify(connection, experiment, folder):
            counts += step.counts
            found += step.differences
    assert counts.differences == len(found)
    return counts, found


def change(engine, statement, **values):
    with engine.begin() as connection:
        assert connection.execute(text(statement), values).rowcount == 1


@pytest.fixture(autouse=True)
def small_steps(monkeypatch):
    """Every walk crosses many borders."""
    rows = tuple((table, size) for (table, _), size in zip(unit_spans._ROWS, (3, 5, 7, 4, 6), strict=True))
    monkeypatch.setattr(unit_spans, "_ROWS", rows)
    monkeypatch.setattr(expected, "_FOLD_ROWS", 2)


@pytest.fixture
def filled(engine, make):
    """Two bots in u1, one in u2, a parked trade, a report of a unit that nobody opened."""
    experiment, first = make.experiment_and_split()
    experiments.create(engine, experiment, first, "me")
    records = [
        make.decision(),
        make.decision(decision_id="d2", bot="b2", received_at_us=1_100, arm="transformer"),
        make.decision(decision_id="d3", received_at_us=1_200, sent_started_at_us=501),
        make.decision(decision_id="d4", unit="u2"),
        make.trade(),
        make.trade(decision_id="d4", pnl_micro=-1),
        make.trade(decision_id="parked"),
        make.market(),
        make.market(bot="b2", won=True),
        make.market(unit=NOBODY),
    ]
    put(engine, make.shipment("j", records))
    return engine


def random_records(make, rng, count):
    units = ["", *(f"{name}{n}" for n in range(6) for name in ("u", "U", "ü", "日"))]
    for number in range(count):
        unit, bot, at_us = rng.choice(units), f"b{rng.randrange(3)}", rng.randrange(1, 2_000_000_000)
        if rng.random() < 0.7:
            yield make.decision(
                decision_id=f"d{rng.randrange(count)}",
                unit=unit,
                bot=bot,
                arm=rng.choice(["base", "transformer"]),
                forced=rng.random() < 0.1,
                eligible=rng.random() < 0.9,
                split_stale=rng.random() < 0.1,
                received_at_us=at_us,
                started_at_us=rng.randrange(1, 3),
            )
        elif rng.random() < 0.3:
            facts = {"received_at_us": at_us, "started_at_us": rng.randrange(1, 3)}
            yield make.unserved(unit=unit, bot=bot, arm=rng.choice(["base", "transformer"]), **facts)
        elif rng.random() < 0.5:
            yield make.trade(decision_id=f"d{number}", pnl_micro=rng.randrange(-2, 3), received_at_us=at_us)
        else:
            won = rng.choice([None, True, False])
            yield make.market(
                unit=unit, bot=bot, received_at_us=at_us, won=won, fill=rng.choice(["live", "replay"])
            )


@pytest.mark.parametrize("seed", range(3))
def test_totals_that_the_writer_kept_are_right(engine, make, tmp_path, seed):
    rng = random.Random(seed)
    experiment, first = make.experiment_and_split()
    experiments.create(engine, experiment, first, "me")
    for number in range(6):
        put(engine, make.shipment(f"j{number}", list(random_records(make, rng, 60))))
    counts, found = verified(engine, tmp_path)
    assert found == []
    (units,) = make.rows(engine, "SELECT count(*) AS n, sum(decisions) AS d, sum(unserved) AS u FROM unit")
    assert (counts.units, counts.decisions, counts.unserved) == (units["n"], int(units["d"]), int(units["u"]))
    assert counts.units > 10
    assert counts.unserved > 10


def test_an_empty_base(engine, tmp_path):
    assert verified(engine, tmp_path) == (Counts(), [])


OTHERS = {int: 77, bool: None, str: "x"}
COLUMNS = [c for c in table_of(tables.Unit).columns if c.name not in {"experiment", "unit", "pruned_at_us"}]

NAMES = ", ".join(c.name for c in COLUMNS)


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.name)
def test_every_column_is_compared(column, filled, make, tmp_path):
    (before,) = make.rows(filled, "SELECT * FROM unit WHERE unit = 'u1'")
    (typed,) = [dict(r) for r in _typed(filled)]
    kind = type(typed[column.name])
    other = not typed[column.name] if kind is bool else 77 if kind is int else "x"
    if column.name == "weights":
        other = "{}"
    change(filled, f"UPDATE unit SET {column.name} = :other WHERE unit = 'u1'", other=other)
    _, found = verified(filled, tmp_path)
    assert found == [Difference("main", "unit", ("u1",), column.name, other, typed[column.name])]
    assert before["unit"] == "u1"


def _typed(engine):
    table = table_of(tables.Unit)
    with engine.connect() as connection:
        return connection.execute(table.select().where(table.c.unit == "u1")).mappings().all()


def test_rows_that_are_missing_or_too_many(filled, tmp_path):
    change(filled, "DELETE FROM unit WHERE unit = 'u2'")
    change(filled, "UPDATE unitbot SET bot = 'b9' WHERE unit = 'u1' AND bot = 'b2'")
    change(
        filled,
        f"INSERT INTO unit (experiment, unit, {NAMES}) SELECT experiment, 'u0', {NAMES} FROM unit"
        " WHERE unit = 'u1'",
    )
    _, found = verified(filled, tmp_path)
    assert {(d.table, d.key, d.column, d.stored, d.derived) for d in found} == {
        ("unit", ("u0",), "row", "present", "absent"),
        ("unit", ("u2",), "row", "absent", "present"),
        ("unitbot", ("u1", "b2"), "row", "absent", "present"),
        ("unitbot", ("u1", "b9"), "row", "present", "absent"),
    }


def test_when_a_bot_first_decided(filled, tmp_path):
    change(filled, "UPDATE unitbot SET first_at_us = 5 WHERE unit = 'u1' AND bot = 'b2'")
    _, found = verified(filled, tmp_path)
    assert found == [Difference("main", "unitbot", ("u1", "b2"), "first_at_us", 5, 1_100)]


@pytest.mark.parametrize(
    ("decision_id", "unit", "derived"), [("d4", None, "u2"), ("d4", "u1", "u2"), ("parked", "u1", None)]
)
def test_a_trade_in_the_wrong_unit(filled, tmp_path, decision_id, unit, derived):
    change(
        filled,
        "UPDATE outcome SET unit = :unit WHERE kind = 'trade' AND decision_id = :id",
        unit=unit,
        id=decision_id,
    )
    _, found = verified(filled, tmp_path)
    assert Difference("main", "outcome", ("trade", decision_id), "unit", unit, derived) in found


def test_a_decision_that_was_lost_shows_in_its_unit(filled, tmp_path):
    change(filled, "DELETE FROM decision WHERE decision_id = 'd3'")
    _, found = verified(filled, tmp_path)
    assert {(d.column, d.stored, d.derived) for d in found} == {
        ("decisions", 3, 2),
        ("latency_to_1000_us", 3, 2),
        ("start_conflicts", 1, 0),
        ("last_at_us", 1_200, 1_100),
    }


def test_experiments_that_nobody_defined_are_found(filled, make):
    put(filled, make.shipment("k", [make.decision("stray")]), experiment="stray")
    put(filled, make.shipment("l", []), experiment="marked")
    with filled.connect() as connection:
        assert experiments_in(connection) == ["main", "marked", "stray"]


def test_beside_a_writer_it_sees_one_moment(engine, make, tmp_path):
    stop = threading.Event()

    def write():
        start, number = 0, 0
        while not stop.is_set():
            unit = f"u{number % 20}"
            records = [
                make.decision(decision_id=f"d{number}", unit=unit, received_at_us=number),
                make.market(unit=unit),
            ]
            one = make.shipment("j", records, start)
            put(engine, one)
            start, number = one.stop, number + 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = [verified(engine, tmp_path)]
        give_up_at = time.monotonic() + 60
        while len(seen) < 6 or (seen[-1] == seen[0] and time.monotonic() < give_up_at):
            seen.append(verified(engine, tmp_path))
    finally:
        stop.set()
        writer.join()
    assert [found for _, found in seen] == [[]] * len(seen)
    decided = [counts.decisions for counts, _ in seen]
    assert decided == sorted(decided)
    assert decided[-1] > decided[0]


class TestOtherOrdersOfText:
    """PostgreSQL sorts by the database's language, where u < U < ü; Python does not."""

    @pytest.fixture
    def engine(self, migrated_postgres_url, postgres_url):
        from sqlalchemy import make_url

        name = f"abctl_icu_{uuid.uuid4().hex[:12]}"
        admin = open_engine(postgres_url).execution_options(isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            try:
                connection.execute(
                    text(
                        f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'"
                        " LOCALE_PROVIDER icu ICU_LOCALE 'en-US' LOCALE 'C'"
                    )
                )
            except Exception as error:  # noqa: BLE001 - whatever it says, this server knows no ICU
                pytest.skip(f"this PostgreSQL has no ICU: {error}")
        url = make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
        engine = open_engine(url)
        from store import schema

        schema.upgrade(engine)
        yield engine
        engine.dispose()
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        admin.dispose()

    def test_no_unit_is_passed_over(self, engine, make, tmp_path):
        put(engine, make.shipment("j", list(random_records(make, random.Random(9), 300))))
        counts, found = verified(engine, tmp_path)
        assert found == []
        (units,) = make.rows(engine, "SELECT count(*) AS n, sum(decisions) AS d FROM unit")
        assert (counts.units, counts.decisions) == (units["n"], int(units["d"]))


class TestJournals:
    """A data directory's journals beside the marks of SQL."""

    @pytest.fixture
    def journal(self, tmp_path, make):
        journal = Journal(tmp_path / "main" / "j", Quota(tmp_path, 1 << 30), segment_bytes=500)
        for number in range(8):
            journal.append(make.encode(make.decision(decision_id=f"d{number}", received_at_us=number)))
        journal.append(make.encode(make.trade(decision_id="d1")))
        journal.append(make.encode(make.market()))
        journal.append(make.encode(make.unserved(bot="refused")))
        journal.append(b"not a record")
        yield journal
        journal.close()

    @pytest.fixture
    def folder(self, journal, tmp_path):
        return tmp_path / "main" / "j"

    def carry(self, engine, folder):
        position = 0
        while data := read_from(folder, position, 1 << 20):
            put(engine, Shipment("j", position, data))
            position += len(data)

    def test_all_that_is_before_the_mark_is_there(self, engine, folder, tmp_path):
        self.carry(engine, folder)
        counts, found = verified(engine, tmp_path)
        assert (counts.journals, counts.journal_records, found) == (1, 12, [])

    def test_what_sql_does_not_have_yet_is_no_difference(self, engine, folder, tmp_path):
        put(engine, Shipment("j", 0, read_from(folder, 0, 1 << 20)))
        counts, found = verified(engine, tmp_path)
        assert found == []
        assert 0 < counts.journal_records < 12

    @pytest.mark.parametrize(
        ("statement", "table", "key"),
        [
            ("DELETE FROM decision WHERE decision_id = 'd5'", "decision", ("d5",)),
            ("DELETE FROM outcome WHERE kind = 'trade'", "outcome", ("trade", "d1")),
            ("DELETE FROM outcome WHERE kind = 'market'", "outcome", ("market", market_key("u1", "b1"))),
        ],
    )
    def test_a_record_that_sql_lost_is_named(self, engine, folder, tmp_path, statement, table, key):
        self.carry(engine, folder)
        change(engine, statement)
        _, found = verified(engine, tmp_path)
        assert Difference("main", table, key, "row", "absent", "present") in found

    def test_a_refusal_that_sql_lost_is_named_by_its_place(self, engine, folder, make, tmp_path):
        self.carry(engine, folder)
        (row,) = make.rows(engine, "SELECT position FROM unserved")
        change(engine, "DELETE FROM unserved")
        _, found = verified(engine, tmp_path)
        assert (
            Difference("main", "unserved", ("j", str(row["position"])), "row", "absent", "present") in found
        )
        assert Difference("main", "unit", ("u1",), "unserved", 1, 0) in found

    def test_a_mark_beyond_the_journals_end(self, engine, folder, journal, tmp_path):
        self.carry(engine, folder)
        change(engine, "UPDATE journalmark SET position = position + 10")
        _, found = verified(engine, tmp_path)
        end = journal.position
        assert found == [Difference("main", "journalmark", ("j",), "position", end + 10, end)]

    def test_a_mark_before_the_journals_begin(self, engine, folder, tmp_path):
        self.carry(engine, folder)
        segment_path(folder, 0).unlink()
        change(engine, "UPDATE journalmark SET position = 10")
        (difference,) = verified(engine, tmp_path)[1]
        assert (difference.column, difference.stored) == ("position", 10)
        assert difference.derived > 500

    def test_a_mark_behind_the_end_of_what_nobody_writes_is_no_harm(self, engine, folder, tmp_path):
        """As in a backup, where the database was copied after the journals."""
        self.carry(engine, folder)
        change(engine, "UPDATE journalmark SET position = position + 10")
        shutil.copytree(folder.parent, tmp_path / "copy" / "main")
        assert verified(engine, tmp_path / "copy")[1] == []
        assert verified(engine, tmp_path)[1] != []

    def test_segments_that_a_service_deletes_meanwhile_are_no_difference(self, engine, folder, tmp_path):
        """The snapshot still shows the mark of before."""
        put(engine, Shipment("j", 0, read_from(folder, 0, 1)))
        with engine.connect() as connection, snapshot(connection):
            self.carry(engine, folder)
            assert drop_segments(folder, end_of(folder)) > 0
            steps = list(verify(connection, "main", tmp_path))
        assert [d for step in steps for d in step.differences] == []

    def test_a_mark_of_another_experiment(self, engine, folder, tmp_path):
        self.carry(engine, folder)
        change(engine, "UPDATE journalmark SET experiment = 'other'")
        _, found = verified(engine, tmp_path)
        assert found == [Difference("main", "journalmark", ("j",), "experiment", "other", "main")]
