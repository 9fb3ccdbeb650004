"""A Redis that forgot first sights gets them back from SQL, and until then nobody vouches for it."""

import pytest
import redis

from store import keys, recall
from store.recall import Recall

MINUTE_US = 60_000_000
NOW_US = 10**15


@pytest.fixture
def client(fresh_valkey_url):
    with redis.Redis.from_url(fresh_valkey_url) as client:
        yield client


@pytest.fixture
def desk(client, sqlite_engine, make):
    """Recall over a database; `ends` are the journals that it must wait for."""
    desk = Desk(client, sqlite_engine, make)
    desk.store([desk.unit(n) for n in range(5)])
    return desk


class Desk:
    def __init__(self, client, engine, make):
        self.client, self.engine, self.make, self.ends, self.stop = client, engine, make, {}, 0
        experiment, _ = make.experiment_and_split("main")
        self.experiment = experiment
        self.recall = Recall(client, engine, experiment, lambda: dict(self.ends), make.marks(engine))

    def unit(self, number, **changed):
        facts = {"unit": f"u{number}", "received_at_us": NOW_US, "started_at_us": NOW_US - number} | changed
        return self.make.decision(decision_id=f"d{number}-{facts['received_at_us']}", **facts)

    def store(self, decisions):
        from store.ingest import ingest

        shipment = self.make.shipment("j", decisions, self.stop)
        self.stop = shipment.stop
        ingest(self.engine, "main", [shipment], NOW_US)

    def round(self, now_us=NOW_US):
        self.recall.vouch()
        self.recall.step(now_us)

    def vouched(self):
        return bool(self.client.exists(keys.vouched("main")))

    def start_of(self, number):
        return int(self.client.get(keys.binding("main", f"u{number}")) or 0)


def test_starts_come_back_and_then_the_word(desk):
    desk.round()
    assert not desk.vouched()
    assert [desk.start_of(n) for n in range(5)] == [NOW_US - n for n in range(5)]
    desk.round()
    assert desk.vouched()
    assert 0 < desk.client.ttl(keys.binding("main", "u1")) <= 86_400 + 900 + 900


def test_the_start_of_a_unit_that_was_only_refused_comes_back_too(desk):
    refused = desk.make.unserved(unit="u6", received_at_us=NOW_US, started_at_us=NOW_US - 6)
    desk.store([refused])
    desk.round()
    assert desk.start_of(6) == NOW_US - 6


def test_page_by_page(desk, monkeypatch):
    monkeypatch.setattr(recall, "PAGE_UNITS", 2)
    for brought in (2, 4, 5):
        desk.round()
        assert len(desk.client.keys(keys.binding("main", "*"))) == brought
        assert not desk.vouched()
    desk.round()
    assert desk.vouched()


@pytest.mark.parametrize("when", ["after", "between"])
def test_emptied_it_has_no_word_until_all_is_back(desk, monkeypatch, when):
    monkeypatch.setattr(recall, "PAGE_UNITS", 3)
    for _ in range(4 if when == "after" else 1):
        desk.round()
    assert desk.vouched() == (when == "after")
    desk.client.flushall()
    rounds = 0
    while not desk.vouched():
        assert rounds < 9
        desk.round()
        rounds += 1
    assert [desk.start_of(n) for n in range(5)] == [NOW_US - n for n in range(5)]


def test_emptied_between_the_last_page_and_the_word(desk, monkeypatch):
    tell = Recall._tell

    def tell_and_lose(self, page, now_us):
        tell(self, page, now_us)
        desk.client.flushall()

    monkeypatch.setattr(Recall, "_tell", tell_and_lose)
    desk.round()
    monkeypatch.setattr(Recall, "_tell", tell)
    desk.round()
    assert not desk.vouched()
    assert desk.start_of(1) == NOW_US - 1
    desk.round()
    assert desk.vouched()


def test_another_run_of_the_server_is_not_believed(desk):
    """It may have come back with an old snapshot, in which somebody vouched."""
    desk.round()
    desk.round()
    desk.client.set(keys.remembering("main"), "another-run")
    desk.client.delete(keys.binding("main", "u1"))
    desk.round()
    assert not desk.vouched()
    assert desk.start_of(1) == NOW_US - 1


def test_any_node_gives_the_word_and_only_the_one_that_leads_brings_starts_back(desk):
    other = Recall(desk.client, desk.engine, desk.experiment, dict, desk.make.marks(desk.engine))
    other.vouch()
    assert not desk.vouched()
    desk.round()
    other.vouch()
    assert desk.vouched()
    assert desk.client.get(keys.vouched("main")).decode() == desk.client.info("server")["run_id"]


def test_what_is_journaled_must_be_in_sql_first(desk):
    desk.ends = {"j": desk.stop + 1}
    desk.round()
    desk.round()
    assert desk.start_of(1) == 0
    desk.store([desk.unit(7)])
    desk.round()
    desk.round()
    assert desk.start_of(7) == NOW_US - 7
    desk.round()
    assert desk.vouched()


def test_sql_knows_better_than_what_redis_was_told_since(desk):
    desk.client.set(keys.binding("main", "u3"), NOW_US)
    desk.round()
    assert desk.start_of(3) == NOW_US - 3


def test_a_unit_whose_time_is_over_does_not_come_back(desk):
    life_us = (86_400 + 900 + 900) * 1_000_000
    desk.store([desk.unit(8, received_at_us=NOW_US + life_us - MINUTE_US)])
    desk.store([desk.unit(9, received_at_us=NOW_US + 1)])
    desk.round(NOW_US + life_us)
    assert desk.start_of(1) == 0
    assert desk.start_of(8) == NOW_US - 8
    assert desk.client.ttl(keys.binding("main", "u9")) == 1
