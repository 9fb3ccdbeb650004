"""Every command in docs/api.md works as written (but for the port)."""

import re
import shutil
import subprocess
from pathlib import Path

API = Path(__file__).parents[2] / "docs" / "api.md"


def test_every_command_in_the_api_guide_works(node, tmp_path):
    assert shutil.which("curl"), "docs/api.md is written with curl: install it to run this test"
    blocks = re.findall(r"```sh\n(.*?)```", API.read_text(), re.DOTALL)
    script = "\n".join(blocks).replace("127.0.0.1:8711", f"127.0.0.1:{node.port}")
    script = script.replace("curl -s", "echo; curl -s --fail-with-body")
    done = subprocess.run(["bash", "-ec", script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, (done.stdout[-500:], done.stderr)
    assert script.count("curl") > 15
    assert done.stdout.count('"status":422') == 1, "the one bad item of the batch"


def test_the_guide_names_every_path(node):
    text = API.read_text()
    for path in node.ask("GET", "/openapi.json").json["paths"]:
        shown = path.replace("{key}", "main").replace("main/archive", "btc-4h/archive")
        assert shown in text, path
    assert len(text.splitlines()) <= 200
