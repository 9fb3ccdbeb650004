"""What a decision answers, and to whom a unit belongs: over HTTP, in one process and in two."""

import json
import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from arms.artefact import CONFIG, read_artefact
from router.assignment import BUCKETS, arm_salt, bucket
from store import models
from store.clock import wall_clock_us
from store.data_dir import DataDir
from store.journal import frames
from store.records import Decision, Record
from store.valkey import PrivateValkey, private_url


def ms(at_us):
    return at_us // 1000


def journaled(node):
    """Every record in the node's journals, in order."""
    decoder = msgspec.msgpack.Decoder(Record)
    found = []
    for path in sorted(node.data_dir.journals.glob("*/*/*.seg")):
        found += [decoder.decode(f.payload) for f in frames(path.read_bytes(), 0)]
    return found


def test_a_decision_says_everything(node, row):
    node.set_share("0.5")
    reply = node.decide("say-all", history=[row(), row(0.3)], bot="b1", decision_id="d-say-all")
    assert list(reply["probs"]) == ["hold", "buy", "sell"]
    assert sum(reply["probs"].values()) == pytest.approx(1, abs=1e-3)
    assert reply["action"] == max(reply["probs"], key=reply["probs"].get)
    assert reply["propensity"] == {"base": 0.5, "transformer": 0.5}
    assert reply["arm"] == reply["served_arm"]
    assert (reply["reason"], reply["binding"], reply["history_used"]) == ("assigned", "started_at", 2)
    assert reply["split_stale"] is False
    assert reply["latency_us"] > 0
    record = next(r for r in journaled(node) if isinstance(r, Decision) and r.decision_id == "d-say-all")
    assert (record.unit, record.bot, record.arm, record.model) == (
        "say-all",
        "b1",
        reply["arm"],
        reply["model"],
    )


def test_the_same_id_gets_the_same_bytes_and_one_record(node, question):
    body = question("same", decision_id="same-1")
    first, second = node.post("/v1/decide", body), node.post("/v1/decide", body)
    assert first.body == second.body
    assert sum(getattr(r, "decision_id", "") == "same-1" for r in journaled(node)) == 1
    problem = node.refused("/v1/decide", question("another", decision_id="same-1"), 409)
    assert problem["field"] == "decision_id"
    batch = node.post("/v1/decide/batch", {"decisions": [body, question("x", decision_id="same-1")]}).json
    assert batch["decisions"][0] == first.json
    assert batch["decisions"][1]["error"]["status"] == 409


def test_the_same_id_at_the_same_moment_is_one_decision(node, row):
    body = {"unit": "at-once", "history": [row()], "decision_id": "at-once"}
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: node.post("/v1/decide", body).body, range(16)))
    assert len(set(replies)) == 1
    assert sum(getattr(r, "decision_id", "") == "at-once" for r in journaled(node)) == 1


def test_ids_belong_to_their_experiment(node):
    node.create("ids")
    first = node.decide("u-ids", decision_id="shared-id")
    second = node.decide("u-ids-2", decision_id="shared-id", experiment="ids")
    assert (first["experiment"], second["experiment"]) == ("main", "ids")


def test_ids_that_the_service_makes_differ_and_sort_by_time(node):
    ids = [node.decide(f"made-{i}")["decision_id"] for i in range(5)]
    assert len(set(ids)) == 5
    assert [i[:12] for i in ids] == sorted(i[:12] for i in ids)


def test_a_share_of_units_near_the_split(node, question):
    node.set_share("0.5")
    units = [f"share-{i}" for i in range(300)]
    batch = node.post("/v1/decide/batch", {"decisions": [question(u) for u in units]}).json["decisions"]
    treated = {u for u, d in zip(units, batch, strict=True) if d["arm"] == "transformer"}
    assert treated == {u for u in units if bucket(arm_salt("main"), u) < BUCKETS // 2}


def test_a_unit_with_a_start_has_one_arm_in_every_process_and_across_a_change(start_node):
    first = start_node("one")
    second = start_node("two", sql_url=first.engine.url.render_as_string(), arms=())
    began_us = wall_clock_us()
    units = [f"u-{i}" for i in range(40)]
    before = {u: first.decide(u, started_at=ms(began_us))["arm"] for u in units}
    assert set(before.values()) == {"base"}
    time.sleep(0.005)
    first.set_share("1")
    second.wait(lambda: len(second.service.desk.snapshot.views["main"].history) == 2)
    for node in (first, second):
        assert {u: node.decide(u, started_at=ms(began_us))["arm"] for u in units} == before
    fresh_ms = ms(wall_clock_us())
    for node in (first, second):
        assert {node.decide(f"fresh-{i}", started_at=fresh_ms)["arm"] for i in range(20)} == {"transformer"}


def test_the_first_start_binds_and_a_later_one_is_recorded(node):
    began_ms = ms(wall_clock_us())
    node.decide("first-start", started_at=began_ms)
    later = node.decide("first-start", started_at=began_ms + 1)
    assert later["binding"] == "started_at"
    records = [r for r in journaled(node) if getattr(r, "unit", "") == "first-start"]
    assert [r.started_at_us for r in records] == [began_ms * 1000] * 2
    assert [r.sent_started_at_us for r in records] == [began_ms * 1000, began_ms * 1000 + 1000]


def test_without_a_start_the_first_sight_binds_in_redis_for_all_processes(start_node, row):
    first = start_node("one")
    second = start_node("two", sql_url=first.engine.url.render_as_string(), arms=())
    unit = f"seen-{time.time_ns()}"
    asked = {"unit": unit, "history": [row()]}
    assert first.post("/v1/decide", asked).json["binding"] == "redis"
    time.sleep(0.005)
    first.set_share("1")
    second.wait(lambda: len(second.service.desk.snapshot.views["main"].history) == 2)
    late = second.post("/v1/decide", asked).json
    assert (late["arm"], late["binding"], late["split_version"]) == ("base", "redis", 1)
    assert second.post("/v1/assign", {"unit": unit}).json["arm"] == "base"


def test_a_unit_pattern_reads_the_start_from_the_name(node, row):
    pattern = r"(?P<family>.+)-(?P<window>[0-9]+[smhd])-(?P<start>[0-9]+)"
    node.create("named", unit_pattern=pattern)
    start_s = int(time.time()) - 60
    body = {"unit": f"btc-updown-15m-{start_s}", "history": [row()], "experiment": "named"}
    assert node.post("/v1/decide", body).json["binding"] == "pattern"
    old = {**body, "unit": "btc-updown-15m-1500000000"}
    assert "lifetime" in node.refused("/v1/decide", old)["detail"]
    assert node.post("/v1/decide", {**body, "unit": f"other {start_s}"}).json["binding"] == "redis"


@pytest.mark.parametrize("how", ["gone", "hanging"])
def test_without_redis_a_unit_is_bound_here_quickly_and_redis_is_told_later(
    start_node, tmp_path, how, row, tools
):
    place = DataDir(tmp_path / "vk").prepare()
    asked = {"unit": "alone", "history": [row()]}
    server = PrivateValkey(place)
    server.ensure()
    try:
        node = start_node("node", redis_url=private_url(place))
        assert node.post("/v1/decide", {**asked, "unit": "before"}).json["binding"] == "redis"
        os.kill(server.pid, signal.SIGSTOP if how == "hanging" else signal.SIGKILL)
        began = time.perf_counter()
        first = node.post("/v1/decide", asked)
        assert time.perf_counter() - began < 0.35
        assert (first.status, first.json["binding"]) == (200, "local")
        node.set_share("1")
        assert node.post("/v1/decide", asked).json["arm"] == "base"
        if how == "hanging":
            os.kill(server.pid, signal.SIGCONT)
        else:
            server.ensure()
            assert node.post("/v1/decide", asked).json["binding"] == "local"
            tools.vouch(private_url(place), "main")
        node.wait(lambda: node.post("/v1/decide", asked).json["binding"] == "redis")
        assert node.post("/v1/decide", asked).json["arm"] == "base"
        assert node.post("/v1/decide", {**asked, "unit": "new"}).json["arm"] == "transformer"
    finally:
        os.kill(server.pid, signal.SIGCONT)
        server.stop()


def test_a_kill_file_stops_an_arm_within_half_a_second_and_survives_a_restart(start_node, question):
    node = start_node("killed")
    node.set_share("1")
    bound = node.decide("bound-before")
    assert bound["served_arm"] == "transformer"
    kill = {"experiment": "main", "arm": "transformer", "at_us": 1, "actor": "me", "reason": "odd"}
    (node.data_dir.root / "KILL").write_text(json.dumps([kill]))
    time.sleep(0.5)
    after = node.decide("bound-before")
    assert (after["arm"], after["served_arm"], after["reason"]) == ("transformer", "base", "killed")
    assert node.post("/v1/assign", {"unit": "bound-before"}).json["served_arm"] == "base"
    node.decide("first-while-killed")
    assert node.refused("/v1/decide", question("f", force_arm="transformer"), 409)["title"] == "arm killed"
    again = start_node("killed", arms=())
    assert again.decide("after-restart")["reason"] == "killed"
    reply = again.ask("PUT", "/v1/experiments/main/kill", {"arm": "transformer", "state": "lifted"})
    assert reply.json == {"kills": [], "changed": True}
    assert again.decide("bound-before")["served_arm"] == "transformer"
    with node.carrying():
        pass
    with node.engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT unit, excluded, contaminated FROM unit ORDER BY unit").all()
    assert rows == [
        ("after-restart", "killed", 0),
        ("bound-before", None, 0),
        ("first-while-killed", "killed", 0),
    ]


def test_a_kill_by_http_acts_at_once_and_all_killed_is_503(node, question):
    path = "/v1/experiments/main/kill"
    try:
        assert len(node.ask("PUT", path, {"arm": "base", "state": "killed"}).json["kills"]) == 1
        node.set_share("0.1")
        assert node.decide("http-kill", force_arm=None)["served_arm"] == "transformer"
        node.ask("PUT", path, {"arm": "transformer", "state": "killed"})
        reply = node.post("/v1/decide", question("all-killed"))
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")
        assert reply.json["title"] == "all arms killed"
    finally:
        for arm in ("base", "transformer"):
            assert node.ask("PUT", path, {"arm": arm, "state": "lifted"}).status == 200


def test_a_kill_file_that_nobody_can_read_keeps_the_kills_and_says_so(start_node):
    node = start_node("scribble")
    node.set_share("1")
    node.ask("PUT", "/v1/experiments/main/kill", {"arm": "transformer", "state": "killed"})
    (node.data_dir.root / "KILL").write_text("transformer!")
    node.wait(lambda: node.ask("GET", "/readyz").status == 503)
    assert "KILL" in node.ask("GET", "/readyz").json["missing"][0]
    assert node.decide("still")["reason"] == "killed"
    assert node.refused("/v1/experiments/main/kill", {"arm": "base", "state": "killed"}, 503, "PUT")


def test_a_forced_arm_serves_and_the_assigned_arm_stays(node):
    node.set_share("0")
    forced = node.decide("forced", force_arm="transformer")
    assert (forced["arm"], forced["served_arm"], forced["reason"]) == ("base", "transformer", "forced")
    plain = node.decide("forced")
    assert (plain["served_arm"], plain["reason"]) == ("base", "assigned")
    records = [r for r in journaled(node) if getattr(r, "unit", "") == "forced"]
    assert [r.forced for r in records] == [True, False]


def test_an_arm_that_answers_nonsense_is_replaced_by_the_control(start_node, artefacts, question, row):
    node = start_node("odd", arms=("base",))
    node.set_share("1")
    missing = node.decide("no-model")
    assert (missing["arm"], missing["served_arm"], missing["reason"]) == (
        "transformer",
        "base",
        "fallback:no_model",
    )
    node.promote("transformer", artefacts / "odd")
    node.wait(lambda: "transformer" in node.service.desk.lineup.models)
    sane = node.decide("odd-arm")
    assert (sane["served_arm"], sane["action"], sane["history_used"]) == ("transformer", "buy", 1)
    odd = node.decide("odd-arm", history=[row(-1.0)])
    assert (odd["arm"], odd["served_arm"], odd["reason"]) == ("transformer", "base", "fallback:error")
    node.ask("PUT", "/v1/experiments/main/kill", {"arm": "base", "state": "killed"})
    reply = node.post("/v1/decide", question("odd-arm", history=[row(-1.0)]))
    assert reply.status == 503, "a killed control is no stand-in"
    assert reply.json["title"] == "no answer"


def test_without_a_model_of_the_control_nothing_is_answered_and_readyz_says_why(
    start_node, artefacts, question
):
    node = start_node("bare", arms=())
    ready = node.ask("GET", "/readyz")
    assert ready.status == 503
    assert "base" in ready.json["missing"][0]
    reply = node.post("/v1/decide", question())
    assert (reply.status, reply.headers["retry-after"]) == (503, "1")
    assert "abctl model promote" in reply.json["detail"]
    node.promote("base", artefacts / "base")
    node.wait(lambda: node.ask("GET", "/readyz").status == 200)
    assert node.decide()["served_arm"] == "base"


def test_a_damaged_model_is_refused_and_the_old_one_goes_on(start_node, artefacts):
    node = start_node("damaged", arms=("base",))
    before = node.decide()["model"]
    other = read_artefact(artefacts / "transformer").id
    content = {p.name: p.read_bytes() for p in (artefacts / "transformer").iterdir()}
    content["model.onnx"] = content["model.onnx"][:-1]
    entry = models.ModelEntry(other, "base", content[CONFIG].decode(), 1, "test")
    models.register(node.engine, entry, content)
    models.set_alias(node.engine, models.AliasChange("base", "champion", other, 2, "test", "test"))
    node.wait(lambda: any(other in w for w in node.ask("GET", "/readyz").json["warnings"]))
    assert node.ask("GET", "/readyz").status == 200
    assert node.decide("other")["model"] == before


def test_an_action_can_be_drawn_and_its_propensity_is_kept(node):
    node.create("drawn", action_rule="sample")
    replies = [node.decide(f"drawn-{i}", experiment="drawn", decision_id=f"drawn-{i}") for i in range(60)]
    assert len({r["action"] for r in replies}) > 1
    records = {r.decision_id: r for r in journaled(node) if getattr(r, "experiment", "") == "drawn"}
    for reply in replies:
        assert records[reply["decision_id"]].action_propensity == reply["probs"][reply["action"]]


def test_assign_tells_the_same_arm_and_records_nothing(node):
    node.set_share("0.5")
    count = len(journaled(node))
    for i in range(20):
        started = ms(wall_clock_us())
        told = node.post("/v1/assign", {"unit": f"told-{i}", "started_at": started}).json
        assert told["started_at_ms"] == started
        assert told["arm"] == node.decide(f"told-{i}", started_at=started)["arm"]
    assert len(journaled(node)) == count + 20


def test_decisions_go_on_without_sql_and_say_that_the_split_is_stale(start_node):
    node = start_node("nosql", split_lead_s=1.1)
    database = node.data_dir.database
    hidden = database.with_suffix(".away")
    assert node.decide("with-sql")["split_stale"] is False
    for suffix in ("", "-wal", "-shm"):
        path = database.with_name(database.name + suffix)
        if path.exists():
            path.rename(hidden.with_name(hidden.name + suffix))
    database.mkdir()
    node.wait(lambda: node.decide(f"stale-{time.time_ns()}")["split_stale"] is True, timeout_s=6)
    assert node.refused("/v1/experiments/main/split", None, 503, "GET")["title"] == "store unavailable"
    assert node.refused("/v1/experiments/main/report", None, 503, "GET")["status"] == 503
    ready = node.ask("GET", "/readyz")
    assert ready.status == 200, "decisions go on, so the worker stays in its pool"
    assert "SQL" in ready.json["warnings"][0]
    database.rmdir()
    for suffix in ("", "-wal", "-shm"):
        path = hidden.with_name(hidden.name + suffix)
        if path.exists():
            path.rename(database.with_name(database.name + suffix))
    node.wait(lambda: node.decide(f"fresh-{time.time_ns()}")["split_stale"] is False)


def test_a_full_journal_answers_503_and_nothing_unlogged(start_node, question):
    node = start_node("full", journal_quota_bytes=60_000)
    answered = []
    for i in range(400):
        reply = node.post("/v1/decide", question(f"full-{i}", decision_id=f"full-{i}"))
        if reply.status != 200:
            break
        answered.append(f"full-{i}")
    assert (reply.status, reply.headers["retry-after"]) == (503, "1")
    assert reply.json["title"] == "journal full"
    assert [r.decision_id for r in journaled(node)] == answered
    outcome = {
        "kind": "market",
        "unit": "u",
        "pnl_usd": 1,
        "fill": "live",
        "closed_at": 1_767_225_600_000,
        "meta": {"x": "y" * 3900},
    }
    assert node.post("/v1/outcomes", [outcome]).status == 503
    with node.carrying():
        pass
    node.wait(lambda: node.post("/v1/decide", question("after")).status == 200)
    with node.engine.connect() as connection:
        count = connection.exec_driver_sql("SELECT count(*) FROM decision").scalar()
    assert count == len(answered)


def test_metrics_add_up_all_workers_and_labels_are_bounded(tmp_path):
    import sys
    import urllib.request

    refusals, strangers = '{path="/v1/decide",status="422"}', '{path="other",status="404"}'
    environment = {
        **os.environ,
        "ABCTL_DATA_DIR": str(tmp_path / "d"),
        "ABCTL_PORT": "0",
        "ABCTL_WORKERS": "2",
    }
    program = [sys.executable, "-c", "from cli.main import main; main()", "serve"]
    with subprocess.Popen(
        program, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as service:
        try:
            line = service.stdout.readline()
            assert "serves at" in line, line
            url = line.split()[3]
            body = json.dumps({"unit": ""}).encode()
            headers = {"content-type": "application/json"}
            for path in ["/v1/decide"] * 40 + ["/v1/unknown", "/v1/unknown2"]:
                with pytest.raises(urllib.error.HTTPError) as refused:
                    urllib.request.urlopen(urllib.request.Request(url + path, body, headers), timeout=5)
                refused.value.close()
            total, deadline = {}, time.monotonic() + 5
            while time.monotonic() < deadline:  # other workers' counts are there within a quarter of a second
                with urllib.request.urlopen(f"{url}/metrics", timeout=5) as reply:
                    text = reply.read().decode()
                total = dict(
                    line.removeprefix("abctl_requests_total").rsplit(" ", 1)
                    for line in text.splitlines()
                    if line.startswith("abctl_requests_total{")
                )
                if float(total.get(refusals, 0)) + float(total.get(strangers, 0)) >= 42:
                    break
            assert total.pop(refusals) == "40.0"
            assert total.pop(strangers) == "2.0"
            assert {line.split('"')[1] for line in total} <= {"/readyz", "/metrics"}
        finally:
            service.terminate()
            service.wait(20)
