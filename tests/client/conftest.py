"""A real HTTP server on the loopback, whose answers a test writes down beforehand."""

import asyncio
import json
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from aiohttp import web


@dataclass
class Service:
    """Answers each request with the next of `answers` (the last one stays), and remembers what was asked."""

    answers: list = field(default_factory=list)
    asked: list = field(default_factory=list)
    headers: list = field(default_factory=list)
    connections: set = field(default_factory=set)
    url: str = ""

    async def answer(self, request):
        body = await request.read()
        self.asked.append((request.method, request.raw_path, json.loads(body) if body else None))
        self.headers.append(request.headers)
        self.connections.add(request.transport.get_extra_info("peername"))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return await answer(request, self.asked[-1][2])


def reply(payload, status=200, **headers):
    async def answer(request, asked):
        content = payload(asked) if callable(payload) else payload
        return web.json_response(content, status=status, headers=headers)

    return answer


async def drop(request, asked):
    """The process was killed: the connection closes without an answer."""
    request.transport.abort()
    return web.Response()


async def half(request, asked):
    """Killed in the middle of the answer."""
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"decision_id":')
    request.transport.abort()
    return response


async def stall(request, asked):
    await asyncio.sleep(0.6)
    return web.json_response({})


def slow(payload):
    """Late enough that requests made at once need a connection each."""

    async def answer(request, asked):
        await asyncio.sleep(0.1)
        return web.json_response(payload(asked))

    return answer


async def serving(service):
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", service.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    service.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    return runner


@pytest.fixture
def with_service():
    """Runs `play(service)` against the given answers; gives back the service, to see what was asked."""

    def run(play, *answers):
        async def scene():
            service = Service(answers=list(answers))
            runner = await serving(service)
            try:
                await play(service)
            finally:
                await runner.cleanup()
            return service

        return asyncio.run(scene())

    return run


@pytest.fixture
def answers():
    """The kinds of answers: a test module cannot import this file."""
    return SimpleNamespace(reply=reply, drop=drop, half=half, stall=stall, slow=slow)
