"""Kills an arm by whatever way is left: the service, else the KILL file that every worker polls."""

from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import quote

from cli.failures import NotAllowed, NotFound, Refused, Unavailable
from cli.finding import actor, call, is_locked, service_url

if TYPE_CHECKING:
    from cli.settings import Settings


TIMEOUT_S = 3.0


def kill_arm(settings: "Settings", arm: str, reason: str) -> str:
    """Kills; returns which way was taken."""
    from router import kills
    from store.clock import wall_clock_us

    def by_file() -> None:
        _check_place(settings)
        _check_name(settings, arm)
        kill = kills.Kill(settings.experiment, arm, wall_clock_us(), actor(), reason)
        kills.add_kill(settings.place.root, kill)
        kills.note_change(settings.place, kill, "killed")

    return _changed(settings, {"arm": arm, "state": "killed", "reason": reason}, by_file)


def lift_arm(settings: "Settings", arm: str, reason: str) -> str:
    """Lifts; returns which way was taken."""
    from router import kills
    from store.clock import wall_clock_us

    def by_file() -> None:
        lifted = kills.Kill(settings.experiment, arm, wall_clock_us(), actor(), reason)
        _check_place(settings)
        kills.lift_kill(settings.place.root, settings.experiment, arm)
        kills.note_change(settings.place, lifted, "lifted")

    return _changed(settings, {"arm": arm, "state": "lifted", "reason": reason}, by_file)


def _changed(settings: "Settings", body: dict[str, str], by_file: Callable[[], None]) -> str:
    """A service of this data directory that does not answer, or wants a key, is no obstacle: the directory is
    ours. One at a URL has no other way."""
    url = service_url(settings)
    if url is not None:
        path = f"/v1/experiments/{quote(settings.experiment, safe='')}/kill"
        try:
            call(settings, url, "PUT", path, body, TIMEOUT_S)
        except (NotAllowed, Unavailable):
            if settings.url:
                raise
        else:
            return f"through the service at {url}"
    by_file()
    when = "polls 4 times a second" if is_locked(settings.place) else "reads at its start; none runs now"
    return f"by the KILL file in {settings.data_dir}, which a service there {when}"


def _check_place(settings: "Settings") -> None:
    """A kill where no service has ever been would be a kill of nothing, believed to be one."""
    if not settings.place.root.is_dir():
        raise NotFound(
            f"no service has its data in {settings.data_dir}, so nothing is changed:"
            " name the service's own --data-dir, or its address with --url"
        )


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
