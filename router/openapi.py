"""Completes FastAPI's OpenAPI document with the hot endpoints, from the msgspec types that parse them."""

from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from router.front import OPEN_PATHS, right_of
from router.hot import HOT_SCOPES
from router.kills import Kill
from router.wire import (
    AssignReply,
    AssignRequest,
    DecideReply,
    DecideRequest,
    MarketItem,
    OutcomeResult,
    TradeItem,
)
from store.records import Experiment

_REF = "#/components/schemas/{name}"
_PROBLEM_JSON = "application/problem+json"
_TEXTS = {
    400: "The body is not JSON, or is nested too deeply.",
    401: "The service has keys, and the request has none of them; see WWW-Authenticate.",
    403: "The key has not the scope, or is for another experiment; without keys: another machine called.",
    404: "There is no such experiment, arm, version or decision.",
    405: "Another method; see Allow.",
    408: "The request did not arrive whole in time.",
    409: "A conflict: a reused decision id, a killed or archived target, somebody else was first.",
    413: "The body or the list is too large.",
    415: "The request does not say content-type: application/json.",
    422: "A field breaks a rule; `field` names it.",
    431: "The headers are too large, or too many.",
    500: "A fault of the service; its log says why.",
    503: "Nothing can be logged, answered or read now; see Retry-After.",
}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": _REF.format(name=name)}


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


def _list(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item}


ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"description": text, "content": {_PROBLEM_JSON: {"schema": _ref("Problem")}}}
    for status, text in _TEXTS.items()
}
_SECURITY: dict[str, Any] = {
    "ApiKey": {
        "type": "http",
        "scheme": "bearer",
        "description": "A key of `abctl key create`. Each operation names the scope that it needs;"
        " `admin` has all. A service on loopback that never had a key asks for none.",
    }
}
_TEXT, _WHOLE, _ANY = {"type": "string"}, {"type": "integer"}, {"type": "object"}
_YES = {"type": "boolean"}
_ADVICE: dict[str, Any] = {"advice": {"enum": ["promote", "hold", "rollback"]}, "advice_reason": _TEXT}
_OWN_SCHEMAS: dict[str, Any] = {
    "Problem": {
        **_object(type=_TEXT, title=_TEXT, status=_WHOLE, detail=_TEXT),
        "properties": {"type": _TEXT, "title": _TEXT, "status": _WHOLE, "detail": _TEXT, "field": _TEXT},
    },
    "Readiness": {
        "type": "object",
        "required": ["status"],
        "properties": {
            "status": {"enum": ["ready", "not ready"]},
            "missing": _list(_TEXT),
            "warnings": _list(_TEXT),
        },
    },
    "Experiments": _object(experiments=_list(_ref("Experiment"))),
    "DefinedExperiment": {"allOf": [_ref("Experiment"), _object(warnings=_list(_TEXT))]},
    "Split": _object(
        experiment=_TEXT,
        version=_WHOLE,
        salt=_TEXT,
        weights={"type": "object", "additionalProperties": {"type": "number"}},
        ranges=_list(_object(arm=_TEXT, **{"from": _WHOLE, "to": _WHOLE})),
        effective_at={"type": "string", "format": "date-time"},
        actor=_TEXT,
        reason=_TEXT,
        restored_from={"type": ["integer", "null"]},
        created_at={"type": "string", "format": "date-time"},
    ),
    "ChangedSplit": {"allOf": [_ref("Split"), _object(changed=_YES, warnings=_list(_TEXT))]},
    "Splits": _object(splits=_list(_ref("Split"))),
    "Kills": _object(kills=_list(_ref("Kill")), changed=_YES),
    "Shadow": _object(experiment=_TEXT, shadow={"type": ["object", "null"]}, warnings=_list(_TEXT)),
    "Report": _object(
        schema={"const": "abctl.report/1"},
        experiment=_TEXT,
        days=_WHOLE,
        as_of={"type": "string", "format": "date-time"},
        fill=_TEXT,
        headline=_ANY,
        split=_ref("Split"),
        arms={"type": "object", "additionalProperties": _ANY},
        effect=_ANY,
        pnl_effect=_ANY,
        srm=_ANY,
        naive=_ANY,
        stages=_list(_ANY),
        dependence=_ANY,
        served=_ANY,
        curves=_ANY,
        delays=_ANY,
        resolution=_ANY,
        guardrails=_list(_ANY),
        slices={"type": ["object", "null"]},
        window=_ANY,
        excluded={"type": "object", "additionalProperties": _WHOLE},
        verdict=_object(verdict=_TEXT, reason=_TEXT),
        gates=_ANY,
        history=_ANY,
        warnings=_list(_TEXT),
        shadow={"type": ["object", "null"]},
        bandit={"type": ["object", "null"]},
        switchback={"type": ["object", "null"]},
    ),
    "Verdict": _object(
        verdict=_TEXT,
        reason=_TEXT,
        effect=_ANY,
        as_of=_TEXT,
        **_ADVICE,
        rollout={"type": ["object", "null"]},
    ),
    "Advice": _object(**_ADVICE),
    "Trace": _object(decision=_ANY, outcomes=_list(_ANY), conflicts=_list(_ANY)),
}


def answers(name: str) -> dict[int | str, dict[str, Any]]:
    """The 200 of a cold endpoint: one of our schemas by name."""
    return {200: {"description": "Done.", "content": {"application/json": {"schema": _ref(name)}}}}


def complete(app: FastAPI) -> None:
    """Makes `app.openapi()` tell of everything."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _document(app: FastAPI) -> dict[str, Any]:
    wire = (DecideRequest, AssignRequest, DecideReply, AssignReply, OutcomeResult, TradeItem, MarketItem)
    _, components = msgspec.json.schema_components((*wire, Experiment, Kill), ref_template=_REF)
    base = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    base.setdefault("components", {}).setdefault("schemas", {}).update(components | _OWN_SCHEMAS)
    base["paths"].update(_hot_paths())
    _secure(base)
    _refuse(base)
    return base


def _secure(document: dict[str, Any]) -> None:
    """Says of every operation which scope it needs; front.py and hot.py ask for the same."""
    document["components"]["securitySchemes"] = _SECURITY
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            operation["security"] = [] if path in OPEN_PATHS else [{"ApiKey": [_scope_of(path, method)]}]


def _refuse(document: dict[str, Any]) -> None:
    """Says of every operation how it is refused: most limits hold before it is known what is asked."""
    refused = {str(status): said for status, said in ERRORS.items()}
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"] = refused | operation["responses"]
    ready = document["paths"]["/readyz"]["get"]["responses"]
    told = {"application/json": {"schema": _ref("Readiness")}}
    ready["200"]["content"], ready["503"]["content"] = told, told | ERRORS[503]["content"]


def _scope_of(path: str, method: str) -> str:
    return HOT_SCOPES.get(path) or right_of(path, method)


def _hot_paths() -> dict[str, Any]:
    item = {"oneOf": [_ref("TradeItem"), _ref("MarketItem")]}
    outcomes = {"oneOf": [item, {**_list(item), "minItems": 1, "maxItems": 10_000}]}
    decisions = {**_list(_ref("DecideRequest")), "minItems": 1, "maxItems": 1024}
    decided = {"oneOf": [_ref("DecideReply"), _object(error=_ref("Problem"))]}
    return {
        "/v1/decide": _post("Ask what to do.", _ref("DecideRequest"), _ref("DecideReply")),
        "/v1/assign": _post(
            "Ask which arm a unit has; records nothing.", _ref("AssignRequest"), _ref("AssignReply")
        ),
        "/v1/decide/batch": _post(
            "Several decisions; each succeeds or fails alone.",
            _object(decisions=decisions),
            _object(decisions=_list(decided)),
        ),
        "/v1/outcomes": _post(
            "Report what came of it: one outcome, or a list whose items succeed or fail alone.",
            outcomes,
            _object(results=_list(_ref("OutcomeResult"))),
        ),
    }


def _post(summary: str, request: dict[str, Any], reply: dict[str, Any]) -> dict[str, Any]:
    responses: dict[str, Any] = {
        "200": {"description": "Answered.", "content": {"application/json": {"schema": reply}}}
    }
    responses |= {str(status): described for status, described in ERRORS.items()}
    body = {"required": True, "content": {"application/json": {"schema": request}}}
    return {"post": {"tags": ["decide"], "summary": summary, "requestBody": body, "responses": responses}}
