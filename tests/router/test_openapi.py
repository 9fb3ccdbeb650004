"""The document tells of everything that the service does, and what it does follows the document."""

import inspect

import jsonschema
import pytest

import router.errors
import store.errors
from router.app import STATUS
from router.errors import RouterError
from store.errors import StoreError

HOT = ("/v1/decide", "/v1/decide/batch", "/v1/assign", "/v1/outcomes")


@pytest.fixture(scope="module")
def document(node):
    reply = node.ask("GET", "/openapi.json")
    assert reply.status == 200
    return reply.json


def refs(value):
    if isinstance(value, dict):
        yield from ([value["$ref"]] if isinstance(value.get("$ref"), str) else [])
        for inner in value.values():
            yield from refs(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from refs(inner)


def test_every_schema_is_valid_and_every_reference_leads_somewhere(document):
    schemas = document["components"]["schemas"]
    for name, schema in schemas.items():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert name
    assert {r.removeprefix("#/components/schemas/") for r in refs(document)} <= set(schemas)
    assert document["openapi"].startswith("3.1")


def test_every_status_of_the_hot_paths_is_told(document):
    for path in HOT:
        told = set(document["paths"][path]["post"]["responses"])
        assert {"200", "400", "404", "405", "409", "413", "422", "500", "503"} <= told


def test_every_operation_has_a_summary_and_problems_and_a_schema_for_its_answer(document):
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["summary"]
            if path.startswith("/v1/"):
                assert "application/problem+json" in operation["responses"]["422"]["content"]
                assert list(refs(operation["responses"]["200"])) or path in HOT


def checked(document, schema, value):
    root = {**schema, "components": document["components"]}
    jsonschema.Draft202012Validator(root, format_checker=jsonschema.FormatChecker()).validate(value)


def answer_schema(document, path, method, status="200", kind="application/json"):
    return document["paths"][path][method]["responses"][status]["content"][kind]["schema"]


def test_answers_follow_their_schema(node, document, question):
    asks = {
        "/v1/decide": question("doc"),
        "/v1/assign": {"unit": "doc"},
        "/v1/decide/batch": {"decisions": [question("doc"), {"unit": ""}]},
        "/v1/outcomes": [
            {"kind": "market", "unit": "doc", "pnl_usd": 1, "fill": "live", "closed_at": 1_767_225_600_000},
            {"kind": "market"},
        ],
    }
    for path, body in asks.items():
        request = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        reply = node.post(path, body)
        assert reply.status == 200
        checked(document, answer_schema(document, path, "post"), reply.json)
        if path in {"/v1/decide", "/v1/assign"}:
            checked(document, request, body)
        problem = node.post(path, b"{")
        checked(
            document, answer_schema(document, path, "post", "400", "application/problem+json"), problem.json
        )


@pytest.mark.parametrize(
    "path",
    ["", "/{key}", "/{key}/split", "/{key}/split/history", "/{key}/report", "/{key}/verdict"],
)
def test_cold_answers_follow_their_schema(node, document, path):
    found = node.ask("GET", "/v1/experiments" + path.replace("{key}", "main"))
    assert found.status == 200
    checked(document, answer_schema(document, "/v1/experiments" + path, "get"), found.json)


def test_a_kill_follows_its_schema(node, document):
    for state in ("killed", "lifted"):
        reply = node.ask("PUT", "/v1/experiments/main/kill", {"arm": "transformer", "state": state})
        checked(document, answer_schema(document, "/v1/experiments/{key}/kill", "put"), reply.json)


@pytest.mark.parametrize("module", [router.errors, store.errors])
def test_every_error_has_a_status(module):
    kinds = [
        k for _, k in inspect.getmembers(module, inspect.isclass) if issubclass(k, (RouterError, StoreError))
    ]
    assert len(kinds) > 5
    for kind in kinds:
        assert kind in STATUS or kind in {RouterError, StoreError}, f"{kind.__name__} has no status"


def test_experiments_and_splits_by_http(node):
    made = node.ask("PUT", "/v1/experiments/by-http", {"arms": ["base", "transformer"], "control": "base"})
    assert (made.status, made.json["key"], made.json["unit_kind"]) == (200, "by-http", "market")
    changed = node.ask(
        "PUT",
        "/v1/experiments/by-http/split",
        {"arm": "transformer", "share": "0.1", "reason": "start small"},
        {"X-Abctl-Actor": "ana", "content-type": "application/json"},
    ).json
    assert (changed["version"], changed["actor"], changed["reason"]) == (2, "ana", "start small")
    assert changed["weights"] == {"base": 0.9, "transformer": 0.1}
    node.ask("PUT", "/v1/experiments/by-http/split", {"arm": "transformer", "share": 0.5})
    restored = node.ask("PUT", "/v1/experiments/by-http/split", {"restore": 2}).json
    assert (restored["version"], restored["restored_from"]) == (4, 2)
    assert restored["ranges"] == changed["ranges"]
    history = node.ask("GET", "/v1/experiments/by-http/split/history").json["splits"]
    assert [s["version"] for s in history] == [1, 2, 3, 4]
    assert "by-http" in [e["key"] for e in node.ask("GET", "/v1/experiments").json["experiments"]]


def test_health(node):
    assert node.ask("GET", "/healthz").json == {"status": "alive"}
    assert node.ask("GET", "/readyz").json == {"status": "ready", "missing": [], "warnings": []}
    assert node.ask("GET", "/metrics").headers["content-type"].startswith("text/plain")
