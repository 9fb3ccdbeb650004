"""The client: one keep-alive session, one request an answer, one kind of error."""

import asyncio
import os
import random
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar, Unpack
from urllib.parse import quote

import aiohttp
import msgspec

from abctl_client.errors import AbctlError, unanswered
from abctl_client.ids import RANDOM_BYTES, decision_id
from abctl_client.messages import (
    Assignment,
    AssignRequest,
    DecideOptions,
    DecideRequest,
    Decision,
    Instant,
    Outcome,
    OutcomeResult,
)
from abctl_client.resend import Patience

T = TypeVar("T")


class _Sessions(NamedTuple):
    """kept: connections are used again. fresh: every request makes one of its own, for what was lost;
    the others that are kept may lead to the same dying worker."""

    kept: aiohttp.ClientSession
    fresh: aiohttp.ClientSession


class _Batch(msgspec.Struct):
    decisions: list[msgspec.Raw]


class _Results(msgspec.Struct):
    results: list[OutcomeResult]


class _Refused(msgspec.Struct):
    error: dict[str, Any] | None = None


def as_list(values: Any) -> Any:
    """What msgspec cannot encode: a numpy array (or anything with `tolist`) becomes nested lists."""
    if hasattr(values, "tolist"):
        return values.tolist()
    raise TypeError(f"cannot send {type(values).__name__}: give lists, or an array with a tolist method")


_ENCODE = msgspec.json.Encoder(enc_hook=as_list).encode
_DECISION = msgspec.json.Decoder(Decision)
_ASSIGNMENT = msgspec.json.Decoder(Assignment)
_BATCH = msgspec.json.Decoder(_Batch)
_RESULTS = msgspec.json.Decoder(_Results)
_REFUSED = msgspec.json.Decoder(_Refused)
_OBJECT = msgspec.json.Decoder(dict[str, Any])


class Client:
    """A connection to the service, as an async context manager; safe for many tasks of one event loop.

    timeout_s: for one request. patience_s: how long a request is sent again while the service is away
    (0: only one resend). experiment: the default of every call. api_key: default ABCTL_API_KEY; it is sent
    with every request, so use https:// (or a tunnel) to another machine.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout_s: float = 5.0,
        patience_s: float = 0.0,
        experiment: str | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        self._patience = Patience(timeout_s, patience_s)
        self._experiment = experiment
        self._headers = {"Content-Type": "application/json"} | _signed(api_key)
        self._sessions: _Sessions | None = None

    async def __aenter__(self) -> Self:
        """Opens the sessions; connections are made when first needed."""
        kept = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
        self._sessions = _Sessions(
            self._session(kept), self._session(aiohttp.TCPConnector(limit=0, force_close=True))
        )
        return self

    def _session(self, connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
        timeout = aiohttp.ClientTimeout(total=self._patience.timeout_s)
        return aiohttp.ClientSession(connector=connector, timeout=timeout, headers=self._headers)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes all connections."""
        sessions, self._sessions = self._sessions, None
        for session in sessions or ():
            await session.close()

    async def decide(self, unit: str, history: Any, **options: Unpack[DecideOptions]) -> Decision:
        """What the unit's arm would do now. Its id is made here unless given, and is kept on a resend."""
        request = self._addressed(DecideRequest(unit=unit, history=history, **options))
        return _read(_DECISION, await self._answer("POST", "/v1/decide", _ENCODE(request)))

    async def decide_batch(self, requests: Sequence[DecideRequest]) -> list[Decision | AbctlError]:
        """One answer for each request, in order; for one that was refused, its error as a value."""
        body = _ENCODE({"decisions": [self._addressed(request) for request in requests]})
        batch = _read(_BATCH, await self._answer("POST", "/v1/decide/batch", body))
        return [_one_of_batch(bytes(item)) for item in batch.decisions]

    async def assign(
        self, unit: str, *, started_at: Instant | None = None, experiment: str | None = None
    ) -> Assignment:
        """Which arm a unit has, without asking a model."""
        request = AssignRequest(unit=unit, started_at=started_at, experiment=experiment or self._experiment)
        return _read(_ASSIGNMENT, await self._answer("POST", "/v1/assign", _ENCODE(request)))

    async def outcomes(self, outcomes: Sequence[Outcome]) -> list[OutcomeResult]:
        """One result for each outcome, in order. Send again what got no result: outcomes are keyed."""
        body = _ENCODE([self._in_experiment(outcome) for outcome in outcomes])
        return _read(_RESULTS, await self._answer("POST", "/v1/outcomes", body)).results

    async def report_verdict(self, experiment: str | None = None) -> dict[str, Any]:
        """What the report says now: verdict, reason, effect."""
        key = quote(experiment or self._experiment or "main", safe="")
        return _read(_OBJECT, await self._answer("GET", f"/v1/experiments/{key}/verdict", None))

    def _addressed(self, request: DecideRequest) -> DecideRequest:
        named = request.decision_id or decision_id(time.time_ns() // 1_000_000, os.urandom(RANDOM_BYTES))
        experiment = request.experiment or self._experiment
        return msgspec.structs.replace(request, decision_id=named, experiment=experiment)

    def _in_experiment(self, outcome: Outcome) -> Outcome:
        if self._experiment is None:
            return outcome
        if isinstance(outcome, dict):
            return {"experiment": self._experiment, **outcome}
        return msgspec.structs.replace(outcome, experiment=outcome.experiment or self._experiment)

    async def _answer(self, method: str, path: str, body: bytes | None) -> bytes:
        began_s, sent, sessions = time.monotonic(), 0, self._opened()
        session = sessions.kept
        while True:
            try:
                return await self._once(session, method, path, body)
            except AbctlError as error:
                sent += 1
                session = sessions.fresh if error.code == "no_answer" else sessions.kept
                elapsed_s = time.monotonic() - began_s
                pause_s = self._patience.pause_s(error, sent, elapsed_s, random.random())  # noqa: S311
                if pause_s is None:
                    raise
            await asyncio.sleep(pause_s)

    def _opened(self) -> _Sessions:
        if self._sessions is None:
            raise RuntimeError("the client is closed: use it inside `async with Client(url) as client:`")
        return self._sessions

    async def _once(
        self, session: aiohttp.ClientSession, method: str, path: str, body: bytes | None
    ) -> bytes:
        try:
            async with session.request(
                method, self._url + path, data=body, allow_redirects=False
            ) as response:
                content = await response.read()
        except TimeoutError as error:
            detail = f"{self._url} did not answer within {self._patience.timeout_s:g} s: is it overloaded?"
            raise unanswered("timed_out", 0, detail) from error
        except aiohttp.ClientError as error:
            detail = f"{self._url} cannot be reached ({error}): is `abctl serve` running there?"
            raise unanswered("no_answer", 0, detail) from error
        if response.status != 200:
            raise _refusal(response.status, response.headers.get("Retry-After"), content)
        return content


def _signed(api_key: str | None) -> dict[str, str]:
    """The header that carries a key; refuses one that no header can, without showing it."""
    key = os.environ.get("ABCTL_API_KEY", "") if api_key is None else api_key
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ValueError("api_key must be one word of printable ASCII, as `abctl key create` printed it")
    return {"Authorization": f"Bearer {key}"} if key else {}


def _refusal(status: int, retry_after: str | None, content: bytes) -> AbctlError:
    """The error of an answer that is not 200. A Retry-After that is a date counts as absent."""
    retry_after_s = float(retry_after) if retry_after and retry_after.isdecimal() else None
    try:
        return AbctlError({**_OBJECT.decode(content), "status": status}, retry_after_s)
    except msgspec.DecodeError:
        text = content[:200].decode(errors="replace")
        return unanswered(
            "http_error", status, f"HTTP {status} without a problem document: {text}", retry_after_s
        )


def _read(decoder: "msgspec.json.Decoder[T]", content: bytes) -> T:
    try:
        return decoder.decode(content)
    except msgspec.DecodeError as error:
        detail = f"the answer is not one that this client knows ({error}): is this the URL of abctl?"
        raise unanswered("bad_answer", 200, detail) from error


def _one_of_batch(item: bytes) -> Decision | AbctlError:
    refused = _read(_REFUSED, item).error
    return AbctlError(refused) if refused is not None else _read(_DECISION, item)
