"""A real `abctl model train` that is killed, interrupted or stopped by its losses: nothing is lost."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli import failures

COMMAND = Path(sys.executable).parent / "abctl"
PATIENCE_S = 60
SMALL = ("--arm", "transformer", "--epochs", "5", "--markets", "40", "--no-register")
PLAYS = (
    "--method", "ppo", "--arm", "base", "--epochs", "5", "--markets", "20", "--learning-rate", "0.003",
    "--no-register",
)  # fmt: skip
EXPLODES = ("--arm", "base", "--epochs", "6", "--markets", "10", "--batch-size", "252", "--no-register")


def started(folder, *words):
    """The command as a process of its own; what it says goes to one file per run."""
    with (folder / "said").open("w") as said:
        return subprocess.Popen(
            [COMMAND, "model", "train", *words], cwd=folder, stdout=said, stderr=said, start_new_session=True
        )


def until(process, is_so):
    """Waits for it while the process lives; whether it came."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        if process.poll() is not None:
            return False
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return True


def logged(folder):
    log = folder / "m.training" / "training.log"
    return log.read_text().splitlines() if log.exists() else []


def said(folder):
    return (folder / "said").read_text()


def model_in(told):
    return re.search(r"model ([0-9a-f]{32}) in m", told).group(1)


@pytest.mark.parametrize(
    ("method", "backend", "kills"),
    [
        (SMALL, "torch", ((1, 0.0), (2, 0.05))),
        (SMALL, "mlx", ((1, 0.02), (2, 0.05))),
        (PLAYS, "torch", ((1, 0.1), (4, 0.1))),
        (PLAYS, "mlx", ((1, 0.0), (4, 0.1))),
    ],
    ids=["bc-torch", "bc-mlx", "ppo-torch", "ppo-mlx"],
)
def test_killed_again_and_again_it_gives_the_same_model(abctl, tmp_path, method, backend, kills):
    """kills: after how many epochs, and how long after the last of them. Each time at another place of an
    epoch; the file system stays, the process does not. ppo teaches its actor from the fourth epoch on."""
    words = (*method, "--output", "m", "--backend", backend)
    whole = abctl("model", "train", *words)
    assert whole.code == 0, whole.err
    lines = logged(tmp_path)
    assert json.loads((tmp_path / "m" / "config.json").read_text())["trained"]["epochs"] > 0, "no mere start"
    for path in sorted((tmp_path / "m").iterdir()):
        path.unlink()
    (tmp_path / "m.training" / "training.log").unlink()
    killed = 0
    for epochs, rest_s in kills:
        process = started(tmp_path, *words)
        if until(process, lambda epochs=epochs: len(logged(tmp_path)) >= epochs):
            time.sleep(rest_s)
            os.killpg(process.pid, signal.SIGKILL)
            killed += process.wait(PATIENCE_S) == -signal.SIGKILL
    assert killed == 2, said(tmp_path)
    assert list((tmp_path / "m").iterdir()) == []
    last = abctl("model", "train", *words)
    assert last.code == 0, last.err
    assert re.search(
        r"^going on after epoch [234]/5 from m.training/checkpoint.safetensors$", last.err, re.MULTILINE
    )
    assert model_in(last.out) == model_in(whole.out)
    assert logged(tmp_path) == lines
    assert sorted(path.name for path in (tmp_path / "m.training").iterdir()) == ["events", "training.log"]


def test_ctrl_c_ends_it_with_how_to_go_on(tmp_path):
    process = started(tmp_path, *SMALL, "--output", "m")
    assert until(process, lambda: len(logged(tmp_path)) >= 2)
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == failures.INTERRUPTED
    told = said(tmp_path).splitlines()
    reached = len(logged(tmp_path))
    assert told[-1] == (
        f"abctl: interrupted: epoch {reached} of 5 is kept in m.training/checkpoint.safetensors; the same "
        "command goes on from there, and with --finish it makes a model of the best epoch so far"
    )
    assert "Traceback" not in said(tmp_path)
    process = started(tmp_path, *SMALL, "--output", "m", "--finish")
    assert process.wait(PATIENCE_S) == 0, said(tmp_path)
    assert f"going on after epoch {reached}/5" in said(tmp_path)
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    assert 1 <= config["trained"]["epochs"] <= reached


@pytest.mark.parametrize("backend", ["torch", "mlx"])
def test_a_loss_that_is_not_finite_names_its_batch_and_what_is_kept(abctl, tmp_path, backend):
    words = (*EXPLODES, "--output", "m", "--backend", backend)
    told = abctl("model", "train", *words, "--learning-rate", "1e18")
    assert told.code == failures.REFUSED
    sentence = told.err.splitlines()[-1]
    number = int(re.search(r"the loss of epoch (\d+), batch 1 is (inf|nan)", sentence).group(1))
    assert number > 1
    assert f"epoch {number - 1} is kept in m.training/checkpoint.safetensors" in sentence
    assert "with --finish, or start again with --no-resume --learning-rate 2.5e+17" in sentence
    assert not (tmp_path / "m").exists()
    again = abctl("model", "train", *words, "--learning-rate", "1e18")
    assert again.err.splitlines()[-1] == sentence, "going on meets the same batch"
    other = abctl("model", "train", *words)
    assert other.code == failures.REFUSED
    assert "is of a training with learning rate 1e+18, not 0.002" in other.sentence
    finished = abctl("model", "train", *words, "--learning-rate", "1e18", "--finish")
    assert finished.code == 0, finished.err
    slower = abctl("model", "train", *words, "--no-resume")
    assert slower.code == 0, slower.err
    assert model_in(slower.out) != model_in(finished.out)


def test_two_trainings_of_one_output_do_not_meet(abctl, tmp_path):
    process = started(tmp_path, *SMALL, "--output", "m")
    assert until(process, lambda: logged(tmp_path))
    told = abctl("model", "train", *SMALL, "--output", "m")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(PATIENCE_S)
    assert told.code == failures.CONFLICT
    assert told.sentence.startswith("another training holds m.training: wait for it")
