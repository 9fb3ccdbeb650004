"""Too much to do, or nobody to answer: who is refused keeps its arm, in journal, SQL and report.

The load is real: the arm of one decision is frozen, so that this one stays on its way while others come.
"""

import os
import signal
import threading
from contextlib import contextmanager

import msgspec
import pytest

from cli.settings import Settings
from router.overload import Overload
from store.clock import wall_clock_us
from store.journal import frames
from store.records import Decision, Record, Unserved

KILL = "/v1/experiments/main/kill"


@pytest.fixture(autouse=True)
def no_unit_is_known(fresh_valkey_url):
    """Tests of this file use the same names."""


def journaled(node, kind):
    decoder = msgspec.msgpack.Decoder(Record)
    found = []
    for path in sorted(node.data_dir.journals.glob("*/*/*.seg")):
        found += [decoder.decode(f.payload) for f in frames(path.read_bytes(), 0)]
    return [record for record in found if isinstance(record, kind)]


def sql(node, query):
    with node.engine.connect() as connection:
        return connection.exec_driver_sql(query).all()


def units(node):
    """unit -> arm, excluded, decisions, unserved, bots: what SQL says, once all is carried."""
    with node.carrying():
        pass
    columns = "unit, arm, excluded, decisions, unserved, bots"
    return {unit: tuple(rest) for unit, *rest in sql(node, f"SELECT {columns} FROM unit")}


@pytest.fixture
def overloaded(start_node, artefacts, question, row):
    """overloaded(**settings): a worker that has one decision on its way, and takes one at a time."""

    @contextmanager
    def make(policy="refuse", limit=1, **settings):
        node = start_node(
            "busy", arms=("base",), overload=Overload(limit, policy), arm_timeout_s=30, **settings
        )
        node.set_share("1")
        node.promote("transformer", artefacts / "odd")
        desk = node.service.desk
        node.wait(lambda: "transformer" in desk.lineup.models)
        arm = desk.lineup._aside["transformer"]._process.process.pid
        os.kill(arm, signal.SIGSTOP)
        asked = question("slow", decision_id="slow")
        slow = threading.Thread(target=node.post, args=("/v1/decide", asked))
        slow.start()
        try:
            node.wait(lambda: len(desk.under_way) == 1)
            yield node
        finally:
            os.kill(arm, signal.SIGCONT)
            slow.join(20)
        assert node.post("/v1/decide", asked).status == 200

    return make


def test_who_is_refused_is_assigned_and_unserved_and_answered_when_it_asks_again(overloaded, question):
    with overloaded() as node:
        asked = question("refused", decision_id="r1", bot="b1")
        for _ in range(3):
            reply = node.post("/v1/decide", asked)
            assert (reply.status, reply.headers["retry-after"]) == (503, "1")
            assert reply.headers["content-type"] == "application/problem+json"
            assert reply.json["type"] == "urn:abctl:problem:overloaded"
        assert node.post("/v1/decide", question("refused", bot="b2")).status == 503
        assert node.post("/v1/decide", question("never")).status == 503
        refused = journaled(node, Unserved)
        assert [(r.unit, r.bot, r.reason) for r in refused] == [
            ("refused", "b1", "overloaded"),
            ("refused", "b2", "overloaded"),
            ("never", "default", "overloaded"),
        ], "one of each bot"
        assert refused[0].started_at_us == asked["started_at"] * 1000
    assert units(node) == {
        "slow": ("transformer", None, 1, 0, 1),
        "refused": ("transformer", None, 0, 2, 2),
        "never": ("transformer", None, 0, 1, 1),
    }
    answer = node.post("/v1/decide", asked)
    assert (answer.status, answer.json["decision_id"], answer.json["reason"]) == (200, "r1", "assigned")
    assert node.post("/v1/decide", asked).body == answer.body
    assert units(node)["refused"] == ("transformer", None, 1, 2, 2)
    trace = node.ask("GET", "/v1/decisions/r1").json["decision"]
    assert (trace["unit"], trace["arm"], trace["served_arm"]) == ("refused", "transformer", "transformer")
    report = node.ask("GET", "/v1/experiments/main/report").json
    arm = report["arms"]["transformer"]
    assert (arm["units"], arm["pending"], arm["unserved"], arm["decisions"]) == (3, 3, 2, 2)
    assert report["excluded"]["unserved"] == 2
    assert any("2 of transformer's 3" in warning for warning in report["warnings"])


def test_a_batch_alone_is_no_overload_however_few_are_taken_at_once(start_node, question):
    node = start_node("batch", overload=Overload(limit=2))
    items = [question(f"u{i}", decision_id=f"d{i}") for i in range(5)]
    replies = node.post("/v1/decide/batch", {"decisions": items}).json["decisions"]
    assert [reply["decision_id"] for reply in replies] == [f"d{i}" for i in range(5)]


def test_of_a_batch_those_are_refused_for_whom_there_is_no_room(overloaded, question):
    with overloaded() as node:
        items = [question(f"u{i}", decision_id=f"d{i}") for i in range(3)]
        replies = node.post("/v1/decide/batch", {"decisions": items}).json["decisions"]
        assert {reply["error"]["title"] for reply in replies} == {"overloaded"}
    found = {unit: row[2:4] for unit, row in units(node).items()}
    assert found == {"slow": (1, 0), **{f"u{i}": (0, 1) for i in range(3)}}


def test_what_was_answered_before_is_answered_again_also_when_there_is_no_room(overloaded, question):
    with overloaded() as node:
        desk = node.service.desk
        desk.overload = Overload(limit=2)
        asked = question("early", decision_id="e1", force_arm="base")
        first = node.post("/v1/decide", asked)
        desk.overload = Overload(limit=1)
        assert node.post("/v1/decide", asked).body == first.body
        assert node.post("/v1/decide", question("other", decision_id="e1")).status == 409
        assert [record.unit for record in journaled(node, Unserved)] == []


def test_a_force_that_would_be_refused_is_refused_also_when_there_is_no_room(overloaded, question):
    with overloaded() as node:
        assert node.post("/v1/decide", question("f", force_arm="nobody")).status == 422
        node.ask("PUT", KILL, {"arm": "base", "state": "killed"})
        assert node.post("/v1/decide", question("f", force_arm="base")).status == 409
        assert journaled(node, Unserved) == []


def test_by_policy_the_control_answers_up_to_twice_as_many(overloaded, question):
    with overloaded("control") as node:
        first, second = (node.post("/v1/decide", question(unit)) for unit in ("a", "b"))
        assert (first.status, second.status) == (200, 200)
        assert {(r.json["arm"], r.json["served_arm"], r.json["reason"]) for r in (first, second)} == {
            ("transformer", "base", "fallback:overload")
        }
    assert units(node)["a"] == ("transformer", None, 1, 0, 1)
    assert sql(node, "SELECT fallbacks FROM unit WHERE unit = 'a'") == [(1,)]


@pytest.mark.parametrize("policy", ["refuse", "control"])
@pytest.mark.parametrize("on_way", range(1, 8))
def test_what_is_done_with_how_many(policy, on_way):
    expected = "normal" if on_way <= 3 else "control" if policy == "control" and on_way <= 6 else "refuse"
    assert Overload(3, policy).load(on_way) == expected


def test_the_exclusion_is_what_a_decision_would_have_said(overloaded, question):
    with overloaded() as node:
        node.post("/v1/decide", question("forced", force_arm="base"))
        node.post("/v1/decide", question("plain"))
        node.ask("PUT", KILL, {"arm": "transformer", "state": "killed"})
        node.post("/v1/decide", question("killed"))
        node.post("/v1/decide", question("both", force_arm="base"))
    assert {unit: row[:2] for unit, row in units(node).items() if unit != "slow"} == {
        "forced": ("transformer", "forced"),
        "plain": ("transformer", None),
        "killed": ("transformer", "killed"),
        "both": ("transformer", "forced"),
    }
    answers = {name: node.decide(f"{name}-later", **more) for name, more in
               (("killed", {}), ("both", {"force_arm": "base"}))}  # fmt: skip
    assert {name: answer["reason"] for name, answer in answers.items()} == {
        "killed": "killed",
        "both": "forced",
    }
    held = units(node)
    assert (held["killed-later"][1], held["both-later"][1]) == ("killed", "forced")


class TestNobodyAnswers:
    """The unit was bound and its decision is lost: it counts all the same."""

    def test_without_a_model_of_the_control(self, start_node, artefacts, question):
        node = start_node("bare", arms=())
        asked = question("u", decision_id="d", started_at=wall_clock_us() // 1000)
        for _ in range(2):
            reply = node.post("/v1/decide", asked)
            assert (reply.status, reply.json["title"]) == (503, "no answer")
        (record,) = journaled(node, Unserved)
        assert (record.unit, record.reason, record.killed, record.forced) == ("u", "no_answer", False, False)
        assert units(node) == {"u": ("base", None, 0, 1, 1)}
        node.promote("base", artefacts / "base")
        node.wait(lambda: node.ask("GET", "/readyz").status == 200)
        assert node.post("/v1/decide", asked).json["decision_id"] == "d"
        assert units(node) == {"u": ("base", None, 1, 1, 1)}

    def test_an_arm_that_fails_while_the_control_is_killed(self, start_node, artefacts, question, row):
        node = start_node("odd", arms=("base",))
        node.set_share("1")
        node.promote("transformer", artefacts / "odd")
        node.wait(lambda: "transformer" in node.service.desk.lineup.models)
        node.ask("PUT", KILL, {"arm": "base", "state": "killed"})
        reply = node.post("/v1/decide", question("u", history=[row(-1.0)]))
        assert (reply.status, reply.json["title"]) == (503, "no answer")
        assert units(node) == {"u": ("transformer", None, 0, 1, 1)}

    def test_overload_by_policy_while_the_control_is_killed(self, overloaded, question):
        with overloaded("control") as node:
            node.ask("PUT", KILL, {"arm": "base", "state": "killed"})
            reply = node.post("/v1/decide", question("u"))
            assert (reply.status, reply.json["title"]) == (503, "no answer")
        assert units(node)["u"] == ("transformer", None, 0, 1, 1)

    def test_all_arms_are_killed(self, start_node, question):
        node = start_node("dead")
        for arm in ("base", "transformer"):
            node.ask("PUT", KILL, {"arm": arm, "state": "killed"})
        assert node.post("/v1/decide", question("u")).json["title"] == "all arms killed"
        assert node.post("/v1/decide", question("f", force_arm="base")).status == 409, "its own fault"
        (record,) = journaled(node, Unserved)
        assert (record.unit, record.reason) == ("u", "all_arms_killed")
        assert units(node) == {"u": ("base", "killed", 0, 1, 1)}

    def test_a_full_journal_knows_nothing_and_changes_no_answer(self, start_node, question):
        node = start_node("full", arms=(), journal_quota_bytes=20_000)
        said = {node.post("/v1/decide", question(f"u{i}")).json["title"] for i in range(300)}
        assert said == {"no answer"}
        assert 0 < len(journaled(node, Unserved)) < 300
        assert journaled(node, Decision) == []


def test_the_setting_has_the_default_of_the_worker():
    default = Overload()
    assert (Settings().decisions_at_once, Settings().overload) == (default.limit, default.policy)
