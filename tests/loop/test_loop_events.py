"""`abctl serve --json`: what happens to a service, a line of JSON each."""

import json
import signal
import subprocess
import sys
import tempfile
import urllib.request

ABCTL = [sys.executable, "-P", "-c", "from cli.main import main; main()"]


def test_ready_then_stopping_then_stopped():
    with tempfile.TemporaryDirectory(prefix="abctl-") as folder:
        words = [*ABCTL, "serve", "--json", "--port", "0", "--data-dir", folder]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            ready = json.loads(process.stdout.readline())
            assert (ready["event"], ready["pid"]) == ("ready", process.pid)
            with urllib.request.urlopen(f"{ready['url']}/readyz", timeout=5) as reply:
                assert json.load(reply)["status"] == "ready"
            process.send_signal(signal.SIGTERM)
            rest = [json.loads(line)["event"] for line in process.stdout]
        assert (rest, process.returncode) == (["stopping", "stopped"], 0)
