"""The writer keeps its connection to a SQLite file, and never writes into a file that is no longer there."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from store.sql import in_transaction, open_kept_engine


@pytest.fixture
def path(tmp_path):
    return tmp_path / "kept.db"


@pytest.fixture
def engine(path):
    engine = open_kept_engine(f"sqlite:///{path}")
    in_transaction(engine, lambda c: c.execute(text("CREATE TABLE x (y int)")))
    yield engine
    engine.dispose()


def insert(engine):
    in_transaction(engine, lambda c: c.execute(text("INSERT INTO x VALUES (1)")))


def count(engine):
    return in_transaction(engine, lambda c: c.execute(text("SELECT count(*) FROM x")).scalar_one())


def test_its_log_is_not_copied_at_every_end_of_a_transaction(engine, path):
    insert(engine)
    assert path.with_name("kept.db-wal").stat().st_size > 0
    engine.dispose()
    assert not path.with_name("kept.db-wal").exists()
    assert count(engine) == 1


def test_a_file_that_was_replaced_is_opened_anew(engine, path, tmp_path):
    insert(engine)
    other = open_kept_engine(f"sqlite:///{tmp_path / 'other.db'}")
    in_transaction(other, lambda c: c.execute(text("CREATE TABLE x (y int)")))
    other.dispose()
    (tmp_path / "other.db").replace(path)
    for beside in ("kept.db-wal", "kept.db-shm"):
        (tmp_path / beside).unlink()
    insert(engine)
    engine.dispose()
    assert count(engine) == 1


def test_a_file_that_is_gone_takes_nothing(engine, path):
    """What would be written into it could not be found again, and the journal's segment would be dropped."""
    path.unlink()
    with pytest.raises(OperationalError, match="no such table"):
        insert(engine)
