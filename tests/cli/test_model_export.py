"""`abctl model export`: into folders, and to a real S3 server of our own; what it refuses; what it leaves."""

import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import closing

import numpy as np
import pytest
import safetensors.numpy

from arms.artefact import read_artefact
from arms.foreign_weights import shapes_of
from arms.remote_folder import fetched
from cli import failures
from cli.staging import PREFIX, YOUNG_S, ended_in_order, remove_left, staged_beside
from cli.starters import starters_folder

BASE, TRANSFORMER = (starters_folder() / arm for arm in ("base", "transformer"))
FILES = {
    "torch": {"model.pt", "model.pt2"},
    "mlx": {"weights.safetensors", "model.mlxfn"},
    "onnx": {"model.onnx"},
}
PROGRAM = "from cli.main import main; main()"
BESIDE = {"README.md", "artefact", "config.json"}


def names(folder):
    return {entry.name for entry in folder.iterdir()}


@pytest.mark.parametrize("to", FILES)
def test_a_folder_of_files_that_answer_the_same(abctl, tmp_path, to):
    told = abctl("model", "export", "--input", BASE, "--output", "deep/out", "--to", to, "--json")
    assert told.code == failures.OK, told.err
    found = json.loads(told.out)
    assert (found["id"], found["arm"], found["to"]) == (read_artefact(BASE).id, "base", to)
    assert set(found["files"]) == FILES[to]
    assert found["inputs"] == 4096
    assert max(found["largest_difference"].values()) < 1e-5
    assert names(tmp_path / "deep" / "out") == FILES[to] | BESIDE
    assert names(tmp_path / "deep") == {"out"}
    assert names(tmp_path) == {"deep"}


def test_in_words(abctl):
    told = abctl("model", "export", "--input", BASE, "--output", "out", "--to", "onnx")
    assert told.code == failures.OK, told.err
    assert f"model {read_artefact(BASE).id} for onnx in out: model.onnx; on 4,096 inputs at most" in told.out


def test_files_are_readable_as_any_others(abctl, tmp_path):
    (tmp_path / "other").mkdir()
    abctl("model", "export", "--input", BASE, "--output", "out", "--to", "onnx")
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_an_empty_folder_is_filled(abctl, tmp_path):
    (tmp_path / "out").mkdir()
    inode = (tmp_path / "out").stat().st_ino
    assert abctl("model", "export", "--input", BASE, "--output", "out", "--to", "onnx").code == failures.OK
    assert names(tmp_path / "out") == FILES["onnx"] | BESIDE
    assert (tmp_path / "out").stat().st_ino == inode, "it may be a disk of its own"


@pytest.mark.parametrize("to", FILES)
def test_what_was_exported_is_imported_as_the_same_model(abctl, to):
    abctl("model", "export", "--input", TRANSFORMER, "--output", "out", "--to", to)
    told = abctl("model", "import", "out/artefact", "--arm", "transformer", "--json")
    assert told.code == failures.OK, told.err
    assert json.loads(told.out)["id"] == read_artefact(TRANSFORMER).id
    again = abctl("model", "export", "--input", "out", "--output", "again", "--to", "onnx", "--json")
    assert json.loads(again.out)["id"] == read_artefact(TRANSFORMER).id, "an exported folder is an input, too"


def test_a_registered_model_by_the_beginning_of_its_id(abctl, tmp_path):
    model = json.loads(abctl("model", "import", BASE, "--arm", "base", "--json").out)["id"]
    told = abctl("model", "export", "--input", model[:10], "--output", "out", "--to", "mlx", "--json")
    assert told.code == failures.OK, told.err
    assert json.loads(told.out)["id"] == model == read_artefact(tmp_path / "out" / "artefact").id
    abctl("model", "promote", model)
    told = abctl(
        "model", "export", "--input", "base@champion", "--output", "served", "--to", "onnx", "--json"
    )
    assert json.loads(told.out)["id"] == model


def test_weights_from_elsewhere_are_exported_and_stay_the_same_model(abctl, tmp_path):
    rng = np.random.default_rng(0)
    tensors = {n: rng.normal(0, 0.3, shape).astype(np.float32) for n, shape in shapes_of(18).items()}
    safetensors.numpy.save_file(tensors, tmp_path / "w.safetensors")
    model = json.loads(abctl("model", "import", "w.safetensors", "--arm", "base", "--json").out)["id"]
    for to in FILES:
        told = abctl("model", "export", "--input", model, "--output", to, "--to", to)
        assert told.code == failures.OK, told.err
        back = json.loads(abctl("model", "import", f"{to}/artefact", "--arm", "base", "--json").out)
        assert back["id"] == model


def refused(done, said, code=failures.REFUSED):
    assert done.code == code, done.err
    assert said in done.sentence
    assert done.out == ""


def test_a_folder_with_anything_in_it_is_refused(abctl, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    refused(
        abctl("model", "export", "--input", BASE, "--output", "out", "--to", "onnx"),
        "out holds notes.txt: nothing is overwritten",
    )
    assert names(tmp_path / "out") == {"notes.txt"}


@pytest.mark.parametrize("inside", ["ex", "deeper/ex"])
def test_a_folder_inside_of_a_model_is_refused(abctl, tmp_path, inside):
    shutil.copytree(starters_folder() / "base", tmp_path / "own")
    held = sorted(path.name for path in (tmp_path / "own").iterdir())
    own = tmp_path / "own"
    done = abctl("model", "export", "--input", own, "--output", own / inside, "--to", "onnx")
    assert done.code == failures.REFUSED
    assert "inside of model" in done.sentence
    assert sorted(path.name for path in (tmp_path / "own").iterdir()) == held


def test_a_file_is_no_folder(abctl, tmp_path):
    (tmp_path / "out").write_text("mine")
    (tmp_path / "gone").symlink_to("nowhere")
    for output in ("out", "gone"):
        done = abctl("model", "export", "--input", BASE, "--output", output, "--to", "onnx")
        refused(done, f"{output} is no folder")


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        (("--input", BASE, "--to", "tensorflow"), "--to must be one of torch, mlx, onnx", failures.REFUSED),
        (("--input", ".", "--to", "onnx"), "has no config.json", failures.REFUSED),
        (("--input", "file:///not/there", "--to", "onnx"), "holds no file", failures.REFUSED),
    ],
)
def test_wrong_words(abctl, tmp_path, words, said, code):
    refused(abctl("model", "export", *words, "--output", "out"), said, code)
    assert names(tmp_path) == set()


def test_a_model_that_is_not_registered(abctl):
    abctl("model", "import", BASE, "--arm", "base")
    done = abctl("model", "export", "--input", "0123456789", "--output", "out", "--to", "onnx")
    refused(done, "0123456789", failures.NOT_FOUND)


@pytest.mark.parametrize("to", ["torch", "mlx"])
def test_without_the_train_extra_it_says_what_to_install(abctl, monkeypatch, to):
    monkeypatch.setitem(sys.modules, to, None)
    done = abctl("model", "export", "--input", BASE, "--output", "out", "--to", to)
    refused(done, f"{to} is not here: pip install 'abctl[train]'")


def mixed(folder):
    """A sound graph with another model's weights: half of one and half of the other."""
    shutil.copytree(BASE, folder)
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    tensors["actor.fc3.bias"] = tensors["actor.fc3.bias"] + np.array([0, 1e-4, 0], dtype=np.float32)
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")


@pytest.mark.parametrize("to", ["torch", "mlx"])
@pytest.mark.parametrize("output", ["out", "deep/out"])
def test_a_model_that_answers_otherwise_leaves_nothing(abctl, tmp_path, to, output):
    """The smallest difference that matters: 1e-4 in one bias."""
    mixed(tmp_path / "mixed")
    done = abctl("model", "export", "--input", "mixed", "--output", output, "--to", to)
    refused(done, "answers otherwise than model")
    assert names(tmp_path) == {"mixed"}


def ended(folder, number, tell=subprocess.Popen.send_signal):
    """An export that a signal ends in the middle, by way of tell: its code and what it said."""
    program = [sys.executable, "-P", "-c", PROGRAM]
    words = ["model", "export", "--input", TRANSFORMER, "--output", folder / "deep/out", "--to", "torch"]
    with subprocess.Popen([*program, *map(str, words)], stderr=subprocess.PIPE, text=True) as running:
        until_s = time.monotonic() + 60
        while not list(folder.rglob(".abctl-export-*/model")) and time.monotonic() < until_s:
            assert running.poll() is None, running.stderr.read()
            time.sleep(0.002)
        tell(running, number)
        _, said = running.communicate(timeout=60)
    return running.returncode, said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_end_leaves_nothing(tmp_path, number):
    """One that hits a finalizer is for nothing (see below), and the export goes on: then once more."""
    codes = []
    while len(codes) < 4 and failures.INTERRUPTED not in codes:
        folder = tmp_path / str(len(codes))
        folder.mkdir()
        code, said = ended(folder, number)
        codes.append(code)
        assert code in (failures.OK, failures.INTERRUPTED), said
    assert codes[-1] == failures.INTERRUPTED, said
    assert names(folder) == set()


def until_gone(running, number):
    """One signal after the other, faster than a folder is removed."""
    while running.poll() is None:
        running.send_signal(number)
        time.sleep(0.0002)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nor_do_more_of_them_while_it_tidies_up(tmp_path, number):
    """The very last one may come when all is removed, and end the process in its own way."""
    code, said = ended(tmp_path, number, until_gone)
    assert code in (failures.INTERRUPTED, -number), said
    assert names(tmp_path) == set()


def test_a_signal_to_end_long_after_one_that_was_lost_ends_it_still():
    """What a finalizer raises is told to nobody, so the first signal may have been for nothing."""
    with ended_in_order(tidying_s=0.05):
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)


def test_what_a_kill_leaves_the_next_export_removes(abctl, tmp_path):
    ended(tmp_path, signal.SIGKILL)
    (left,) = names(tmp_path)
    words = ("model", "export", "--input", BASE, "--to", "onnx", "--output")
    assert abctl(*words, "first").code == failures.OK
    assert names(tmp_path) == {left, "first"}, "so young it may be of a command that just begins"
    old_s = time.time() - 2 * YOUNG_S
    os.utime(tmp_path / left, (old_s, old_s))
    assert abctl(*words, "second").code == failures.OK
    assert names(tmp_path) == {"first", "second"}


def test_a_folder_that_is_in_use_stays_however_old_and_so_do_links_and_files(tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "notes.txt").write_text("mine")
    (tmp_path / f"{PREFIX}link").symlink_to(tmp_path / "own")
    (tmp_path / f"{PREFIX}file").write_text("mine")
    with staged_beside(tmp_path / "out") as place:
        place.mkdir()
        held = {place.parent.name, f"{PREFIX}link", f"{PREFIX}file", "own"}
        remove_left(tmp_path, time.time() + 1e6)
        assert names(tmp_path) == held and place.is_dir()
    assert names(tmp_path) == held - {place.parent.name}
    assert names(tmp_path / "own") == {"notes.txt"}


@pytest.mark.parametrize("name", ["notes", "abcdefgh"])
def test_a_folder_that_a_user_made_stays_whatever_it_is_called(tmp_path, name):
    own = tmp_path / f"{PREFIX}{name}"
    own.mkdir()
    (own / "mine.txt").write_text("mine")
    remove_left(tmp_path, time.time() + 1e6)
    assert (own / "mine.txt").read_text() == "mine"


@pytest.fixture(scope="session")
def s3_server():
    """A real S3 server on a port of its own, with the bucket `bots`; keys are not checked."""
    moto = pytest.importorskip("moto.server", reason="No S3 server: pip install 'moto[server]' s3fs")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_server, monkeypatch, tmp_path):
    """Environment and an empty bucket, as a reader has them."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("NO_PROXY", "*")
    posted(s3_server, "moto-api/reset")
    client = client_of("s3", s3_server)
    client.create_bucket(Bucket="bots")
    yield client
    posted(s3_server, "moto-api/reset-auth", b"inf")
    client.close()


def client_of(service, url):
    import botocore.session

    return botocore.session.get_session().create_client(service, endpoint_url=url)


def posted(url, path, body=b""):
    request = urllib.request.Request(f"{url}/{path}", body, {"content-type": "text/plain"}, method="POST")
    with urllib.request.urlopen(request, timeout=10) as reply:
        return reply.read()


def keys(client):
    return [entry["Key"] for entry in client.list_objects_v2(Bucket="bots").get("Contents", [])]


def test_to_s3_and_back(abctl, s3, tmp_path):
    url = "s3://bots/models/transformer_rl"
    told = abctl("model", "export", "--input", TRANSFORMER, "--output", url, "--to", "torch", "--json")
    assert told.code == failures.OK, told.err
    assert json.loads(told.out)["output"] == url
    assert set(keys(s3)) == {
        f"models/transformer_rl/{name}"
        for name in (
            "README.md", "config.json", "model.pt", "model.pt2", "artefact/config.json",
            "artefact/golden.json", "artefact/model.onnx", "artefact/model.safetensors",
        )
    }  # fmt: skip
    fetched(url, tmp_path / "back")
    back = abctl("model", "import", "back/artefact", "--arm", "transformer", "--json")
    assert json.loads(back.out)["id"] == read_artefact(TRANSFORMER).id
    again = abctl("model", "export", "--input", url, "--output", "again", "--to", "mlx", "--json")
    assert json.loads(again.out)["id"] == read_artefact(TRANSFORMER).id
    assert names(tmp_path / "again") == FILES["mlx"] | BESIDE


def test_s3_is_not_overwritten(abctl, s3):
    s3.put_object(Bucket="bots", Key="models/base/notes.txt", Body=b"mine")
    done = abctl("model", "export", "--input", BASE, "--output", "s3://bots/models/base", "--to", "onnx")
    refused(done, "s3://bots/models/base already holds notes.txt: nothing is overwritten")
    assert keys(s3) == ["models/base/notes.txt"]


def test_a_bucket_that_is_not_there_is_not_made(abctl, s3):
    done = abctl("model", "export", "--input", BASE, "--output", "s3://nobodys/models", "--to", "onnx")
    refused(done, "s3://nobodys/models cannot be written: The specified bucket does not exist")
    assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == ["bots"]


def test_wrong_keys(abctl, s3, s3_server):
    posted(s3_server, "moto-api/reset-auth", b"0")
    done = abctl("model", "export", "--input", BASE, "--output", "s3://bots/m", "--to", "onnx")
    refused(done, "s3://bots/m may not be written: The AWS Access Key Id you provided does not exist")


def test_no_keys(abctl, s3, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    done = abctl("model", "export", "--input", BASE, "--output", "s3://bots/m", "--to", "onnx")
    refused(done, "s3://bots/m may not be written: Unable to locate credentials; check AWS_ACCESS_KEY_ID")


def test_a_server_that_is_not_there(abctl, s3, monkeypatch):
    with socket.socket() as taken:  # bound and not listening: nobody else gets the port
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        done = abctl("model", "export", "--input", BASE, "--output", "s3://bots/m", "--to", "onnx")
        refused(done, f's3://bots/m does not answer: Could not connect to the endpoint URL: "{url}/bots"')
        done = abctl("model", "export", "--input", "s3://bots/m", "--output", "out", "--to", "onnx")
        refused(done, "s3://bots/m does not answer: Could not connect to the endpoint URL")


ALL_BUT_CONFIG = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": "s3:*", "Resource": ["arn:aws:s3:::bots", "arn:aws:s3:::bots/*"]},
        {"Effect": "Deny", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::bots/*config.json"},
    ],
}


def test_what_was_put_before_a_failure_is_removed(abctl, s3, s3_server, monkeypatch):
    """Somebody who may write all files but config.json."""
    with closing(client_of("iam", s3_server)) as iam:
        iam.create_user(UserName="writer")
        iam.put_user_policy(UserName="writer", PolicyName="p", PolicyDocument=json.dumps(ALL_BUT_CONFIG))
        key = iam.create_access_key(UserName="writer")["AccessKey"]
    posted(s3_server, "moto-api/reset-auth", b"0")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    done = abctl("model", "export", "--input", BASE, "--output", "s3://bots/m", "--to", "onnx")
    refused(done, "s3://bots/m may not be written: Access Denied")
    posted(s3_server, "moto-api/reset-auth", b"inf")
    assert keys(s3) == []
