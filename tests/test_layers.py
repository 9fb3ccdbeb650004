"""The floors, read from the import graph, so that `make test` alone notices a wrong import."""

import ast
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = ({"cli"}, {"router", "market"}, {"store", "arms"}, {"stats"})
OURS = set().union(*FLOORS)
NO_NAMES = {"base", "common", "core", "helper", "helpers", "manager", "misc", "shared", "util", "utils"}


@pytest.fixture(scope="module")
def graph():
    return grimp.build_graph(*sorted(OURS), "abctl_client", include_external_packages=True)


def package_of(module):
    return module.partition(".")[0]


def floor_of(package):
    return next(height for height, floor in enumerate(FLOORS) if package in floor)


def test_every_import_goes_down(graph):
    wrong = [
        f"{importer} -> {imported}"
        for importer in graph.modules
        if package_of(importer) in OURS
        for imported in graph.find_modules_directly_imported_by(importer)
        if package_of(imported) in OURS - {package_of(importer)}
        if floor_of(package_of(imported)) <= floor_of(package_of(importer))
    ]
    assert wrong == []


def test_stats_imports_only_numpy_scipy_and_the_standard_library(graph):
    imported = {
        package_of(target)
        for module in graph.modules
        if package_of(module) == "stats"
        for target in graph.find_modules_directly_imported_by(module)
    }
    assert imported - {"stats", "numpy", "scipy"} - sys.stdlib_module_names == set()


def test_the_client_stands_alone(graph):
    imported = {
        package_of(target)
        for module in graph.modules
        if package_of(module) == "abctl_client"
        for target in graph.find_modules_directly_imported_by(module)
    }
    assert imported & OURS == set()


@pytest.mark.parametrize("framework", ["torch", "mlx"])
def test_a_framework_is_imported_only_by_modules_that_say_so(graph, framework):
    named = {target for target in graph.modules if package_of(target) == framework}
    importers = {module for target in named for module in graph.find_modules_that_directly_import(target)}
    strangers = [m for m in importers if not m.rpartition(".")[2].startswith(f"{framework}_")]
    assert named
    assert set(strangers) <= {"cli.doctor"}  # which asks what is here


def test_the_contracts_of_import_linter_are_kept():
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_no_attic():
    modules = [path for package in OURS for path in (ROOT / package).rglob("*.py")]
    assert [str(path) for path in modules if path.stem in NO_NAMES] == []


def test_a_package_says_what_it_is_and_nothing_else():
    for package in OURS:
        text = (ROOT / package / "__init__.py").read_text()
        assert not any(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.walk(ast.parse(text)))
