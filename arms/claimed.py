"""An artefact as its caller expects it: fetched from where it says, with that id, kind and sizes."""

import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from arms.artefact import Artefact, artefact_within, read_artefact
from arms.errors import ArtefactError
from arms.presets import PRESETS, preset_of
from arms.remote_folder import fetched, is_url

ID_DIGITS_MIN: Final = 12


@dataclass(frozen=True, slots=True)
class Claim:
    """owner: who claims it, for what is said. sizes: by the owner's own names, `seq_len` for the window.
    of_preset: the preset's name of each. model: id or its first 12 or more digits, "" for any."""

    owner: str
    kind: str
    sizes: Mapping[str, int]
    of_preset: Mapping[str, str]
    model: str = ""


def claimed(path: str | Path, claim: Claim) -> Artefact:
    """The artefact of a folder or URL, checked against itself and the claim; raises ArtefactError."""
    with _local(path) as folder:
        artefact = read_artefact(folder)
    _check_id(artefact, claim.model)
    _check_kind(artefact, claim, path)
    _check_sizes(artefact, claim, path)
    return artefact


@contextmanager
def _local(path: str | Path) -> Generator[Path]:
    """The folder itself, or a copy for as long as it is read; errors name what the caller named."""
    if not is_url(str(path)):
        yield artefact_within(Path(path))
        return
    with tempfile.TemporaryDirectory(prefix="abctl-model-") as copied:
        try:
            yield artefact_within(fetched(str(path), Path(copied)))
        except ArtefactError as error:
            raise ArtefactError(str(error).replace(copied, str(path).rstrip("/"))) from error


def _check_id(artefact: Artefact, expected: str) -> None:
    if 0 < len(expected) < ID_DIGITS_MIN:
        raise ArtefactError(
            f"model {expected!r} is too short: give at least {ID_DIGITS_MIN} digits of the id"
        )
    if not artefact.id.startswith(expected):
        raise ArtefactError(f"the files are model {artefact.id}, not {expected}: fetch or export it again")


def _check_kind(artefact: Artefact, claim: Claim, path: str | Path) -> None:
    if artefact.kind != claim.kind:
        raise ArtefactError(
            f"{path} is of kind {artefact.kind}, and {claim.owner} plays {claim.kind}: load it with the "
            "strategy of its kind; your own ONNX file as docs/arms.md says"
        )


def _check_sizes(artefact: Artefact, claim: Claim, path: str | Path) -> None:
    preset = preset_of(artefact.kind, artefact.preset)
    found = {name: int(getattr(preset, claim.of_preset[name])) for name in claim.sizes}
    found["seq_len"] = artefact.window
    if found != claim.sizes:
        raise ArtefactError(
            f"{path} is preset {artefact.preset} with {_told(found)}, not {_told(claim.sizes)}: write "
            f"{claim.owner}({_told(found)}), or load {_model_of(claim)}"
        )


def _model_of(claim: Claim) -> str:
    for (kind, name), preset in PRESETS.items():
        if kind == claim.kind and all(
            getattr(preset, claim.of_preset[size]) == claimed for size, claimed in claim.sizes.items()
        ):
            return f"a model of preset {name}, which has the sizes that you gave"
    return "another model, though no preset has the sizes that you gave"


def _told(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name}={size}" for name, size in sizes.items())
