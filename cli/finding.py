"""Finds the running service of a data directory, and speaks HTTP to it with the standard library alone."""

import json
import os
import pwd
import urllib.error
import urllib.request
from typing import Any

from cli.failures import Unavailable, failure_of_status
from cli.settings import Settings
from store import locks
from store.data_dir import DataDir, read_service

TIMEOUT_S = 30.0


class _Straight(urllib.request.HTTPRedirectHandler):
    """The service never redirects; who does is not the service, and gets no second request."""

    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: Any) -> None:
        """None: the answer is a failure as any other."""


_OPENER = urllib.request.build_opener(_Straight)


def service_url(settings: Settings) -> str | None:
    """ABCTL_URL, else the living service that announced itself in the data directory, else None."""
    if settings.url:
        return settings.url.rstrip("/")
    announced = read_service(settings.place)
    if announced is None or not (_lives(announced.pid) and is_locked(settings.place)):
        return None
    return announced.url


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def is_locked(place: DataDir) -> bool:
    """A service holds its directory's lock; a stranger may have its number after a reboot."""
    return locks.is_locked(place.lock)


def call(
    settings: Settings, url: str, method: str, path: str, body: object = None, timeout_s: float = TIMEOUT_S
) -> Any:
    """One request; the answer's JSON, or the failure that the service named."""
    request = urllib.request.Request(  # noqa: S310 - the user's own service
        url + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"content-type": "application/json", "x-abctl-actor": actor()},
    )
    _sign(request, settings)
    try:
        with _OPENER.open(request, timeout=timeout_s) as reply:
            return json.load(reply)
    except urllib.error.HTTPError as error:
        raise failure_of_status(error.code, _detail(error)) from error
    except (urllib.error.URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise Unavailable(f"the service at {url} does not answer: {reason}; see `abctl status`") from error


def _sign(request: urllib.request.Request, settings: Settings) -> None:
    """The key as a header that no redirect carries on."""
    if settings.api_key:
        request.add_unredirected_header("authorization", f"Bearer {settings.api_key}")


def _detail(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["detail"])
    except (ValueError, KeyError, TypeError):
        return f"the service answered {error.code} {error.reason}"


def readiness(settings: Settings, url: str) -> str:
    """ready, or what is missing before the service is: told to those who are known."""
    request = urllib.request.Request(f"{url}/readyz")  # noqa: S310 - the user's own service
    _sign(request, settings)
    try:
        with _OPENER.open(request, timeout=5) as reply:
            return str(json.load(reply)["status"])
    except urllib.error.HTTPError as error:
        return _missing(error)
    except (urllib.error.URLError, OSError, ValueError, KeyError) as error:
        return f"does not answer: {getattr(error, 'reason', error)}"


def _missing(error: urllib.error.HTTPError) -> str:
    try:
        return "; ".join(json.load(error)["missing"])
    except (ValueError, KeyError, TypeError):
        return f"not ready: {error.code} {error.reason}"


def actor() -> str:
    """Who changes things here: ABCTL_ACTOR, else USER, else the account, else its number.

    In ASCII, as HTTP headers need it; a name that has none of it is left out. Neither cron nor a container
    need have USER, and a container's account need have no name.
    """
    told = (os.environ.get("ABCTL_ACTOR"), os.environ.get("USER"), _account(os.getuid()))
    names = (_ascii(name or "") for name in told)
    return next((name for name in names if name), f"uid {os.getuid()}")


def _account(uid: int) -> str | None:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


def _ascii(name: str) -> str:
    return "".join(c for c in name if c.isascii() and c.isprintable())[:100].strip()
