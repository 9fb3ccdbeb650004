"""The private Valkey: started, adopted, restarted, and never two on one append-only file."""

import os
import signal
import time
from pathlib import Path

import pytest
import redis

from store.data_dir import DataDir
from store.errors import StoreUnavailable
from store.locks import is_locked
from store.valkey import PrivateValkey, private_url, socket_path

OWNER = """
import sys, time
from pathlib import Path
from store.data_dir import DataDir, owned
from store.valkey import PrivateValkey
place = DataDir(Path(sys.argv[1])).prepare()
with owned(place):
    valkey = PrivateValkey(place)
    valkey.ensure()
    print(valkey.pid, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def place(tmp_path):
    return DataDir(tmp_path / "data").prepare()


@pytest.fixture
def valkey(place):
    valkey = PrivateValkey(place)
    valkey.ensure()
    yield valkey
    PrivateValkey(place).stop()
    valkey.stop()


def client(place):
    return redis.Redis.from_url(private_url(place))


def lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(true, timeout_s=10.0):
    deadline_s = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_it_is_started_once_and_keeps_what_it_holds(place, valkey):
    with client(place) as connection:
        connection.set("a", "1")
        assert connection.config_get("appendonly") == {"appendonly": "yes"}
        assert connection.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    pid = valkey.pid
    assert not valkey.ensure()
    assert valkey.pid == pid
    valkey.stop()
    assert not lives(pid)
    assert valkey.ensure()
    with client(place) as connection:
        assert connection.get("a") == b"1"


def test_killed_it_comes_back_with_its_file(place, valkey):
    with client(place) as connection:
        connection.set("a", "1")
    time.sleep(0.05)
    os.kill(valkey.pid, signal.SIGKILL)
    wait_until(valkey.ensure)
    with client(place) as connection:
        assert connection.get("a") == b"1"


def test_a_living_one_is_adopted(place, valkey):
    second = PrivateValkey(place)
    assert not second.ensure()
    assert second.pid == valkey.pid
    assert not second.ensure()


def test_an_adopted_one_that_dies_is_started_again(place, valkey):
    second = PrivateValkey(place)
    second.ensure()
    os.kill(valkey.pid, signal.SIGKILL)
    valkey._process.wait()
    assert second.ensure()
    second.stop()


def test_a_stale_pid_file_with_a_reused_pid_is_not_believed(place, make):
    stranger = make.python("import time; time.sleep(60)  # valkey-server")
    place.valkey.mkdir()
    (place.valkey / "valkey.pid").write_text(str(stranger.pid))
    valkey = PrivateValkey(place)
    assert valkey.ensure()
    valkey.stop()
    assert stranger.poll() is None
    stranger.kill()
    stranger.communicate()


def test_two_owners_that_both_start_one_get_one(place, make):
    """The data directory's lock forbids it; the server's own lock holds even without."""
    script = OWNER.replace("with owned(place):", "if True:")
    owners = [make.python(script, place.root) for _ in range(2)]
    try:
        first = int(next(iter(owners[0].stdout)))
        wait_until(lambda: lives(first))
        with client(place) as connection:
            serving = connection.info("server")["process_id"]
        running = [
            pid
            for pid in filter(str.isdigit, [path.name for path in Path("/proc").iterdir()])
            if lives(pid) and _cwd(pid) == str(place.valkey) and "valkey-server" in _exe(pid)
        ]
        assert running == [str(serving)]
    finally:
        for owner in owners:
            owner.kill()
            owner.communicate()
        wait_until(lambda: not lives(serving))


def _cwd(pid):
    try:
        return str(Path(f"/proc/{pid}/cwd").readlink())
    except OSError:
        return ""


def _exe(pid):
    try:
        return str(Path(f"/proc/{pid}/exe").readlink())
    except OSError:
        return ""


def test_it_ends_with_an_owner_that_is_killed(place, make):
    owner = make.python(OWNER, place.root)
    pid = int(owner.stdout.readline())
    assert lives(pid)
    owner.kill()
    owner.communicate()
    wait_until(lambda: not lives(pid))


def test_the_next_owner_waits_for_the_last_ones_server(place, make):
    owner = make.python(OWNER, place.root)
    pid = int(owner.stdout.readline())
    owner.kill()
    owner.communicate()
    valkey = PrivateValkey(place)
    valkey.ensure()
    wait_until(lambda: not lives(pid))
    valkey.ensure()
    with client(place) as connection:
        assert connection.info("server")["process_id"] == valkey.pid != pid
    valkey.stop()


@pytest.mark.parametrize("is_known", [True, False], ids=["launched", "launch interrupted"])
def test_stopped_while_it_starts_it_ends_at_once(place, make, monkeypatch, is_known):
    """It holds no lock yet, or has no pid file yet; what lies there is of one that was killed."""
    stranger = make.python("import time; time.sleep(60)")
    place.valkey.mkdir()
    (place.valkey / "valkey.pid").write_text(str(stranger.pid))
    valkey = PrivateValkey(place)

    def interrupted(_timeout_s):
        raise KeyboardInterrupt

    monkeypatch.setattr(valkey, "_answers_within", interrupted)
    with pytest.raises(KeyboardInterrupt):
        valkey.ensure()
    process = valkey._process
    if not is_known:
        valkey._process = None
        wait_until(lambda: is_locked(place.valkey / "running.lock"))
    began_s = time.monotonic()
    valkey.stop()
    assert time.monotonic() - began_s < 5.0
    assert process.wait(0.1) is not None
    assert not lives(valkey.pid)
    assert stranger.poll() is None
    stranger.kill()
    stranger.communicate()


def test_a_frozen_one_is_killed_when_its_owner_stops(place, valkey, monkeypatch):
    monkeypatch.setattr("store.valkey.DEATH_TIMEOUT_S", 0.3)
    pid = valkey.pid
    os.kill(pid, signal.SIGSTOP)
    valkey.stop()
    assert not lives(pid)


def test_one_that_neither_answers_nor_ends_is_named(place, valkey, monkeypatch):
    monkeypatch.setattr("store.valkey.DEATH_TIMEOUT_S", 0.1)
    monkeypatch.setattr("store.valkey._ADOPTION_TIMEOUT_S", 0.1)
    os.kill(valkey.pid, signal.SIGSTOP)
    try:
        with pytest.raises(StoreUnavailable, match=f"end process {valkey.pid}"):
            PrivateValkey(place).ensure()
    finally:
        os.kill(valkey.pid, signal.SIGCONT)


def test_a_server_that_cannot_start_says_where_to_look(place, monkeypatch):
    monkeypatch.setattr("store.valkey._config", lambda *_: "nonsense yes\n")
    with pytest.raises(StoreUnavailable, match=r"valkey\.log"):
        PrivateValkey(place).ensure()


@pytest.mark.parametrize("name", ["x" * 150, 'with space " and quote'])
def test_any_path_of_a_data_directory(tmp_path, name):
    place = DataDir(tmp_path / name).prepare()
    assert len(os.fsencode(socket_path(place))) <= 107
    valkey = PrivateValkey(place)
    valkey.ensure()
    try:
        with redis.Redis(unix_socket_path=str(socket_path(place))) as connection:
            connection.set("a", "1")
        assert (place.valkey / "appendonlydir").is_dir()
        assert socket_path(place).parent.stat().st_mode & 0o077 == 0
    finally:
        valkey.stop()
    if socket_path(place).parent != place.valkey.resolve():
        assert not socket_path(place).parent.exists()
