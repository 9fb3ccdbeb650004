"""`abctl model export`: a model for torch, MLX or ONNX, in a folder or at a URL."""

import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.failures import Refused
from cli.options import DataDirOption, JsonOption

if TYPE_CHECKING:
    from arms.exported_folder import Described, Writer
    from cli.settings import Settings

TARGETS = ("torch", "mlx", "onnx")


def export(
    source: Annotated[
        str,
        typer.Option(
            "--input", help="Folder or URL of an artefact, a registered id's beginning, or ARM@ALIAS."
        ),
    ],
    output: Annotated[
        str, typer.Option(help="Folder that is empty or does not exist, or a URL: s3://bucket/prefix.")
    ],
    to: Annotated[str, typer.Option(help="torch, mlx or onnx.")],
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a model as files of torch, MLX or ONNX, with all it takes to run them without abctl.

    Each file is read again and must answer as the served model does, to 1e-5 on 4,096 inputs; else nothing is
    left. The artefact goes along unchanged: `abctl model import OUTPUT --arm ARM` gives the same model again.

    Example: abctl model export --input models/base --output exported/base --to torch
    """
    from arms.remote_folder import is_url, put
    from cli.settings import read_settings
    from cli.staging import ended_in_order, staged_beside
    from cli.terminal import print_json, say

    write = _writer(to)
    settings = read_settings(data_dir=data_dir)
    with ended_in_order():
        if is_url(output):
            with tempfile.TemporaryDirectory() as place:
                folder = Path(place) / "model"
                described = _written(settings, source, to, write, folder)
                put(folder, output)
        else:
            check_free(Path(output))
            with staged_beside(Path(output)) as folder:
                described = _written(settings, source, to, write, folder)
                _move(folder, Path(output))
    if as_json:
        print_json(_facts(described, output))
        return
    say(_sentence(described, output))


def _writer(to: str) -> "Writer":
    """What writes files of a framework, which must be here."""
    if to not in TARGETS:
        raise Refused(f"--to must be one of {', '.join(TARGETS)}, not {to!r}")
    if to != "onnx" and find_spec(to) is None:
        raise Refused(
            f"{to} is not here: pip install 'abctl[train]', or export --to onnx, which needs neither"
        )
    if to == "torch":
        from arms import torch_file

        return torch_file.written
    if to == "mlx":
        from arms import mlx_file

        return mlx_file.written
    from arms import onnx_file

    return onnx_file.written


def _written(settings: "Settings", source: str, to: str, write: "Writer", folder: Path) -> "Described":
    from arms.exported_folder import write_exported
    from arms.schema import MARKET_V1
    from cli.long_work import Progress

    folder.mkdir()
    asking = cache(Progress)  # it counts from the first input on
    with _artefact_folder(source, settings) as artefact:
        return write_exported(artefact, to, write, MARKET_V1, folder, lambda told: asking().say(told))


@contextmanager
def _artefact_folder(source: str, settings: "Settings") -> Generator[Path]:
    """Of a folder, a URL, or a registered model; what was fetched is gone afterwards."""
    from arms.artefact import artefact_within
    from arms.remote_folder import fetched, is_url

    if not is_url(source) and Path(source).is_dir():
        yield artefact_within(Path(source))
        return
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        yield artefact_within(fetched(source, place)) if is_url(source) else _kept(source, settings, place)


def _kept(model: str, settings: "Settings", place: Path) -> Path:
    """A registered model's folder."""
    from cli.database import existing
    from store import models

    with existing(settings) as engine:
        with engine.connect() as connection:
            found = models.find(connection, model)
        return models.materialise(engine, found.id, place)


def _is_model(folder: Path) -> bool:
    """An artefact, or an exported folder."""
    beside = (folder / "golden.json", folder / "artefact")
    return (folder / "config.json").is_file() and any(path.exists() for path in beside)


def check_free(output: Path) -> None:
    """Refuses a folder that holds anything, and a file."""
    for parent in output.absolute().parents:
        if _is_model(parent):
            raise Refused(f"{output} is inside of model {parent} and would spoil it: give a folder beside it")
    if output.is_dir():
        first = next(iter(sorted(output.iterdir())), None)
        if first is not None:
            raise Refused(
                f"{output} holds {first.name}: nothing is overwritten; give an empty or a new folder"
            )
    elif output.exists() or output.is_symlink():
        raise Refused(f"{output} is no folder: give an empty or a new one")


def _move(folder: Path, output: Path) -> None:
    """At once; into a folder that is there, file by file, since that may be a disk of its own."""
    from arms.artefact import CONFIG

    output.parent.mkdir(parents=True, exist_ok=True)
    if not output.exists():
        folder.rename(output)
        return
    check_free(output)
    for entry in sorted(folder.iterdir(), key=lambda each: (each.name == CONFIG, each.name)):
        shutil.move(entry, output / entry.name)


def _facts(described: "Described", output: str) -> dict[str, object]:
    agreement = described.agreement
    return {
        "id": described.model,
        "arm": described.arm,
        "to": described.target,
        "output": output,
        "files": list(described.files),
        "inputs": agreement.inputs,
        "largest_difference": {"probs": agreement.probs, "value": agreement.value},
    }


def _sentence(described: "Described", output: str) -> str:
    agreement = described.agreement
    return (
        f"model {described.model} for {described.target} in {output}: {', '.join(described.files)}; on "
        f"{agreement.inputs:,} inputs at most {agreement.probs:.1e} from what is served in probabilities, "
        f"{agreement.value:.1e} in values"
    )
