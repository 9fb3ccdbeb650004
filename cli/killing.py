"""Kills an arm by whatever way is left: the service, else the KILL file that every worker polls."""

from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import quote

from cli.failures import NotFound, Refused, Unavailable
from cli.finding import actor, call, service_url

if TYPE_CHECKING:
    from cli.settings import Settings


TIMEOUT_S = 3.0


def kill_arm(settings: "Settings", arm: str, reason: str) -> str:
    """Kills; returns which way was taken."""
    from router import kills
    from store.clock import wall_clock_us

    def by_file() -> object:
        _check_name(settings, arm)
        kill = kills.Kill(settings.experiment, arm, wall_clock_us(), actor(), reason)
        return kills.add_kill(settings.place.prepare().root, kill)

    return _changed(settings, {"arm": arm, "state": "killed", "reason": reason}, by_file)


def lift_arm(settings: "Settings", arm: str, reason: str) -> str:
    """Lifts; returns which way was taken."""
    from router import kills

    def by_file() -> object:
        return kills.lift_kill(settings.place.prepare().root, settings.experiment, arm)

    return _changed(settings, {"arm": arm, "state": "lifted", "reason": reason}, by_file)


def _changed(settings: "Settings", body: dict[str, str], by_file: Callable[[], object]) -> str:
    """A service of this data directory that does not answer is no obstacle; one at a URL has no other way."""
    url = service_url(settings)
    if url is not None:
        path = f"/v1/experiments/{quote(settings.experiment, safe='')}/kill"
        try:
            call(settings, url, "PUT", path, body, TIMEOUT_S)
        except Unavailable:
            if settings.url:
                raise
        else:
            return f"through the service at {url}"
    by_file()
    return f"by the KILL file in {settings.data_dir}, which a service there polls 4 times a second"


def _check_name(settings: "Settings", arm: str) -> None:
    """Refuses an arm that SQLite does not know. Where SQL cannot say at once, the kill goes ahead."""
    from sqlalchemy.exc import SQLAlchemyError

    from cli.database import looking
    from store import experiments
    from store.errors import StoreUnavailable

    if settings.database_url:
        return
    try:
        with looking(settings) as connection:
            if connection is None:
                return
            known = experiments.get(connection, settings.experiment).arms
    except (SQLAlchemyError, StoreUnavailable, Refused):
        return
    if arm not in known:
        raise NotFound(f"arm must be one of {', '.join(known)}, not {arm!r}: name one of these")
