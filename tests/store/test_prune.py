"""Pruning removes decisions and nothing that anybody counts, and what comes later changes no total."""

import json
import random
import threading

import pytest

from store import experiments, unit_spans
from store.errors import NotExported
from store.export import Extract, export, read_manifest
from store.ingest import ingest
from store.oddities import counted as units_count
from store.oddities import odd_counts
from store.prune import Pruned, Rule, prune, survey
from store.rebuild import rebuild
from store.room import room_of, vacuum
from store.snapshot import snapshot
from store.verify import Counts, verify

LIFE_US = 1_800_000_000
NOW_US = 100 * LIFE_US
BEFORE_US = 50 * LIFE_US
YOUNG_US = 60 * LIFE_US


def put(engine, *shipments):
    return ingest(engine, "main", list(shipments), NOW_US)


@pytest.fixture(autouse=True)
def small_steps(monkeypatch):
    rows = tuple((table, size) for (table, _), size in zip(unit_spans._ROWS, (3, 5, 20, 4, 6), strict=True))
    monkeypatch.setattr(unit_spans, "_ROWS", rows)


@pytest.fixture
def defined(engine, make):
    experiment, first = make.experiment_and_split()
    experiments.create(engine, experiment, first, "me")
    return engine


@pytest.fixture
def filled(defined, make):
    """Eight old units of two bots, and two units that are too young."""
    rng, records = random.Random(3), []
    for number in range(60):
        old = number < 50
        at_us = (1_000 if old else YOUNG_US) + number
        unit = f"u{number % 8}" if old else f"y{number % 2}"
        facts = {"unit": unit, "bot": f"b{number % 16 // 8}", "received_at_us": at_us}
        records.append(make.decision(decision_id=f"d{number:02d}", **facts))
        if rng.random() < 0.5:
            records.append(make.trade(decision_id=f"d{number:02d}", fill=rng.choice(["paper", "live"])))
        if rng.random() < 0.5:
            records.append(make.market(unit=unit, bot=facts["bot"]))
    records += [
        make.trade(decision_id="parked"),
        make.market(unit="u1", bot="stranger"),
        make.market(pnl_micro=1),
    ]
    put(defined, make.shipment("j", records))
    return defined


def rule(*exports, before_us=BEFORE_US, asked=False):
    return Rule("main", before_us, NOW_US, exports if exports or asked else None)


def pruned(engine, its_rule=None):
    return sum(prune(engine, its_rule or rule(), "me"), Pruned())


def surveyed(engine, its_rule=None):
    with engine.connect() as connection, snapshot(connection):
        return sum(survey(connection, its_rule or rule()), Pruned())


def exported(engine, folder, **bounds):
    with engine.connect() as connection, snapshot(connection):
        export(connection, folder, Extract(**bounds), NOW_US)
    return read_manifest(folder)


def counted(engine, make):
    """Everything that reports and statuses are made from."""
    units = make.rows(engine, "SELECT * FROM unit ORDER BY unit")
    for row in units:
        del row["pruned_at_us"]
    with engine.connect() as connection:
        odd = odd_counts(connection, "main", units_count(connection, "main"))
    tables = {
        name: make.rows(engine, f"SELECT * FROM {name} ORDER BY {order}")
        for name, order in (("unitbot", "unit, bot"), ("outcome", "kind, key"), ("outcomeconflict", "id"))
    }
    return units, odd, tables


def verified(engine, folder):
    counts, found = Counts(), []
    with engine.connect() as connection, snapshot(connection):
        for step in verify(connection, "main", folder):
            counts += step.counts
            found += step.differences
    return counts, found


def decisions(engine, make):
    return [
        r["decision_id"] for r in make.rows(engine, "SELECT decision_id FROM decision ORDER BY decision_id")
    ]


def marked(engine, make):
    rows = make.rows(engine, "SELECT unit FROM unit WHERE pruned_at_us IS NOT NULL ORDER BY unit")
    return [row["unit"] for row in rows]


def test_old_decisions_go_and_nothing_that_is_counted_changes(filled, make, tmp_path):
    before = counted(filled, make)
    assert surveyed(filled) == Pruned(units=8, decisions=50)
    assert pruned(filled) == Pruned(units=8, decisions=50)
    assert counted(filled, make) == before
    assert decisions(filled, make) == [f"d{n}" for n in range(50, 60)]
    assert marked(filled, make) == [f"u{n}" for n in range(8)]
    counts, found = verified(filled, tmp_path)
    assert found == []
    assert (counts.units, counts.pruned_units, counts.decisions, counts.late_decisions) == (10, 8, 10, 0)


def test_a_second_time_there_is_nothing_to_do(filled, make):
    pruned(filled)
    audit = make.rows(filled, "SELECT * FROM audit")
    assert pruned(filled) == Pruned()
    assert make.rows(filled, "SELECT * FROM audit") == audit


def test_a_survey_removes_nothing(filled, make):
    before = decisions(filled, make)
    surveyed(filled)
    assert decisions(filled, make) == before
    assert marked(filled, make) == []


@pytest.mark.parametrize(
    ("change", "goes"),
    [
        ({}, True),
        ({"received_at_us": BEFORE_US - 1}, True),
        ({"received_at_us": BEFORE_US}, False),
        ({"started_at_us": NOW_US - LIFE_US}, True),
        ({"started_at_us": NOW_US - LIFE_US + 1}, False),
    ],
)
def test_only_mature_units_with_an_old_last_decision(defined, make, change, goes):
    put(defined, make.shipment("j", [make.decision(), make.decision(decision_id="d0", **change)]))
    put(defined, make.shipment("k", [make.decision(decision_id="e", unit="v", **change)]))
    pruned(defined)
    assert ("v" in marked(defined, make)) is goes
    if "started_at_us" not in change:  # the first decision's start is the unit's
        assert ("u1" in marked(defined, make)) is goes


def test_units_of_an_experiment_that_nobody_defined_stay(engine, make):
    put(engine, make.shipment("j", [make.decision()]))
    assert pruned(engine) == Pruned()


def test_a_unit_whose_totals_are_wrong_stays(filled, make):
    with filled.begin() as connection:
        connection.exec_driver_sql("UPDATE unit SET fallbacks = 9 WHERE unit = 'u3'")
        connection.exec_driver_sql("UPDATE unitbot SET first_at_us = 9 WHERE unit = 'u5' AND bot = 'b0'")
    done = pruned(filled)
    assert (done.units, done.unsound) == (6, 2)
    assert marked(filled, make) == ["u0", "u1", "u2", "u4", "u6", "u7"]
    list(rebuild(filled, "main", "me", NOW_US))
    assert pruned(filled).units == 2


def test_every_step_is_in_the_audit(filled, make):
    done = pruned(filled)
    rows = make.rows(filled, "SELECT * FROM audit WHERE action = 'db.prune' ORDER BY id")
    assert {(row["actor"], row["experiment"], row["at_us"]) for row in rows} == {("me", "main", NOW_US)}
    details = [json.loads(row["detail"]) for row in rows]
    assert sum(detail["decisions"] for detail in details) == done.decisions
    assert {detail["before_us"] for detail in details} == {BEFORE_US}


class TestExports:
    def test_without_one_nothing_goes(self, filled, make):
        before = decisions(filled, make)
        assert surveyed(filled, rule(asked=True)).not_exported == 50
        with pytest.raises(NotExported, match="--exported DIR"):
            pruned(filled, rule(asked=True))
        assert decisions(filled, make) == before
        assert marked(filled, make) == []

    def test_one_that_covers(self, filled, tmp_path):
        manifest = exported(filled, tmp_path / "out")
        assert pruned(filled, rule(manifest)) == Pruned(units=8, decisions=50)

    def test_one_of_before(self, filled, make, tmp_path):
        """A decision that came to SQL after the export is not in it, however old it says it is."""
        manifest = exported(filled, tmp_path / "out")
        put(filled, make.shipment("k", [make.decision(decision_id="late", unit="u0", received_at_us=1)]))
        assert surveyed(filled, rule(manifest)).not_exported == 1
        with pytest.raises(NotExported, match=r"^1 decisions of 'main'"):
            pruned(filled, rule(manifest))
        assert "late" in decisions(filled, make)

    def test_two_that_cover_together(self, filled, tmp_path):
        early = exported(filled, tmp_path / "early", until_us=1_020)
        late = exported(filled, tmp_path / "late", since_us=1_020)
        assert surveyed(filled, rule(early)).not_exported == 30
        assert surveyed(filled, rule(late)).not_exported == 20
        assert pruned(filled, rule(early, late)).not_exported == 0

    def test_one_of_another_experiment(self, filled, make, tmp_path):
        experiments.create(filled, *make.experiment_and_split("other"), "me")
        manifest = exported(filled, tmp_path / "out", experiment="other")
        assert surveyed(filled, rule(manifest)).not_exported == 50

    def test_what_was_exported_has_every_decision_that_went(self, filled, make, tmp_path):
        import polars as pl

        gone = set(decisions(filled, make))
        pruned(filled, rule(exported(filled, tmp_path / "out")))
        gone -= set(decisions(filled, make))
        kept = set(pl.read_parquet(tmp_path / "out" / "decisions.parquet")["decision_id"])
        assert len(gone) == 50
        assert gone <= kept


class TestAfterwards:
    """What comes for a unit that was pruned."""

    @pytest.mark.parametrize(
        "change",
        [
            {"received_at_us": YOUNG_US},
            {"received_at_us": 1},
            {"decision_id": "d08", "received_at_us": 1_008},
            {"decision_id": "d08", "received_at_us": YOUNG_US, "arm": "transformer"},
            {"bot": "new", "received_at_us": 2_000},
            {
                "bot": "new",
                "arm": "transformer",
                "served_arm": "base",
                "started_at_us": 7,
                "received_at_us": 3,
            },
        ],
        ids=["later", "earlier", "again", "again but other", "new bot", "new bot, first of all"],
    )
    def test_a_decision_is_kept_and_not_counted(self, filled, make, tmp_path, change):
        pruned(filled)
        before = counted(filled, make)
        facts = {"decision_id": "late", "unit": "u0"} | change
        stored = put(filled, make.shipment("k", [make.decision(**facts)]))
        assert stored.decisions == 1
        assert counted(filled, make) == before
        assert facts["decision_id"] in decisions(filled, make)
        counts, found = verified(filled, tmp_path)
        assert (counts.late_decisions, found) == (1, [])

    def test_its_id_is_still_settled_once(self, filled, make):
        pruned(filled)
        before = counted(filled, make)
        put(filled, make.shipment("k", [make.decision(decision_id="late", unit="u0", received_at_us=5)]))
        again = make.decision(decision_id="late", unit="u1", received_at_us=4)
        assert put(filled, make.shipment("l", [again])).duplicates == 1
        assert put(filled, make.shipment("m", [again])).duplicates == 1
        units, odd, tables = counted(filled, make)
        assert (units, odd | {"dead_letters": 0}, tables) == before
        assert odd["dead_letters"] == 1  # the id was used for two units: the other one is kept there

    def test_an_id_of_a_living_unit_may_move_to_a_pruned_one(self, filled, make, tmp_path):
        pruned(filled)
        put(filled, make.shipment("k", [make.decision(decision_id="d50", unit="u0", received_at_us=1)]))
        counts, found = verified(filled, tmp_path)
        assert (counts.late_decisions, found) == (1, [])
        (unit,) = make.rows(filled, "SELECT decisions FROM unit WHERE unit = 'y0'")
        assert unit["decisions"] == 4

    def test_outcomes_are_settled_as_ever(self, filled, make, tmp_path):
        put(filled, make.shipment("i", [make.market(unit="u7", bot="b0", received_at_us=5_000)]))
        pruned(filled)
        same = make.market(unit="u7", bot="b0", received_at_us=6_000)
        other = make.market(unit="u7", bot="b0", received_at_us=6_000, pnl_micro=5)
        new = make.market(unit="u6", bot="b1", pnl_micro=5)
        (had,) = make.rows(filled, "SELECT reported, pnl_micro FROM unit WHERE unit = 'u6'")
        known = make.rows(
            filled, "SELECT * FROM outcome WHERE unit = 'u6' AND bot = 'b1' AND kind = 'market'"
        )
        stored = put(filled, make.shipment("k", [same, other, new]))
        assert (stored.duplicates, stored.conflicts) == (1, 1 + len(known))
        (has,) = make.rows(filled, "SELECT reported, pnl_micro FROM unit WHERE unit = 'u6'")
        if not known:
            assert (has["reported"], has["pnl_micro"]) == (had["reported"] + 1, had["pnl_micro"] + 5)
        assert verified(filled, tmp_path)[1] == []

    def test_a_trade_of_a_decision_that_is_gone_stays_parked(self, filled, make, tmp_path):
        (free,) = make.rows(
            filled,
            "SELECT min(decision_id) AS id FROM decision WHERE unit LIKE 'u%' AND decision_id NOT IN"
            " (SELECT decision_id FROM outcome WHERE kind = 'trade')",
        )
        pruned(filled)
        before = make.rows(filled, "SELECT unit, trades FROM unit ORDER BY unit")
        put(filled, make.shipment("k", [make.trade(decision_id=free["id"])]))
        assert make.rows(filled, "SELECT unit, trades FROM unit ORDER BY unit") == before
        assert make.rows(filled, "SELECT unit FROM outcome WHERE key = :id", id=free["id"]) == [
            {"unit": None}
        ]
        assert verified(filled, tmp_path)[1] == []

    def test_rebuild_takes_its_totals_as_they_stand(self, filled, make):
        pruned(filled)
        put(filled, make.shipment("k", [make.decision(decision_id="late", unit="u0", received_at_us=1)]))
        before = counted(filled, make)
        steps = list(rebuild(filled, "main", "me", NOW_US))
        assert [d for step in steps for d in step.differences] == []
        assert counted(filled, make) == before

    def test_what_outcomes_say_is_still_verified_and_repaired(self, filled, make, tmp_path):
        pruned(filled)
        before = counted(filled, make)
        with filled.begin() as connection:
            connection.exec_driver_sql("UPDATE unit SET pnl_micro = pnl_micro + 7 WHERE unit = 'u1'")
        assert [(d.key, d.column) for d in verified(filled, tmp_path)[1]] == [(("u1",), "pnl_micro")]
        list(rebuild(filled, "main", "me", NOW_US))
        assert counted(filled, make) == before

    def test_late_decisions_go_when_they_are_old_themselves(self, filled, make):
        pruned(filled)
        late = [
            make.decision(decision_id=f"l{at_us}", unit="u0", received_at_us=at_us) for at_us in (9, YOUNG_US)
        ]
        put(filled, make.shipment("k", late))
        assert pruned(filled) == Pruned(units=1, decisions=1)
        assert f"l{YOUNG_US}" in decisions(filled, make)
        assert "l9" not in decisions(filled, make)

    def test_a_trade_that_turns_out_to_be_first_is_counted(self, defined, make, tmp_path):
        """Its decision is gone, so nothing but the trade that it takes the place of says whose it is."""
        put(defined, make.shipment("j", [make.decision(), make.trade(pnl_micro=5)]))
        pruned(defined)
        earlier = make.trade(pnl_micro=-5, received_at_us=1_500)
        assert put(defined, make.shipment("k", [earlier])).conflicts == 1
        (unit,) = make.rows(defined, "SELECT trades, trade_wins FROM unit")
        assert (unit["trades"], unit["trade_wins"]) == (1, 0)
        assert verified(defined, tmp_path)[1] == []

    def test_a_trade_leaves_a_pruned_unit_with_its_decision(self, defined, make, tmp_path):
        put(defined, make.shipment("j", [make.decision(), make.decision(decision_id="y", unit="y")]))
        pruned(defined)
        put(defined, make.shipment("k", [make.decision(decision_id="late", received_at_us=9)]))
        put(defined, make.shipment("l", [make.trade(decision_id="late")]))
        assert make.rows(defined, "SELECT trades FROM unit WHERE unit = 'u1'") == [{"trades": 1}]
        put(defined, make.shipment("m", [make.decision(decision_id="late", unit="z", received_at_us=8)]))
        held = make.rows(defined, "SELECT unit, trades FROM unit ORDER BY unit")
        assert held == [
            {"unit": "u1", "trades": 0},
            {"unit": "y", "trades": 0},
            {"unit": "z", "trades": 1},
        ]
        assert verified(defined, tmp_path)[1] == []


def test_killed_in_between_it_leaves_whole_units(filled, make, sql_url, tmp_path):
    before = counted(filled, make)
    script = """
import os, signal, sys
from store import unit_spans
from store.prune import Rule, prune
from store.sql import open_engine
unit_spans._ROWS = tuple((table, 3) for table, _ in unit_spans._ROWS)
rule = Rule("main", int(sys.argv[2]), int(sys.argv[3]), None)
for number, step in enumerate(prune(open_engine(sys.argv[1]), rule, "me")):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
"""
    child = make.python(script, sql_url, BEFORE_US, NOW_US)
    child.communicate(timeout=60)
    assert child.returncode == -9
    assert 0 < len(marked(filled, make)) < 8
    assert verified(filled, tmp_path)[1] == []
    pruned(filled)
    assert counted(filled, make) == before
    assert decisions(filled, make) == [f"d{n}" for n in range(50, 60)]


def test_beside_a_writer(filled, make, tmp_path):
    stop = threading.Event()

    def write():
        start, number = 0, 0
        while not stop.is_set() or number < 30:
            decision = make.decision(decision_id=f"n{number}", unit=f"u{number % 10}", received_at_us=number)
            one = make.shipment("k", [decision, make.market(unit=f"u{number % 10}", bot="b1")], start)
            put(filled, one)
            start, number = one.stop, number + 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(5):
            pruned(filled)
            assert verified(filled, tmp_path)[1] == []
    finally:
        stop.set()
        writer.join()
    assert verified(filled, tmp_path)[1] == []


def test_vacuum_gives_the_room_back(sqlite_engine, make):
    experiments.create(sqlite_engine, *make.experiment_and_split(), "me")
    records = [make.decision(decision_id=f"d{n}", state=bytes(2_000)) for n in range(500)]
    put(sqlite_engine, make.shipment("j", records))

    def room():
        with sqlite_engine.connect() as connection:
            return room_of(connection)

    full = room()
    pruned(sqlite_engine)
    freed = room()
    assert freed.total_bytes == full.total_bytes
    assert freed.free_bytes > 1_000_000
    vacuum(sqlite_engine)
    assert room().free_bytes == 0
    assert room().total_bytes < full.total_bytes - 1_000_000


def test_vacuum_on_either_engine(filled):
    pruned(filled)
    vacuum(filled)
    with filled.connect() as connection:
        assert room_of(connection).total_bytes > 0
