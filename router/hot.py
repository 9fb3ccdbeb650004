"""The hot endpoints as bare ASGI: decide, decide/batch, assign, outcomes."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

import msgspec
import numpy as np
from numpy.typing import NDArray

from router import metrics, outcomes
from router.batch import Batches
from router.body import (
    BEGAN,
    Disconnected,
    Receive,
    Scope,
    Send,
    check_json,
    content_type_in,
    read_body,
    send_json,
    send_problem,
)
from router.desk import Desk
from router.door import Door
from router.explaining import Explainer, wants_explanation
from router.keys import Grant
from router.known import Known
from router.parsing import DecisionParser, brief_of
from router.problems import Problem, decoded, invalid
from router.wire import AssignRequest, BatchRequest, BriefRequest, DecideRequest, OutcomeResult
from store.api_keys import Scope as Right

DECIDE = "/v1/decide"
DECIDE_BYTES = 256 << 10
BATCH_BYTES = 16 << 20
BATCH_ITEMS_MAX = 1024
_OUTCOMES_A_TURN = 100
_OUTCOMES_REMEMBERED = 100_000
_ASSIGN = msgspec.json.Decoder(AssignRequest)
_BATCH = msgspec.json.Decoder(BatchRequest)
_ENCODE = msgspec.json.Encoder().encode
_LOG = logging.getLogger("abctl.router")

HOT_SCOPES: dict[str, Right] = {
    DECIDE: "decide",
    "/v1/decide/batch": "decide",
    "/v1/assign": "decide",
    "/v1/outcomes": "record",
}
Handler = Callable[[bytes, Grant, float], Awaitable[bytes]]
"""Body, grant, and when the request came, in seconds of time.perf_counter."""


class HotPaths:
    """An ASGI application that knows only POST on its own paths."""

    def __init__(self, desk: Desk, door: Door, explainer: Explainer) -> None:
        self._desk = desk
        self._door = door
        self._explainer = explainer
        self._parser = DecisionParser(desk.schema)
        self._batches = Batches(desk)
        self._seen: outcomes.Seen = Known(_OUTCOMES_REMEMBERED)
        self._routes: dict[str, tuple[Handler, int]] = {
            DECIDE: (self._decide, DECIDE_BYTES),
            "/v1/decide/batch": (self._batch, BATCH_BYTES),
            "/v1/assign": (self._assign, DECIDE_BYTES),
            "/v1/outcomes": (self._outcomes, BATCH_BYTES),
        }

    def knows(self, scope: Scope) -> bool:
        """Whether a request is for this application."""
        return scope["type"] == "http" and scope["path"] in self._routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request; never with a 5xx for what the caller sent."""
        path = scope["path"]
        began = scope[BEGAN] if BEGAN in scope else time.perf_counter()
        status = 200
        try:
            await send_json(scope, send, await self._answer(scope, receive, began))
        except Problem as problem:
            status = problem.status
            await send_problem(scope, receive, send, problem)
        except Disconnected:
            status = 499
        except Exception:  # noqa: BLE001 - the last line of defence: a fault of ours is logged and answered as JSON
            status = 500
            _LOG.exception("a request to %s failed", path)
            fault = Problem(500, "internal_error", "the service failed; its log says why")
            await send_problem(scope, receive, send, fault)
        metrics.observe_request(path, status, time.perf_counter() - began)

    async def _answer(self, scope: Scope, receive: Receive, began_s: float) -> bytes:
        handler, limit_bytes = self._routes[scope["path"]]
        if scope["method"] != "POST":
            raise Problem(405, "method_not_allowed", f"{scope['path']} takes POST only", allow="POST")
        grant = self._door.admit(scope["headers"], HOT_SCOPES[scope["path"]])
        check_json(content_type_in(scope["headers"]))
        if scope["query_string"] and wants_explanation(scope["query_string"]):
            if scope["path"] != DECIDE:
                raise invalid("explain", f"is for {DECIDE} alone: leave it out of the address")
            handler = self._decide_explained
        return await handler(await read_body(scope, receive, limit_bytes), grant, began_s)

    async def _decide(self, body: bytes, grant: Grant, began_s: float) -> bytes:
        if self._desk.is_full():
            brief = brief_of(body)
            self._check(brief, grant)
            return await self._desk.refuse(brief)
        return await self._decided(*self._parser.parsed(body), grant, began_s)

    async def _decide_explained(self, body: bytes, grant: Grant, began_s: float) -> bytes:
        """As if the body asked for it."""
        if self._desk.is_full():
            return await self._decide(body, grant, began_s)
        request, history = self._parser.parsed(body)
        return await self._decided(msgspec.structs.replace(request, explain=True), history, grant, began_s)

    async def _decided(
        self, request: DecideRequest, history: NDArray[np.float32], grant: Grant, began_s: float
    ) -> bytes:
        self._check(request, grant)
        reply = await self._desk.decide(request, history, began_s)
        return await self._explainer.explained(reply, history) if request.explain else reply

    def _check(self, request: DecideRequest | BriefRequest, grant: Grant) -> None:
        """A decision is within the caller's grant: of its experiment, and forced by an administrator only."""
        grant.check_experiment(request.experiment or self._desk.default_experiment)
        if request.force_arm is not None:
            grant.check_scope("admin")

    async def _assign(self, body: bytes, grant: Grant, _began_s: float) -> bytes:
        request = decoded(_ASSIGN, body)
        grant.check_experiment(request.experiment or self._desk.default_experiment)
        return await self._desk.assign(request)

    async def _batch(self, body: bytes, grant: Grant, began_s: float) -> bytes:
        items = decoded(_BATCH, body).decisions
        if not items:
            raise invalid("decisions", "is empty: send at least one")
        if len(items) > BATCH_ITEMS_MAX:
            raise Problem(413, "too_many_items", f"at most {BATCH_ITEMS_MAX} decisions a batch: send several")

        def parsed(item: msgspec.Raw) -> tuple[DecideRequest, NDArray[np.float32]]:
            request, history = self._parser.parsed(item)
            self._check(request, grant)
            if request.explain:
                raise invalid("explain", "is answered one decision at a time: send this one to /v1/decide")
            return request, history

        return _ENCODE({"decisions": await self._batches.decided(items, parsed, began_s)})

    async def _outcomes(self, body: bytes, grant: Grant, _began_s: float) -> bytes:
        results = await self._taken(body, grant)
        metrics.count_outcomes(results)
        return _ENCODE({"results": results})

    async def _taken(self, body: bytes, grant: Grant) -> list[OutcomeResult]:
        """A list's items each on its own; a single outcome that is refused fails the request."""
        items = outcomes.listed(body)
        if items is None:
            return [outcomes.taken(self._desk, self._seen, msgspec.Raw(body), grant)]
        results: list[OutcomeResult] = []
        for first in range(0, len(items), _OUTCOMES_A_TURN):
            await asyncio.sleep(0)
            turn = items[first : first + _OUTCOMES_A_TURN]
            results += outcomes.taken_together(self._desk, self._seen, turn, grant)
        return results
