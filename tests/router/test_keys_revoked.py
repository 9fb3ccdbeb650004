"""The end of a key holds everywhere within a second, SQL or not; and every change says whose key made it."""

import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import text

from store import api_keys, revocations
from store.clock import wall_clock_us
from store.sql import open_engine

WITHIN_S = 1.0
"""A revocation holds everywhere within this."""


def signed(token):
    return {"content-type": "application/json", "authorization": f"Bearer {token}"}


def sleep_in(engine):
    """A slow report."""
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_sleep(3)"))


def seconds_until_refused(node, token, question, began):
    while node.ask("POST", "/v1/decide", question("r"), signed(token)).status == 200:
        assert time.monotonic() - began < 5, "the key lives on"
        time.sleep(0.005)
    return time.monotonic() - began


class TestRevocation:
    @pytest.mark.parametrize("database", ["sqlite", "postgres"])
    def test_it_holds_in_every_process_within_a_second(self, start_node, question, request, database):
        url = request.getfixturevalue("fresh_postgres_url") if database == "postgres" else None
        one = start_node("one", sql_url=url)
        two = start_node(
            "two", sql_url=url or f"sqlite:///{one.data_dir.database}", pepper=one.service.door.pepper
        )
        token = one.give("bot", "decide")
        two.wait(lambda: two.ask("POST", "/v1/decide", question("r"), signed(token)).status == 200)
        began = time.monotonic()
        api_keys.revoke(one.engine, "bot", wall_clock_us(), "test", "")
        took = [seconds_until_refused(node, token, question, began) for node in (one, two)]
        print(f"{database}: refused after {took[0]:.2f} s and {took[1]:.2f} s")
        assert max(took) < WITHIN_S
        assert "was revoked" in one.ask("POST", "/v1/decide", question("r"), signed(token)).json["detail"]

    def test_also_while_slow_reports_hold_every_connection_of_the_worker(
        self, start_node, fresh_postgres_url, question
    ):
        node = start_node(sql_url=fresh_postgres_url)
        token = node.give("bot", "decide")
        slow = [threading.Thread(target=sleep_in, args=(node.engine,)) for _ in range(16)]
        for each in slow:
            each.start()
        time.sleep(0.3)
        began = time.monotonic()
        other = open_engine(fresh_postgres_url)
        api_keys.revoke(other, "bot", wall_clock_us(), "test", "")
        assert seconds_until_refused(node, token, question, began) < WITHIN_S
        for each in slow:
            each.join()
        other.dispose()

    def test_while_sql_is_away_bots_go_on_and_a_file_revokes_here(self, start_node, question):
        node = start_node()
        token, other = node.give("bot", "decide"), node.give("other", "decide", "report")
        with sql_away(node.data_dir.database):
            time.sleep(2.5)
            assert node.ask("POST", "/v1/decide", question("a"), signed(token)).status == 200
            warned = node.ask("GET", "/readyz", None, signed(other)).json
            assert warned["status"] == "ready"
            assert any("API keys were last confirmed" in told for told in warned["warnings"])
            began = time.monotonic()
            revocations.announce(node.data_dir, revocations.Revocation("bot", wall_clock_us(), "ana", "lost"))
            assert seconds_until_refused(node, token, question, began) < WITHIN_S
            assert node.ask("POST", "/v1/decide", question("b"), signed(other)).status == 200
        node.wait(lambda: revoked_by(node, "bot") == "ana", timeout_s=15)
        assert revocations.announced(node.data_dir) == frozenset()
        assert node.ask("POST", "/v1/decide", question("c"), signed(token)).status == 401
        assert audited(node, "key.revoke") == [("ana", "key.revoke")]

    def test_a_kill_works_while_sql_is_away_and_is_audited_afterwards(self, start_node, question):
        node = start_node()
        token = node.give("ops", "admin")
        who = {**signed(token), "x-abctl-actor": "ana"}
        body = {"arm": "transformer", "state": "killed", "reason": "prices look wrong"}
        with sql_away(node.data_dir.database):
            began = time.monotonic()
            assert node.ask("PUT", "/v1/experiments/main/kill", body, who).status == 200
            assert time.monotonic() - began < 2
            assert [k.actor for k in node.service.desk.kills] == ["ops/ana"]
        node.wait(lambda: audited(node, "arm.killed") == [("ops/ana", "arm.killed")], timeout_s=15)
        node.ask("PUT", "/v1/experiments/main/kill", {**body, "state": "lifted"}, who)
        node.wait(lambda: audited(node, "arm.lifted") == [("ops/ana", "arm.lifted")])


CHANGES = {
    ("PUT", "/v1/experiments/{key}"),
    ("PUT", "/v1/experiments/{key}/split"),
    ("PUT", "/v1/experiments/{key}/kill"),
    ("PUT", "/v1/experiments/{key}/shadow"),
    ("POST", "/v1/experiments/{key}/archive"),
}
"""Every operation that changes something for all callers; the next test makes each of these changes."""


def test_every_operation_that_changes_something_is_among_those(start_node):
    paths = start_node().ask("GET", "/openapi.json").json["paths"]
    changing = {(m.upper(), p) for p, found in paths.items() for m in found if m not in {"get", "head"}}
    asking = {("POST", "/v1/experiments/{key}/flagger/{hook}")}
    recording = {("POST", p) for p in ("/v1/decide", "/v1/decide/batch", "/v1/assign", "/v1/outcomes")}
    assert changing - recording - asking == CHANGES


def test_every_change_carries_the_name_of_its_key(start_node):
    node = start_node()
    who = {**signed(node.give("ops", "admin")), "x-abctl-actor": "ana"}
    path = "/v1/experiments/audited"
    node.ask("PUT", path, {"arms": ["base", "transformer"], "control": "base"}, who)
    node.ask("PUT", f"{path}/split", {"arm": "transformer", "share": 0.1, "reason": "start"}, who)
    node.ask("PUT", f"{path}/split", {"restore": 1}, who)
    node.wait(lambda: "audited" in node.service.desk.snapshot.views)
    for state in ("killed", "lifted"):
        node.ask("PUT", f"{path}/kill", {"arm": "transformer", "state": state}, who)
    for arm in ("transformer", None):
        assert node.ask("PUT", f"{path}/shadow", {"arm": arm}, who).status == 200
    assert node.ask("POST", f"{path}/archive", None, who).status == 200
    wanted = ["experiment.create", "split.set", "split.set", "arm.killed", "arm.lifted"]
    wanted += ["shadow.on", "shadow.off", "experiment.archive"]
    node.wait(lambda: len(audited(node, None)) == len(wanted))
    assert sorted(audited(node, None)) == sorted(("ops/ana", action) for action in wanted)


def revoked_by(node, name):
    with node.engine.connect() as connection:
        return connection.execute(text("SELECT revoked_by FROM apikey WHERE name = :n"), {"n": name}).scalar()


def audited(node, action):
    """(actor, action) of the audit's rows: of one action, or of the experiment `audited`."""
    where = "action = :action" if action else "experiment = 'audited'"
    with node.engine.connect() as connection:
        rows = connection.execute(text(f"SELECT actor, action FROM audit WHERE {where} ORDER BY id"),
                                  {"action": action} if action else {})  # fmt: skip
        return [tuple(row) for row in rows]


class sql_away:  # noqa: N801
    """Nobody can open a SQLite file: something else stands in its place."""

    def __init__(self, database: Path):
        self.database = database
        self.away = database.with_name("away")

    def __enter__(self):
        self.away.mkdir()
        for path in self.database.parent.glob(f"{self.database.name}*"):
            path.rename(self.away / path.name)
        self.database.mkdir()

    def __exit__(self, *_):
        self.database.rmdir()
        for path in self.away.iterdir():
            path.rename(self.database.parent / path.name)
        self.away.rmdir()
