"""The shipper says what hinders it, until it is fine again."""

import pytest
from sqlalchemy import text

from router.trouble import Trouble, TroubleKeeper, read_trouble, told, trouble_file


def test_trouble_lasts_from_the_first_failure_to_the_next_success(tmp_path):
    times = iter([1_000_000, 2_000_000])
    keeper = TroubleKeeper(tmp_path, lambda: next(times))
    keeper.failed("no table")
    keeper.failed("no disk")
    assert read_trouble(tmp_path) == Trouble("no disk", 1_000_000)
    assert "nothing reaches SQL since 1970-01-01T00:00:01.000000Z: no disk;" in told(tmp_path)
    keeper.carried()
    assert told(tmp_path) is None
    keeper.failed("again")
    assert read_trouble(tmp_path) == Trouble("again", 2_000_000)
    assert [p.name for p in tmp_path.iterdir()] == ["shipper.json"]


def test_a_restart_in_trouble_keeps_since_when(tmp_path):
    TroubleKeeper(tmp_path, lambda: 1).failed("x")
    anew = TroubleKeeper(tmp_path, lambda: 9)
    anew.failed("y")
    assert read_trouble(tmp_path) == Trouble("y", 1)
    anew.carried()
    assert not trouble_file(tmp_path).exists()


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]"])
def test_a_broken_file_is_no_trouble(tmp_path, content):
    trouble_file(tmp_path).write_bytes(content)
    assert told(tmp_path) is None


def test_a_disk_that_takes_nothing_hinders_nobody(tmp_path):
    keeper = TroubleKeeper(tmp_path / "gone", lambda: 1)
    keeper.failed("x")
    keeper.carried()


def test_a_writer_that_fails_for_good_shows_in_readyz(start_node):
    node = start_node()
    with node.engine.begin() as connection:
        connection.execute(text("ALTER TABLE decision RENAME TO gone"))
    node.decide("stuck")

    def warnings():
        return node.ask("GET", "/readyz").json["warnings"]

    with node.carrying():
        node.wait(lambda: any("nothing reaches SQL since" in w and "decision" in w for w in warnings()))
        assert node.ask("GET", "/readyz").status == 200
        with node.engine.begin() as connection:
            connection.execute(text("ALTER TABLE gone RENAME TO decision"))
        node.wait(lambda: warnings() == [])
