"""The models that ship with abctl, registered where an arm has none, so that a fresh service answers at once."""

from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from store.clock import wall_clock_us

STARTERS = ("base", "transformer")


def starters_folder() -> Path:
    """Where the starter artefacts lie."""
    with as_file(files("arms") / "starters") as folder:
        return folder


def ensure_champions(engine: Any) -> list[str]:
    """Registers and promotes a starter for every starter arm that has no champion; returns the arms concerned."""
    from store import models

    with engine.connect() as connection:
        served = models.champions(connection)
    missing = [arm for arm in STARTERS if arm not in served]
    for arm in missing:
        entry_id = register_folder(engine, starters_folder() / arm, "abctl")
        models.set_alias(
            engine,
            models.AliasChange(arm, "champion", entry_id, wall_clock_us(), "abctl", "starter model"),
        )
    return missing


def register_folder(engine: Any, folder: Path, actor: str) -> str:
    """Puts an artefact folder into the registry; returns its id."""
    from arms.artefact import CONFIG, FILES, read_artefact
    from store import models

    artefact = read_artefact(folder)
    content = {name: (folder / name).read_bytes() for name in FILES if (folder / name).is_file()}
    facts = content[CONFIG].decode()
    models.register(
        engine, models.ModelEntry(artefact.id, artefact.arm, facts, wall_clock_us(), actor), content
    )
    return artefact.id
