"""The FastAPI application: HTTP translation only. The hot endpoints are bare ASGI in front of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from router import metrics
from router.admin import admin_routes
from router.errors import RouterError, UnknownArm, UnknownVersion
from router.hot import HotPaths
from router.openapi import complete
from router.problems import Problem
from router.service import Service
from store.errors import (
    ExperimentInUse,
    SplitMoved,
    StoreError,
    UnknownDecision,
    UnknownExperiment,
    UnknownModel,
)

STATUS: dict[type[Exception], int] = {
    UnknownExperiment: 404,
    UnknownModel: 404,
    UnknownDecision: 404,
    UnknownArm: 404,
    UnknownVersion: 404,
    SplitMoved: 409,
    ExperimentInUse: 409,
    RouterError: 422,
    StoreError: 503,
}


def create_app(service: Service) -> ASGIApp:
    """The worker's whole HTTP surface."""
    app = FastAPI(
        title="abctl",
        version="1",
        lifespan=_lifespan(service),
        docs_url="/docs",
        redoc_url=None,
        description="A/B testing and model routing for decision policies.",
    )
    app.include_router(admin_routes(service))
    _add_health(app, service)
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    for kind in (StoreError, RouterError):
        app.add_exception_handler(kind, _on_known)
    complete(app)
    return _Front(HotPaths(service.desk), app)


class _Front:
    """Hot paths first; everything else, and the lifespan, to FastAPI."""

    def __init__(self, hot: HotPaths, app: FastAPI) -> None:
        self._hot = hot
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._hot.knows(scope):
            await self._hot(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _lifespan(service: Service) -> Any:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
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
    async def readyz() -> JSONResponse:
        """Every control arm can answer and the split is confirmed."""
        missing = service.is_ready()
        body = {"status": "not ready", "missing": missing} if missing else {"status": "ready"}
        return JSONResponse(body, 503 if missing else 200)

    @app.get("/metrics", tags=["health"], response_class=Response)
    def prometheus() -> Response:
        """All workers of this service, in Prometheus' text format."""
        return Response(metrics.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")


def problem_response(problem: Problem) -> Response:
    """application/problem+json."""
    headers = {} if problem.retry_after_s is None else {"retry-after": str(problem.retry_after_s)}
    content = msgspec.json.encode(problem.body())
    return Response(content, problem.status, headers, media_type="application/problem+json")


async def _on_problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return problem_response(error)


async def _on_known(_request: Request, error: Exception) -> Response:
    status = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    code = "".join(f"_{c.lower()}" if c.isupper() else c for c in type(error).__name__).lstrip("_")
    return problem_response(Problem(status, code, str(error), getattr(error, "field", "")))


async def _on_invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"][1:]) or "body"
    return problem_response(Problem(422, "invalid_field", f"{field}: {first['msg']}", field))


async def _on_http(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = str(error.detail).lower().replace(" ", "_")
    return problem_response(Problem(error.status_code, code, f"{error.detail}: see /docs for what there is"))
