"""How long one decision takes: the desk in this process, and the whole of HTTP with one worker.

    python bench/decide.py [--calls 3000] [--connections 16]

Prints the median and the 99th percentile of `Desk.decide` (parse, bind, model, journal, encode) for units
of each arm, then requests per second over loopback with as many keep-alive connections as asked for.
"""

import argparse
import asyncio
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import aiohttp
import msgspec
import numpy as np
import uvicorn

from cli.gateway import opened_engine
from cli.settings import Settings
from cli.starters import ensure_champions
from router import change
from router.app import create_app
from router.service import Service, ServiceConfig, build
from router.wire import DecideRequest
from store.bindings import MemoryFirstSight
from store.clock import wall_clock_us
from store.pepper import pepper_of

DECODER = msgspec.json.Decoder(DecideRequest)


def opened(folder: Path) -> Service:
    """A worker over an empty data directory, both arms at 50%."""
    settings = Settings(data_dir=folder)
    place = settings.place.prepare()
    engine = opened_engine(settings)
    ensure_champions(engine)
    by = change.By("bench", "both arms")
    change.set_share(engine, "main", "transformer", "0.5", by, wall_clock_us, 0)
    config = ServiceConfig(
        data_dir=place, default_experiment="main", pepper=pepper_of("", place), is_local=True
    )
    return build(config, engine, MemoryFirstSight(), wall_clock_us)


def body_of(unit: str, history: list[list[float]]) -> bytes:
    """One request as a bot sends it."""
    return msgspec.json.encode(
        {"unit": unit, "history": history, "started_at": wall_clock_us() // 1000, "bot": "bench"}
    )


async def in_process(service: Service, calls: int, history: list[list[float]]) -> None:
    """Times by the arm that was assigned."""
    times: dict[str, list[int]] = {}
    for i in range(calls):
        body = body_of(f"unit-{i % 200}", history)
        began = time.perf_counter_ns()
        reply = await service.desk.decide(DECODER.decode(body))
        elapsed = time.perf_counter_ns() - began
        times.setdefault(msgspec.json.decode(reply)["arm"], []).append(elapsed)
    for arm, taken in sorted(times.items()):
        median, p99 = np.percentile(np.array(taken[50:]) / 1000, [50, 99])
        print(f"in process  {arm:12s} median {median:7.1f} us   p99 {p99:7.1f} us   n={len(taken)}")


async def over_http(port: int, calls: int, connections: int, history: list[list[float]]) -> None:
    """Requests per second of one worker that shares its core with this client."""
    url = f"http://127.0.0.1:{port}/v1/decide"
    times: list[float] = []

    async def bot(session: aiohttp.ClientSession, name: int) -> None:
        for i in range(calls // connections):
            began = time.perf_counter()
            async with session.post(url, data=body_of(f"http-{name}-{i // 150}", history)) as reply:
                await reply.read()
                assert reply.status == 200
            times.append(time.perf_counter() - began)

    async with aiohttp.ClientSession(headers={"content-type": "application/json"}) as session:
        began = time.perf_counter()
        await asyncio.gather(*(bot(session, n) for n in range(connections)))
        elapsed = time.perf_counter() - began
    median, p99 = np.percentile(np.array(times) * 1e3, [50, 99])
    print(f"over HTTP   {len(times) / elapsed:7.0f} requests/s   median {median:.2f} ms   p99 {p99:.2f} ms")


async def run(calls: int, connections: int) -> None:
    """Both measurements."""
    history = np.random.default_rng(1).uniform(0, 0.9, (20, 18)).round(4).tolist()
    with tempfile.TemporaryDirectory() as folder:
        service = opened(Path(folder))
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(service),
                port=0,
                http="httptools",
                lifespan="on",
                log_level="warning",
                access_log=False,
            )
        )
        serving = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110 - uvicorn offers a flag only
            await asyncio.sleep(0.01)
        await in_process(service, calls, history)
        port = server.servers[0].sockets[0].getsockname()[1]
        await over_http(port, calls, connections, history)
        server.should_exit = True
        await serving


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=3000)
    parser.add_argument("--connections", type=int, default=16)
    options = parser.parse_args()
    asyncio.run(run(options.calls, options.connections))


if __name__ == "__main__":
    main()
