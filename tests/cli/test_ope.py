"""`abctl ope` and `abctl db export --dsjson` on what a real service logged, and VW on the same file."""

import json
import time

import numpy as np
import onnx
import pytest
import vowpalwabbit
from onnx import TensorProto, helper, numpy_helper

from cli.demo_course import trade
from cli.failures import NOT_FOUND, REFUSED, USAGE
from cli.own_service import OwnService
from market.bot import Ledger
from market.worlds import DECOY_FAST, tape_of
from stats.off_policy import Logged, ips, weights_of

MARKETS, FEATURES = 40, 18
SAMPLING = 'key = "main"\narms = ["base", "transformer"]\ncontrol = "base"\naction_rule = "sample"\n'


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """The data directory of a service whose arms drew their actions while bots traded."""
    place = tmp_path_factory.mktemp("ope")
    service = OwnService(place / "data")
    service.start()
    try:
        (place / "main.toml").write_text(SAMPLING)
        service.command("experiment", "create", str(place / "main.toml"))
        service.command("split", "set", "transformer", "0.5", "--wait")
        tapes = tuple(tape_of(DECOY_FAST, 77_000 + i) for i in range(MARKETS))
        trade(service.url, place, tapes, "run", Ledger())
        give_up_at = time.monotonic() + 30
        while json.loads(service.command("status", "--json"))["journal_bytes_not_in_sql"] != 0:
            assert time.monotonic() < give_up_at
            time.sleep(0.1)
    finally:
        service.stop()
    return service.data_dir


@pytest.fixture
def ope(abctl, logged, monkeypatch):
    monkeypatch.setenv("ABCTL_DATA_DIR", str(logged))

    def run(*words):
        ran = abctl("ope", *words, "--json")
        assert ran.code == 0, ran.err
        return json.loads(ran.out)

    return run


@pytest.fixture
def dsjson(abctl, logged, tmp_path, monkeypatch):
    monkeypatch.setenv("ABCTL_DATA_DIR", str(logged))
    ran = abctl("db", "export", "--dsjson", tmp_path / "log.json", "--json")
    assert ran.code == 0, ran.err
    lines = [json.loads(line) for line in (tmp_path / "log.json").read_text().splitlines()]
    assert json.loads(ran.out)["decisions"] == len(lines) > 1_000
    return tmp_path / "log.json", lines


def uniform_model(path):
    """Any of the three actions with the same probability, whatever the state."""
    weight = np.zeros((FEATURES, 3), np.float32)
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "uniform",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, FEATURES])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(weight, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def vw_loss(file, flags):
    """VW's average loss, and the probabilities that it gave each action before it learned from a line."""
    told = file.with_suffix(".predictions")
    vw = vowpalwabbit.Workspace(f"--dsjson --cb_explore_adf {flags} -d {file} -p {told} --quiet")
    vw.finish()
    rows = [dict(pair.split(":") for pair in line.split(",")) for line in told.read_text().split()]
    return vw.get_sum_loss() / vw.get_weighted_examples(), [[float(row[i]) for i in "012"] for row in rows]


def test_the_model_that_served_gets_what_its_units_got(ope, logged):
    """All of the way: real histories made again, the real network asked again, the same probabilities."""
    for arm in ("base", "transformer"):
        found = ope("--arm", arm, "--logged-by", arm)
        overlap, values = found["overlap"], found["rewards"]["pnl_usd"]
        assert found["log"]["left_out"] == {"decisions_gone": 0, "other_schema": 0, "history_unknown": 0}
        assert found["log"]["arms"] == [arm]
        assert overlap["effective"] == pytest.approx(found["log"]["units"], rel=1e-3)
        assert overlap["largest"] == pytest.approx(1.0, rel=1e-3)
        assert values["ips"]["estimate"] == pytest.approx(values["logged"]["estimate"], rel=1e-3)
    assert ope("--arm", "transformer")["candidate"]["window"] == 10


def test_vw_reads_the_export_and_says_the_same(abctl, ope, dsjson, tmp_path):
    file, lines = dsjson
    policy = uniform_model(tmp_path / "uniform.onnx")
    ran = abctl("model", "import", policy, "--arm", "uniform", "--window", 1, "--output", "logits", "--json")
    model = json.loads(ran.out)["id"]
    found = ope("--model", model[:12], "--per-decision", "--cap", "1e9")
    loss, _ = vw_loss(file, "--epsilon 1.0 -t")
    assert found["log"]["decisions"] == len(lines)
    assert found["rewards"]["pnl_usd"]["ips"]["estimate"] == pytest.approx(-loss, rel=1e-5)


@pytest.mark.parametrize("flags", ["--cb_type ips", "--cb_type mtr --bag 3"])
def test_what_vw_learns_is_worth_the_same_to_us(dsjson, flags):
    file, lines = dsjson
    loss, wanted = vw_loss(file, flags)
    action = np.array([line["_labelIndex"] for line in lines])
    target = np.array(wanted)[np.arange(len(lines)), action]
    assert target.std() > 0.1
    weights = weights_of(target, np.array([line["_label_probability"] for line in lines]))
    rewards = -np.array([line["_label_cost"] for line in lines])
    found = ips(Logged(rewards, weights, np.arange(len(lines)), stateless=True))
    assert found.estimate == pytest.approx(-loss, rel=1e-3, abs=1e-4)  # VW prints six digits


def test_people_read_what_it_is_not_before_any_number(abctl, logged, monkeypatch):
    monkeypatch.setenv("ABCTL_DATA_DIR", str(logged))
    ran = abctl("ope", "--arm", "transformer", "--action-rule", "argmax")
    assert (ran.code, ran.err) == (0, "")
    words = " ".join(ran.out.split())
    assert words.index("screening only") < words.index("How much of the log") < words.index("Net PnL")
    assert "no overlap" in words
    single = " ".join(abctl("ope", "--arm", "base", "--per-decision").out.split())
    assert "screening only, refused as evidence for a promotion" in single


def test_refusals(abctl, ope, dsjson, tmp_path):
    file, _ = dsjson
    assert abctl("ope").code == abctl("ope", "--arm", "base", "--model", "0f").code == USAGE
    assert abctl("ope", "--arm", "nobody").code == NOT_FOUND
    assert abctl("ope", "--model", "ffff").code == NOT_FOUND
    assert abctl("ope", "--arm", "base", "--experiment", "nobody").code == NOT_FOUND
    assert "must be one of base" in abctl("ope", "--arm", "base", "--logged-by", "nobody").sentence
    again = abctl("db", "export", "--dsjson", file)
    assert again.code == REFUSED and "never overwritten" in again.sentence
    assert abctl("db", "export").code == USAGE
    assert abctl("db", "export", "--dsjson", "x", "--since", "2026-01-01").code == USAGE
    assert abctl("db", "export", "--dsjson", "x", "--parquet", "y").code == USAGE
    assert abctl("db", "export", "--dsjson", "x", "--experiment", "nobody").code == NOT_FOUND
    assert not (tmp_path / "x").exists()
