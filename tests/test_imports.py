"""What a command leaves unimported: help is quick, and serving needs no torch."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = Path(sys.executable).parent / "abctl"
HELP_LEAVES = {"fastapi", "matplotlib", "mlx", "onnxruntime", "polars", "redis", "scipy", "sqlalchemy"}
HELP_LEAVES |= {"sqlmodel", "torch"}
SERVING_LEAVES = {"gymnasium", "matplotlib", "mlx", "onnxscript", "tensorboard", "torch"}
HELP = "from typer.testing import CliRunner; from cli.main import app; CliRunner().invoke(app, ['--help'])"


def modules_after(code):
    """Top-level modules that a fresh interpreter has loaded once the code has run."""
    report = "import json, sys; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_help_answers_from_the_console_script():
    done = subprocess.run([COMMAND, "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "Usage: abctl" in done.stdout


def test_help_leaves_the_heavy_ones_alone():
    loaded = modules_after(HELP)
    assert "typer" in loaded
    assert loaded & HELP_LEAVES == set()


@pytest.mark.parametrize("module", ["router.app", "cli.serve"])
def test_serving_leaves_torch_alone(module):
    loaded = modules_after(f"import {module}")
    assert loaded & SERVING_LEAVES == set()
