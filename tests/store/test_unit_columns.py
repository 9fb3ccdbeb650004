"""What reports read."""

from dataclasses import fields

import pytest
from sqlalchemy import text

from store import latencies, totals
from store.ingest import ingest
from store.oddities import counted as units_count
from store.oddities import odd_counts
from store.unit_columns import read_units

SLOW = ("latency_to_25000_us", "latency_to_50000_us", "latency_to_100000_us", "latency_to_500000_us")
SLOW += ("latency_over_500000_us",)


@pytest.fixture
def filled(engine, make):
    records = [
        make.decision(decision_id="d2", unit="late", received_at_us=2_000, arm="transformer"),
        make.decision(decision_id="d1", unit="early", served_arm="transformer", split_stale=True),
        make.unserved(unit="late", arm="transformer", received_at_us=3_000),
        make.unserved(unit="late", arm="transformer", received_at_us=3_001),
        make.market(unit="early", won=False, pnl_micro=-3),
        make.trade(decision_id="d1"),
        make.trade(decision_id="unknown"),
        make.market(unit="unknown"),
        make.decision(experiment="other"),
    ]
    ingest(engine, "main", [make.shipment("j", records)], 1)
    return engine


def test_units_come_as_columns_in_the_order_of_their_start(filled):
    with filled.connect() as connection:
        units = read_units(connection, "main")
    assert len(units) == 2
    assert units.first_at_us.tolist() == [1_000, 2_000]
    assert units.pnl_micro.tolist() == [-3, 0]
    assert units.won.tolist() == [0, -1]
    assert units.settled_at_us.tolist() == [3_000, 0]
    assert (units.decisions.tolist(), units.unserved.tolist()) == ([1, 1], [0, 2])
    assert list(units.fill) == ["paper", None]
    assert units.pnl_micro.dtype == "int64"


def test_numbers_and_words_are_those_of_the_rows(filled, make):
    """The text in which the database hands them over changes none of them."""
    extremes = {"pnl_micro": -(2**62) - 1, "stake_micro": 2**63 - 1, "fee_micro": -1, "market_trades": 7}
    extremes |= {name: 10**n for n, name in enumerate(latencies.COLUMNS)}
    names = ", ".join(f"{name} = {value}" for name, value in extremes.items())
    with filled.begin() as connection:
        connection.execute(text(f"UPDATE unit SET {names}, excluded = 'killed' WHERE unit = 'late'"))
    order = "ORDER BY first_at_us"
    rows = make.rows(filled, f"SELECT * FROM unit WHERE experiment = 'main' {order}")
    with filled.connect() as connection:
        units = read_units(connection, "main")
    for row in rows:
        row["timed"] = sum(row[name] for name in latencies.COLUMNS)
        row["slow"] = sum(row[name] for name in SLOW)
    for field in fields(units):
        absent = {"won": -1, "settled_at_us": 0}.get(field.name)
        held = [row[field.name] for row in rows]
        assert list(getattr(units, field.name)) == [absent if v is None else v for v in held], field.name


def test_an_empty_experiment_has_empty_columns(engine):
    with engine.connect() as connection:
        units = read_units(connection, "never")
    assert len(units) == 0
    assert units.pnl_micro.dtype == "int64"


def test_what_is_odd_is_counted(filled, make):
    more = [
        make.market(unit="early", bot="stranger", pnl_micro=10**12),
        make.decision(decision_id="d3", unit="early", received_at_us=1_500),
        make.trade(decision_id="d3", fill="live"),
        make.trade(decision_id="d1", pnl_micro=7, received_at_us=2_001),
    ]
    ingest(filled, "main", [make.shipment("k", more)], 1)
    with filled.connect() as connection:
        assert odd_counts(connection, "main", units_count(connection, "main")) == {
            "parked_outcomes": 2,
            "stranger_outcomes": 1,
            "late_bots": 0,
            "other_fill_trades": 1,
            "conflicts": 1,
            "dead_letters": 1,
        }
        assert set(odd_counts(connection, "other", units_count(connection, "other")).values()) == {0}


def test_counts_per_arm(filled):
    with filled.connect() as connection:
        assert totals.by_arm(connection, "main") == {
            "base": {"units": 1, "decisions": 1, "fallbacks": 1, "unserved": 0, "reported": 1, "trades": 1},
            "transformer": {
                "units": 1,
                "decisions": 1,
                "fallbacks": 1,
                "unserved": 1,
                "reported": 0,
                "trades": 0,
            },
        }
