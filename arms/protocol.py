"""What an arm is to the rest of the system, and how somebody else's arm is found.

An arm is loaded from an artefact by a loader, and answers batches of histories. Built-in kinds are served by
`arms.onnx_runtime`; any other kind is looked up in the entry-point group `abctl.arms`, whose names are
kinds and whose objects are loaders. Finding them imports nothing; only the chosen one is imported.
"""

from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from arms.artefact import Artefact
from arms.errors import ArmUnknown
from arms.schema import StateSchema

GROUP: Final = "abctl.arms"
HOLD, BUY, SELL = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Acted:
    """probs: float32[n,3] of hold, buy, sell, rows summing to 1. value: float32[n], expected net USD of
    acting by `probs`; 0 from a model without a critic."""

    probs: NDArray[np.float32]
    value: NDArray[np.float32]


class Arm(Protocol):
    """A loaded model. `act` must be safe to call from several threads."""

    @property
    def model(self) -> str:
        """Content id of the artefact."""
        ...

    @property
    def window(self) -> int:
        """How many states it reads."""
        ...

    def act(self, histories: NDArray[np.float32], lengths: NDArray[np.int64]) -> Acted:
        """histories: float32[n,window,F], newest last, zeros before the first real state; lengths:
        int64[n], 1..window."""
        ...


class ArmLoader(Protocol):
    """Turns a verified artefact into an arm, or raises ArtefactError."""

    def __call__(self, artefact: Artefact, schema: StateSchema) -> Arm: ...


def installed() -> dict[str, EntryPoint]:
    """Kinds that other distributions offer, not yet imported."""
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def loader_of(kind: str) -> ArmLoader:
    """The loader for a kind: ours for the built-in ones, else the installed entry point of that name."""
    from arms.onnx_runtime import BUILT_IN_KINDS, load

    if kind in BUILT_IN_KINDS:
        return load
    found = installed()
    if kind not in found:
        known = ", ".join(sorted({*BUILT_IN_KINDS, *found}))
        raise ArmUnknown(
            f"no arm of kind {kind!r} is installed (known: {known}): install the distribution "
            f"that offers it in the entry-point group {GROUP}"
        )
    loader: ArmLoader = found[kind].load()
    return loader
