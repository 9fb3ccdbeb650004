"""The client's own copy of the bucket rule keeps to the published vectors."""

import ast
import json
from pathlib import Path

from abctl_client.bucket import BUCKETS, block_coin, bucket

ROOT = Path(__file__).parents[2]
GOLDEN = json.loads((ROOT / "tests" / "golden" / "assignment.json").read_text())


def test_golden_buckets():
    assert [bucket(salt, unit) for salt, unit, _ in GOLDEN["buckets"]] == [
        row[2] for row in GOLDEN["buckets"]
    ]


def test_golden_arms():
    for table, salt, unit, expected in GOLDEN["arms"]:
        at = bucket(salt, unit)
        assert [arm for arm, start, stop in GOLDEN["tables"][table] if start <= at < stop] == [expected]


def test_golden_blocks():
    rows = json.loads((ROOT / "tests" / "golden" / "switchback.json").read_text())["coins"]
    for salt, family, at_us, block_s, coin, expected in rows:
        assert block_coin(family, at_us, block_s) == coin
        assert bucket(salt, coin) == expected


def test_the_vectors_reach_the_edges():
    buckets = {row[2] for row in GOLDEN["buckets"]}
    assert {0, 1, 99_999, 100_000, 999_998} <= buckets
    assert max(buckets) < BUCKETS


def test_the_client_imports_nothing_of_the_server():
    server = {"arms", "cli", "market", "router", "stats", "store", "numpy"}
    for path in (ROOT / "client" / "abctl_client").glob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        names = {
            alias.name.split(".")[0] for node in nodes if isinstance(node, ast.Import) for alias in node.names
        }
        names |= {node.module.split(".")[0] for node in nodes if isinstance(node, ast.ImportFrom)}
        assert not names & server
