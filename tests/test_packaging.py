"""Six plain package names are ours alone, and the wheel holds what a fresh machine needs."""

import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import entry_points, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("arms", "cli", "market", "router", "stats", "store")
STARTER_FILES = ("model.safetensors", "config.json", "model.onnx", "golden.json")


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("abctl-*.whl")
    return set(zipfile.ZipFile(wheel).namelist())


@pytest.mark.parametrize("package", PACKAGES)
def test_no_other_distribution_owns_our_name(package):
    assert set(packages_distributions().get(package, ())) <= {"abctl"}  # an editable install lists no files
    assert Path(find_spec(package).origin) == ROOT / package / "__init__.py"


def test_the_client_is_a_distribution_of_its_own():
    assert version("abctl-client") == version("abctl")
    assert set(packages_distributions().get("abctl_client", ())) <= {"abctl-client"}
    assert Path(find_spec("abctl_client").origin) == ROOT / "client" / "abctl_client" / "__init__.py"


def test_the_command_is_ours():
    (command,) = entry_points(group="console_scripts", name="abctl")
    assert command.value == "cli.main:main"


@pytest.mark.parametrize("package", PACKAGES)
def test_the_wheel_holds_every_module(wheel_names, package):
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / package).rglob("*.py")}
    assert modules | {f"{package}/py.typed"} <= wheel_names


@pytest.mark.parametrize("arm", ["base", "transformer"])
def test_the_wheel_holds_the_starter_models(wheel_names, arm):
    assert {f"arms/starters/{arm}/{name}" for name in STARTER_FILES} <= wheel_names


def test_the_wheel_holds_nothing_else(wheel_names):
    assert {name.split("/")[0].partition("-")[0] for name in wheel_names} == {*PACKAGES, "abctl"}


def test_the_wheel_carries_the_licence(wheel_names):
    assert any(name.endswith("/licenses/LICENSE") for name in wheel_names)


def test_serving_asks_for_nothing_that_only_training_needs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = " ".join(project["dependencies"])
    assert not any(word in names for word in ("torch", "mlx", "gymnasium", "tensorboard", "onnxscript"))
