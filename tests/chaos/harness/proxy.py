"""A TCP proxy that can be told to misbehave: it stands between the service and a server of its own.

`delay` holds every piece back, `truncate` ends a connection in the middle of a piece, `reset` ends them all
with RST and refuses new ones so, `hole` takes everything and passes nothing on.
"""

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, Self

Mode = Literal["pass", "delay", "truncate", "reset", "hole"]
_PIECE_BYTES = 16 << 10
_LINGER_NOT = struct.pack("ii", 1, 0)


@dataclass(eq=False)
class Proxy:
    """Listens on a free port of 127.0.0.1 and passes on to target_port, in a thread of its own."""

    target_port: int
    rng: random.Random
    port: int = 0
    mode: Mode = "pass"
    delay_s: float = 0.3
    broken: int = 0
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._serve, "127.0.0.1", 0)).result(10)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._close()).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def set(self, mode: Mode) -> None:
        """From now on. What a hole swallowed is gone: its connections end when it is left."""
        was, self.mode = self.mode, mode
        if mode == "reset" or was == "hole":
            self._run(self._break_all()).result(10)

    def _run(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mode == "reset":
            self._break(writer)
            return
        try:
            back_reader, back_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            self._break(writer)
            return
        self._writers |= {writer, back_writer}
        pumps = [
            asyncio.create_task(self._pump(*ends)) for ends in ((reader, back_writer), (back_reader, writer))
        ]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for end in (writer, back_writer):
            self._writers.discard(end)
            end.close()
        for pump in pumps:
            pump.cancel()
            with suppress(asyncio.CancelledError):
                await pump

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await reader.read(_PIECE_BYTES):
                if self.mode == "hole":
                    continue
                if self.mode == "delay":
                    await asyncio.sleep(self.delay_s * self.rng.random())
                if self.mode == "truncate" and self.rng.random() < 0.3:
                    self.broken += 1
                    writer.write(piece[: self.rng.randrange(len(piece))])
                    await writer.drain()
                    return
                writer.write(piece)
                await writer.drain()

    def _break(self, writer: asyncio.StreamWriter) -> None:
        """RST instead of an orderly end."""
        self.broken += 1
        sock = writer.get_extra_info("socket")
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        writer.transport.abort()

    async def _break_all(self) -> None:
        for writer in list(self._writers):
            self._break(writer)

    async def _close(self) -> None:
        self._server.close()
        await self._break_all()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
