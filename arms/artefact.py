"""A model as a folder that can be checked without trusting it.

    config.json        what it is: arm, kind, preset, window, schema, how it was trained
    model.onnx         what is served
    golden.json        inputs and the answers they must give: the self-test at load
    model.safetensors  the weights for further training and export (absent in models imported as ONNX)

The id is the hash of these files, so it changes when any byte does, and the same training on the same machine
gives the same id. Nothing in here can run code: no pickle, no links, no file outside the folder.
"""

import hashlib
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeVar

import msgspec

from arms.errors import ArtefactError

CONFIG, ONNX, GOLDEN, WEIGHTS = "config.json", "model.onnx", "golden.json", "model.safetensors"
ARTEFACT: Final = "artefact"
"""Where an exported folder holds the artefact that it was made from."""
FILES: Final = (CONFIG, GOLDEN, ONNX, WEIGHTS)
MAX_FILE_BYTES: Final = 64 * 1024 * 1024
FORMAT: Final = 1

Output = Literal["probs", "logits"]
_ARM_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_Read = TypeVar("_Read", bound=msgspec.Struct)


class Trained(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the weights come from. Only facts that a repetition reproduces: no clock, no host, no speed.

    markets: digests of all markets by which weights or epochs were chosen, 16 hex digits each, one behind the
    other, of their quotes; names: of their names and ends; "" = unknown. config: every setting that decides
    the weights, with the framework's version. code: version of abctl.
    """

    data_digest: str = ""
    markets: str = ""
    names: str = ""
    seed: int = 0
    epochs: int = 0
    metrics: dict[str, float] = {}
    origin: str = ""
    config: dict[str, str] = {}
    code: str = ""


DIGEST_DIGITS: Final = 16


def markets_in(trained: Trained) -> frozenset[str]:
    """The digests that `Trained.markets` holds."""
    return _digests_in(trained.markets)


def names_in(trained: Trained) -> frozenset[str]:
    """The digests that `Trained.names` holds."""
    return _digests_in(trained.names)


def _digests_in(text: str) -> frozenset[str]:
    return frozenset(text[at : at + DIGEST_DIGITS] for at in range(0, len(text), DIGEST_DIGITS))


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """config.json. `output` says what the ONNX output means; imported models may give logits and have no
    critic."""

    arm: str
    kind: str
    window: int
    schema: str
    schema_hash: str
    preset: str = ""
    output: Output = "probs"
    trained: Trained = Trained()
    format: int = FORMAT


class Golden(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Inputs [n][window][F] with [n] lengths, and the probs [n][3] and value [n] that they must give."""

    history: list[list[list[float]]]
    length: list[int]
    probs: list[list[float]]
    value: list[float]


@dataclass(frozen=True, slots=True)
class Artefact:
    """A folder that was read and checked against itself; not yet run. id: blake2b-16, 32 hex digits."""

    id: str
    config: Config
    golden: Golden
    onnx: bytes = field(repr=False)
    weights: bytes | None = field(repr=False)

    @property
    def arm(self) -> str:
        return self.config.arm

    @property
    def kind(self) -> str:
        return self.config.kind

    @property
    def preset(self) -> str:
        return self.config.preset

    @property
    def window(self) -> int:
        return self.config.window

    @property
    def schema_hash(self) -> str:
        return self.config.schema_hash

    @property
    def trained(self) -> Trained:
        return self.config.trained


def write_artefact(
    folder: Path, config: Config, golden: Golden, onnx: bytes, weights: bytes | None
) -> Artefact:
    """Write the folder file by file, each atomically, and read it back. Same inputs give the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    if weights is None:
        (folder / WEIGHTS).unlink(missing_ok=True)
    else:
        _replace(folder / WEIGHTS, weights)
    _replace(folder / ONNX, onnx)
    _replace(folder / GOLDEN, _canonical(golden))
    _replace(folder / CONFIG, msgspec.json.format(_canonical(config), indent=2) + b"\n")
    return read_artefact(folder)


def read_artefact(folder: Path) -> Artefact:
    """Read and check a folder, or say which file is wrong and why. Runs no model."""
    return artefact_of(folder, contents_of(folder))


def artefact_within(folder: Path) -> Path:
    """The artefact's folder of a folder that was exported; any other folder is one itself."""
    return folder / ARTEFACT if (folder / ARTEFACT / CONFIG).is_file() else folder


def contents_of(folder: Path) -> dict[str, bytes]:
    """The bytes of a folder's files by name, each read once: what is checked is what is kept."""
    return {name: _contents(folder / name) for name in _listed(folder)}


def artefact_of(folder: Path, contents: dict[str, bytes]) -> Artefact:
    """The artefact that these bytes are. folder: for what is said."""
    for name in (CONFIG, GOLDEN, ONNX):
        if name not in contents:
            raise ArtefactError(f"{folder} has no {name}: export the model again")
    config = _decoded(folder / CONFIG, contents[CONFIG], Config)
    _check(folder, config)
    return Artefact(
        id=_id_of(contents),
        config=config,
        golden=_decoded(folder / GOLDEN, contents[GOLDEN], Golden),
        onnx=contents[ONNX],
        weights=contents.get(WEIGHTS),
    )


def _listed(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise ArtefactError(f"{folder} is not a folder: give the folder that holds {CONFIG} and {ONNX}")
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    strangers = [name for name in names if name not in FILES]
    if strangers:
        raise ArtefactError(
            f"{folder} holds {strangers[0]}: only {', '.join(FILES)} belong in an artefact; remove it"
        )
    return names


def _contents(path: Path) -> bytes:
    """The bytes of one regular file; a link could point anywhere and a pipe could block, so neither is
    read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        raise ArtefactError(f"{path} cannot be read ({error.strerror}): it must be a plain file") from error
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise ArtefactError(f"{path} is not a plain file: copy the artefact without links")
        if facts.st_size > MAX_FILE_BYTES:
            raise ArtefactError(f"{path} has {facts.st_size:,} bytes: at most {MAX_FILE_BYTES:,} are allowed")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def _check(folder: Path, config: Config) -> None:
    if config.format != FORMAT:
        raise ArtefactError(
            f"{folder / CONFIG}: format {config.format} is not {FORMAT}: export the model again"
        )
    check_arm_name(config.arm, f"{folder / CONFIG}: ")
    if not 1 <= config.window <= 64:
        raise ArtefactError(f"{folder / CONFIG}: window {config.window} must lie in 1..64")


def check_arm_name(arm: str, where: str = "") -> None:
    """Raise unless it can be an arm's name. where: the place of the name, for what is said."""
    if not _ARM_NAME.fullmatch(arm):
        raise ArtefactError(f"{where}arm {arm!r} must be 1-63 of a-z, 0-9, _ and -, starting with a letter")


def _id_of(contents: dict[str, bytes]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(contents):
        digest.update(f"{name}:{hashlib.blake2b(contents[name], digest_size=32).hexdigest()}\n".encode())
    return digest.hexdigest()


def _decoded(path: Path, content: bytes, kind: type[_Read]) -> _Read:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ArtefactError(f"{path}: {error}") from error


def _canonical(record: msgspec.Struct) -> bytes:
    return msgspec.json.encode(record, order="sorted")


def _replace(path: Path, content: bytes) -> None:
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_bytes(content)
    fresh.replace(path)
