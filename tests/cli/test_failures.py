"""Failures: one sentence with the remedy, and the documented exit code."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli import failures, gateway
from store.clock import wall_clock_us
from store.data_dir import DataDir, ServiceFile, owned, write_service

COMMAND = Path(sys.executable).parent / "abctl"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["split", "set", "transformer", "0.1234567"], 3, "write 0.123457 instead"),
        (["split", "set", "transformer", "1.5"], 3, "write 10% as 0.1"),
        (["split", "set", "transformer", "abc"], 3, "write 10% as 0.1"),
        (["split", "set", "transformer", "nan"], 3, "write 10% as 0.1"),
        (["split", "set", "transformer", "-0.1"], 3, "must be a number from 0 to 1, not '-0.1'"),
        (["split", "set", "transformer", "-1e-5"], 3, "must be a number from 0 to 1, not '-1"),
        (["split", "set", "transformer", "-1", "--reason", "-0.5"], 3, "from 0 to 1, not '-1'"),
        (["split", "set", "base", "0.5"], 3, "set transformer instead"),
        (["split", "set", "nobody", "0.1"], 4, "must be one of base, transformer"),
        (["split", "restore", "7"], 4, "abctl split history"),
        (["split", "show", "--experiment", "nope"], 4, "abctl experiment list"),
        (["report", "--experiment", "nope"], 4, "abctl experiment list"),
        (["arm", "list"], 4, "nothing here yet"),
        (["experiment", "show", "nope"], 4, "abctl experiment list"),
        (["experiment", "archive", "nope"], 4, "abctl experiment list"),
        (["model", "promote", "ffff"], 4, "nothing here yet"),
        (["data", "info", "nowhere"], 3, "markets.parquet"),
        (["report", "--url", "http://127.0.0.1:1"], 6, "abctl status"),
        (["split", "kill", "transformer", "--url", "http://127.0.0.1:1"], 6, "does not answer"),
        (["report", "--url", "127.0.0.1:8711"], 3, "must begin with http"),
        (["report", "--data-dir", "/dev/null/x"], 3, "name another file or directory"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(abctl, words, code, said):
    told = abctl(*words)
    assert told.code == code
    assert said in told.sentence
    assert told.out == ""


FAILED = [
    (["split", "set", "transformer"], 2, "usage", "Missing argument 'share'."),
    (["split", "set", "transformer", "0.1", "--reson", "x"], 2, "usage", "No such option: --reson"),
    (["split", "nonsense"], 2, "usage", "No such command"),
    (["report", "--format", "csv"], 2, "usage", "contradict each other"),
    (["split", "set", "transformer", "1.5"], 3, "refused", "share must be a number from 0 to 1, not '1.5'"),
    (["split", "show"], 4, "not_found", "nothing here yet"),
    (["key", "create", "a", "--scope", "admin"], 5, "conflict", "choose another one"),
    (["report", "--url", "http://127.0.0.1:1"], 6, "unavailable", "abctl status"),
]


@pytest.mark.parametrize(("words", "code", "kind", "said"), FAILED)
def test_with_json_a_failure_is_a_json_object_in_the_last_line_of_stderr(abctl, words, code, kind, said):
    if kind == "conflict":
        abctl("key", "create", "a", "--scope", "admin")
    told = abctl(*words, "--json")
    assert (told.code, told.out) == (code, "")
    (line,) = told.err.splitlines()
    error = json.loads(line)["error"]
    assert {**error, "message": said} == {"kind": kind, "exit_code": code, "message": said}
    assert said in error["message"]


def test_with_json_a_failure_of_the_service_is_told_the_same(abctl, service):
    told = abctl("split", "show", "--experiment", "nope", "--url", service.url, "--json")
    error = json.loads(told.err)["error"]
    assert (told.code, error["kind"], error["exit_code"]) == (4, "not_found", 4)
    assert "there is no experiment 'nope'" in error["message"]


def test_what_fails_before_settings_are_read_hides_secrets_in_json_too(abctl, monkeypatch):
    monkeypatch.setenv("ABCTL_DATABASE_URL", "postgresql://ada:s3cret@127.0.0.1:1/x")
    told = abctl("report", "--json")
    assert told.code == failures.UNAVAILABLE
    assert "s3cret" not in told.err
    assert json.loads(told.err)["error"]["kind"] == "unavailable"


@pytest.mark.parametrize(
    ("name", "value", "code", "said"),
    [
        ("DATABASE_URL", "postgresql://x@127.0.0.1:1/x", 6, "does not answer"),
        ("DATABASE_URL", "oracel://x", 3, "ABCTL_DATABASE_URL"),
        ("DATABASE_URL", "no url", 3, "ABCTL_DATABASE_URL"),
        ("DATABASE_URL", "sqlite:////nonexistent/x.db", 6, "unable to open"),
        ("PORT", "99999", 3, "ABCTL_PORT"),
        ("PORT", "eighty", 3, "ABCTL_PORT"),
        ("SPLIT_LEAD_S", "0.5", 3, "ABCTL_SPLIT_LEAD_S"),
        ("REDIS_URL", "localhost", 3, "redis://"),
        ("URL", "localhost:8711", 3, "http://"),
    ],
)
def test_a_wrong_setting_is_named(abctl, monkeypatch, name, value, code, said):
    monkeypatch.setenv(f"ABCTL_{name}", value)
    told = abctl("report")
    assert told.code == code
    assert said in told.sentence


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"port = [", "is not TOML"), (b"\xff\xfe", "is not TOML"), (b"prt = 5", "no setting 'prt'")],
)
def test_a_broken_settings_file_is_named(abctl, tmp_path, content, said):
    (tmp_path / "abctl.toml").write_bytes(content)
    told = abctl("status")
    assert told.code == 3
    assert said in told.sentence


def test_a_password_is_never_printed(abctl, monkeypatch):
    monkeypatch.setenv("ABCTL_DATABASE_URL", "postgresql://ada:s3cret@127.0.0.1:1/x")
    for words in (["report"], ["status"], ["doctor"], ["db", "upgrade"]):
        told = abctl(*words)
        assert "s3cret" not in told.out + told.err


def test_a_service_that_holds_the_directory_and_does_not_answer(abctl, tmp_path):
    place = DataDir(tmp_path / ".abctl").prepare()
    write_service(place, ServiceFile("http://127.0.0.1:1", os.getpid(), wall_clock_us()))
    with owned(place):
        assert abctl("report").code == failures.UNAVAILABLE
        assert abctl("status").code == 0
        killed = abctl("split", "kill", "transformer")
    assert killed.code == 0
    assert (place.root / "KILL").is_file()


def test_a_service_file_of_a_dead_service_is_no_obstacle(abctl, tmp_path):
    abctl("db", "upgrade")
    place = DataDir(tmp_path / ".abctl")
    write_service(place, ServiceFile("http://127.0.0.1:1", os.getpid(), wall_clock_us()))
    told = abctl("report")
    assert told.code == 0, "a living stranger has the number, but nobody holds the lock"


def test_a_directory_that_somebody_holds_is_waited_for_and_then_named(abctl, tmp_path, monkeypatch):
    monkeypatch.setattr(gateway, "LOCK_PATIENCE_S", 0.2)
    place = DataDir(tmp_path / ".abctl").prepare()
    with owned(place):
        told = abctl("split", "show")
    assert told.code == failures.CONFLICT
    assert "another --data-dir" in told.sentence


@pytest.mark.parametrize(
    "words",
    [
        ["demo"],
        ["model", "train", "--arm", "base", "--output", "m"],
        ["model", "starters", "--check"],
    ],
)
def test_training_without_the_train_extra_names_it(abctl, monkeypatch, words):
    monkeypatch.setitem(sys.modules, "torch", None)
    told = abctl(*words)
    assert told.code == 3
    assert "abctl[train]" in told.sentence


def test_a_fault_of_ours_keeps_its_traceback(abctl, monkeypatch):
    def broken(**_flags):
        raise ZeroDivisionError

    monkeypatch.setattr("cli.settings.read_settings", broken)
    with pytest.raises(ZeroDivisionError):
        abctl("status")
    told = abctl("status", "--json")
    assert told.code == failures.FAULT
    *before, last = told.err.splitlines()
    assert before[0].startswith("Traceback")
    error = json.loads(last)["error"]
    assert (error["kind"], error["exit_code"]) == ("fault", 1)
    assert error["message"].startswith("ZeroDivisionError() is a fault of abctl")


def test_what_a_command_said_is_read_either_way():
    assert failures.sentence_in('(a remark)\n{"error": {"message": "no"}}') == "no"
    for said in ("abctl: no", "", '{"error": 5}', "[]"):
        assert failures.sentence_in(said) == said


def test_ctrl_c_ends_quietly(tmp_path):
    words = [COMMAND, "split", "set", "transformer", "0.1"]
    environment = os.environ | {"ABCTL_SPLIT_LEAD_S": "30"}
    with subprocess.Popen(
        words, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        first = process.stderr.readline() + process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert "in force everywhere from" in first
    assert (process.returncode, out, err) == (failures.INTERRUPTED, "", "")


def test_a_reader_that_goes_away_ends_the_command_quietly(abctl, tmp_path):
    abctl("db", "upgrade")
    run = [sys.executable, "-c", "from cli.main import main; main()", "report"]
    with subprocess.Popen(run, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        err = process.stderr.read()
        process.wait(30)
    assert (process.returncode, err) == (failures.READER_GONE, b"")


def test_every_exit_code_is_documented_and_met_here(abctl):
    named = {v for k, v in vars(failures).items() if k.isupper() and isinstance(v, int)}
    documented = {int(n) for n in re.findall(r"\b(\d+) [a-z]", failures.__doc__)}
    helped = {int(n) for n in re.findall(r"\b(\d+)\s[a-z]", abctl("--help").out)}
    assert named == documented == helped == {0, 1, 2, 3, 4, 5, 6, 130, 141}


@pytest.mark.parametrize(("status", "code"), [(404, 4), (409, 5), (422, 3), (400, 3), (503, 6), (500, 1)])
def test_what_a_service_refuses_has_the_same_exit_code(status, code):
    assert failures.failure_of_status(status, "why").exit_code == code
