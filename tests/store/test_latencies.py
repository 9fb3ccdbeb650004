"""Latencies in unit totals: exact buckets, derivable, repaired, kept by a prune, counted by the migration."""

import random
from bisect import bisect_left

import pytest
from alembic import command
from alembic.config import Config
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

import store
from store import experiments, latencies, tables
from store.ingest import ingest
from store.latencies import COLUMNS, EDGES_US, SLOW_US, Latencies
from store.prune import Rule, prune
from store.rebuild import rebuild
from store.snapshot import snapshot
from store.sql import table_of
from store.trade_edges import Matured
from store.unit_columns import read_units
from store.verify import verify

START_US = 1_790_000_000_000_000
SPAN_US = 1_800_000_000
NOW_US = START_US + 30 * 86_400_000_000


def records_of(make, seed=1, units=12):
    """Decisions of every latency, some refused, some sent twice; outcomes in time."""
    rng = random.Random(seed)
    for number in range(units):
        unit, arm, start_us = f"u{number:02d}", ("base", "transformer")[number % 2], START_US + number
        asked = {
            "unit": unit,
            "arm": arm,
            "served_arm": arm,
            "started_at_us": start_us,
            "sent_started_at_us": start_us,
        }
        for tick in range(rng.randrange(1, 12)):
            took_us = rng.choice([0, 1, *EDGES_US, *(edge + 1 for edge in EDGES_US), 9_000_000])
            made = make.decision(
                **asked, decision_id=f"{unit}-{tick}", received_at_us=start_us + 10 + tick, latency_us=took_us
            )
            yield made
            if rng.random() < 0.2:  # again, earlier: it takes the other's place
                yield make.decision(
                    **asked, decision_id=f"{unit}-{tick}", received_at_us=start_us + 5, latency_us=3_000
                )
        refused = {name: asked[name] for name in asked if name != "served_arm"}
        yield make.unserved(**refused, received_at_us=start_us + 1)
        said = {"fill": "live", "received_at_us": start_us + 1000, "closed_at_us": start_us + 1000}
        yield make.market(unit=unit, bot="b1", **said)


@pytest.fixture
def filled(engine, make):
    experiment, first = make.experiment_and_split()
    experiments.create(engine, experiment, first, "me")
    records = list(records_of(make))
    half = len(records) // 2
    ingest(engine, "main", [make.shipment("j", records[:half])], NOW_US)
    ingest(engine, "main", [make.shipment("k", records[half:])], NOW_US)
    return engine


def buckets(engine, make):
    names = ", ".join(("unit", *COLUMNS))
    return {row.pop("unit"): row for row in make.rows(engine, f"SELECT {names} FROM unit ORDER BY unit")}


def by_hand(engine, make):
    found = {}
    for row in make.rows(engine, "SELECT unit, latency_us FROM decision"):
        own = found.setdefault(row["unit"], dict.fromkeys(COLUMNS, 0))
        if row["latency_us"] > 0:
            own[COLUMNS[bisect_left(EDGES_US, row["latency_us"])]] += 1
    return found


def differences(engine, folder):
    with engine.connect() as connection, snapshot(connection):
        return [d for step in verify(connection, "main", folder) for d in step.differences]


def test_buckets_are_those_of_the_decision_rows(filled, make, tmp_path):
    assert buckets(filled, make) == by_hand(filled, make)
    assert all(any(row[name] for row in buckets(filled, make).values()) for name in COLUMNS)
    make.totals_are_derived(filled, "main")
    assert differences(filled, tmp_path) == []


def test_a_wrong_bucket_is_named_and_repaired(filled, make, tmp_path):
    with filled.begin() as connection:
        connection.execute(text(f"UPDATE unit SET {COLUMNS[3]} = 99 WHERE unit = 'u03'"))
    named = [(d.table, d.key, d.column, d.stored) for d in differences(filled, tmp_path)]
    assert named == [("unit", ("u03",), COLUMNS[3], 99)]
    list(rebuild(filled, "main", "me", NOW_US))
    assert differences(filled, tmp_path) == []
    assert buckets(filled, make) == by_hand(filled, make)


def test_a_prune_keeps_them(filled, make, tmp_path):
    before = buckets(filled, make)
    done = list(prune(filled, Rule("main", NOW_US, NOW_US, None), "me"))
    assert sum(step.units for step in done) == 12
    assert buckets(filled, make) == before
    assert differences(filled, tmp_path) == []


def test_columns_of_the_report_count_them(filled, make):
    with filled.connect() as connection:
        columns = read_units(connection, "main")
    rows = buckets(filled, make).values()
    slow = COLUMNS[EDGES_US.index(SLOW_US) + 1 :]
    assert sorted(columns.timed.tolist()) == sorted(sum(row.values()) for row in rows)
    assert sorted(columns.slow.tolist()) == sorted(sum(row[name] for name in slow) for row in rows)


def test_sums_are_of_matured_units_by_arm_and_fill(filled, make):
    with filled.connect() as connection:
        found = latencies.latencies(connection, Matured("main", START_US, NOW_US, SPAN_US))
        none = latencies.latencies(connection, Matured("main", NOW_US, NOW_US, SPAN_US))
    own = buckets(filled, make)
    for index, arm in enumerate(("base", "transformer")):
        mine = [row for unit, row in own.items() if int(unit[1:]) % 2 == index]
        assert found["live", arm].counts == tuple(sum(row[name] for row in mine) for name in COLUMNS)
    assert len(found) == 2
    assert none == {}


def test_the_migration_counts_what_is_there_and_leaves_pruned_units(filled, make, tmp_path):
    """From the release before: the same buckets, by its own SQL."""
    list(prune(filled, Rule("main", START_US + 15, NOW_US, None), "me"))
    before, whole = buckets(filled, make), by_hand(filled, make)
    config = Config()
    config.set_main_option("script_location", f"{next(iter(store.__path__))}/migrations")
    config.set_main_option("path_separator", "os")
    with filled.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0006")
    with filled.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    after = buckets(filled, make)
    pruned = {r["unit"] for r in make.rows(filled, "SELECT unit FROM unit WHERE pruned_at_us IS NOT NULL")}
    assert 0 < len(pruned) < 12
    for unit, row in after.items():
        assert row == (dict.fromkeys(COLUMNS, 0) if unit in pruned else before[unit])
        assert unit in pruned or row == whole[unit]
    assert differences(filled, tmp_path) == []


@given(st.lists(st.integers(0, 50), min_size=len(COLUMNS), max_size=len(COLUMNS)), st.floats(0.01, 1.0))
def test_a_quantile_is_the_first_edge_with_enough_below_it(counts, share):
    found = Latencies(tuple(counts))
    edge_us = found.within_us(share)
    below = {edge: sum(counts[: i + 1]) for i, edge in enumerate(EDGES_US)}
    enough = [edge for edge in EDGES_US if below[edge] > 0 and below[edge] >= share * sum(counts)]
    assert edge_us == (enough[0] if enough else None)


def test_the_table_has_a_column_for_each_bucket():
    named = [column.name for column in table_of(tables.Unit).c]
    assert [name for name in named if name.startswith("latency_")] == list(COLUMNS)
    assert SLOW_US in EDGES_US
