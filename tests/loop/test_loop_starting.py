"""How a service starts, fails to start, and is stopped while it starts."""

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

READY_TARGET_S = 3.0
READY_MAX_S = 15.0
WORKER_MAX_MB = 400
ABCTL = [sys.executable, "-P", "-c", "from cli.main import main; main()"]


def serve(folder, *words):
    """`abctl serve`, for starts that are to fail."""
    return subprocess.run(
        [*ABCTL, "serve", "--data-dir", folder, *words], capture_output=True, text=True, timeout=60
    )


def sentence_of(done):
    """The one line on stderr."""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert done.stdout == ""
    return lines[0]


def test_a_second_service_on_the_same_data_is_refused(loop):
    done = serve(loop.folder, "--port", "0")
    assert done.returncode == 5
    assert f"{loop.folder} belongs to a running abctl" in sentence_of(done)
    assert '"ready"' in loop.get("/readyz")
    assert loop.service.command("split", "show")
    check_worker(loop)


def check_worker(loop):
    """Serving needs no torch, and its worker stays small after some traffic."""
    (worker,) = loop.pids("worker")
    libraries = Path(f"/proc/{worker}/maps").read_text()
    assert "onnxruntime" in libraries
    assert "libtorch" not in libraries
    status = Path(f"/proc/{worker}/status").read_text()
    (peak,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
    peak_mb = int(peak.split()[1]) / 1024
    print(f"the worker's memory: {peak_mb:.0f} MB")
    assert peak_mb < WORKER_MAX_MB


def test_ready_soon_and_ended_by_ctrl_c(idle_loop, tools):
    began = time.monotonic()
    idle_loop.service.start()
    took_s = time.monotonic() - began
    print(f"ready after {took_s:.1f} s (target: {READY_TARGET_S} s on a quiet machine; see bench/startup.py)")
    assert took_s < READY_MAX_S
    idle_loop.service.process.send_signal(signal.SIGINT)
    assert idle_loop.service.process.wait(20) == 0
    assert idle_loop.processes() == {}
    assert not (idle_loop.folder / "service.json").exists()


def test_a_port_in_use_is_one_sentence(tmp_path, tools):
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        port = stranger.getsockname()[1]
        done = serve(tmp_path / "data", "--port", str(port))
    assert done.returncode == 5
    assert f"cannot listen on 127.0.0.1:{port}" in sentence_of(done)
    assert "--port" in done.stderr
    assert not (tmp_path / "data").exists()
    assert tools.processes_of(tmp_path / "data") == {}


@pytest.mark.parametrize(
    ("number", "delays_s"), [(signal.SIGTERM, (0.0, 0.5, 1.1)), (signal.SIGINT, (0.3, 1.3))]
)
def test_stopped_while_it_starts(idle_loop, tools, number, delays_s):
    """From the moment on at which it listens to signals."""
    for delay_s in delays_s:
        process = idle_loop.service.launch()
        tools.wait_until(lambda pid=process.pid: catches(pid, signal.SIGTERM), 30)
        time.sleep(delay_s)
        process.send_signal(number)
        assert process.wait(20) == 0, idle_loop.service.log.read_text()
        assert idle_loop.processes() == {}
    assert "Traceback" not in idle_loop.service.log.read_text()


def catches(pid, number):
    """Whether a process has a handler for the signal."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (caught,) = [int(line.split()[1], 16) for line in lines if line.startswith("SigCgt")]
    return bool(caught >> (number - 1) & 1)


def test_what_cannot_start_says_why_and_ends(tmp_path, tools):
    with tools.open_loop(ABCTL_REDIS_URL="redis://127.0.0.1:99999") as loop:
        process = loop.service.launch()
        assert process.wait(60) not in {0, 1}
        last = loop.service.log.read_text().splitlines()[-1]
        assert "ended 3 times at its start" in last
        assert "Port out of range" in last
        assert last.startswith("abctl: ")


def test_it_ends_in_order_when_the_process_that_wanted_it_is_killed(tmp_path, tools):
    """`abctl demo` killed with -9 leaves no service behind."""
    with tools.open_loop() as loop:
        owner = (
            "import sys; from pathlib import Path; from cli.own_service import OwnService\n"
            "OwnService(Path(sys.argv[1])).start(); print('ready', flush=True); sys.stdin.read()"
        )
        words = [sys.executable, "-P", "-c", owner, loop.folder]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"ready\n"
            process.kill()
            process.wait()
        tools.wait_until(lambda: not loop.processes(), 15.0)
        assert "Application shutdown complete" in loop.service.log.read_text()
