"""A database that does not answer is an error soon, and one that another process prepares is waited for."""

import socket
import sqlite3
import threading
import time

import pytest

from store.errors import StoreUnavailable
from store.sql import check_reachable, open_engine


@pytest.mark.parametrize(("query", "patience_s"), [("", 5.0), ("?connect_timeout=2", 2.0)])
def test_a_postgresql_that_takes_the_connection_and_says_nothing(query, patience_s):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        engine = open_engine(f"postgresql://nobody@127.0.0.1:{silent.getsockname()[1]}/x{query}")
        began_s = time.monotonic()
        with pytest.raises(StoreUnavailable, match="does not answer"):
            check_reachable(engine)
        took_s = time.monotonic() - began_s
        engine.dispose()
    assert patience_s * 0.8 < took_s < patience_s + 3.0


def test_a_new_sqlite_file_that_another_writes_to_is_waited_for(tmp_path):
    """Until the first switch to WAL; here SQLite itself would give up at once."""
    other = sqlite3.connect(tmp_path / "new.db", isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE t (x)")
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.3, other.execute, ["COMMIT"])
    release.start()
    engine = open_engine(f"sqlite:///{tmp_path / 'new.db'}")
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    engine.dispose()
    release.join()
    other.close()
