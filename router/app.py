"""The FastAPI application: HTTP translation only. The hot endpoints are bare ASGI in front of it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from router import metrics
from router.admin import admin_routes
from router.advice_routes import advice_routes
from router.connection import Limits, bounded
from router.errors import (
    ArchivedExperiment,
    BadHistory,
    BadKillFile,
    BadPattern,
    BadPlan,
    BadSalt,
    BadShadow,
    BadShare,
    BadStartedAt,
    BadTable,
    BadUnit,
    BadWebhook,
    NoPast,
    NoRollout,
    NotABandit,
    RolloutOpen,
    RouterError,
    UnknownArm,
    UnknownVersion,
)
from router.explaining import Explainer
from router.front import Caller, Front
from router.hot import DECIDE, HotPaths
from router.openapi import complete
from router.problems import Problem
from router.service import Service
from router.shadow_routes import shadow_routes
from router.straight import Straight
from router.together import Together
from store.errors import (
    BadExport,
    BadForeignLog,
    BadKey,
    BadMoment,
    DataDirLocked,
    ExperimentInUse,
    JournalFull,
    KeyTaken,
    MomentPruned,
    NotExported,
    Overtaken,
    RecordTooLarge,
    RolloutMoved,
    SchemaTooNew,
    ShadowMoved,
    SplitMoved,
    StaleEvidence,
    StoreError,
    StoreUnavailable,
    TargetExists,
    UnclearModel,
    UnknownDecision,
    UnknownExperiment,
    UnknownKey,
    UnknownModel,
)

STATUS: dict[type[Exception], int] = {
    UnknownExperiment: 404,
    UnknownModel: 404,
    UnclearModel: 422,
    UnknownDecision: 404,
    UnknownKey: 404,
    UnknownArm: 404,
    UnknownVersion: 404,
    SplitMoved: 409,
    RolloutMoved: 409,
    ShadowMoved: 409,
    RolloutOpen: 409,
    NotABandit: 422,
    StaleEvidence: 409,
    Overtaken: 409,
    NoRollout: 404,
    ExperimentInUse: 409,
    KeyTaken: 409,
    ArchivedExperiment: 409,
    TargetExists: 409,
    NotExported: 409,
    MomentPruned: 409,
    BadMoment: 422,
    BadExport: 422,
    BadForeignLog: 422,
    NoPast: 422,
    BadKey: 422,
    BadShare: 422,
    BadShadow: 422,
    BadSalt: 422,
    BadUnit: 422,
    BadPattern: 422,
    BadPlan: 422,
    BadWebhook: 422,
    BadStartedAt: 422,
    BadTable: 500,
    BadHistory: 500,
    RecordTooLarge: 413,
    JournalFull: 503,
    StoreUnavailable: 503,
    DataDirLocked: 503,
    SchemaTooNew: 503,
    BadKillFile: 503,
}


def protocol_of(service: Service, limits: Limits) -> type[HttpToolsProtocol]:
    """How uvicorn's connections speak HTTP for this service: decisions are begun and answered together."""
    straight = Straight(service.desk, service.door)
    return bounded(limits, Together(service.desk.lineup.one_run, straight), frozenset({DECIDE}))


def create_app(service: Service) -> ASGIApp:
    """The worker's whole HTTP surface."""
    app = FastAPI(
        title="abctl",
        version="1",
        lifespan=_lifespan(service),
        docs_url="/docs",
        redirect_slashes=False,
        redoc_url=None,
        description="A/B testing and model routing for decision policies.",
    )
    app.include_router(admin_routes(service))
    app.include_router(shadow_routes(service))
    app.include_router(advice_routes(service))
    _add_health(app, service)
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    for kind in (StoreError, RouterError):
        app.add_exception_handler(kind, _on_known)
    app.add_exception_handler(SQLAlchemyError, _on_sql)
    app.add_exception_handler(Exception, _on_fault)
    complete(app)
    hot = HotPaths(
        service.desk, service.door, Explainer(service.config.data_dir.models, service.desk.is_answer_to)
    )
    return Front(hot, app, service.door)


def _lifespan(service: Service) -> Any:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncGenerator[None, None]:
        await service.start()
        yield
        await service.stop()

    return lifespan


def _add_health(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", tags=["health"])
    async def healthz() -> dict[str, str]:
        """The process lives."""
        return {"status": "alive"}

    @app.get("/readyz", tags=["health"], responses={503: {"description": "Not ready; says why."}})
    async def readyz(request: Request) -> JSONResponse:
        """Every control arm can answer. Warnings, such as SQL being away, do not make a worker unready.

        Where the service has keys, who sends none is told the status alone.
        """
        missing = service.missing()
        body: dict[str, Any] = {"status": "not ready" if missing else "ready"}
        if service.door.is_known(request.scope["headers"]):
            body |= {"missing": missing, "warnings": service.warnings()}
        return JSONResponse(body, 503 if missing else 200)

    @app.get("/metrics", tags=["health"], response_class=Response)
    def prometheus(caller: Caller) -> Response:
        """All workers of this service, in Prometheus' text format."""
        caller.check_whole_service()
        return Response(metrics.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")


def problem_response(problem: Problem) -> Response:
    """application/problem+json."""
    content = msgspec.json.encode(problem.body())
    return Response(content, problem.status, problem.headers(), media_type="application/problem+json")


async def _on_problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)  # noqa: S101 - the kind that it is registered for
    return problem_response(error)


async def _on_known(_request: Request, error: Exception) -> Response:
    status = next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)
    code = "".join(f"_{c.lower()}" if c.isupper() else c for c in type(error).__name__).lstrip("_")
    retry_after_s = 1 if status == 503 else None
    return problem_response(Problem(status, code, str(error), getattr(error, "field", ""), retry_after_s))


async def _on_sql(_request: Request, error: Exception) -> Response:
    if isinstance(error, IntegrityError):
        detail = "somebody changed the same thing at the same moment: look at it and try again"
        return problem_response(Problem(409, "changed_meanwhile", detail))
    detail = "SQL does not answer: decisions go on, the rest has to wait; see the service's log"
    return problem_response(Problem(503, "store_unavailable", detail, retry_after_s=1))


async def _on_fault(_request: Request, _error: Exception) -> Response:
    return problem_response(Problem(500, "internal_error", "the service failed; its log says why"))


async def _on_invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - the kind that it is registered for
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        detail = "the body is not valid JSON; send one JSON document in UTF-8"
        return problem_response(Problem(400, "broken_json", detail))
    field = ".".join(str(part) for part in first["loc"][1:]) or "body"
    return problem_response(Problem(422, "invalid_field", f"{field}: {first['msg']}", field))


_HTTP_CODES = {400: "broken_json", 404: "not_found", 405: "method_not_allowed"}


async def _on_http(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - the kind that it is registered for
    code = _HTTP_CODES.get(error.status_code, "http_error")
    allow = (error.headers or {}).get("Allow", "")
    detail = f"{error.detail}: see /openapi.json for what there is"
    return problem_response(Problem(error.status_code, code, detail, allow=allow))
