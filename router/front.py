"""The worker's front: hot paths first; all else to FastAPI, once the caller is known and the body fits."""

import re
import time
from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, FastAPI, Header, Request
from pydantic import AfterValidator
from starlette.types import Message, Receive, Scope, Send

from router import metrics
from router.assignment import UNSTORABLE
from router.body import Disconnected, read_body, replayed, send_problem
from router.door import Door
from router.hot import HotPaths
from router.keys import Grant
from router.nesting import check_nesting
from router.problems import Problem
from store.api_keys import Scope as Right

COLD_BYTES = 1 << 20
OPEN_PATHS = frozenset({"/healthz", "/readyz", "/openapi.json", "/docs"})
"""What anybody may read: that the service lives, and how it is asked. It tells nothing of what it holds."""
_GRANT = "abctl.grant"
_ASKING = re.compile(r"/v1/experiments/[^/]+/flagger/[^/]+")
"""A POST that changes nothing."""


def right_of(path: str, method: str) -> Right:
    """The scope that a path beside the hot ones needs: to read, or ask by POST, or to change."""
    is_reading = method.upper() in {"GET", "HEAD"} or _ASKING.fullmatch(path) is not None
    return "report" if is_reading else "admin"


class Front:
    """An ASGI application. What is no open path needs the scope `report` to read and `admin` to change."""

    def __init__(self, hot: HotPaths, app: FastAPI, door: Door) -> None:
        self._hot = hot
        self._app = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._hot.knows(scope):
            await self._hot(scope, receive, send)
        elif scope["type"] == "http":
            await self._counted(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _counted(self, scope: Scope, receive: Receive, send: Send) -> None:
        began_s = time.perf_counter()
        statuses: list[int] = []
        await self._cold(scope, receive, _watched(send, statuses.append))
        label = getattr(scope.get("route"), "path", metrics.OTHER)
        metrics.observe_request(label, statuses[0] if statuses else 499, time.perf_counter() - began_s)

    async def _cold(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if scope["path"] not in OPEN_PATHS:
                scope[_GRANT] = self._door.admit(scope["headers"], right_of(scope["path"], scope["method"]))
            body = await read_body(scope, receive, COLD_BYTES)
            check_nesting(body)
        except Problem as problem:
            await send_problem(scope, receive, send, problem)
        except Disconnected:
            return
        else:
            await self._app(scope, replayed(body, receive), send)


def _watched(send: Send, note: Callable[[int], None]) -> Send:
    async def watched(message: Message) -> None:
        if message["type"] == "http.response.start":
            note(message["status"])
        await send(message)

    return watched


def grant_of(request: Request) -> Grant:
    """What the caller may do, as the front found it."""
    grant: Grant = request.scope[_GRANT]
    return grant


def entitled(request: Request) -> None:
    """403 where the path names an experiment that the caller's key is not for."""
    key = request.path_params.get("key")
    if key is not None:
        grant_of(request).check_experiment(key)


def _storable(text: str) -> str:
    if UNSTORABLE.search(text):
        raise ValueError("must not hold control characters or lone surrogates")
    return text


Storable = AfterValidator(_storable)
_Said = Annotated[str, Storable, Header(alias="X-Abctl-Actor", max_length=128)]


def actor_of(request: Request, x_abctl_actor: _Said = "") -> str:
    """Who makes a change: the key's name, and what the caller calls itself."""
    return grant_of(request).actor(x_abctl_actor)


Caller = Annotated[Grant, Depends(grant_of)]
Actor = Annotated[str, Depends(actor_of)]
