"""Serves a bare ASGI application as `abctl serve` does: uvicorn, uvloop, httptools, one inherited socket.

Prints its port and ends when its parent does.
"""

import os
import socket
import sys
import threading
from typing import Any

import uvicorn


def serve(app: Any) -> None:
    """Until stdin closes."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    print(listener.getsockname()[1], flush=True)
    threading.Thread(target=_follow_parent, daemon=True).start()
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
    )
    uvicorn.Server(config).run(sockets=[listener])


def _follow_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)
