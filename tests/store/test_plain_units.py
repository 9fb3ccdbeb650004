"""What PostgreSQL settles by itself is what `unit_outcomes` says, of units of every kind; plain ones are."""

import uuid

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from store import experiments, plain_units, unit_outcomes
from store.ingest import ingest
from store.sql import open_engine
from store.unit_bots import rule_of

START_US, NOW_US, MINUTE_US = 1_000, 9_000_000_000, 60_000_000
TIMES = st.integers(0, 40).map(lambda n: START_US + n * MINUTE_US)
FILLS = st.sampled_from(["live", "live", "paper", "replay"])
WON = st.none() | st.booleans()
MONEY = st.sampled_from([-50_000, 0, 0, 70_000])
ASKED = st.lists(st.tuples(st.sampled_from("abc"), TIMES), min_size=1, max_size=4)
TRADES = st.lists(st.tuples(st.integers(0, 3), FILLS, MONEY, WON), max_size=4)
REPORT = st.tuples(TIMES, FILLS, MONEY, MONEY.map(abs), WON, st.none() | st.integers(0, 3))
REPORTS = st.dictionaries(st.sampled_from("abcd"), REPORT, max_size=3)
UNIT = st.tuples(ASKED, TRADES, REPORTS)


@pytest.fixture
def postgres(migrated_postgres_url):
    engine = open_engine(migrated_postgres_url)
    yield engine
    engine.dispose()


def defined(engine, make, win):
    key = make.key()
    experiment, split = make.experiment_and_split(key)
    experiments.create(engine, msgspec.structs.replace(experiment, win=win), split, "me")
    return key


def records_of(make, key, unit, facts):
    asked, trades, reports = facts
    starts = {"started_at_us": START_US, "sent_started_at_us": START_US}
    for n, (bot, at_us) in enumerate(asked):
        yield make.decision(key, f"{unit}-{n}", unit, bot=bot, received_at_us=at_us, **starts)
    for n, (opened, fill, pnl, won) in enumerate(trades):
        yield make.trade(
            key, f"{unit}-{opened}", pnl_micro=pnl, fill=fill, won=won, received_at_us=START_US + n
        )
    for bot, (at_us, fill, pnl, stake, won, count) in reports.items():
        yield make.market(
            key, unit, bot, received_at_us=at_us, fill=fill, pnl_micro=pnl, stake_micro=stake, fee_micro=0,
            won=won, trades=count,
        )  # fmt: skip


def said_by_law(engine, key, units):
    """unit -> its outcome columns, by the code that SQLite uses."""
    with engine.connect() as connection:
        opened = unit_outcomes._opened(connection, key, sorted(units))
        found = unit_outcomes.outcome_columns(connection, key, opened, rule_of(connection, key))
    return {row["unit"]: row for row in found}


def held(engine, key, row):
    names = ", ".join(row)
    query = text(f"SELECT {names} FROM unit WHERE experiment = :e AND unit = :u")
    with engine.connect() as connection:
        return connection.execute(query, {"e": key, "u": row["unit"]}).one()._asdict()


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    units=st.lists(UNIT, min_size=1, max_size=4), win=st.sampled_from(["pnl", "reported"]), order=st.randoms()
)
def test_both_ways_say_the_same(postgres, make, units, win, order):
    key = defined(postgres, make, win)
    records = [r for n, facts in enumerate(units) for r in records_of(make, key, f"u{n}", facts)]
    order.shuffle(records)
    ingest(postgres, key, [make.shipment(uuid.uuid4().hex, records)], NOW_US)
    for row in said_by_law(postgres, key, {f"u{n}" for n in range(len(units))}).values():
        assert held(postgres, key, row) == row


PLAIN = ([("a", START_US)], [(0, "live", 70_000, True)], {"a": (START_US + 9, "live", 70_000, 5, True, 1)})
SPECIAL = {
    "a bot that never asked reports": ([("a", START_US)], [], {"d": (START_US, "live", 1, 1, None, 1)}),
    "two fills": (
        [("a", START_US), ("b", START_US)],
        [],
        {"a": (START_US, "live", 1, 1, None, 1), "b": (START_US, "paper", 1, 1, None, 1)},
    ),
    "a bot after maturity": ([("a", START_US), ("b", START_US + 40 * MINUTE_US)], [(0, "live", 1, None)], {}),
    "a bot after a report": (
        [("a", START_US), ("b", START_US + MINUTE_US)],
        [],
        {"a": (START_US + 1, "replay", 1, 1, None, 1)},
    ),
    "a report that neither counts trades nor moved money": (
        [("a", START_US)],
        [],
        {"a": (START_US + 1, "live", 0, 0, None, None)},
    ),
}


def left(engine, make, facts):
    """Which of one unit is left to the law, once its records are in."""
    key = defined(engine, make, "pnl")
    records = list(records_of(make, key, "u", facts))
    ingest(engine, key, [make.shipment(uuid.uuid4().hex, records)], NOW_US)
    with engine.begin() as connection:
        return plain_units.settle(connection, key, {"u"}, rule_of(connection, key))


def test_a_plain_unit_is_settled_by_postgresql(postgres, make):
    assert left(postgres, make, PLAIN) == set()
    asked, trades, _ = PLAIN
    assert left(postgres, make, (asked, trades, {})) == set()


@pytest.mark.parametrize(("win", "wins"), [("pnl", 1), ("reported", 2)])
def test_a_win_is_what_the_experiment_says(postgres, make, win, wins):
    asked, _, reports = PLAIN
    trades = [(0, "live", -50_000, True), (1, "live", 70_000, None), (2, "live", 0, True)]
    facts = ([*asked, *asked, *asked], trades, reports)
    key = defined(postgres, make, win)
    ingest(postgres, key, [make.shipment(uuid.uuid4().hex, list(records_of(make, key, "u", facts)))], NOW_US)
    (row,) = said_by_law(postgres, key, {"u"}).values()
    assert held(postgres, key, row) == row
    assert (row["trades"], row["trade_wins"]) == (3, wins)


@pytest.mark.parametrize("case", SPECIAL)
def test_a_special_unit_is_left_to_the_law(postgres, make, case):
    assert left(postgres, make, SPECIAL[case]) == {"u"}


def test_a_unit_that_no_decision_has_opened_is_passed_over(postgres, make):
    key = defined(postgres, make, "pnl")
    early = [make.market(key, "unopened", "a")]
    ingest(postgres, key, [make.shipment(uuid.uuid4().hex, early)], NOW_US)
    with postgres.begin() as connection:
        rule = rule_of(connection, key)
        assert plain_units.settle(connection, key, {"unopened", "unheard"}, rule) == {"unopened", "unheard"}
        assert (
            connection.execute(text("SELECT count(*) FROM unit WHERE experiment = :e"), {"e": key}).scalar()
            == 0
        )
