"""The service's listening socket. The supervisor owns it, so that connections wait while a worker is away."""

import errno
import socket
import time

from cli.failures import Conflict, Refused

BACKLOG = 2048
_RETRY_S = 0.05


def listening_socket(host: str, port: int, patience_s: float) -> socket.socket:
    """Binds and listens. patience_s: how long workers of a service that was just killed may hold the port."""
    deadline_s = time.monotonic() + patience_s
    while True:
        try:
            return _bound(host, port)
        except socket.gaierror as error:
            raise Refused(f"host {host!r} has no address: {error.strerror}; use an IP address") from error
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() >= deadline_s:
                raise Conflict(
                    f"cannot listen on {host}:{port}: {error.strerror}; choose another --port or --host"
                ) from error
        time.sleep(_RETRY_S)


def url_of(listener: socket.socket, host: str) -> str:
    """Where the service answers on this machine."""
    here = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104
    shown = f"[{here}]" if ":" in here else here
    return f"http://{shown}:{listener.getsockname()[1]}"


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener
