"""Metrics that meet a full disk: counted all the same, and nobody dies of it."""

import os
import resource
import subprocess
import sys

import pytest

from cli.metrics_room import KINDS, ROOM_BYTES

COUNT = """
import sys
from pathlib import Path
from cli.metrics_room import share_metrics
print(share_metrics(Path(sys.argv[1])))
from router import lag, metrics
for n in range(40):
    metrics.observe_request(f"/v1/{n}", 200, 0.01)
metrics.flush()
lag.note(7)
said = metrics.exposition().decode()
print(said.count("abctl_requests_total{"))
"""


def run(folder, limit=None):
    environment = {name: value for name, value in os.environ.items() if "PROMETHEUS" not in name}
    return subprocess.run(
        [sys.executable, "-c", COUNT, str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limit,
    )


def test_every_block_is_taken_before_the_first_value(tmp_path):
    done = run(tmp_path)
    assert done.stdout.split() == ["True", "40"], done.stderr
    kinds = {path.name.rsplit("_", 1)[0] for path in tmp_path.glob("*.db")}
    assert kinds == set(KINDS), "a kind of metric without room of its own"
    for path in tmp_path.glob("*.db"):
        assert path.stat().st_blocks * 512 >= ROOM_BYTES
        assert path.stat().st_size == ROOM_BYTES, "it grew: give it more room"


def test_without_room_it_counts_for_itself_and_says_so(tmp_path):
    """A limit on the size of files stands for a disk that has none left."""

    def no_room():
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM_BYTES // 2, ROOM_BYTES // 2))

    done = run(tmp_path, no_room)
    assert done.stdout.split() == ["False", "40"], done.stderr
    assert "has no room for metrics" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs root to mount a small disk")
def test_a_disk_that_fills_up_later_ends_nobody(tmp_path):
    """A real one of 2 MiB, filled to the last block between the first value and the others."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        filling = COUNT.replace(
            "from router import",
            "f = open(sys.argv[1] + '/fill', 'wb', buffering=0)\n"
            "try:\n    while True: f.write(bytes(4096))\nexcept OSError: pass\nfrom router import",
        )
        done = subprocess.run(
            [sys.executable, "-c", filling, str(disk)], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout.split()) == (0, ["True", "40"]), done.stderr
    finally:
        subprocess.run(["umount", disk], check=True)
