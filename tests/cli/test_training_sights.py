"""How a training looks: its log, TensorBoard's events, the live view on a terminal, the page in a browser."""

import contextlib
import http.client
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.request import urlopen

import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from arms.training import Epoch
from cli.training_board import Board
from cli.training_log import TrainingLog
from cli.training_page import POLICY, TrainingPage, html
from cli.training_run import Audience
from cli.training_view import LiveView, Seen, duration

COMMAND = Path(sys.executable).parent / "abctl"
PATIENCE_S = 60
WORDS = ("model", "train", "--arm", "base", "--output", "m", "--markets", "10", "--no-register")


def epoch(number, of=4, **facts):
    usual = {"loss": 2.0 / number, "accuracy": 0.5, "pnl_usd": -1.0 + number, "pnl_se_usd": 0.25}
    return Epoch(number, of, **{**usual, "samples_per_s": 1000.0, **facts})


THREE = tuple(epoch(number) for number in (1, 2, 3))


def test_the_log_is_as_the_guide_shows_and_events_say_the_same(abctl, tmp_path):
    told = abctl(*WORDS, "--epochs", "3")
    assert told.code == 0, told.err
    lines = (tmp_path / "m.training" / "training.log").read_text().splitlines()
    form = r"Epoch (\d)/3: Loss=\d+\.\d{4}, Accuracy=\d\.\d{3}"
    assert [re.fullmatch(form, line)[1] for line in lines] == ["1", "2", "3"]
    assert [line.split("  net PnL")[0] for line in told.err.splitlines()] == lines
    held = EventAccumulator(str(tmp_path / "m.training" / "events")).Reload()
    loss, accuracy = held.Scalars("loss"), held.Scalars("accuracy")
    assert [
        f"Epoch {one.step}/3: Loss={one.value:.4f}, Accuracy={other.value:.3f}"
        for one, other in zip(loss, accuracy, strict=True)
    ] == lines
    assert abctl(*WORDS, "--epochs", "2").code == 0
    assert len((tmp_path / "m.training" / "training.log").read_text().splitlines()) == 2, "a new training"
    held = EventAccumulator(str(tmp_path / "m.training" / "events")).Reload()
    assert [one.step for one in held.Scalars("loss")] == [1, 2]


def scalars(folder):
    held = EventAccumulator(str(folder)).Reload()
    return {tag: [(one.step, one.value) for one in held.Scalars(tag)] for tag in held.Tags()["scalars"]}


@pytest.mark.parametrize("lost", [0, 1])
def test_events_of_a_killed_training_have_every_epoch_once(tmp_path, lost):
    """lost: epochs whose events the kill took; their checkpoint was there already."""
    first = Board(tmp_path / "events")
    first.begun(())
    for one in THREE[: 2 - lost]:
        first.told(one)
    second = Board(tmp_path / "events")
    second.begun(THREE[:2])
    second.told(THREE[2])
    second.ended("done")
    first.ended("killed")
    found = scalars(tmp_path / "events")
    assert set(found) == {"loss", "accuracy", "pnl_usd", "pnl_se_usd", "samples_per_s"}
    for tag, points in found.items():
        assert points == [(one.epoch, pytest.approx(getattr(one, tag))) for one in THREE], tag


@pytest.mark.parametrize(
    "held", ["", "1", "12", "1x", "13"], ids=["nothing", "one less", "all", "half a line", "another training"]
)
def test_the_log_of_a_killed_training_goes_on_without_a_gap(tmp_path, held):
    line = {str(one.epoch): f"{one.line}\n" for one in THREE} | {"x": "Epoch 2/4: Lo"}
    path = tmp_path / "m.training" / "training.log"
    path.parent.mkdir()
    path.write_text("".join(line[word] for word in held))
    log = TrainingLog(path)
    log.begun(THREE[:2])
    assert path.read_text() == line["1"] + line["2"]
    log.told(THREE[2])
    assert path.read_text() == line["1"] + line["2"] + line["3"], "not only when the file is closed"
    log.ended("done")


def test_a_full_disk_for_the_log_ends_no_training(tmp_path, capfd):
    class Full:
        def begun(self, before):
            raise OSError(28, "No space left on device")

    told = []

    class Listening:
        begun = ended = batch = lambda self, what: told.append(what)

        def told(self, epoch):
            told.append(epoch)

    audience = Audience([Full(), Listening()])
    audience.begun(())
    audience.told(THREE[0])
    audience.ended("done")
    assert told == [(), THREE[0], "done"]
    assert audience.reached == 1
    assert "(no more Full: [Errno 28] No space left on device)" in capfd.readouterr().err


def test_time_left_counts_only_what_this_run_took():
    now = iter([100.0, 110.0, 113.0])
    seen = Seen("title", 4, lambda: next(now))
    seen.begun(THREE[:1])
    seen.told(THREE[1])
    assert seen.left_s == 20.0
    seen.batch(0.5)
    assert seen.left_s == pytest.approx(13.0 / 1.5 * 1.5)
    assert seen.best == THREE[1]
    assert (duration(9.4), duration(83), duration(3723)) == ("0:09", "1:23", "1:02:03")


def test_the_view_shows_the_newest_and_the_best():
    with Path(os.devnull).open("w") as nowhere:
        seen = Seen("base/fast on w, torch", 4)
        view = LiveView(seen, Console(file=nowhere, width=70, force_terminal=True))
        view.begun(())
        view.told(THREE[2])
        view.told(epoch(4, pnl_usd=-3.0, loss=0.125))
        view.ended("done")
        console = Console(width=70, record=True, file=nowhere)
        console.print(view._picture())
    shown = [re.sub(r"\s{2,}", "  ", line.strip()) for line in console.export_text().splitlines()]
    assert shown[0] == "base/fast on w, torch"
    assert shown[1].startswith("epoch 2/4 ") and " 50% " in shown[1] and shown[1].endswith(" left")
    assert shown[2:] == [
        "loss  0.1250",
        "accuracy  0.500",
        "net PnL per market  -$3.00 ± 0.250",
        "best  +$2.00 ± 0.250, epoch 3",
        "samples/s  1,000",
    ]


def test_on_a_terminal_it_is_drawn_in_place(tmp_path):
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    with subprocess.Popen(
        [COMMAND, *WORDS, "--epochs", "2"], cwd=tmp_path, env=environment, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        drawn = b""
        with contextlib.suppress(OSError):  # the other side is closed
            while part := os.read(ours, 65_536):
                drawn += part
        assert process.wait(PATIENCE_S) == 0
    os.close(ours)
    text = drawn.decode()
    assert "base/fast on decoy-fast, torch" in text
    assert "epoch 2/2" in text and "100%" in text
    assert "Loss=" not in text, "no lines beside the picture"
    assert "\x1b[?25h" in text, "the cursor is back"
    assert re.search(r"model [0-9a-f]{32} in m", text)


def got(url, host=None):
    parts = re.fullmatch(r"http://([\d.]+):(\d+)(/.*)", url)
    connection = http.client.HTTPConnection(parts[1], int(parts[2]), timeout=10)
    connection.request("GET", parts[3], headers={} if host is None else {"Host": host})
    answer = connection.getresponse()
    return answer.status, answer.getheaders(), answer.read().decode()


@pytest.fixture
def page():
    made = TrainingPage(Seen("base/fast on <w>, torch", 4), 0)
    yield made
    made.was_told("done")
    with contextlib.suppress(OSError):
        made.ended("done")


def test_the_page_tells_what_was_reported(page):
    page.begun(())
    page.told(THREE[0])
    page.told(epoch(2, loss=float("inf")))
    page.batch(0.25)
    state = json.loads(got(page.url + "state.json")[2])
    assert state | {"left_s": None} == {
        "title": "base/fast on <w>, torch",
        "state": "training",
        "epochs": 4,
        "epoch": 3,
        "share": 0.25,
        "left_s": None,
        "best": 2,
        "reports": [
            {"epoch": 1, "epochs": 4, "loss": 2.0, "accuracy": 0.5, "pnl_usd": 0.0, "pnl_se_usd": 0.25,
             "samples_per_s": 1000.0},
            {"epoch": 2, "epochs": 4, "loss": None, "accuracy": 0.5, "pnl_usd": 1.0, "pnl_se_usd": 0.25,
             "samples_per_s": 1000.0},
        ],
    }  # fmt: skip
    assert state["left_s"] >= 0


def test_the_page_runs_only_its_own_script_and_answers_only_this_machine(page):
    status, headers, text = got(page.url)
    assert (status, text) == (200, html())
    assert dict(headers)["Content-Security-Policy"] == POLICY
    assert "'unsafe-inline'" not in POLICY
    assert not re.search(r"(?:src|href)=\"(?!data:,)", text), "nothing from elsewhere"
    assert got(page.url, "evil.example")[0] == 403
    assert got(page.url + "state.json", "evil.example:80")[0] == 403
    assert got(page.url, "localhost:1")[0] == 200
    assert got(page.url + "../../etc/passwd")[0] == 404


def test_who_looks_sees_the_end(page):
    page.begun(())
    got(page.url + "state.json")
    ending = threading.Thread(target=page.ended, args=("done",))
    ending.start()
    states = []
    while ending.is_alive():
        with contextlib.suppress(OSError, http.client.HTTPException):
            states.append(json.loads(got(page.url + "state.json")[2])["state"])
    ending.join(PATIENCE_S)
    assert states[-1] == "done"
    with pytest.raises(OSError, match="refused"):
        got(page.url)


def test_a_taken_port_is_said(abctl, page):
    port = page.url.rsplit(":", 1)[1].strip("/")
    told = abctl(*WORDS, "--epochs", "1", "--dashboard", "--port", port)
    assert told.code == 3
    assert told.sentence == f"--port {port} cannot be had (Address already in use): name another, or 0"


def test_the_command_serves_its_page_while_it_trains(tmp_path):
    said = tmp_path / "said"
    words = [COMMAND, *WORDS, "--epochs", "400", "--dashboard"]
    with (
        said.open("w") as out,
        subprocess.Popen(words, cwd=tmp_path, stdout=out, stderr=out) as process,
    ):
        deadline = time.monotonic() + PATIENCE_S
        while said.read_text().count("Epoch ") < 2:
            assert process.poll() is None, said.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        url = re.search(r"dashboard: (http://127\.0\.0\.1:\d+/)", said.read_text())[1]
        with urlopen(f"{url}state.json", timeout=10) as answer:
            state = json.load(answer)
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE_S)
    assert state["title"] == "base/fast on decoy-fast, torch"
    lines = (tmp_path / "m.training" / "training.log").read_text().splitlines()
    shown = [
        f"Epoch {r['epoch']}/400: Loss={r['loss']:.4f}, Accuracy={r['accuracy']:.3f}"
        for r in state["reports"]
    ]
    assert len(shown) >= 1 and lines[: len(shown)] == shown
