"""Many decisions in one request: each succeeds or fails alone, and an arm runs many at once."""

import asyncio
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from router.desk import Case, Desk
from router.problems import Problem
from router.station import ROWS_MAX
from router.wire import DecideRequest

_ENCODE = msgspec.json.Encoder().encode


Parsed = tuple[DecideRequest, NDArray[np.float32]]
Parse = Callable[[msgspec.Raw], Parsed]
"""Reads and checks one item, or raises Problem."""


class Batches:
    """A worker's: one part at a time, whosever it is, so that batches do not crowd out single decisions."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._turn = asyncio.Lock()

    async def decided(self, items: Sequence[msgspec.Raw], parse: Parse, began_s: float) -> list[msgspec.Raw]:
        """The replies, in order."""
        replies: list[msgspec.Raw] = []
        rows = min(ROWS_MAX, self._desk.overload.limit)  # a batch alone is no overload
        for start in range(0, len(items), rows):
            async with self._turn:
                part = [_parsed(parse, item) for item in items[start : start + rows]]
                replies += map(msgspec.Raw, await _part(self._desk, part, began_s))
            await asyncio.sleep(0)
        return replies


def _parsed(parse: Parse, item: msgspec.Raw) -> Parsed | Problem:
    try:
        return parse(item)
    except Problem as problem:
        return problem


async def _part(desk: Desk, items: Sequence[Parsed | Problem], began_s: float) -> list[bytes]:
    """Asks all before it waits for any. Whose id is on its way already comes last, for it waits for that."""
    begun: list[Case | bytes | asyncio.Future[None]] = []
    try:
        for item in items:
            begun.append(await _begun(desk, item, began_s))  # noqa: PERF401 - those begun count where one fails
        replies = [b"" if isinstance(case, asyncio.Future) else await _reply(desk, case) for case in begun]
    finally:
        for case in begun:
            if isinstance(case, Case):
                desk.drop(case)  # where a fault ended the part: nobody would ever finish it
    for i, item in enumerate(items):
        if not replies[i] and not isinstance(item, Problem):
            replies[i] = await _alone(desk, item, began_s)
    return replies


async def _begun(desk: Desk, item: Parsed | Problem, began_s: float) -> "Case | bytes | asyncio.Future[None]":
    if isinstance(item, Problem):
        return _error(item)
    try:
        return await desk.begin(*item, began_s)
    except Problem as problem:
        return _error(problem)


async def _reply(desk: Desk, case: Case | bytes) -> bytes:
    if isinstance(case, bytes):
        return case
    try:
        return await desk.finish(case)
    except Problem as problem:
        return _error(problem)


async def _alone(desk: Desk, item: Parsed, began_s: float) -> bytes:
    try:
        return await desk.decide(*item, began_s)
    except Problem as problem:
        return _error(problem)


def _error(problem: Problem) -> bytes:
    return _ENCODE({"error": problem.body()})
