"""Completes FastAPI's OpenAPI document with the hot endpoints, from the same msgspec types that parse them."""

from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from router.wire import (
    AssignReply,
    AssignRequest,
    DecideReply,
    DecideRequest,
    MarketItem,
    OutcomeResult,
    TradeItem,
)

_REF = "#/components/schemas/{name}"
_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "field": {"type": "string"},
    },
}
_ERRORS = {
    400: "The body is not JSON.",
    404: "No such experiment.",
    405: "Only POST.",
    409: "A conflict: a reused decision id, a killed or archived target.",
    413: "The body or the list is too large.",
    422: "A field breaks a rule; `field` names it.",
    503: "Nothing can be logged or answered now; see Retry-After.",
}


def complete(app: FastAPI) -> None:
    """Makes `app.openapi()` tell of everything."""
    wire = (DecideRequest, AssignRequest, DecideReply, AssignReply, OutcomeResult, TradeItem, MarketItem)
    _, components = msgspec.json.schema_components(wire, ref_template=_REF)

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            base = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes
            )
            base.setdefault("components", {}).setdefault("schemas", {}).update(components)
            base["components"]["schemas"]["Problem"] = _PROBLEM
            base["paths"].update(_hot_paths())
            app.openapi_schema = base
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _hot_paths() -> dict[str, Any]:
    item = {"oneOf": [_ref("TradeItem"), _ref("MarketItem")]}
    outcomes = {"oneOf": [item, {"type": "array", "items": item, "maxItems": 10_000}]}
    return {
        "/v1/decide": _post("Ask what to do.", _ref("DecideRequest"), _ref("DecideReply")),
        "/v1/assign": _post(
            "Ask which arm a unit has; records nothing.", _ref("AssignRequest"), _ref("AssignReply")
        ),
        "/v1/decide/batch": _post(
            "Several decisions; each succeeds or fails alone.",
            _list("decisions", _ref("DecideRequest")),
            _list(
                "decisions",
                {
                    "oneOf": [
                        _ref("DecideReply"),
                        {"type": "object", "properties": {"error": _ref("Problem")}},
                    ]
                },
            ),
        ),
        "/v1/outcomes": _post("Report what came of it.", outcomes, _list("results", _ref("OutcomeResult"))),
    }


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": _REF.format(name=name)}


def _list(name: str, item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": [name], "properties": {name: {"type": "array", "items": item}}}


def _post(summary: str, request: dict[str, Any], reply: dict[str, Any]) -> dict[str, Any]:
    problem = {"application/problem+json": {"schema": _ref("Problem")}}
    responses: dict[str, Any] = {
        "200": {"description": "Answered.", "content": {"application/json": {"schema": reply}}}
    }
    responses |= {str(s): {"description": text, "content": problem} for s, text in _ERRORS.items()}
    body = {"required": True, "content": {"application/json": {"schema": request}}}
    return {"post": {"tags": ["decide"], "summary": summary, "requestBody": body, "responses": responses}}
