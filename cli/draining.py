"""A worker's HTTP server, with an end that costs a well-behaved client nothing.

uvicorn alone closes idle keep-alive connections at once, and a request that is on the wire at that moment is
lost. Here, after TERM, no new connection is taken, every answer says `Connection: close`, and a connection is
closed from our side only when it has been quiet for QUIET_S.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

QUIET_S = 0.5
"""How long a connection may still bring a request; one sent just when this ends is reset: resend it."""
_LOOK_S = 0.02
_CLOSE = (b"connection", b"close")


class DrainingServer(uvicorn.Server):
    """on_listening: called once, when the worker takes connections."""

    def __init__(self, config: uvicorn.Config, on_listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_listening = on_listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, and says so."""
        await super().startup(sockets)
        self._on_listening()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Closes the door, sends everybody away with an answer, then ends as uvicorn does."""
        for server in self.servers:
            server.close()
        self.server_state.default_headers.append(_CLOSE)
        for connection in list(self.server_state.connections):
            if isinstance(connection, HttpToolsProtocol) and _is_busy(connection):
                connection.shutdown()  # its answer, which may hold older headers, says so too
        await self._quiet()
        await super().shutdown(sockets)

    async def _quiet(self) -> None:
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + QUIET_S
        while self._has_callers() and loop.time() < deadline_s:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(_LOOK_S)

    def _has_callers(self) -> bool:
        return bool(self.server_state.connections) and not self.force_exit


def _is_busy(connection: HttpToolsProtocol) -> bool:
    """Whether it waits for an answer."""
    cycle = cast("RequestResponseCycle | None", connection.cycle)
    return cycle is not None and not cycle.response_complete
