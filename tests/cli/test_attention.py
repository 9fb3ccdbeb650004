"""`abctl model attention`: of a simulated state, and of a decision that a real service logged."""

import json
import time
import urllib.request

import pytest

from arms.artefact import read_artefact
from cli import failures
from cli.own_service import OwnService
from cli.starters import starters_folder
from market.worlds import DECOY_FAST, tape_of

TRANSFORMER, BASE = (str(starters_folder() / arm) for arm in ("transformer", "base"))
WORLD = ("--world", "decoy-fast", "--tick", "70")
TICKS = 25


def looked(abctl, *words):
    done = abctl("model", "attention", *words, "--json")
    assert done.code == failures.OK, done.err
    return json.loads(done.out)


def test_of_a_simulated_state(abctl, tmp_path):
    found = looked(abctl, "--model", TRANSFORMER, *WORLD, "--html", "a.html", "--png", "a.png")
    assert found["schema"] == "abctl.attention/1"
    assert [tick["ago"] for tick in found["ticks"]] == list(range(10))
    for head in range(found["heads"]):
        assert sum(tick["weights"][0][head] for tick in found["ticks"]) == pytest.approx(1.0)
    assert sum(found["probs"].values()) == pytest.approx(1.0, abs=1e-5)
    assert found["chosen"] == max(found["probs"], key=found["probs"].get)
    page = (tmp_path / "a.html").read_text()
    assert page.count("<svg") == 1
    assert "layer 1, head 2" in page
    assert "<script" not in page
    assert "data:image/png" in page
    assert "img-src data:" in page.split("</head>")[0]
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_sample_needs_nothing_else(abctl):
    found = looked(abctl, "--sample", "--tick", "70")
    assert found == looked(abctl, "--model", TRANSFORMER, *WORLD)


def test_in_words(abctl):
    out = " ".join(abctl("model", "attention", "--model", TRANSFORMER, *WORLD).out.split())
    assert "on market decoy-fast-000000, tick 70" in out
    assert "9 ago" in out
    assert "Weights say where a layer reads" in out


@pytest.fixture(scope="module")
def decided(tmp_path_factory):
    """The data directory of a service that a bot asked at every tick, and the ids of its decisions."""
    service = OwnService(tmp_path_factory.mktemp("attention") / "data")
    service.start()
    try:
        service.command("split", "set", "transformer", "1", "--wait")
        time.sleep(2.5)  # the lead: units that start from then on are the transformer's
        states = tape_of(DECOY_FAST, 800_000).features
        ids = [decision(service.url, states[max(0, t - 19) : t + 1], "watched") for t in range(TICKS)]
        lonely = decision(service.url, states[5:15], "lonely")
        give_up_at = time.monotonic() + 30
        while json.loads(service.command("status", "--json"))["journal_bytes_not_in_sql"] != 0:
            assert time.monotonic() < give_up_at
            time.sleep(0.1)
    finally:
        service.stop()
    return service.data_dir, ids, lonely


def decision(url, history, unit):
    """One answered decision of the transformer: its reply."""
    body = json.dumps(
        {"unit": unit, "bot": "b", "history": history.tolist(), "started_at": int(time.time() * 1000)}
    ).encode()
    request = urllib.request.Request(f"{url}/v1/decide", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as reply:
        found = json.load(reply)
    assert found["served_arm"] == "transformer"
    return found


def test_of_a_logged_decision(abctl, decided, monkeypatch):
    data_dir, ids, _ = decided
    monkeypatch.setenv("ABCTL_DATA_DIR", str(data_dir))
    for at in (0, 3, TICKS - 1):
        found = looked(abctl, "--decision", ids[at]["decision_id"])
        assert found["model"]["id"] == read_artefact(starters_folder() / "transformer").id
        assert len(found["ticks"]) == min(at + 1, 10)
        assert found["probs"] == pytest.approx(ids[at]["probs"], abs=1e-5)
        assert found["source"] == f"decision {ids[at]['decision_id']} of unit watched"


def test_what_cannot_be_made_again_is_said(abctl, decided, monkeypatch):
    data_dir, _, lonely = decided
    monkeypatch.setenv("ABCTL_DATA_DIR", str(data_dir))
    done = abctl("model", "attention", "--decision", lonely["decision_id"])
    assert done.code == failures.REFUSED
    assert "its bot did not ask at every tick" in done.sentence
    unknown = abctl("model", "attention", "--decision", "nothing")
    assert unknown.code == failures.NOT_FOUND
    assert "SQL holds no decision 'nothing' of 'main'" in unknown.sentence


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), failures.USAGE, "--decision ID, --world NAME or --sample"),
        (("--world", "decoy-fast"), failures.USAGE, "--world needs --model"),
        (("--world", "moon", "--model", TRANSFORMER), failures.REFUSED, "--world must be one of"),
        (("--model", BASE, *WORLD), failures.REFUSED, "only a transformer attends"),
        (
            ("--model", TRANSFORMER, "--world", "decoy-fast", "--tick", "150"),
            failures.REFUSED,
            "give one of 0 to 149",
        ),
    ],
)
def test_what_is_wrong_is_said(abctl, words, code, said):
    done = abctl("model", "attention", *words)
    assert done.code == code, done.err
    assert said in done.err
