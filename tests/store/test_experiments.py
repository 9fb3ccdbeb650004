"""Experiments and their splits in SQL: of two writers one wins, the other is told."""

import subprocess

import pytest

from store import experiments
from store.audit import changes
from store.errors import ExperimentInUse, SplitMoved, UnknownExperiment
from store.ingest import ingest
from store.journal import Journal, Quota
from store.sql import open_engine

RACER = """
import sys
from store import experiments
from store.errors import SplitMoved
from store.records import Split
from store.sql import open_engine
engine = open_engine(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for version in range(2, 12):
    split = Split(experiment="main", version=version, salt="s", ranges=(("base", 0, 1_000_000),),
                  effective_at_us=version, created_at_us=version, actor=sys.argv[2], reason="race")
    try:
        experiments.append_split(engine, split)
        print("won", flush=True)
    except SplitMoved:
        print("moved", flush=True)
"""


@pytest.fixture
def filled(engine, make):
    experiments.create(engine, *make.experiment_and_split(), "me")
    return engine


class TestExperiments:
    def test_what_was_created_is_found(self, filled, make):
        experiment, first = make.experiment_and_split()
        with filled.connect() as connection:
            assert experiments.get(connection, "main") == experiment
            assert experiments.every(connection) == (experiment,)
            assert experiments.splits(connection, "main") == (first,)
            assert [c["action"] for c in changes(connection, "main", 10)] == ["experiment.create"]
        assert experiments.snapshot(filled) == ((experiment, (first,)),)

    def test_an_unknown_one_is_named(self, engine):
        with engine.connect() as connection, pytest.raises(UnknownExperiment, match="experiment list"):
            experiments.get(connection, "never")

    def test_ensure_leaves_what_is_there(self, filled, make):
        experiment, _ = make.experiment_and_split()
        experiments.append_split(filled, make.split("main", 2, 100_000))
        experiments.ensure(filled, experiment, make.split("main", 1, 0), "me")
        with filled.connect() as connection:
            assert len(experiments.splits(connection, "main")) == 2

    def test_one_without_decisions_may_be_defined_anew(self, filled, make):
        experiments.append_split(filled, make.split("main", 2, 100_000))
        experiments.create(filled, *make.experiment_and_split(), "me")
        with filled.connect() as connection:
            assert len(experiments.splits(connection, "main")) == 1

    def test_one_with_decisions_may_not(self, filled, make):
        ingest(filled, "main", [make.shipment("j", [make.decision()])], 1)
        with pytest.raises(ExperimentInUse, match="another key"):
            experiments.create(filled, *make.experiment_and_split(), "me")

    def test_one_with_an_outcome_may_not(self, filled, make):
        ingest(filled, "main", [make.shipment("j", [make.market()])], 1)
        with pytest.raises(ExperimentInUse):
            experiments.create(filled, *make.experiment_and_split(), "me")

    def test_one_whose_first_decision_is_still_in_a_journal_may_not(self, filled, make, tmp_path):
        one = Journal(tmp_path / "main" / "j", Quota(tmp_path, 1_000))
        experiments.create(filled, *make.experiment_and_split(), "me", tmp_path)
        one.append(make.encode(make.decision()))
        experiments.create(filled, *make.experiment_and_split("new"), "me", tmp_path)
        with pytest.raises(ExperimentInUse):
            experiments.create(filled, *make.experiment_and_split(), "me", tmp_path)
        one.close()

    def test_an_archived_one_says_when(self, filled):
        experiments.archive(filled, "main", 77, "me")
        with filled.connect() as connection:
            assert experiments.get(connection, "main").archived_at_us == 77
        with pytest.raises(UnknownExperiment):
            experiments.archive(filled, "never", 77, "me")


class TestSplits:
    def test_the_history_grows_by_one(self, filled, make):
        second = make.split("main", 2, 100_000)
        experiments.append_split(filled, second)
        with filled.connect() as connection:
            assert experiments.splits(connection, "main")[-1] == second
            (change, _) = changes(connection, "main", 10)
        assert change["action"] == "split.set"
        assert '"transformer":0.1' in change["detail"]

    @pytest.mark.parametrize("version", [1, 3])
    def test_a_version_that_is_not_the_next_is_refused(self, filled, make, version):
        with pytest.raises(SplitMoved, match="split show"):
            experiments.append_split(filled, make.split("main", version, 100_000))

    def test_a_stage_opens_only_where_shares_change(self, filled, make):
        for version, treated in ((2, 100_000), (3, 100_000), (4, 500_000)):
            experiments.append_split(filled, make.split("main", version, treated))
        with filled.connect() as connection:
            assert [version for version, _ in experiments.stage_starts(connection, "main")] == [1, 2, 4]

    def test_of_two_racing_writers_exactly_one_wins_each_version(self, filled, make, sql_url):
        racers = [make.python(RACER, sql_url, name, stdin=subprocess.PIPE) for name in ("a", "b")]
        for racer in racers:
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            racer.stdin.write("go\n")
            racer.stdin.flush()
        said = [racer.communicate(timeout=60)[0].split() for racer in racers]
        assert [len(words) for words in said] == [10, 10]
        with filled.connect() as connection:
            versions = [split.version for split in experiments.splits(connection, "main")]
        assert versions == list(range(1, len(versions) + 1))
        assert sum(words.count("won") for words in said) == len(versions) - 1 > 0


def test_weights_are_shares_by_name(make):
    assert experiments.weights(make.split("main", 1, 250_000)) == {"base": 0.75, "transformer": 0.25}


def test_a_database_that_does_not_answer_is_named(tmp_path):
    from store.errors import StoreUnavailable
    from store.sql import check_reachable

    engine = open_engine(f"postgresql://me:secret@/none?host={tmp_path}")
    with pytest.raises(StoreUnavailable, match="does not answer") as caught:
        check_reachable(engine)
    assert "secret" not in str(caught.value).split(" does not answer")[0]
