"""The models that ship, registered where an arm has none, so that a fresh service answers at once."""

from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

from cli.registry import register_folder
from store.clock import wall_clock_us

if TYPE_CHECKING:
    from sqlalchemy import Engine

STARTERS = ("base", "transformer")


def starters_folder() -> Path:
    """Where the starter artefacts lie."""
    with as_file(files("arms") / "starters") as folder:
        return folder


def ensure_champions(engine: "Engine") -> list[str]:
    """Gives every starter arm without a champion its starter; returns the arms concerned."""
    from store import models

    with engine.connect() as connection:
        served = models.champions(connection)
    missing = [arm for arm in STARTERS if arm not in served]
    for arm in missing:
        model_id = register_folder(engine, starters_folder() / arm, "abctl")
        models.set_alias(
            engine,
            models.AliasChange(arm, "champion", model_id, wall_clock_us(), "abctl", "starter model"),
        )
    return missing
