"""Paper lives in SQL: a function of their ticks, on both engines, verified and repaired like unit totals."""

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from store import experiments
from store.ingest import ingest
from store.prune import Rule, prune
from store.rebuild import rebuild
from store.records import ShadowTick
from store.shadow_lives import is_whole, life_of, lives_of, merged, row_of
from store.snapshot import snapshot
from store.verify import verify

SPAN_US = 1_800_000_000
NOW_US = 100 * SPAN_US


def tick(number, unit="u1", bot="b1", **changed):
    facts = {
        "experiment": "main",
        "decision_id": f"d{number}",
        "arm": "transformer",
        "setting": 1,
        "void": "",
        "at_us": 1_000 + number,
        "action": "buy",
        "served_action": "hold",
        "unfilled": 0,
        "shadow_up_micro": 10 * number,
        "shadow_down_micro": -number,
        "served_up_micro": 3,
        "served_down_micro": 3,
    }
    return ShadowTick(unit=unit, bot=bot, tick=number, **(facts | changed))


def put(engine, *shipments):
    return ingest(engine, "main", list(shipments), NOW_US)


def lives(engine, make):
    found = make.rows(engine, "SELECT * FROM shadowlife ORDER BY unit, bot")
    return {(row["unit"], row["bot"]): row for row in found}


def differences(engine, folder):
    with engine.connect() as connection, snapshot(connection):
        return [d for step in verify(connection, "main", folder) for d in step.differences]


@pytest.fixture
def main(engine, make):
    experiments.create(engine, *make.experiment_and_split(), "me")
    return engine


def test_a_life_is_what_its_newest_tick_is_worth(main, make, tmp_path):
    put(main, make.shipment("j1", [make.decision(decision_id=f"d{n}") for n in (1, 2, 3)]))
    put(main, make.shipment("j2", [tick(1), tick(3), tick(2, served_action="buy", unfilled=1)]))
    (life,) = lives(main, make).values()
    assert is_whole(life)
    assert (life["ticks"], life["differed"], life["unfilled"], life["void"]) == (3, 2, 0, "")
    assert (life["shadow_up_micro"], life["shadow_down_micro"]) == (30, -3)
    assert differences(main, tmp_path) == []


def test_what_is_shipped_twice_counts_once(main, make):
    sent = make.shipment("j1", [tick(1), tick(2)])
    put(main, sent)
    put(main, sent)
    assert lives(main, make)["u1", "b1"]["ticks"] == 2


@pytest.mark.parametrize(
    "numbers", [[1, 3], [2, 3], [1, 2, 2], [1, 2, 2, 4], [1, 1], [0], [1, 2, 0], [1, 2, 3, 1, 2]]
)
def test_a_hole_or_a_second_life_is_not_whole(numbers):
    rows = [row_of(tick(n), "j", place) for place, n in enumerate(numbers)]
    (life,) = lives_of(rows).values()
    assert not is_whole(life)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12))
def test_whole_is_the_series_itself_and_no_repetition_of_it(numbers):
    """Where no number up to the largest is missing."""
    (life,) = lives_of([row_of(tick(n), "j", place) for place, n in enumerate(numbers)]).values()
    if sorted(numbers) == list(range(1, max(numbers) + 1)):
        assert is_whole(life)
    elif sorted(set(numbers)) == list(range(1, max(numbers) + 1)):
        assert not is_whole(life)


@given(st.integers(1, 30), st.data())
def test_one_loss_is_a_hole_and_one_more_is_none_that_mends_it(last, data):
    lost, twice = (data.draw(st.integers(1, last)) for _ in range(2))
    left = [n for n in range(1, last + 1) if n != lost]
    for numbers in (left, [*left, twice]) if lost != twice else (left,):
        if numbers and lost != last:
            (life,) = lives_of([row_of(tick(n), "j", place) for place, n in enumerate(numbers)]).values()
            assert not is_whole(life), numbers


TICKS = st.lists(
    st.builds(
        tick,
        st.integers(0, 5),
        unit=st.sampled_from(["u1", "u2"]),
        bot=st.sampled_from(["b1", "b2"]),
        setting=st.integers(1, 2),
        void=st.sampled_from(["", "", "dropped", "raced"]),
        shadow_up_micro=st.integers(-5, 5),
        served_action=st.sampled_from(["buy", "sell"]),
    ),
    min_size=1,
    max_size=20,
)


@given(TICKS, st.randoms(use_true_random=False))
def test_the_order_of_ticks_means_nothing(ticks, rng):
    rows = [row_of(each, "j", place) for place, each in enumerate(ticks)]
    mixed = rng.sample(rows, len(rows))
    assert lives_of(rows) == lives_of(mixed)
    same = [life_of(row) for row in rows if (row["unit"], row["bot"]) == (rows[0]["unit"], rows[0]["bot"])]
    left, right = same[0], same[-1]
    for one in same[1:]:
        left = merged(left, one)
    for one in same[-2::-1]:
        right = merged(one, right)
    assert left == right


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TICKS, st.integers(0, 2**32))
def test_however_they_are_shipped_the_lives_are_those_of_the_rows(main, make, tmp_path, ticks, seed):
    with main.begin() as connection:
        for table in ("shadowtick", "shadowlife", "journalmark"):
            connection.execute(text(f"DELETE FROM {table}"))
    rng, journals = random.Random(seed), {}
    for each in ticks:
        journals.setdefault(f"j{rng.randrange(3)}", []).append(each)
    for name, records in journals.items():
        cut = rng.randrange(len(records) + 1)
        first = make.framed(records[:cut])
        put(main, make.shipment(name, records[:cut]))
        put(main, make.shipment(name, records), make.shipment(name, records[cut:], len(first)))
    stored = make.rows(main, "SELECT * FROM shadowtick")
    assert len(stored) == len(ticks)
    assert lives(main, make) == lives_of(stored)


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE shadowlife SET shadow_up_micro = shadow_up_micro + 1",
        "UPDATE shadowlife SET void = 'dropped'",
        "DELETE FROM shadowlife",
        "DELETE FROM shadowtick WHERE tick = 2",
        "DELETE FROM shadowtick",
    ],
)
def test_what_does_not_follow_is_named_and_repaired(main, make, tmp_path, harm):
    put(main, make.shipment("j1", [make.decision()]), make.shipment("j2", [tick(1), tick(2)]))
    with main.begin() as connection:
        connection.execute(text(harm))
    found = differences(main, tmp_path)
    assert {d.table for d in found} == {"shadowlife"}
    assert [d for step in rebuild(main, "main", "me", NOW_US) for d in step.differences] == found
    assert differences(main, tmp_path) == []


def test_a_pruned_unit_loses_its_ticks_and_keeps_its_life(main, make, tmp_path):
    put(main, make.shipment("j1", [make.decision()]), make.shipment("j2", [tick(1)]))
    before = lives(main, make)
    list(prune(main, Rule("main", 10_000, NOW_US, None), "me"))
    assert make.rows(main, "SELECT * FROM shadowtick") == []
    assert lives(main, make) == before
    assert differences(main, tmp_path) == []
