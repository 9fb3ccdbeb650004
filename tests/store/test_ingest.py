"""From journal bytes to SQL: one contract, both engines."""

import itertools
import uuid
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store.ingest import Shipment, ingest, ingest_each, read, unpack
from store.journal import frame_bytes
from store.outcome_rows import market_key
from store.records import Decision, Record, Unserved
from store.refusal import PERHAPS_REFUSED, is_refusal

NOW_US = 9_000


def put(engine, *shipments, experiment="main"):
    return ingest(engine, experiment, list(shipments), NOW_US)


class TestExactlyOnce:
    def test_a_shipment_counts_once_however_often_it_comes(self, engine, make):
        one = make.shipment("j", [make.decision(), make.trade(), make.market()])
        first = put(engine, one)
        assert (first.decisions, first.outcomes) == (1, 2)
        assert put(engine, one, one) == type(first)()
        assert make.marks(engine)(["j"]) == {"j": one.stop}
        (unit,) = make.totals_are_derived(engine, "main")
        assert (unit["decisions"], unit["trades"], unit["reported"], unit["pnl_micro"]) == (1, 1, 1, 240_000)

    def test_what_comes_back_is_what_was_sent(self, engine, make):
        put(engine, make.shipment("j", [make.decision(), make.trade()]))
        (row,) = make.rows(engine, "SELECT * FROM decision")
        assert bytes(row["state"]) == b"\x00\x01\xff"
        assert row["value"] == 0.1 + 0.2
        assert row["as_of_us"] is None
        assert make.rows(engine, "SELECT entry_price, exit_price FROM outcome") == [
            {"entry_price": 0.1, "exit_price": None}
        ]

    @pytest.mark.parametrize("word", ['quote " back \\ tab \t', "日本語 🚀", "{}[],:null", ""])
    def test_any_text_survives(self, engine, make, word):
        put(engine, make.shipment("j", [make.decision(unit=word, bot=word, decision_id=word)]))
        assert make.rows(engine, "SELECT unit, bot, decision_id FROM decision") == [
            {"unit": word, "bot": word, "decision_id": word}
        ]

    def test_a_gap_is_named_and_left_out(self, engine, make):
        first = make.shipment("j", [make.decision()])
        second = make.shipment("j", [make.decision(decision_id="d2")], first.stop)
        assert put(engine, second).gaps == ("j",)
        assert make.rows(engine, "SELECT * FROM decision") == []
        assert put(engine, first, second).decisions == 2

    def test_shipments_may_overlap(self, engine, make):
        records = [make.decision(decision_id=f"d{n}") for n in range(4)]
        put(engine, make.shipment("j", records[:2]))
        assert put(engine, make.shipment("j", records)).decisions == 2

    def test_all_or_nothing(self, engine, make):
        bad = make.shipment("k", [make.decision(decision_id="d2", split_version=2**63)])
        good = make.shipment("j", [make.decision()])
        with pytest.raises(PERHAPS_REFUSED, check=is_refusal):
            put(engine, good, bad)
        assert make.rows(engine, "SELECT * FROM decision") == []
        assert make.marks(engine)(["j", "k"]) == {"j": 0, "k": 0}

    def test_writers_at_the_same_time_take_turns(self, engine, make):
        def write(name):
            start = 0
            for number in range(40):
                one = make.shipment(name, [make.decision(decision_id=f"{name}{number}", bot=name)], start)
                assert put(engine, one).decisions == 1
                start = one.stop

        with ThreadPoolExecutor(3) as pool:
            list(pool.map(write, "abc"))
        (unit,) = make.totals_are_derived(engine, "main")
        assert (unit["decisions"], unit["bots"]) == (120, 3)


class TestDeadLetters:
    def test_damage_blocks_nobody(self, engine, make):
        sound = [frame_bytes(make.encode(make.decision(decision_id=f"d{n}"))) for n in range(3)]
        hurt = bytearray(sound[1])
        hurt[-5] ^= 0xFF
        stored = put(engine, Shipment("j", 0, sound[0] + bytes(hurt) + sound[2]))
        assert (stored.decisions, stored.dead) == (2, 1)
        (letter,) = make.rows(engine, "SELECT * FROM deadletter")
        assert bytes(letter["content"]) == bytes(hurt)
        assert letter["position"] == len(sound[0])

    def test_what_cannot_be_decoded(self, engine, make):
        stored = put(
            engine, Shipment("j", 0, frame_bytes(b"\x93\xa1x\x01\x02") + make.framed([make.decision()]))
        )
        assert (stored.decisions, stored.dead) == (1, 1)

    def test_a_record_of_another_experiment(self, engine, make):
        stored = put(engine, make.shipment("j", [make.decision(experiment="other"), make.decision()]))
        assert (stored.decisions, stored.dead) == (1, 1)
        assert "other" in make.rows(engine, "SELECT reason FROM deadletter")[0]["reason"]

    def test_money_beyond_any_total_is_refused(self, engine, make):
        stored = put(engine, make.shipment("j", [make.market(pnl_micro=2**53 + 1), make.market()]))
        assert (stored.outcomes, stored.dead) == (1, 1)

    def test_bytes_that_are_gone_are_named(self, engine, make):
        stored = put(engine, Shipment("j", 0, make.framed([make.decision()]), missing=1_000))
        assert (stored.decisions, stored.dead) == (1, 1)
        assert "backup" in make.rows(engine, "SELECT reason FROM deadletter")[0]["reason"]
        again = put(engine, Shipment("j", 0, make.framed([make.decision()]), missing=1_000))
        assert again == type(again)()

    @pytest.mark.parametrize("change", [{"split_version": 2**63}, {"value": float("nan")}])
    def test_one_record_that_sql_refuses_costs_no_other(self, engine, make, change):
        records = [make.decision(decision_id="d1"), make.decision(decision_id="d2", **change), make.trade()]
        one = make.shipment("j", records)
        with pytest.raises(PERHAPS_REFUSED, check=is_refusal):
            put(engine, one)
        stored = ingest_each(engine, "main", one, NOW_US)
        assert (stored.decisions, stored.outcomes, stored.dead) == (1, 1, 1)
        assert make.marks(engine)(["j"]) == {"j": one.stop}
        again = ingest_each(engine, "main", one, NOW_US)
        assert again == type(again)()

    def test_nul_in_text(self, engine, make):
        one = make.shipment("j", [make.decision(unit="a\0b"), make.decision(decision_id="d2")])
        stored = ingest_each(engine, "main", one, NOW_US)
        refused = engine.dialect.name == "postgresql"
        assert (stored.decisions, stored.dead) == ((1, 1) if refused else (2, 0))

    def test_missing_bytes_frame_by_frame(self, engine, make):
        one = Shipment("j", 0, make.framed([make.decision(), make.decision(decision_id="d2")]), missing=70)
        stored = ingest_each(engine, "main", one, NOW_US)
        assert (stored.decisions, stored.dead) == (2, 1)
        assert make.marks(engine)(["j"]) == {"j": one.stop}


class TestUnits:
    def test_every_order_of_a_units_life_ends_the_same(self, engine, make):
        for order in itertools.permutations(range(4)):
            key = make.key()
            records = [
                make.decision(key),
                make.decision(key, "d2", bot="b2", received_at_us=1_500),
                make.market(key),
                make.market(key, bot="b2", pnl_micro=-40_000, fill="live"),
            ]
            for which in order:
                put(engine, make.shipment(f"{key}-{which}", [records[which]]), experiment=key)
                make.totals_are_derived(engine, key)
            (unit,) = make.rows(engine, "SELECT * FROM unit WHERE experiment = :e", e=key)
            assert (unit["bots"], unit["reported"], unit["pnl_micro"], unit["fill"]) == (
                2,
                2,
                200_000,
                "mixed",
            )

    def test_a_trade_waits_for_its_decision(self, engine, make):
        put(engine, make.shipment("j", [make.trade()]))
        assert make.rows(engine, "SELECT unit FROM outcome") == [{"unit": None}]
        put(engine, make.shipment("k", [make.decision()]))
        assert make.rows(engine, "SELECT unit, bot FROM outcome") == [{"unit": "u1", "bot": "b1"}]
        assert make.totals_are_derived(engine, "main")[0]["trades"] == 1

    def test_a_parked_trade_that_is_sent_again_with_its_decision_is_no_conflict(self, engine, make):
        put(engine, make.shipment("j", [make.trade()]))
        stored = put(engine, make.shipment("k", [make.decision(), make.trade(received_at_us=2_500)]))
        assert (stored.duplicates, stored.conflicts) == (1, 0)

    def test_a_market_outcome_of_an_unknown_unit_is_kept(self, engine, make):
        stored = put(engine, make.shipment("j", [make.market(unit="never")]))
        assert stored.outcomes == 1
        assert make.rows(engine, "SELECT * FROM unit") == []

    def test_the_first_decision_settles_the_unit_also_when_it_comes_last(self, engine, make):
        late = make.decision(
            decision_id="d2", arm="transformer", served_arm="base", started_at_us=700, sent_started_at_us=700
        )
        other = make.decision(
            decision_id="d3", received_at_us=1_200, started_at_us=700, sent_started_at_us=None
        )
        put(engine, make.shipment("j", [late, other]))
        early = make.decision(decision_id="d1", received_at_us=900, eligible=False)
        put(engine, make.shipment("k", [early]))
        (unit,) = make.totals_are_derived(engine, "main")
        assert (unit["arm"], unit["excluded"], unit["started_at_us"]) == ("base", "ineligible", 500)
        assert (unit["start_conflicts"], unit["contaminated"], unit["fallbacks"]) == (1, True, 1)

    @pytest.mark.parametrize(
        ("change", "excluded"),
        [
            ({}, None),
            ({"forced": True}, "forced"),
            ({"forced": True, "reason": "killed"}, "killed"),
            ({"eligible": False}, "ineligible"),
        ],
    )
    def test_only_the_first_decision_excludes(self, engine, make, change, excluded):
        later = make.decision(decision_id="d2", received_at_us=2_000, forced=True)
        put(engine, make.shipment("j", [make.decision(**change), later]))
        assert make.totals_are_derived(engine, "main")[0]["excluded"] == excluded

    def test_a_decision_id_that_two_workers_answered_is_one_decision(self, engine, make):
        stored = put(engine, make.shipment("k", [make.decision(received_at_us=1_001)]))
        assert stored.decisions == 1
        stored = put(engine, make.shipment("j", [make.decision(received_at_us=1_000, action="buy")]))
        assert (stored.decisions, stored.duplicates) == (0, 1)
        assert make.rows(engine, "SELECT journal_id, action FROM decision") == [
            {"journal_id": "j", "action": "buy"}
        ]
        make.totals_are_derived(engine, "main")

    def test_a_reused_id_moves_to_the_unit_that_had_it_first(self, engine, make):
        put(engine, make.shipment("k", [make.decision(unit="u2", received_at_us=1_001), make.trade()]))
        put(engine, make.shipment("j", [make.decision(unit="u1", received_at_us=1_000)]))
        (unit,) = make.totals_are_derived(engine, "main")
        assert (unit["unit"], unit["trades"]) == ("u1", 1)
        assert make.rows(engine, "SELECT unit FROM unitbot") == [{"unit": "u1"}]

    @pytest.mark.parametrize("order", ["first before", "first after", "together"])
    def test_an_answer_under_a_reused_id_is_no_duplicate_but_kept_and_counted(self, engine, make, order):
        first, second = make.decision(unit="u1"), make.decision(unit="u2", received_at_us=1_001)
        one, two = make.shipment("j", [first, first]), make.shipment("k", [second, second])
        batches = {"first before": ([one], [two]), "first after": ([two], [one]), "together": ([two, one],)}
        stored = [put(engine, *batch) for batch in batches[order]]
        assert [s["unit"] for s in make.totals_are_derived(engine, "main")] == ["u1"]
        letters = make.rows(engine, "SELECT * FROM deadletter ORDER BY position")
        assert sum(s.dead for s in stored) == len(letters)
        for letter in letters:
            assert msgspec.msgpack.decode(bytes(letter["content"]), type=Record) == second
        assert {row["journal_id"] for row in letters} == {"k"}
        assert "id of its own" in letters[0]["reason"]


class TestOutcomes:
    def test_the_first_stays_and_others_are_kept(self, engine, make):
        put(engine, make.shipment("j", [make.market(received_at_us=20, pnl_micro=2)]))
        stored = put(engine, make.shipment("k", [make.market(received_at_us=10, pnl_micro=1)]))
        assert (stored.conflicts, stored.outcomes) == (1, 0)
        assert make.rows(engine, "SELECT pnl_micro, journal_id FROM outcome") == [
            {"pnl_micro": 1, "journal_id": "k"}
        ]
        (conflict,) = make.rows(engine, "SELECT * FROM outcomeconflict")
        assert (conflict["received_at_us"], conflict["journal_id"]) == (20, "j")
        assert '"pnl_micro":2' in conflict["payload"]

    def test_the_same_said_again_is_a_duplicate(self, engine, make):
        stored = put(engine, make.shipment("j", [make.trade(), make.trade(received_at_us=7_000)]))
        assert (stored.outcomes, stored.duplicates, stored.conflicts) == (1, 1, 0)

    def test_a_unit_and_a_bot_make_one_key(self):
        assert market_key('a","b', "c") != market_key("a", 'b","c')


ARMS = st.sampled_from(["base", "transformer"])
TIMES = st.integers(1, 6)
FACTS = {
    "decision": st.fixed_dictionaries(
        {
            "decision_id": st.sampled_from([f"d{n}" for n in range(6)]),
            "unit": st.sampled_from(["u0", "u1", "u2"]),
            "bot": st.sampled_from(["b0", "b1"]),
            "arm": ARMS,
            "served_arm": ARMS,
            "reason": st.sampled_from(["assigned", "killed"]),
            "forced": st.booleans(),
            "eligible": st.booleans(),
            "split_stale": st.booleans(),
            "split_version": st.integers(1, 2),
            "started_at_us": st.integers(1, 2),
            "sent_started_at_us": st.none() | st.integers(1, 2),
            "received_at_us": TIMES,
        }
    ),
    "unserved": st.fixed_dictionaries(
        {
            "unit": st.sampled_from(["u0", "u1", "u2", "u3"]),
            "bot": st.sampled_from(["b0", "b1", "b2"]),
            "arm": ARMS,
            "reason": st.sampled_from(["overloaded", "no_answer"]),
            "killed": st.booleans(),
            "forced": st.booleans(),
            "eligible": st.booleans(),
            "split_stale": st.booleans(),
            "split_version": st.integers(1, 2),
            "started_at_us": st.integers(1, 2),
            "sent_started_at_us": st.none() | st.integers(1, 2),
            "received_at_us": TIMES,
        }
    ),
    "trade": st.fixed_dictionaries(
        {
            "decision_id": st.sampled_from([f"d{n}" for n in range(7)]),
            "pnl_micro": st.integers(-1, 1),
            "fill": st.sampled_from(["live", "paper"]),
            "received_at_us": TIMES,
        }
    ),
    "market": st.fixed_dictionaries(
        {
            "unit": st.sampled_from(["u0", "u1", "u2", "u3"]),
            "bot": st.sampled_from(["b0", "b1", "b2"]),
            "pnl_micro": st.integers(-(2**53), 2**53) | st.integers(-1, 1),
            "trades": st.none() | st.integers(0, 1),
            "won": st.none() | st.booleans(),
            "fill": st.sampled_from(["live", "paper"]),
            "received_at_us": TIMES,
        }
    ),
}
RECORDS = st.sampled_from(sorted(FACTS)).flatmap(lambda kind: st.tuples(st.just(kind), FACTS[kind]))
JOURNALS = st.lists(st.lists(RECORDS, max_size=10), min_size=1, max_size=3)
STEPS = st.lists(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 10), st.integers(1, 6)), min_size=1, max_size=3),
    max_size=8,
)


class TestLaw:
    """SQL is the sorted, deduplicated list of everything that was journaled, whatever the way it took."""

    @settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(journals=JOURNALS, steps=STEPS)
    def test_any_order_of_shipping_ends_in_the_same_state(self, engine, make, journals, steps):
        key, names = make.key(), [uuid.uuid4().hex for _ in journals]
        built = [
            [getattr(make, kind)(experiment=key, **facts) for kind, facts in journal] for journal in journals
        ]
        edges = [[0, *itertools.accumulate(len(make.framed([r])) for r in records)] for records in built]
        for step in steps:
            put(engine, *self._shipments(make, names, built, edges, step), experiment=key)
        for name, records in zip(names, built, strict=True):
            put(engine, make.shipment(name, records), experiment=key)
        self._is_model(engine, make, key, names, built, edges)
        make.totals_are_derived(engine, key)

    def _shipments(self, make, names, built, edges, step):
        for journal, begin, count in step:
            which = journal % len(names)
            first = min(begin, len(built[which]))
            yield make.shipment(names[which], built[which][first : first + count], edges[which][first])

    def _is_model(self, engine, make, key, names, built, edges):
        everything = sorted(
            (
                (record.received_at_us, name, edge, record)
                for name, records, places in zip(names, built, edges, strict=True)
                for record, edge in zip(records, places, strict=False)
            ),
            key=lambda item: item[:3],
        )
        first, groups, refused = {}, {}, []
        for received_at_us, name, edge, record in everything:
            place = (received_at_us, name, edge)
            if isinstance(record, Unserved):
                refused.append((place, record.unit, record.bot, record.arm, record.reason))
            elif isinstance(record, Decision):
                first.setdefault(record.decision_id, (place, record))
            else:
                key_of = (
                    record.decision_id
                    if hasattr(record, "decision_id")
                    else market_key(record.unit, record.bot)
                )
                said = tuple(
                    getattr(record, n, None)
                    for n in (
                        "pnl_micro",
                        "fee_micro",
                        "stake_micro",
                        "trades",
                        "won",
                        "fill",
                        "closed_at_us",
                    )
                )
                groups.setdefault(key_of, {}).setdefault(said, place)
        held = make.rows(engine, "SELECT * FROM decision WHERE experiment = :e", e=key)
        assert {r["decision_id"]: (place_of(r), r["unit"], r["bot"], r["arm"]) for r in held} == {
            name: (place, r.unit, r.bot, r.arm) for name, (place, r) in first.items()
        }
        said = make.rows(engine, "SELECT * FROM unserved WHERE experiment = :e", e=key)
        assert sorted((place_of(r), r["unit"], r["bot"], r["arm"], r["reason"]) for r in said) == refused
        kept = make.rows(engine, "SELECT * FROM outcome WHERE experiment = :e", e=key)
        assert {r["key"]: place_of(r) for r in kept} == {k: min(said.values()) for k, said in groups.items()}
        owners = {r["key"]: (r["unit"], r["bot"]) for r in kept if r["kind"] == "trade"}
        assert owners == {
            k: (first[k][1].unit, first[k][1].bot) if k in first else (None, None) for k in owners
        }
        lost = make.rows(engine, "SELECT * FROM outcomeconflict WHERE experiment = :e", e=key)
        assert sorted((r["key"], *place_of(r)) for r in lost) == sorted(
            (k, *place)
            for k, said in groups.items()
            for place in said.values()
            if place != min(said.values())
        )


def place_of(row):
    return (row["received_at_us"], row["journal_id"], row["position"])


def test_reading_is_pure(make):
    one = make.shipment("j", [make.decision()])
    marks = {"j": 0}
    assert read([unpack("main", one)], marks).marks == {"j": one.stop}
    assert marks == {"j": 0}
