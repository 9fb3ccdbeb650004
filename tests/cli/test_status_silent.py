"""`abctl status` says what may be missing in SQL, above all when SQL does not answer."""

import json

import pytest

from cli import failures
from store.data_dir import DataDir
from store.journal import Journal, Quota, frame_bytes


@pytest.fixture
def journaled(tmp_path):
    """Bytes in a journal of a data directory without a database."""
    place = DataDir(tmp_path / ".abctl").prepare()
    journal = Journal(place.journals / "main" / "j", Quota(place.journals, 1 << 20))
    journal.append(b"x" * 100)
    yield len(frame_bytes(b"x" * 100))
    journal.close()


def test_without_a_database_and_a_service_everything_waits(abctl, journaled):
    assert json.loads(abctl("status", "--json").out)["journal_bytes_not_in_sql"] == journaled
    assert f"{journaled} bytes are not in SQL: a service here carries them on" in abctl("status").out


def test_without_a_journal_nothing_is_said_of_sql(abctl, service):
    """As on an operator's machine: what the service's own machine holds cannot be seen from here."""
    assert json.loads(abctl("status", "--url", service.url, "--json").out)["journal_bytes_not_in_sql"] is None
    told = abctl("status", "--url", service.url).out
    assert "journal   none in " in told
    assert "everything is in SQL" not in told


@pytest.mark.parametrize("url", ["postgresql://ada:s3cret@127.0.0.1:1/x", "sqlite:////proc/none/abctl.db"])
def test_where_sql_does_not_answer_it_says_what_may_be_missing(abctl, journaled, monkeypatch, url):
    monkeypatch.setenv("ABCTL_DATABASE_URL", url)
    told = abctl("status")
    assert told.code == failures.UNAVAILABLE
    assert f"at most {journaled} bytes are not in SQL" in told.out
    assert "(does not answer)" in told.out
    assert "does not answer" in told.sentence
    assert "s3cret" not in told.out + told.err
    found = json.loads(abctl("status", "--json").out)
    assert found["journal_bytes_not_in_sql"] == journaled
    assert "does not answer" in found["sql_silent"]
