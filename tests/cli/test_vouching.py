"""The shipper vouches for the memory of Redis whatever SQL does: decisions hang on that word, not on SQL."""

import pytest
import redis
from sqlalchemy.exc import OperationalError

from cli.carrier import IDLE_SETTLE_ROUNDS, Carrier
from router.definition import experiment_of
from router.snapshot import first_split
from store import experiments, keys, schema
from store.clock import wall_clock_us
from store.data_dir import DataDir
from store.sql import open_engine


@pytest.fixture
def data_dir(tmp_path):
    """With a database that holds the experiment main."""
    made = DataDir(tmp_path / "data").prepare()
    engine = open_engine(f"sqlite:///{made.database}")
    schema.upgrade(engine)
    main = experiment_of({"key": "main", "arms": ["base", "transformer"], "control": "base"}, wall_clock_us())
    experiments.ensure(engine, main, first_split(main, "test"), "test")
    engine.dispose()
    return made


def test_the_word_is_given_while_sql_is_away(data_dir, fresh_valkey_url):
    engine = open_engine(f"sqlite:///{data_dir.database}")
    carrier, word = Carrier(data_dir, engine, fresh_valkey_url, wall_clock_us), keys.vouched("main")
    with redis.Redis.from_url(fresh_valkey_url) as client:
        for _ in range(3):
            due(carrier)._round()
        assert client.exists(word)
        client.delete(word)
        data_dir.database.rename(data_dir.root / "elsewhere.db")
        with pytest.raises(OperationalError, match="no such table"):
            due(carrier)._round()
        assert client.exists(word)
    engine.dispose()


def test_an_idle_experiment_keeps_its_word_while_sql_is_away(data_dir, fresh_valkey_url):
    """Every round ends before anything is settled."""
    engine = open_engine(f"sqlite:///{data_dir.database}")
    idle = experiment_of({"key": "idle", "arms": ["base", "transformer"], "control": "base"}, wall_clock_us())
    experiments.ensure(engine, idle, first_split(idle, "test"), "test")
    carrier = Carrier(data_dir, engine, fresh_valkey_url, wall_clock_us)
    with redis.Redis.from_url(fresh_valkey_url) as client:
        for _ in range(3):
            due(carrier)._round()
        for turn in range(40):
            carrier._lanes["idle"].step(1e9 + turn)
        assert carrier._lanes["idle"].is_idle
        data_dir.database.rename(data_dir.root / "elsewhere.db")
        for _ in range(2):
            client.delete(keys.vouched("idle"))
            for _ in range(IDLE_SETTLE_ROUNDS):
                with pytest.raises(OperationalError):
                    due(carrier)._round()
            assert client.exists(keys.vouched("idle"))
    engine.dispose()


def due(carrier):
    """A carrier that does in its next round all that it does in any."""
    carrier._next_vouch_s = carrier._next_settle_s = carrier._next_discovery_s = 0.0
    return carrier
