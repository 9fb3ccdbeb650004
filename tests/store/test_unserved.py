"""A refused decision leaves its unit assigned: as a decision would have made it, but unserved."""

import itertools
import uuid

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store import experiments
from store.export import Extract, export, read_manifest
from store.ingest import ingest, ingest_each
from store.latencies import COLUMNS
from store.oddities import counted as units_count
from store.oddities import odd_counts
from store.prune import Pruned, Rule, prune, survey
from store.rebuild import rebuild
from store.snapshot import snapshot
from store.verify import Counts, verify

SPAN_US = 1_800_000_000
NOW_US = 100 * SPAN_US
FACTS_OF_A_DECISION = ("decisions", "unserved", "first_journal_id", "first_position", *COLUMNS)


def put(engine, *shipments, experiment="main"):
    return ingest(engine, experiment, list(shipments), NOW_US)


def known(engine, make, key="main"):
    experiments.create(engine, *make.experiment_and_split(key), "me")
    return key


def unit_of(engine, make, key="main", unit="u1"):
    (row,) = make.rows(engine, "SELECT * FROM unit WHERE experiment = :e AND unit = :u", e=key, u=unit)
    return row


def verified(engine, key, folder):
    counts, found = Counts(), []
    with engine.connect() as connection, snapshot(connection):
        for step in verify(connection, key, folder):
            counts += step.counts
            found += step.differences
    return counts, found


class TestLikeADecision:
    """What one settles the other settles too."""

    @pytest.mark.parametrize(
        ("change", "of_a_decision", "of_a_refusal"),
        [
            ({}, {}, {}),
            (
                {"arm": "transformer", "split_version": 2, "weights": {"base": 0.5, "transformer": 0.5}},
                {},
                {},
            ),
            ({"forced": True}, {"reason": "forced"}, {}),
            ({"forced": True}, {"reason": "killed"}, {"killed": True}),
            ({"eligible": False}, {"reason": "ineligible"}, {"reason": "no_answer"}),
            ({"sent_started_at_us": 501}, {}, {}),
            ({"sent_started_at_us": None, "started_at_us": 999}, {}, {}),
        ],
    )
    def test_the_unit_is_the_same_but_for_who_was_served(
        self, engine, make, change, of_a_decision, of_a_refusal
    ):
        arm = {"served_arm": change.get("arm", "base")}
        put(
            engine,
            make.shipment("j", [make.decision("a", **{**change, **arm, **of_a_decision})]),
            experiment="a",
        )
        put(engine, make.shipment("k", [make.unserved("b", **change, **of_a_refusal)]), experiment="b")
        served, refused = unit_of(engine, make, "a"), unit_of(engine, make, "b")
        for name in (*FACTS_OF_A_DECISION, "experiment"):
            del served[name], refused[name]
        assert refused == served
        (row,) = make.totals_are_derived(engine, "b")
        assert (row["decisions"], row["unserved"], row["bots"]) == (0, 1, 1)

    def test_every_order_of_a_units_life_ends_the_same(self, engine, make):
        for order in itertools.permutations(range(4)):
            key = known(engine, make, make.key())
            records = [
                make.unserved(key, arm="transformer", received_at_us=900),
                make.decision(key, sent_started_at_us=501),
                make.unserved(key, bot="b2", received_at_us=1_100),
                make.market(key, bot="b2", pnl_micro=0, trades=0),
            ]
            for which in order:
                put(engine, make.shipment(f"{key}-{which}", [records[which]]), experiment=key)
                make.totals_are_derived(engine, key)
            unit = unit_of(engine, make, key)
            assert (unit["arm"], bool(unit["contaminated"]), unit["start_conflicts"]) == (
                "transformer",
                True,
                1,
            )
            assert (unit["first_at_us"], unit["last_at_us"]) == (900, 1_100)
            assert (unit["decisions"], unit["unserved"], unit["bots"], unit["reported"]) == (1, 2, 2, 1)

    def test_a_stale_or_fallen_back_refusal_is_no_decision(self, engine, make):
        put(
            engine, make.shipment("j", [make.unserved(split_stale=True), make.decision(received_at_us=2_000)])
        )
        unit = unit_of(engine, make)
        assert (unit["decisions"], unit["fallbacks"], unit["stale"], unit["unserved"]) == (1, 0, 0, 1)

    def test_a_bot_that_was_refused_must_report_and_is_no_stranger(self, engine, make):
        put(engine, make.shipment("j", [make.decision(), make.market(), make.unserved(bot="b2")]))
        unit = unit_of(engine, make)
        assert (unit["bots"], unit["reported"]) == (2, 1)
        put(
            engine,
            make.shipment("k", [make.market(bot="b2", pnl_micro=0, stake_micro=0, fee_micro=0, trades=0)]),
        )
        unit = unit_of(engine, make)
        assert (unit["bots"], unit["reported"], unit["pnl_micro"]) == (2, 2, 240_000)
        with engine.connect() as connection:
            assert odd_counts(connection, "main", units_count(connection, "main"))["stranger_outcomes"] == 0

    def test_a_unit_that_loses_its_decision_lives_on_by_its_refusal(self, engine, make):
        key = known(engine, make)
        late = make.unserved(unit="u2", received_at_us=1_500, bot="b2")
        put(engine, make.shipment("k", [make.decision(unit="u2", received_at_us=1_001), late]))
        put(engine, make.shipment("j", [make.decision(unit="u1", received_at_us=1_000)]))
        units = make.totals_are_derived(engine, key)
        assert [(u["unit"], u["decisions"], u["unserved"], u["bots"]) for u in units] == [
            ("u1", 1, 0, 1),
            ("u2", 0, 1, 1),
        ]
        assert make.rows(engine, "SELECT unit, bot FROM unitbot ORDER BY unit") == [
            {"unit": "u1", "bot": "b1"},
            {"unit": "u2", "bot": "b2"},
        ]


class TestExactlyOnce:
    def test_a_shipment_counts_once_however_often_it_comes(self, engine, make):
        one = make.shipment("j", [make.unserved(), make.unserved()])
        first = put(engine, one)
        assert (first.unserved, first.decisions, first.dead) == (2, 0, 0)
        assert put(engine, one, one) == type(first)()
        assert ingest_each(engine, "main", one, NOW_US) == type(first)()
        assert unit_of(engine, make)["unserved"] == 2

    def test_frame_by_frame(self, engine, make):
        records = [make.unserved(), make.unserved(split_version=2**63), make.decision(received_at_us=2_000)]
        stored = ingest_each(engine, "main", make.shipment("j", records), NOW_US)
        assert (stored.unserved, stored.decisions, stored.dead) == (1, 1, 1)
        assert unit_of(engine, make)["unserved"] == 1

    def test_what_comes_back_is_what_was_sent(self, engine, make):
        put(engine, make.shipment("j", [make.unserved(unit='a "b" 🚀', bot="日本", reason="no_answer")]))
        (row,) = make.rows(engine, "SELECT * FROM unserved")
        assert (row["unit"], row["bot"], row["reason"], row["weights"]) == (
            'a "b" 🚀',
            "日本",
            "no_answer",
            '{"base":0.9,"transformer":0.1}',
        )
        assert (row["journal_id"], row["position"], bool(row["killed"])) == ("j", 0, False)


TIMES = st.integers(1, 9)
UNITS, BOTS = st.sampled_from(["u0", "u1", "u2"]), st.sampled_from(["b0", "b1", "b2"])
ASKED = {
    "unit": UNITS,
    "bot": BOTS,
    "arm": st.sampled_from(["base", "transformer"]),
    "forced": st.booleans(),
    "eligible": st.booleans(),
    "split_stale": st.booleans(),
    "started_at_us": st.integers(1, 2),
    "sent_started_at_us": st.none() | st.integers(1, 2),
    "received_at_us": TIMES,
}
FACTS = {
    "decision": {**ASKED, "decision_id": st.sampled_from([f"d{n}" for n in range(8)])},
    "unserved": {**ASKED, "killed": st.booleans(), "reason": st.sampled_from(["overloaded", "no_answer"])},
    "trade": {"decision_id": st.sampled_from([f"d{n}" for n in range(9)]), "received_at_us": TIMES},
    "market": {"unit": UNITS, "bot": BOTS, "pnl_micro": st.integers(-1, 1), "received_at_us": TIMES},
}
RECORDS = st.sampled_from(["decision", "unserved", "unserved", "trade", "market"]).flatmap(
    lambda kind: st.tuples(st.just(kind), st.fixed_dictionaries(FACTS[kind]))
)


class TestLaw:
    """Whatever comes in whatever order and batches: totals follow from the rows, and every tool agrees."""

    @settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(records=st.lists(RECORDS, min_size=1, max_size=25), size=st.integers(1, 9), order=st.randoms())
    def test_all_tools_agree(self, engine, make, tmp_path, records, size, order):
        key = known(engine, make, make.key())
        built = [getattr(make, kind)(experiment=key, **facts) for kind, facts in records]
        order.shuffle(built)
        for start in range(0, len(built), size):
            put(engine, make.shipment(uuid.uuid4().hex, built[start : start + size]), experiment=key)
            make.totals_are_derived(engine, key)
        counts, found = verified(engine, key, tmp_path)
        assert (found, counts.unserved) == ([], sum(kind == "unserved" for kind, _ in records))
        assert [d for step in rebuild(engine, key, "me", NOW_US) for d in step.differences] == []
        manifest = self._exported(engine, make, key, tmp_path / key)
        self._is_pruned(engine, make, key, manifest, tmp_path)

    def _exported(self, engine, make, key, folder):
        with engine.connect() as connection, snapshot(connection):
            export(connection, folder, Extract(key), NOW_US)
        manifest = read_manifest(folder)
        order = "ORDER BY unit, received_at_us, journal_id, position"
        rows = make.rows(engine, f"SELECT * FROM unserved WHERE experiment = :e {order}", e=key)
        names = ["unit", "bot", "received_at_us", "journal_id", "position", "reason", "killed"]
        held = sorted(tuple(row[n] for n in names) for row in rows)
        assert sorted(pl.read_parquet(folder / "unserved.parquet").select(names).rows()) == held
        return manifest

    def _is_pruned(self, engine, make, key, manifest, folder):
        before = self._counted(engine, make, key)
        rule = Rule(key, NOW_US, NOW_US, (manifest,))
        with engine.connect() as connection, snapshot(connection):
            surveyed = sum(survey(connection, rule), Pruned())
        assert sum(prune(engine, rule, "me"), Pruned()) == surveyed
        assert (surveyed.not_exported, surveyed.unsound) == (0, 0)
        for table in ("decision", "unserved"):
            assert make.rows(engine, f"SELECT * FROM {table} WHERE experiment = :e", e=key) == []
        assert self._counted(engine, make, key) == before
        assert verified(engine, key, folder)[1] == []

    def _counted(self, engine, make, key):
        units = make.rows(engine, "SELECT * FROM unit WHERE experiment = :e ORDER BY unit", e=key)
        for row in units:
            del row["pruned_at_us"]
        bots = make.rows(engine, "SELECT * FROM unitbot WHERE experiment = :e ORDER BY unit, bot", e=key)
        with engine.connect() as connection:
            return units, bots, odd_counts(connection, key, units_count(connection, key))


class TestAfterPruning:
    @pytest.fixture
    def pruned(self, engine, make):
        """Three refusals and a decision, all gone."""
        known(engine, make)
        refusals = [make.unserved(), make.unserved(bot="b2"), make.unserved(unit="u2")]
        put(engine, make.shipment("j", [*refusals, make.decision(received_at_us=2_000)]))
        assert self.gone(engine) == Pruned(units=2, decisions=1, unserved=3)
        return engine

    def gone(self, engine, before_us=NOW_US):
        return sum(prune(engine, Rule("main", before_us, NOW_US, None), "me"), Pruned())

    def test_a_refusal_that_comes_late_is_kept_and_not_counted(self, pruned, make, tmp_path):
        before = make.rows(pruned, "SELECT * FROM unit ORDER BY unit")
        put(pruned, make.shipment("k", [make.unserved(unit="u2", bot="new", received_at_us=3_000)]))
        assert make.rows(pruned, "SELECT * FROM unit ORDER BY unit") == before
        counts, found = verified(pruned, "main", tmp_path)
        assert (counts.unserved, counts.late_decisions, found) == (1, 1, [])
        assert self.gone(pruned, before_us=3_000) == Pruned()
        assert self.gone(pruned) == Pruned(units=1, unserved=1)

    def test_only_what_an_export_holds_goes(self, engine, make, tmp_path):
        known(engine, make)
        put(engine, make.shipment("j", [make.unserved()]))
        with engine.connect() as connection, snapshot(connection):
            export(connection, tmp_path / "out", Extract(), NOW_US)
        put(engine, make.shipment("k", [make.unserved(bot="b2")]))
        rule = Rule("main", NOW_US, NOW_US, (read_manifest(tmp_path / "out"),))
        with engine.connect() as connection, snapshot(connection):
            found = sum(survey(connection, rule), Pruned())
        assert (found.unserved, found.not_exported) == (2, 1)


@pytest.mark.parametrize(
    ("harm", "named"),
    [
        ("UPDATE unit SET unserved = 0 WHERE unit = 'u2'", [("u2", "unserved")]),
        ("DELETE FROM unit WHERE unit = 'u2'", [("u2", "row")]),
        ("DELETE FROM unserved WHERE unit = 'u2'", [("u2", "row")]),
    ],
)
def test_what_was_tampered_with_is_named_and_repaired(engine, make, tmp_path, harm, named):
    known(engine, make)
    put(engine, make.shipment("j", [make.decision(), make.unserved(unit="u2"), make.market(unit="u2")]))
    with engine.begin() as connection:
        assert connection.exec_driver_sql(harm).rowcount == 1
    found = verified(engine, "main", tmp_path)[1]
    assert [(d.key[0], d.column) for d in found if d.table == "unit"] == named
    list(rebuild(engine, "main", "me", NOW_US))
    assert verified(engine, "main", tmp_path)[1] == []
    make.totals_are_derived(engine, "main")
