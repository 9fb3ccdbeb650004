"""Puts models into the registry and makes them serve, with every check that a service makes."""

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

from cli.failures import Refused
from cli.finding import actor
from store.clock import wall_clock_us

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from arms.artefact import Output


def register_folder(engine: "Engine", folder: Path, by: str) -> str:
    """Puts an artefact folder that was checked into the registry; returns its id."""
    from arms.artefact import CONFIG, artefact_of, contents_of
    from store import models

    content = contents_of(folder)
    artefact = artefact_of(folder, content)
    facts = content[CONFIG].decode()
    models.register(engine, models.ModelEntry(artefact.id, artefact.arm, facts, wall_clock_us(), by), content)
    return artefact.id


def check_folder(folder: Path, arm: str) -> None:
    """What a service would refuse of a user's folder is refused here; so is a model of another arm."""
    from arms.artefact import read_artefact
    from arms.protocol import loader_of
    from arms.schema import MARKET_V1

    artefact = read_artefact(folder)
    if artefact.arm != arm:
        raise Refused(
            f"{folder} says it is a model of arm {artefact.arm!r}, not {arm!r}: give --arm {artefact.arm}"
        )
    loader_of(artefact.kind)(artefact, MARKET_V1)


@contextmanager
def wrapped(arm: str, file: Path, window: int | None, output: str | None) -> Generator[Path]:
    """A file of either kind as an artefact folder; it is gone afterwards. window, output: of an ONNX file."""
    from arms.foreign_file import holds_weights

    if not holds_weights(file):
        with wrapped_onnx(arm, file, window or 20, output or "probs") as place:
            yield place
        return
    if window is not None or output is not None:
        raise Refused(f"--window and --output are for ONNX files: {file} needs neither, so leave them out")
    with wrapped_weights(arm, file) as place:
        yield place


@contextmanager
def wrapped_weights(arm: str, file: Path) -> Generator[Path]:
    """Foreign weights as an artefact folder; it is gone afterwards."""
    if find_spec("onnx") is None:
        raise Refused("a graph of weights is written by the train extra: pip install 'abctl[train]'")
    from arms.foreign_weights import import_weights
    from arms.schema import MARKET_V1

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "model"
        import_weights(file, place, arm, MARKET_V1)
        yield place


@contextmanager
def wrapped_onnx(arm: str, file: Path, window: int, output: str) -> Generator[Path]:
    """A plain ONNX file as an artefact folder, checked; it is gone afterwards."""
    from arms.onnx_import import import_onnx
    from arms.schema import MARKET_V1

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "model"
        import_onnx(file, place, arm, window, MARKET_V1, _known_output(output))
        yield place


def _known_output(name: str) -> "Output":
    from arms.artefact import Output

    if name not in get_args(Output):
        raise Refused(f"--output must be probs or logits, not {name!r}")
    return cast("Output", name)


def check_servable(engine: "Engine", model_id: str) -> None:
    """Loads a registered model with all checks, as a service would, before anybody depends on it."""
    from arms.schema import MARKET_V1
    from router.loading import Terms, check

    with tempfile.TemporaryDirectory() as folder:
        check(engine, Path(folder), model_id, Terms(MARKET_V1))


def make_champion(engine: "Engine", model_id: str, arm: str, reason: str) -> None:
    """Appends the change of the alias that services watch."""
    from store.models import CHAMPION

    name_model(engine, model_id, (arm, CHAMPION), reason)


def name_model(engine: "Engine", model_id: str, alias: tuple[str, str], reason: str) -> None:
    """Appends a change of an alias of an arm."""
    from store import models

    change = models.AliasChange(*alias, model_id, wall_clock_us(), actor(), reason)
    models.set_alias(engine, change)
