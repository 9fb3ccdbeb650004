"""Storing, repairing and pruning of one experiment take turns."""

import threading

import pytest

from store import experiments
from store.ingest import ingest
from store.prune import Rule, prune
from store.rebuild import rebuild
from store.turns import take_turn


def works(engine, make, experiment):
    one = make.shipment("k", [make.decision(experiment)])
    return {
        "ingest": lambda: ingest(engine, experiment, [one], 9_000),
        "rebuild": lambda: list(rebuild(engine, experiment, "me", 9_000)),
        "prune": lambda: list(prune(engine, Rule(experiment, 1, 9_000, None), "me")),
    }


@pytest.fixture
def filled(engine, make):
    for key in ("main", "other"):
        experiments.create(engine, *make.experiment_and_split(key), "me")
        ingest(engine, key, [make.shipment(key, [make.decision(key, unit="u0")])], 9_000)
    return engine


@pytest.mark.parametrize("name", ["ingest", "rebuild", "prune"])
def test_each_waits_for_the_one_before(filled, make, name):
    work, ended = works(filled, make, "main")[name], threading.Event()

    def run():
        work()
        ended.set()

    thread = threading.Thread(target=run)
    with filled.connect() as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        take_turn(connection, "main")
        thread.start()
        assert not ended.wait(0.7)
        if connection.dialect.name != "sqlite":
            works(filled, make, "other")[name]()  # another experiment's turn is another one
            assert not ended.is_set()
        connection.rollback()
    assert ended.wait(20)
    thread.join()
