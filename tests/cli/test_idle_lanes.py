"""An experiment in which nothing happens costs little, and is carried at once when something does."""

import pytest
import redis

from cli.carrier import IDLE_MAX_S, IDLE_S, Carrier
from router.definition import experiment_of
from router.snapshot import first_split
from store import experiments, schema
from store.clock import wall_clock_us
from store.data_dir import DataDir
from store.journal import Journal, Quota
from store.shipper import Shipper
from store.sql import open_engine
from store.stream import ShipmentStream, open_redis


@pytest.fixture
def data_dir(tmp_path):
    return DataDir(tmp_path / "data").prepare()


@pytest.fixture
def lane(data_dir, fresh_valkey_url):
    """The lane of the experiment main, after its first round."""
    engine = open_engine(f"sqlite:///{data_dir.database}")
    schema.upgrade(engine)
    main = experiment_of({"key": "main", "arms": ["base", "transformer"], "control": "base"}, wall_clock_us())
    experiments.ensure(engine, main, first_split(main, "test"), "test")
    carrier = Carrier(data_dir, engine, fresh_valkey_url, wall_clock_us)
    for _ in range(2):  # the second sees that nothing is left to bring back
        carrier._next_settle_s = 0.0
        carrier._round()
    found = carrier._lanes["main"]
    found.wake()
    yield found
    carrier._redis.close()
    engine.dispose()


@pytest.fixture
def asked(fresh_valkey_url):
    """How many commands Redis has got so far, this question not counted."""
    with redis.Redis.from_url(fresh_valkey_url) as client:

        def counted():
            stats = client.info("commandstats")
            return sum(s["calls"] for name, s in stats.items() if name != "cmdstat_info")

        yield counted


ROUNDS_A_LOOK = round(IDLE_MAX_S / IDLE_S)


def rounds(lane, count, after_s):
    """Idle rounds at the pace of the shipper; when the next one would be."""
    for number in range(count):
        assert not lane.step(after_s + number * IDLE_S)
    return after_s + count * IDLE_S


def test_redis_is_asked_less_and_less_often(lane, asked):
    before = asked()
    now_s = rounds(lane, 1, after_s=100.0)
    a_look = asked() - before
    now_s = rounds(lane, 4 * ROUNDS_A_LOOK, now_s)
    assert lane.is_idle
    before = asked()
    rounds(lane, 10 * ROUNDS_A_LOOK, now_s)
    assert 0 < asked() - before <= 11 * a_look


def test_its_own_journal_wakes_it_at_once(lane, data_dir):
    now_s = rounds(lane, 4 * ROUNDS_A_LOOK, after_s=100.0)
    while now_s >= lane._look_at_s:
        assert not lane.step(now_s)
    journal = Journal(data_dir.journals / "main" / "j", Quota(data_dir.journals, 1 << 20))
    journal.append(b"\x01what no record is")
    moved = lane.step(now_s)
    assert moved.shipped_bytes > 0
    assert moved.rows == 1
    assert not lane.is_idle
    journal.close()


def test_what_another_node_ships_is_found_within_the_pause(lane, tmp_path, fresh_valkey_url):
    def marks(journals):
        return dict.fromkeys(journals, 0)

    now_s = rounds(lane, 4 * ROUNDS_A_LOOK, after_s=100.0)
    journal = Journal(tmp_path / "other" / "main" / "o", Quota(tmp_path / "other", 1 << 20))
    journal.append(b"\x01what no record is")
    with open_redis(fresh_valkey_url) as client:
        other = Shipper(tmp_path / "other" / "main", ShipmentStream(client, "main", "other"), marks)
        assert other.ship() > 0
    found = [bool(lane.step(now_s + i * IDLE_S)) for i in range(ROUNDS_A_LOOK + 1)]
    assert sum(found) == 1
    journal.close()
