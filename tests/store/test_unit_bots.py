"""The set of a unit's bots closes at its maturity, whatever comes in which order."""

import uuid

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store import experiments, latencies
from store.ingest import ingest
from store.unit_bots import Seat, counted

SPAN_US = 1_800_000_000
START_US = 1_000
NOW_US = 9_000_000_000
TIMES = st.integers(0, 12).map(lambda n: START_US + n * 300_000_000)
REPORTS = st.none() | st.tuples(TIMES, st.sampled_from(["live", "replay", "paper"]))
BOTS = st.lists(st.tuples(TIMES, REPORTS), min_size=1, max_size=5)


def seats_of(bots):
    return [
        Seat(f"b{n}", first, None if said is None else said[0], None if said is None else said[1])
        for n, (first, said) in enumerate(bots)
    ]


@given(bots=BOTS, order=st.randoms())
def test_the_order_of_arrival_does_not_matter_and_the_first_always_counts(bots, order):
    seats = seats_of(bots)
    names = counted(seats, START_US + SPAN_US)
    assert min(seats, key=lambda s: (s.first_at_us, s.bot)).bot in names
    order.shuffle(seats)
    assert counted(seats, START_US + SPAN_US) == names


@given(bots=BOTS, first=TIMES)
def test_whoever_comes_after_the_window_changes_nothing(bots, first):
    seats = seats_of(bots)
    closes_us = max(START_US + SPAN_US, min(s.first_at_us for s in seats))
    late = Seat("late", closes_us + 1 + first, None, None)
    assert counted([*seats, late], closes_us) == counted(seats, closes_us)


@pytest.mark.parametrize(
    ("first_at_us", "expected"),
    [(500, {"a", "b"}), (501, {"a"})],
    ids=["at the same moment", "after the report"],
)
def test_a_replay_closes_when_its_bots_have_reported(first_at_us, expected):
    seats = [Seat("a", 100, 500, "replay"), Seat("b", first_at_us, None, None)]
    assert counted(seats, None) == expected


def test_a_live_unit_stays_open_though_all_have_reported():
    assert counted([Seat("a", 100, 500, "live"), Seat("b", 600, None, None)], None) == {"a", "b"}


def known(engine, make, key):
    experiment, split = make.experiment_and_split(key)
    assert (experiment.unit_duration_s + experiment.attribution_s) * 1_000_000 == SPAN_US
    experiments.create(engine, experiment, split, "me")
    return key


def records_of(make, key, bots):
    for n, (first, said) in enumerate(bots):
        bot, facts = f"b{n}", {"started_at_us": START_US, "sent_started_at_us": START_US}
        yield make.decision(key, f"d{n}", bot=bot, received_at_us=first, **facts)
        yield make.decision(key, f"again{n}", bot=bot, received_at_us=first + 1, **facts)
        if said is not None:
            yield make.market(key, bot=bot, received_at_us=said[0], fill=said[1])
            yield make.trade(key, f"d{n}", received_at_us=said[0], fill=said[1])


class TestTotals:
    @settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    @given(bots=BOTS, order=st.randoms(), size=st.integers(1, 6))
    def test_are_those_that_plain_sql_derives(self, engine, make, bots, order, size):
        key = known(engine, make, f"e{uuid.uuid4().hex[:12]}")
        records = list(records_of(make, key, bots))
        order.shuffle(records)
        for start in range(0, len(records), size):
            shipment = make.shipment(uuid.uuid4().hex, records[start : start + size])
            ingest(engine, key, [shipment], NOW_US)
            make.totals_are_derived(engine, key)

    def test_a_stray_bot_after_maturity_changes_nothing_but_the_decisions(self, engine, make):
        key = known(engine, make, make.key())
        on_time = list(records_of(make, key, [(START_US, (START_US + 1, "live"))]))
        ingest(engine, key, [make.shipment(uuid.uuid4().hex, on_time)], NOW_US)
        (before,) = make.totals_are_derived(engine, key)
        late_us = START_US + SPAN_US + 1
        late = [
            make.decision(key, "late", bot="late", received_at_us=late_us, started_at_us=START_US),
            make.market(key, bot="late", received_at_us=late_us + 1, pnl_micro=77),
        ]
        ingest(engine, key, [make.shipment(uuid.uuid4().hex, late)], NOW_US)
        (after,) = make.totals_are_derived(engine, key)
        changed = {name for name in before if before[name] != after[name]}
        (bucket,) = changed & set(latencies.COLUMNS)
        assert changed - {bucket} <= {"decisions", "last_at_us", "start_conflicts"}
        assert after[bucket] == before[bucket] + 1
        assert (after["bots"], after["reported"], after["decisions"]) == (1, 1, before["decisions"] + 1)
