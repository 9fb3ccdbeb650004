"""A model as a folder for users of a framework: its files, what they are, and the artefact as it was.

    model.pt, model.pt2                 --to torch
    weights.safetensors, model.mlxfn    --to mlx
    model.onnx                          --to onnx
    README.md                           how to load it, what goes in and what comes out
    config.json                         the same for programs
    artefact/                           unchanged: import it again, and it is the same model

Every file is read again and must answer as the served graph does, on 4,096 histories of every length.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from arms.artefact import ARTEFACT, CONFIG, Artefact, artefact_of, contents_of
from arms.errors import ArtefactError
from arms.export_readme import README, readme_of
from arms.exporting import Answers
from arms.onnx_runtime import BUILT_IN_KINDS, load
from arms.protocol import Arm
from arms.schema import StateSchema

ASKED: Final = 4096
ASKED_AT_ONCE: Final = 64
SEED: Final = 41
LIMIT: Final = 1e-5
"""Of probabilities; of values relative to the largest, if above 1."""


Part = tuple[NDArray[np.float32], NDArray[np.float32]]
"""probs float32[n,3] and value float32[n] of ASKED_AT_ONCE histories, or of what is left."""
Asking = Callable[[NDArray[np.float32], NDArray[np.int64]], Iterator[Part]]
"""(histories, lengths) -> the answers to all of them, part by part."""


@dataclass(frozen=True, slots=True)
class Written:
    """Names of the files, and what those that can be asked answer, read again."""

    files: tuple[str, ...]
    answers: Mapping[str, Asking]


Writer = Callable[[Artefact, StateSchema, Path], Written]
Progress = Callable[[str], None]
"""Told in words how much was asked."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far a folder's files are from the served graph at most: of probabilities, and of values relative to
    the largest, if above 1. inputs: histories that were asked."""

    inputs: int
    probs: float
    value: float


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """config.json of an exported folder."""

    target: str
    model: str
    arm: str
    kind: str
    preset: str
    window: int
    schema: str
    schema_hash: str
    features: tuple[str, ...]
    files: tuple[str, ...]
    agreement: Agreement
    format: int = 1


def write_exported(
    source: Path,
    target: str,
    write: Writer,
    schema: StateSchema,
    folder: Path,
    progress: Progress = lambda asked: None,
) -> Described:
    """Write a folder of its own from an artefact folder; ArtefactError where a file answers otherwise.

    target: torch, mlx or onnx, which `write` writes. folder: exists and is empty.
    """
    contents = contents_of(source)
    artefact = artefact_of(source, contents)
    if artefact.kind not in BUILT_IN_KINDS:
        raise ArtefactError(
            f"model {artefact.id} is of kind {artefact.kind}, which another distribution serves: only "
            f"{', '.join(sorted(BUILT_IN_KINDS))} can be exported here; use what made it"
        )
    arm = load(artefact, schema)
    written = write(artefact, schema, folder)
    agreement = _agreement(arm, written, asked(schema, artefact.window), progress)
    described = _described(artefact, target, schema, written.files, agreement)
    _write_all(folder / ARTEFACT, contents)
    (folder / README).write_text(readme_of(artefact.config, artefact.id, target, schema), encoding="utf-8")
    (folder / CONFIG).write_bytes(msgspec.json.format(msgspec.json.encode(described), indent=2) + b"\n")
    return described


def asked(schema: StateSchema, window: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """4,096 histories float32[n,window,F] within the schema's ranges, the same every time, and their lengths
    int64[n]: 1 to window in turn, zeros before the first state."""
    rng = np.random.default_rng(SEED)
    histories = rng.uniform(schema.low, schema.high, (ASKED, window, schema.width)).astype(np.float32)
    lengths = np.arange(ASKED, dtype=np.int64) % window + 1
    histories[np.arange(window)[None, :] < window - lengths[:, None]] = 0
    return histories, lengths


def answers_of(arm: Arm) -> Answers:
    """What a loaded arm answers."""

    def answers(
        histories: NDArray[np.float32], lengths: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        acted = arm.act(histories, lengths)
        return acted.probs, acted.value

    return answers


def _agreement(
    arm: Arm,
    written: Written,
    inputs: tuple[NDArray[np.float32], NDArray[np.int64]],
    progress: Progress,
) -> Agreement:
    """Of all files together; the first that is too far off is refused."""
    expected = _together(in_parts(answers_of(arm))(*inputs))
    far_probs, far_value = 0.0, 0.0
    for name, asking in written.answers.items():
        probs, value = _apart(_together(_told(asking(*inputs), name, progress)), expected)
        if not max(probs, value) <= LIMIT:
            raise ArtefactError(
                f"{name} answers otherwise than model {arm.model} as it is served: {probs:.2g} apart in "
                f"probabilities and {value:.2g} in values on {ASKED:,} inputs, more than {LIMIT:g}; "
                f"nothing is written: weights and graph must be of one model; train or import it again"
            )
        far_probs, far_value = max(far_probs, probs), max(far_value, value)
    return Agreement(ASKED, far_probs, far_value)


def in_parts(answers: Answers) -> Asking:
    """One part after the other."""

    def asking(histories: NDArray[np.float32], lengths: NDArray[np.int64]) -> Iterator[Part]:
        for part in parts_of(histories, lengths):
            yield answers(*part)

    return asking


def parts_of(
    histories: NDArray[np.float32], lengths: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """At most ASKED_AT_ONCE at a time."""
    for at in range(0, len(lengths), ASKED_AT_ONCE):
        yield histories[at : at + ASKED_AT_ONCE], lengths[at : at + ASKED_AT_ONCE]


def _told(parts: Iterator[Part], name: str, progress: Progress) -> Iterator[Part]:
    """The same; tells how many there were."""
    count = 0
    for part in parts:
        count += len(part[1])
        progress(f"{name} was asked {count:,} of {ASKED:,} inputs")
        yield part


def _together(parts: Iterator[Part]) -> Part:
    probs, values = zip(*parts, strict=True)
    return np.concatenate(probs), np.concatenate(values)


def _apart(found: Part, expected: Part) -> tuple[float, float]:
    scale = max(1.0, float(np.abs(expected[1]).max()))
    return (
        float(np.abs(found[0] - expected[0]).max()),
        float(np.abs(found[1] - expected[1]).max()) / scale,
    )


def _described(
    artefact: Artefact, target: str, schema: StateSchema, files: tuple[str, ...], agreement: Agreement
) -> Described:
    config = artefact.config
    return Described(
        target=target,
        model=artefact.id,
        arm=config.arm,
        kind=config.kind,
        preset=config.preset,
        window=config.window,
        schema=config.schema,
        schema_hash=config.schema_hash,
        features=schema.names,
        files=files,
        agreement=agreement,
    )


def _write_all(folder: Path, contents: Mapping[str, bytes]) -> None:
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
