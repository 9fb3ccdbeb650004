"""What a process costs and where it runs, read from /proc; and what this machine is."""

import contextlib
import datetime as dt
import os
import platform
from collections.abc import Generator, Iterable
from importlib.metadata import version
from pathlib import Path

_TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")
_USER, _SYSTEM, _PARENT = 11, 12, 1  # places in /proc/PID/stat behind the name
PACKAGES = ("uvicorn", "uvloop", "httptools", "msgspec", "numpy", "onnxruntime", "fastapi", "pydantic")


def pin(pid: int, core: int) -> None:
    """Moves every thread of a process to one core; threads that it makes later follow."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {core})


def cpu_ms(pid: int) -> float:
    """User and system time of a process so far, in steps of 10 ms; 0 where it is gone."""
    fields = _stat(pid)
    return (int(fields[_USER]) + int(fields[_SYSTEM])) * _TICK_MS if fields else 0.0


def descendants(pid: int) -> list[int]:
    """The processes below one, parents first."""
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    parents = {each: int(fields[_PARENT]) for each in pids if (fields := _stat(each))}
    found, fresh = [], {pid}
    while fresh:
        fresh = {each for each, parent in parents.items() if parent in fresh}
        found += sorted(fresh)
    return found


def command_of(pid: int) -> str:
    """A process's command line; empty where it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def resident_mb(pid: int) -> float:
    """Memory that a process holds, in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def load_average() -> float:
    """Processes that wanted a core, averaged over the last minute."""
    return os.getloadavg()[0]


def facts() -> str:
    """One line: what was measured, on what, when."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    today = dt.datetime.now(dt.UTC).date()
    return f"{cpu_model()}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}; {today}"


def cpu_model() -> str:
    """As the kernel names it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return first(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))


def first(names: Iterable[str]) -> str:
    """The first one, or the machine's kind where the kernel names no model."""
    return next(iter(names), platform.machine())


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


@contextlib.contextmanager
def punctual() -> Generator[None]:
    """First in turn on its core, where the system allows it: who is to measure must not wait for what carries
    decisions to SQL beside it. Where it does not, the column "sent late" shows it."""
    usual = os.sched_getscheduler(0), os.sched_getparam(0)
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, *usual)
