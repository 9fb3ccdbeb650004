"""The kill switch: a KILL file in the data directory. Needs neither Redis nor SQL, survives restarts until lifted."""

import os
from pathlib import Path

import msgspec


class Kill(msgspec.Struct, frozen=True):
    """From `at_us` on nothing is served by `arm` in `experiment`."""

    experiment: str
    arm: str
    at_us: int
    actor: str
    reason: str


Kills = tuple[Kill, ...]


def kill_file(data_dir: Path) -> Path:
    """Where the kills of a data directory are written."""
    return data_dir / "KILL"


def read_kills(data_dir: Path) -> Kills:
    """The kills in force."""
    try:
        content = kill_file(data_dir).read_bytes()
    except FileNotFoundError:
        return ()
    return msgspec.json.decode(content, type=Kills)


def add_kill(data_dir: Path, kill: Kill) -> Kills:
    """Writes one more kill; the file is replaced as a whole."""
    others = tuple(k for k in read_kills(data_dir) if (k.experiment, k.arm) != (kill.experiment, kill.arm))
    return _write(data_dir, (*others, kill))


def lift_kill(data_dir: Path, experiment: str, arm: str) -> Kills:
    """Takes the kill of an arm away."""
    return _write(
        data_dir, tuple(k for k in read_kills(data_dir) if (k.experiment, k.arm) != (experiment, arm))
    )


def is_killed(kills: Kills, experiment: str, arm: str) -> bool:
    """Whether an arm must not serve."""
    return any(k.experiment == experiment and k.arm == arm for k in kills)


def _write(data_dir: Path, kills: Kills) -> Kills:
    path = kill_file(data_dir)
    if not kills:
        path.unlink(missing_ok=True)
        return kills
    staging = path.with_name(f"KILL.{os.getpid()}")
    staging.write_bytes(msgspec.json.format(msgspec.json.encode(kills), indent=2))
    staging.replace(path)
    return kills
