"""The shipper vouches for the memory of Redis whatever SQL does: decisions hang on that word, not on SQL."""

import threading
import time

import pytest
import redis

from cli.carrier import Carrier
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


def wait(condition):
    deadline_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_the_word_is_given_while_sql_is_away(data_dir, fresh_valkey_url):
    engine = open_engine(f"sqlite:///{data_dir.database}")
    carrier = Carrier(data_dir, engine, fresh_valkey_url, wall_clock_us)
    thread, word = threading.Thread(target=carrier.run), keys.vouched("main")
    thread.start()
    try:
        with redis.Redis.from_url(fresh_valkey_url) as client:
            wait(lambda: client.exists(word))
            data_dir.database.rename(data_dir.root / "elsewhere.db")
            wait(lambda: carrier._trouble._since_us)
            for _ in range(2):
                client.delete(word)
                wait(lambda: client.exists(word))
            assert carrier._trouble._since_us
    finally:
        carrier.stop()
        thread.join()
        engine.dispose()
