"""Puts models into the registry and makes them serve, with every check that a service makes."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

from cli.failures import Refused
from cli.finding import actor
from store.clock import wall_clock_us

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from arms.artefact import Output


def register_folder(engine: "Engine", folder: Path, by: str) -> str:
    """Puts an artefact folder into the registry; returns its id."""
    from arms.artefact import CONFIG, FILES, read_artefact
    from store import models

    artefact = read_artefact(folder)
    content = {name: (folder / name).read_bytes() for name in FILES if (folder / name).is_file()}
    facts = content[CONFIG].decode()
    models.register(engine, models.ModelEntry(artefact.id, artefact.arm, facts, wall_clock_us(), by), content)
    return artefact.id


def register_own_folder(engine: "Engine", folder: Path, arm: str | None) -> str:
    """The same for a user's folder: what a service would refuse is refused here; so is another arm's."""
    from arms.artefact import read_artefact
    from arms.protocol import loader_of
    from arms.schema import MARKET_V1

    artefact = read_artefact(folder)
    if arm is not None and artefact.arm != arm:
        raise Refused(
            f"{folder} says it is a model of arm {artefact.arm!r}, not {arm!r}: give --arm {artefact.arm}"
        )
    loader_of(artefact.kind)(artefact, MARKET_V1)
    return register_folder(engine, folder, actor())


def register_onnx(engine: "Engine", arm: str, file: Path, window: int, output: str) -> str:
    """Wraps a plain ONNX file as an artefact and registers it."""
    from arms.onnx_import import import_onnx
    from arms.schema import MARKET_V1

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "model"
        import_onnx(file, place, arm, window, MARKET_V1, _known_output(output))
        return register_folder(engine, place, actor())


def _known_output(name: str) -> "Output":
    from arms.artefact import Output

    if name not in get_args(Output):
        raise Refused(f"--output must be probs or logits, not {name!r}")
    return cast("Output", name)


def check_servable(engine: "Engine", model_id: str) -> None:
    """Loads a registered model with all checks, as a service would, before anybody depends on it."""
    from arms.schema import MARKET_V1
    from router.service import load_model

    with tempfile.TemporaryDirectory() as folder:
        load_model(engine, Path(folder), model_id, MARKET_V1)


def make_champion(engine: "Engine", model_id: str, arm: str, reason: str) -> None:
    """Appends the change of the alias."""
    from store import models

    models.set_alias(engine, models.AliasChange(arm, "champion", model_id, wall_clock_us(), actor(), reason))
