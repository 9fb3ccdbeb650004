"""The threat table is true: every attack names a test that exists, and every limit is the one in the code."""

import ast
import re
from pathlib import Path

import pytest

from arms.artefact import MAX_FILE_BYTES
from cli.open_files import CONNECTIONS
from router.connection import Limits
from router.front import COLD_BYTES, OPEN_PATHS
from router.hot import BATCH_BYTES, BATCH_ITEMS_MAX, DECIDE_BYTES, HOT_SCOPES
from router.nesting import DEPTH_MAX
from router.outcomes import ITEMS_MAX
from store.api_keys import SCOPES

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
THREATS = [
    [cell.strip() for cell in line.strip("| ").split(" | ")]
    for line in PAGE.partition("## Threats")[2].splitlines()
    if line.startswith("| ") and not line.startswith("| asset")
]


def test_there_are_threats():
    assert len(THREATS) > 30


@pytest.mark.parametrize("row", THREATS, ids=lambda row: row[1])
def test_every_defence_has_a_test_that_exists(row):
    asset, attack, defence, named = row
    assert asset
    assert attack
    assert defence
    file, name = re.fullmatch(r"`(tests/[\w/]+\.py)::(test_\w+)`", named).groups()
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    (found,) = (f for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) and f.name == name)
    words = {n.attr for n in ast.walk(found) if isinstance(n, ast.Attribute)}
    words |= {n.id for n in ast.walk(found) if isinstance(n, ast.Name)}
    can_fail = any(isinstance(n, ast.Assert) for n in ast.walk(found)) or words & {
        "raises",
        "refused",
        "assert_refused",
    }
    assert can_fail, f"{name} asserts nothing"


def test_the_limits_are_those_of_the_code():
    limits = Limits()
    for said in (
        f"{limits.head_bytes >> 10} KiB, {limits.headers} headers, {limits.head_s:g} s",
        f"{DECIDE_BYTES >> 10} KiB `decide` and `assign`, {BATCH_BYTES >> 20} MiB batch and outcomes",
        f"{COLD_BYTES >> 20} MiB others; {limits.body_s:g} s",
        f"{BATCH_ITEMS_MAX:,} decisions, {ITEMS_MAX:,} outcomes",
        f"{DEPTH_MAX} levels",
        f"wait their turn | {limits.pipelined} |",
        f"{limits.reply_s:g} s | cut",
        f"{CONNECTIONS:,} a worker",
        f"{MAX_FILE_BYTES >> 20} MiB, checked before it is read",
    ):
        assert said in PAGE, said


def test_scopes_and_open_paths_are_those_of_the_code():
    for scope in SCOPES:
        assert f"| `{scope}` |" in PAGE
    for path, scope in HOT_SCOPES.items():
        row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{scope}` |"))
        assert f"`{path}`" in row
    (opened,) = (line for line in PAGE.splitlines() if line.startswith("- Open to everybody"))
    assert set(re.findall(r"`(/[\w.]+)`", opened)) == OPEN_PATHS
