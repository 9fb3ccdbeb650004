"""Migrations: one way to the tables, under a lock."""

import subprocess

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text
from sqlmodel import SQLModel

import store.tables
from store import schema
from store.errors import SchemaTooNew
from store.sql import normal_url, open_engine

UPGRADE = """
import sys
from store import schema
from store.sql import open_engine
engine = open_engine(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
print(schema.upgrade(engine))
"""


@pytest.fixture
def empty(empty_sql_url):
    engine = open_engine(empty_sql_url)
    yield engine
    engine.dispose()


class TestMigrations:
    def test_they_build_what_the_tables_say(self, empty):
        assert schema.revision_of(empty) is None
        assert schema.upgrade(empty)
        assert schema.revision_of(empty) == schema.HEAD
        assert not schema.upgrade(empty)
        with empty.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, SQLModel.metadata) == []

    def test_two_processes_at_once(self, empty, empty_sql_url, make):
        racers = [make.python(UPGRADE, empty_sql_url, stdin=subprocess.PIPE) for _ in range(2)]
        for racer in racers:
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            racer.stdin.write("go\n")
            racer.stdin.flush()
        said = [racer.communicate(timeout=60)[0].strip() for racer in racers]
        assert [racer.returncode for racer in racers] == [0, 0]
        assert "True" in said
        assert schema.revision_of(empty) == schema.HEAD
        assert inspect(empty).has_table(store.tables.Decision.__tablename__)

    def test_a_database_of_a_newer_release_is_left_alone(self, empty):
        schema.upgrade(empty)
        with empty.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        with pytest.raises(SchemaTooNew, match="upgrade abctl"):
            schema.upgrade(empty)

    def test_the_way_back_is_whole(self, empty):
        from alembic import command
        from alembic.config import Config

        schema.upgrade(empty)
        with empty.begin() as connection:
            config = Config()
            config.set_main_option("script_location", str(next(iter(store.__path__))) + "/migrations")
            config.set_main_option("path_separator", "os")
            config.attributes["connection"] = connection
            command.downgrade(config, "base")
        assert inspect(empty).get_table_names() == ["alembic_version"]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("postgres://u@h/d", "postgresql+psycopg://u@h/d"),
        ("postgresql://u@h/d", "postgresql+psycopg://u@h/d"),
        ("postgresql+psycopg://u@h/d", "postgresql+psycopg://u@h/d"),
    ],
)
def test_plain_urls_mean_our_driver(given, meant):
    assert normal_url(given) == meant
