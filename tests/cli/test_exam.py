"""`abctl model evaluate` and `compare` with the models that ship, on simulated and recorded markets."""

import json
import re
import shutil

import pytest

from arms.artefact import read_artefact
from cli import failures
from cli.starters import starters_folder

WORLD = ("--world", "decoy-fast", "--markets", "60")
BASE, TRANSFORMER = (str(starters_folder() / arm) for arm in ("base", "transformer"))


def evaluated(abctl, *words):
    done = abctl("model", "evaluate", *words, "--json")
    assert done.code == failures.OK, done.err
    return json.loads(done.out)


def compared(abctl, *words):
    both = ("--base-model", BASE, "--transformer-model", TRANSFORMER)
    done = abctl("model", "compare", *both, *words, "--json")
    assert done.code == failures.OK, done.err
    return json.loads(done.out)


def test_a_model_stands_beside_what_needs_no_learning(abctl):
    found = evaluated(abctl, "--model", TRANSFORMER, *WORLD, "--compare-with", BASE)
    assert found["schema"] == "abctl.evaluation/1"
    assert found["exam"]["markets"] == found["exam"]["windows"] == 60
    assert set(found["beside"]) == {BASE, "hold", "random", "momentum", "mean reversion"}
    assert found["score"]["pnl_usd"]["low"] > 0.0
    assert all(beside["difference_usd"]["low"] > 0.0 for beside in found["beside"].values())
    assert found["warnings"] == []
    assert found["model"]["id"] == read_artefact(starters_folder() / "transformer").id
    assert 0.0 < found["latency_ms"]["p50"] <= found["latency_ms"]["p99"]
    assert 0.0 < found["agreement"]["balanced_accuracy"] < 1.0


def test_in_words(abctl):
    out = " ".join(abctl("model", "evaluate", "--model", BASE, *WORLD).out.split())
    assert "60 markets in 60 windows of 1 day" in out
    assert re.search(r"Earns at least \$[0-9.]+ a market more than momentum", out)
    assert re.search(r"than hold|from hold|Against hold", out)
    assert "A decision takes" in out


def test_markets_of_the_training_are_refused(abctl):
    done = abctl("model", "evaluate", "--model", BASE, *WORLD, "--seed", "0")
    assert done.code == failures.REFUSED
    assert "60 of the 60 markets were in the training of model" in done.sentence
    assert "give others" in done.sentence


def test_a_model_that_does_not_say_what_it_has_seen_is_doubted(abctl, tmp_path):
    shutil.copytree(BASE, tmp_path / "silent")
    config = tmp_path / "silent" / "config.json"
    facts = json.loads(config.read_text())
    del facts["trained"]["markets"]
    config.write_text(json.dumps(facts))
    found = evaluated(abctl, "--model", "silent", *WORLD)
    assert found["warnings"] == [
        "model silent does not say which markets it was made from: make sure that none is here"
    ]


def test_both_play_the_same_markets(abctl, tmp_path):
    found = compared(abctl, *WORLD, "--html", "page.html")
    gaps = [m["transformer_usd"] - m["base_usd"] for m in found["markets"]]
    assert found["difference_usd"]["estimate"] == pytest.approx(sum(gaps) / 60)
    assert found["difference_usd"]["low"] > 0.0
    apart = found["disagreement"]
    assert sum(map(sum, apart["actions"])) == apart["ticks"]
    off = apart["ticks"] - sum(apart["actions"][i][i] for i in range(3))
    assert apart["share"] == pytest.approx(off / apart["ticks"])
    page = (tmp_path / "page.html").read_text()
    assert page.count("<svg") == 2
    assert "The transformer earns at least" in page
    assert "<script" not in page


def test_a_model_against_itself_is_not_distinguishable(abctl):
    words = ("--base-model", BASE, "--transformer-model", BASE, *WORLD)
    out = " ".join(abctl("model", "compare", *words).out.split())
    assert "Nothing can be said of the difference on 60 markets of 1 day: all clusters came out alike" in out
    assert "0.0% differ" in out


def test_a_name_cannot_write_html(abctl, tmp_path):
    evil = tmp_path / "<b onclick=x>"
    shutil.copytree(BASE, evil)
    words = ("--base-model", str(evil), "--transformer-model", TRANSFORMER, *WORLD, "--html", "page.html")
    assert abctl("model", "compare", *words).code == failures.OK
    page = (tmp_path / "page.html").read_text()
    assert "<b onclick" not in page
    assert "&lt;b onclick=x&gt;" in page


def test_registered_models_by_the_beginning_of_their_id(abctl):
    assert abctl("model", "import", BASE, "--arm", "base").code == failures.OK
    short = read_artefact(starters_folder() / "base").id[:10]
    found = evaluated(abctl, "--model", short, *WORLD)
    assert found["model"]["id"].startswith(short)
    (entry,) = [e for e in json.loads(abctl("model", "list", "--json").out) if e["id"].startswith(short)]
    assert entry["facts"]["trained"]["markets"] == 1400


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("evaluate", "--model", "nothing", *WORLD), failures.NOT_FOUND, "no database"),
        (("evaluate", "--model", BASE), failures.USAGE, "--test-data DIR or --world NAME"),
        (("evaluate", "--model", BASE, *WORLD, "--test-data", "x"), failures.USAGE, "one of them"),
        (("evaluate", "--model", BASE, "--world", "moon"), failures.REFUSED, "--world must be one of"),
        (("evaluate", "--model", BASE, "--test-data", "x"), failures.REFUSED, "markets.parquet is missing"),
        (
            ("compare", "--base-model", BASE, "--transformer-model", BASE, *WORLD, "--test-days", "7"),
            failures.USAGE,
            "--test-days counts days of a recording",
        ),
    ],
)
def test_what_is_wrong_is_said(abctl, words, code, said):
    done = abctl("model", *words)
    assert done.code == code, done.err
    assert said in done.err


def test_recorded_markets(abctl, shared_part, tmp_path):
    raw = shared_part("data", "polymarket_btc15m_1s")
    assert abctl("data", "import", raw, "recording").code == failures.OK
    found = compared(abctl, "--test-data", "recording", "--test-days", "1")
    everything = compared(abctl, "--test-data", "recording")
    assert 0 < found["exam"]["markets"] < everything["exam"]["markets"]
    assert found["exam"]["days"] <= 2
    print(json.dumps(everything["difference_usd"]))


def test_a_market_of_the_training_is_known_by_its_name_though_another_saw_it(abctl, tmp_path, recording):
    """Two recorders of one market: a row is missing, so no quote's digest is the same."""
    recording(tmp_path / "ours")
    recording(tmp_path / "theirs", spoil=lambda ticks: ticks.gather_every(2))
    words = ("--arm", "base", "--preset", "fast", "--epochs", "1", "--no-register", "--output", "m")
    assert abctl("model", "train", *words, "--data", "ours").code == failures.OK
    done = abctl("model", "evaluate", "--model", "m", "--test-data", "theirs")
    assert done.code == failures.REFUSED
    assert "were in the training of model m" in done.sentence


def test_the_days_are_of_the_guide_s_folder_unless_another_is_named(abctl, tmp_path, recording):
    recording(tmp_path / "data" / "test")
    assert compared(abctl, "--test-days", "7")["exam"]["markets"] == 8
