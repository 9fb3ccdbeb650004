"""The kill switch: a KILL file in the data directory. Needs neither Redis nor SQL, survives restarts.

The file says who killed what, when and why while it lasts; the audit keeps it for good, once SQL answers.
"""

import fcntl
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from router.errors import BadKillFile
from store.data_dir import DataDir
from store.late_audit import Note, note


class Kill(msgspec.Struct, frozen=True):
    """From `at_us` on nothing is served by `arm` in `experiment`."""

    experiment: str
    arm: str
    at_us: int
    actor: str
    reason: str


Kills = tuple[Kill, ...]


@dataclass(frozen=True, slots=True)
class Changed:
    """The kills in force after a change. is_new: False where the arm was in that state already."""

    kills: Kills
    is_new: bool


def kill_file(data_dir: Path) -> Path:
    """Where the kills of a data directory are written."""
    return data_dir / "KILL"


def read_kills(data_dir: Path) -> Kills:
    """The kills in force, or BadKillFile where somebody wrote the file by hand and got it wrong."""
    try:
        content = kill_file(data_dir).read_bytes()
    except FileNotFoundError:
        return ()
    try:
        return msgspec.json.decode(content, type=Kills)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadKillFile(str(kill_file(data_dir)), str(error)) from error


def add_kill(data_dir: Path, kill: Kill) -> Changed:
    """Writes one more kill, in the place of an earlier one of the arm; the file is replaced as a whole."""
    before, kills = _changed(data_dir, lambda kills: (*_others(kills, kill.experiment, kill.arm), kill))
    return Changed(kills, not is_killed(before, kill.experiment, kill.arm))


def lift_kill(data_dir: Path, experiment: str, arm: str) -> Changed:
    """Takes the kill of an arm away, where there is one."""
    before, kills = _changed(data_dir, lambda kills: _others(kills, experiment, arm))
    return Changed(kills, is_killed(before, experiment, arm))


def note_change(data_dir: DataDir, kill: Kill, state: str) -> None:
    """Keeps a kill or its lift for the audit. state: "killed" or "lifted"."""
    detail = msgspec.json.encode({"arm": kill.arm, "reason": kill.reason}).decode()
    note(data_dir, Note(kill.at_us, kill.actor, f"arm.{state}", kill.experiment, detail))


def _others(kills: Kills, experiment: str, arm: str) -> Kills:
    return tuple(k for k in kills if (k.experiment, k.arm) != (experiment, arm))


def is_killed(kills: Kills, experiment: str, arm: str) -> bool:
    """Whether an arm must not serve."""
    return any(k.experiment == experiment and k.arm == arm for k in kills)


def _changed(data_dir: Path, change: Callable[[Kills], Kills]) -> tuple[Kills, Kills]:
    """Reads, changes and writes under a lock: two changes at once both count. The kills before and after."""
    with _locked(data_dir):
        before = read_kills(data_dir)
        kills = change(before)
        path = kill_file(data_dir)
        staging = path.with_name("KILL.new")
        staging.write_bytes(msgspec.json.format(msgspec.json.encode(kills), indent=2))
        if kills:
            staging.replace(path)
        else:
            staging.unlink()
            path.unlink(missing_ok=True)
    return before, kills


@contextmanager
def _locked(data_dir: Path) -> Generator[None, None, None]:
    fd = os.open(data_dir / "KILL.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
