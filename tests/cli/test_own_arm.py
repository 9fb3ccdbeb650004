"""A user's own ONNX file becomes the third arm of an experiment, by the commands of the README."""

import json
import math
import urllib.request

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cli.failures import CONFLICT

WINDOW, FEATURES = 5, 18


@pytest.fixture
def policy(tmp_path):
    """policy(name, favourite, window) writes an ONNX file that always prefers one action, by logits."""

    def write(name="my_policy.onnx", favourite=1, window=WINDOW, width=3, bias=5.0):
        biases = np.zeros(width, np.float32)
        biases[favourite] = bias
        weights = numpy_helper.from_array(np.zeros((window * FEATURES, width), np.float32), "w")
        nodes = [
            helper.make_node("Flatten", ["state"], ["flat"]),
            helper.make_node("Gemm", ["flat", "w", "b"], ["logits"]),
        ]
        graph = helper.make_graph(
            nodes,
            "policy",
            [helper.make_tensor_value_info("state", TensorProto.FLOAT, ["n", window, FEATURES])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", width])],
            [weights, numpy_helper.from_array(biases, "b")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        path = tmp_path / name
        onnx.save(model, path)
        return path

    return write


EXPERIMENT = """\
key = "{key}"
arms = ["base", "transformer", "{arm}"]
control = "base"
"""


def decide(url, unit, experiment):
    body = {"unit": unit, "experiment": experiment, "history": [[0.0] * FEATURES] * 2}
    request = urllib.request.Request(
        f"{url}/v1/decide", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as reply:
        return json.load(reply)


def served_by(url, arm, experiment):
    """Decisions of fresh units until the arm's new model is loaded, which takes up to about a second."""
    import time

    deadline = time.monotonic() + 15
    for n in range(10_000):
        reply = decide(url, f"unit-{experiment}-{n}", experiment)
        if reply["served_arm"] == arm or time.monotonic() > deadline:
            return reply
        time.sleep(0.1)
    return None


def test_from_a_file_to_units_of_its_own(abctl, service, policy, tmp_path, monkeypatch):
    monkeypatch.setenv("ABCTL_DATA_DIR", str(service.data_dir))
    added = abctl("arm", "add", "own", policy(), "--window", WINDOW, "--output", "logits", "--json")
    assert added.code == 0, added.err
    model = json.loads(added.out)["model"]
    (tmp_path / "three.toml").write_text(EXPERIMENT.format(key="three", arm="own"))
    assert "control base has all units" in abctl("experiment", "create", "three.toml").out
    given = abctl("split", "set", "own", "1", "--experiment", "three")
    assert given.code == 0
    assert "warning" not in given.err
    reply = served_by(service.url, "own", "three")
    assert (reply["arm"], reply["served_arm"], reply["action"]) == ("own", "own", "buy")
    assert reply["model"] == model
    arms = json.loads(abctl("arm", "list", "--experiment", "three", "--json").out)
    assert arms[2] == {"arm": "own", "role": "treatment", "model": model}
    assert "own          treatment" in abctl("arm", "list", "--experiment", "three").out


@pytest.fixture
def champions(abctl):
    """Arm -> model of an experiment."""

    def read(key="main"):
        told = json.loads(abctl("arm", "list", "--experiment", key, "--json").out)
        return {each["arm"]: each["model"] for each in told}

    return read


def test_adding_never_replaces_an_arm(abctl, policy, champions, tmp_path):
    """Not one that serves, nor one that an experiment names, before the first start neither."""
    file, flags = policy(), ("--window", 5, "--output", "logits")
    remedy = "abctl model import {} --arm {} --window 5 --output logits"
    told = abctl("arm", "add", "base", file, *flags)
    assert told.code == CONFLICT
    assert "base is an arm of experiment main" in told.sentence
    assert list(tmp_path.iterdir()) == [file], "nothing is made"
    abctl("db", "upgrade")
    assert abctl("arm", "add", "transformer", file, *flags).code == CONFLICT
    (tmp_path / "g.toml").write_text('key = "g"\narms = ["base", "ghost"]\ncontrol = "base"\n')
    abctl("experiment", "create", "g.toml")
    told = abctl("arm", "add", "ghost", file, *flags)
    assert told.code == CONFLICT
    assert remedy.format(file, "ghost") in told.sentence
    assert "abctl model promote" in told.sentence
    assert champions("g") == {"base": None, "ghost": None}
    model = json.loads(abctl("arm", "add", "own", file, *flags, "--json").out)["model"]
    told = abctl("arm", "add", "own", policy("other.onnx", favourite=2), *flags)
    assert told.code == CONFLICT
    assert f"own serves model {model[:12]} already" in told.sentence
    assert len(json.loads(abctl("model", "list", "--json").out)) == 1
    abctl("experiment", "archive", "g")
    assert abctl("arm", "add", "ghost", file, *flags).code == 0


def test_adding_never_replaces_an_arm_of_a_running_service(abctl, service, policy, champions, monkeypatch):
    monkeypatch.setenv("ABCTL_DATA_DIR", str(service.data_dir))
    before = champions()
    told = abctl("arm", "add", "base", policy(), "--window", 5, "--output", "logits")
    assert told.code == CONFLICT
    assert f"base serves model {before['base'][:12]} already" in told.sentence
    assert champions() == before


def test_import_then_promote_then_a_better_one(abctl, policy):
    first = json.loads(
        abctl(
            "model", "import", policy("a.onnx"), "--arm", "own", "--window", 5, "--output", "logits", "--json"
        ).out
    )
    told = abctl(
        "model", "import", policy("b.onnx", favourite=2), "--arm", "own", "--window", 5, "--output", "logits"
    )
    assert "abctl model promote" in told.out
    assert abctl("model", "promote", first["id"][:12], "--arm", "own", "--json").code == 0
    rows = {row["id"]: row for row in json.loads(abctl("model", "list", "--json").out)}
    assert rows[first["id"]]["champion"]
    assert sum(row["champion"] for row in rows.values()) == 1
    assert "own" in abctl("model", "list").out


def test_a_model_of_another_arm_is_not_promoted(abctl, policy):
    found = json.loads(
        abctl("model", "import", policy(), "--arm", "own", "--window", 5, "--output", "logits", "--json").out
    )
    told = abctl("model", "promote", found["id"], "--arm", "transformer")
    assert told.code == 3
    assert "'own'" in told.sentence


def test_what_cannot_serve_is_refused_before_it_is_registered(abctl, policy, tmp_path):
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    logits = ("--output", "logits")
    refused = [
        (
            ["arm", "add", "own", policy("w.onnx", window=7), "--window", 5, "--output", "logits"],
            "[n, 5, 18] is expected",
        ),
        (
            ["arm", "add", "own", policy("o.onnx", width=4), "--window", 5, "--output", "logits"],
            "[n, 3] is expected",
        ),
        (["arm", "add", "own", policy("p.onnx"), "--window", 5], "output=logits"),
        (["arm", "add", "own", policy("q.onnx"), "--window", 5, "--output", "odds"], "probs or logits"),
        (["arm", "add", "own", tmp_path / "junk.onnx", "--window", 5], "cannot load"),
        (
            ["arm", "add", "My Arm", policy("r.onnx"), "--window", 5, "--output", "logits"],
            "arm 'My Arm' must be 1-63 of a-z, 0-9, _ and -, starting with a letter",
        ),
        (
            ["model", "import", policy("n.onnx", bias=math.nan), "--arm", "own", "--window", 5, *logits],
            "logits must be finite",
        ),
        (
            ["model", "import", policy("i.onnx", bias=math.inf), "--arm", "own", "--window", 5, *logits],
            "logits must be finite",
        ),
        (["model", "import", tmp_path, "--arm", "own"], "belong in an artefact"),
    ]
    for words, said in refused:
        told = abctl(*words)
        assert told.code == 3, words
        assert said in told.sentence
        assert "/model/config.json" not in told.sentence, "it names a file that the user has never seen"
    assert json.loads(abctl("model", "list", "--json").out) == []


def test_an_altered_artefact_is_refused(abctl, tmp_path):
    import shutil

    from cli.starters import starters_folder

    folder = tmp_path / "altered"
    shutil.copytree(starters_folder() / "base", folder)
    golden = json.loads((folder / "golden.json").read_text())
    golden["probs"][0] = [1.0, 0.0, 0.0] if golden["probs"][0][0] < 0.5 else [0.0, 1.0, 0.0]
    (folder / "golden.json").write_text(json.dumps(golden))
    told = abctl("model", "import", folder, "--arm", "base")
    assert told.code == 3
    assert "golden" in told.sentence
    shutil.copytree(starters_folder() / "base", tmp_path / "whole")
    told = abctl("model", "import", tmp_path / "whole", "--arm", "transformer")
    assert told.code == 3
    assert "--arm base" in told.sentence


def test_an_experiment_file_that_breaks_a_rule(abctl, tmp_path):
    for content, said in [
        ("key = ", "is not TOML"),
        ('key = "x"\narms = ["a"]\ncontrol = "a"', "2 to 16 arms"),
        ('key = "x"\narms = ["a", "b"]\ncontrol = "c"', "control"),
        ('key = "x"\narms = ["a", "b"]\ncontrol = "a"\nalpha = 2.0', "alpha"),
        ('key = "x"\narms = ["a", "b"]\ncontrol = "a"\ncolour = "red"', "colour"),
        (
            'key = "x"\narms = "a"\ncontrol = "a"',
            "arms: expected `array`, got `str`; `abctl experiment show main`",
        ),
    ]:
        (tmp_path / "x.toml").write_text(content)
        told = abctl("experiment", "create", "x.toml")
        assert told.code == 3
        assert said in told.sentence
        assert "openapi" not in told.sentence
