"""Kills an arm by whatever way is left: the service, else the KILL file that every worker polls."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from cli.failures import NotAllowed, NotFound, Refused, Unavailable
from cli.finding import actor, call, is_locked, service_url

if TYPE_CHECKING:
    from cli.settings import Settings


TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True)
class Way:
    """Which way was taken, in words. is_new: False where the arm was in that state already."""

    where: str
    is_new: bool


def kill_arm(settings: "Settings", arm: str, reason: str) -> Way:
    """Kills."""
    from router import kills
    from store.clock import wall_clock_us

    def by_file() -> bool:
        _check_place(settings)
        _check_name(settings, arm)
        kill = kills.Kill(settings.experiment, arm, wall_clock_us(), actor(), reason)
        made = kills.add_kill(settings.place.root, kill)
        kills.note_change(settings.place, kill, "killed")
        return made.is_new

    return _changed(settings, {"arm": arm, "state": "killed", "reason": reason}, by_file)


def lift_arm(settings: "Settings", arm: str, reason: str) -> Way:
    """Lifts, where there is something to lift."""
    from router import kills
    from store.clock import wall_clock_us

    def by_file() -> bool:
        lifted = kills.Kill(settings.experiment, arm, wall_clock_us(), actor(), reason)
        _check_place(settings)
        made = kills.lift_kill(settings.place.root, settings.experiment, arm)
        kills.note_change(settings.place, lifted, "lifted")  # also for who heard of another node's kill
        return made.is_new

    return _changed(settings, {"arm": arm, "state": "lifted", "reason": reason}, by_file)


def _changed(settings: "Settings", body: dict[str, str], by_file: Callable[[], bool]) -> Way:
    """A service of this data directory that does not answer, or wants a key, is no obstacle: the directory is
    ours. One at a URL has no other way."""
    url = service_url(settings)
    if url is not None:
        path = f"/v1/experiments/{quote(settings.experiment, safe='')}/kill"
        try:
            answer = call(settings, url, "PUT", path, body, TIMEOUT_S)
        except (NotAllowed, Unavailable):
            if settings.url:
                raise
        else:
            return Way(f"through the service at {url}", bool(answer.get("changed", True)))
    is_new = by_file()
    when = "polls 4 times a second" if is_locked(settings.place) else "reads at its start; none runs now"
    return Way(f"by the KILL file in {settings.data_dir}, which a service there {when}", is_new)


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
