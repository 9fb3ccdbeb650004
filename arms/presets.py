"""Sizes of the two arms: the guide's three tables for the transformer, and their counterparts for base."""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from arms.errors import ArmUnknown


@dataclass(frozen=True, slots=True)
class BasePreset:
    """`window` states side by side through a two-layer perceptron. Widths in units of one neuron."""

    name: str
    window: int
    hidden: int
    output: int

    @property
    def kind(self) -> str:
        return "base"


@dataclass(frozen=True, slots=True)
class TransformerPreset:
    """Self-attention over `window` states. `hidden` is the model width; it must divide by `heads` and be
    even."""

    name: str
    window: int
    heads: int
    layers: int
    hidden: int
    output: int
    dropout: float = 0.1

    @property
    def kind(self) -> str:
        return "transformer"


Preset = BasePreset | TransformerPreset

_ALL: tuple[Preset, ...] = (
    BasePreset("default", window=5, hidden=64, output=32),
    BasePreset("large", window=10, hidden=128, output=64),
    BasePreset("fast", window=3, hidden=32, output=16),
    TransformerPreset("default", window=20, heads=4, layers=2, hidden=64, output=32),
    TransformerPreset("large", window=40, heads=8, layers=3, hidden=128, output=64),
    TransformerPreset("fast", window=10, heads=2, layers=1, hidden=32, output=16),
)

PRESETS: Final = MappingProxyType({(preset.kind, preset.name): preset for preset in _ALL})


def preset_of(kind: str, name: str) -> Preset:
    try:
        return PRESETS[kind, name]
    except KeyError:
        known = ", ".join(f"{k}/{n}" for k, n in PRESETS)
        raise ArmUnknown(f"preset {kind}/{name} does not exist: choose one of {known}") from None
