"""Reports over HTTP: every form, slices, past moments, and refusals that say why."""

import json
import time
from pathlib import Path

import jsonschema
import msgspec
import pytest

from store.clock import wall_clock_us
from store.ingest import Shipment, ingest
from store.journal import frame_bytes
from store.records import Decision

SCHEMA = json.loads((Path(__file__).resolve().parents[2] / "docs" / "report.schema.json").read_text())
REPORT = "/v1/experiments/main/report"


@pytest.fixture(scope="module")
def used(node):
    """A node with a unit in SQL."""
    now_us = wall_clock_us()
    decision = Decision(
        decision_id="report-1", experiment="main", unit="report-unit@1", bot="b", arm="base",
        served_arm="base", reason="assigned", binding="started_at", split_version=1,
        weights={"base": 1.0, "transformer": 0.0}, forced=False, eligible=True,
        split_stale=False, received_at_us=now_us, started_at_us=now_us,
        sent_started_at_us=None, as_of_us=None, action="hold", probs=(1.0, 0.0, 0.0), value=0.0, model="m",
        schema="s", state=b"", history_digest=b"", history_used=1, latency_us=1,
    )  # fmt: skip
    data = frame_bytes(msgspec.msgpack.encode(decision))
    ingest(node.engine, "main", [Shipment("report", 0, data)], now_us)
    assert node.ask("GET", REPORT).json["arms"]["base"]["units"] > 0
    return node


@pytest.mark.parametrize("by", ["", "&by=market", "&by=bot", "&by=day", "&by=model"])
def test_json_is_as_the_schema_says(used, by):
    reply = used.ask("GET", f"{REPORT}?days=3{by}")
    assert reply.status == 200, reply.body
    jsonschema.validate(reply.json, SCHEMA, cls=jsonschema.Draft202012Validator)
    assert reply.json["days"] == 3


def test_a_page_runs_and_fetches_nothing(used):
    reply = used.ask("GET", f"{REPORT}?format=html")
    assert reply.status == 200
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert reply.headers["content-security-policy"] == "default-src 'none'; style-src 'unsafe-inline'"
    assert reply.body.startswith(b"<!DOCTYPE html>")
    assert reply.body.rstrip().endswith(b"</html>")


def test_markdown(used):
    reply = used.ask("GET", f"{REPORT}?format=md&by=bot")
    assert reply.headers["content-type"] == "text/markdown; charset=utf-8"
    assert reply.body.startswith(b"# main: transformer against base: ")


def test_a_past_report_is_told_again(used):
    first = used.ask("GET", f"{REPORT}?by=bot").json
    time.sleep(0.01)
    again = used.ask("GET", f"{REPORT}?by=bot&as_of={first['as_of']}")
    assert again.json == first


@pytest.mark.parametrize(
    ("query", "field", "said"),
    [
        ("as_of=yesterday", "as_of", "RFC 3339"),
        ("as_of=2099-01-01T00:00:00Z", "as_of", "future"),
        ("as_of=2010-01-01T00:00:00Z", "as_of", "created"),
        ("by=weather", "by", "market"),
        ("format=pdf", "format", "json"),
        ("days=0", "days", "1"),
    ],
)
def test_what_cannot_be_told_is_refused_by_field(used, query, field, said):
    found = used.refused(f"{REPORT}?{query}", None, method="GET")
    assert found["field"] == field
    assert said in found["detail"]


def test_an_unknown_experiment_has_no_past(used):
    query = "/v1/experiments/never/report?as_of=2026-01-01T00:00:00Z"
    assert used.refused(query, None, status=404, method="GET")["title"] == "unknown experiment"
