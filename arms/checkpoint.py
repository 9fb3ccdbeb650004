"""Where a training stands after an epoch: one file, whole or not there, from which a killed one goes on.

It is safetensors with facts as JSON in its header, so reading it runs no code. Written beside, synced and
renamed: whenever the process dies, the file is that of an epoch, the last or the one before.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from arms.errors import ArtefactError
from arms.training import Epoch

State = dict[str, NDArray[Any]]
"""Everything by which a learner goes on as if nothing had been: weights, their mean, the best, the optimizer,
the framework's generator."""


@dataclass(frozen=True, slots=True)
class Standing:
    """After an epoch. epochs: what was reported; kept: number of the best one; rng: state of the numpy
    generator that draws lessons."""

    state: State
    epochs: tuple[Epoch, ...]
    kept: int
    rng: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The file of one training. made_of: name -> value of all that decides its weights (data, options,
    versions); a file that was made of anything else is refused. kind: what its epochs are."""

    path: Path
    made_of: Mapping[str, str]
    kind: type[Epoch] = Epoch

    def save(self, standing: Standing) -> None:
        """Replaces what was there. Raises ArtefactError where the disk does not take it."""
        facts = {
            "made_of": dict(self.made_of),
            "epochs": [asdict(epoch) for epoch in standing.epochs],
            "kept": standing.kept,
            "rng": standing.rng,
            "digest": _digest_of(standing.state),
        }
        content = safetensors.numpy.save(standing.state, {"facts": json.dumps(facts)})
        try:
            _replace(self.path, content)
        except OSError as error:
            raise ArtefactError(
                f"the checkpoint {self.path} cannot be written ({error.strerror}): make room, and the same "
                "training goes on from the epoch before"
            ) from error

    def load(self) -> Standing | None:
        """None where there is none. Raises ArtefactError where it is damaged or made of something else."""
        if not self.path.exists():
            return None
        state, facts = self._read()
        self._check(facts.get("made_of", {}))
        epochs = tuple(self.kind(**epoch) for epoch in facts["epochs"])
        return Standing(state, epochs, facts["kept"], facts["rng"])

    def remove(self) -> None:
        """The artefact is written: there is nothing to go on with."""
        self.path.unlink(missing_ok=True)

    def _read(self) -> tuple[State, dict[str, Any]]:
        try:
            with safe_open(self.path, framework="np") as file:
                facts = json.loads((file.metadata() or {})["facts"])
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise ArtefactError(
                f"{self.path} is no checkpoint ({error}): delete it and train again"
            ) from error
        if _digest_of(state) != facts.get("digest"):
            raise ArtefactError(f"{self.path} was altered, its digest differs: delete it and train again")
        return state, facts

    def _check(self, found: dict[str, str]) -> None:
        for name, wanted in self.made_of.items():
            if found.get(name) != wanted:
                raise ArtefactError(
                    f"{self.path} is of a training with {name} {found.get(name)}, not {wanted}: "
                    "go on with the options and data that it had, or delete it to start again"
                )


def _digest_of(state: State) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(state):
        array = np.ascontiguousarray(state[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    with fresh.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """The new name too is on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
