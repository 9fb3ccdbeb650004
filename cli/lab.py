"""Puts market and arms together for training: what to learn from, what to judge by, what to export."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import msgspec

from arms.artefact import Artefact, Trained, read_artefact
from arms.episodes import Episode
from arms.golden import answers_apart
from arms.presets import Preset, preset_of
from arms.schema import MARKET_V1, StateSchema
from arms.training import Epoch, Evaluate, Policy, TrainingConfig
from market.evaluation import expected_pnl_usd, play
from market.labels import DECOY_EXIT, MARKET_EXIT, ExitRule, labelled
from market.realistic import RealisticWorld, realistic_tape
from market.tape import Tape
from market.worlds import DECOY, DECOY_FAST, NOISE, NOISE_FAST, tape_of


@dataclass(frozen=True, slots=True)
class Classroom:
    """A simulated world to learn in: its market number n, and when the labels get out of a position."""

    tape: Callable[[int], Tape]
    exit_rule: ExitRule


WORLDS: dict[str, Classroom] = {
    world.name: Classroom(partial(tape_of, world), DECOY_EXIT)
    for world in (DECOY_FAST, DECOY, NOISE_FAST, NOISE)
} | {"realistic": Classroom(partial(realistic_tape, RealisticWorld()), MARKET_EXIT)}
TRAIN_MARKETS = 1200
JUDGE_MARKETS = 200
_JUDGE_SEED = 1_000_000
SAME_ANSWERS = 1e-3


class Fitted(Protocol):
    """What a framework's training gives."""

    @property
    def net(self) -> Any: ...

    @property
    def trained(self) -> Trained: ...

    @property
    def epochs(self) -> tuple[Epoch, ...]: ...


Train = Callable[[Sequence[Episode], Preset, TrainingConfig, Evaluate, Callable[[Epoch], None]], Fitted]
Export = Callable[[Any, Preset, str, StateSchema, Trained, Path], Artefact]


@dataclass(frozen=True, slots=True)
class Backend:
    """A framework that trains and exports."""

    train: Train
    export: Export


def backend_of(name: str) -> Backend:
    """torch or mlx; only the one that is named is imported."""
    if name == "mlx":
        from arms import mlx_export, mlx_training

        return Backend(mlx_training.train, mlx_export.export)
    from arms import torch_export, torch_training

    return Backend(torch_training.train, torch_export.export)


@dataclass(frozen=True, slots=True)
class Course:
    """What a model learns from and what chooses its best epoch: whole markets, never the same ones."""

    name: str
    lessons: tuple[Tape, ...]
    judges: tuple[Tape, ...]
    exit_rule: ExitRule


def simulated_course(world_name: str, markets: int = TRAIN_MARKETS, seed: int = 0) -> Course:
    """Markets of a simulated world."""
    world = WORLDS[world_name]
    first = seed * 10_000_000
    return Course(
        name=world_name,
        lessons=tuple(world.tape(first + i) for i in range(markets)),
        judges=tuple(world.tape(first + _JUDGE_SEED + i) for i in range(JUDGE_MARKETS)),
        exit_rule=world.exit_rule,
    )


def recorded_course(name: str, tapes: Sequence[Tape]) -> Course:
    """Recorded markets in time order: the last fifth judges, the one before it is left out as an embargo."""
    ordered = sorted(tapes, key=lambda tape: int(tape.tick_us[0]))
    cut = max(1, round(0.8 * len(ordered)) - 1)
    return Course(name, tuple(ordered[:cut]), tuple(ordered[cut + 1 :]), MARKET_EXIT)


def train_artefact(
    kind: str,
    preset_name: str,
    course: Course,
    config: TrainingConfig,
    folder: Path,
    progress: Callable[[Epoch], None],
    backend: str = "torch",
) -> tuple[Artefact, tuple[Epoch, ...]]:
    """Behaviour cloning of one arm, and its artefact."""
    framework = backend_of(backend)
    preset = preset_of(kind, preset_name)
    episodes = labelled(course.lessons, course.exit_rule, config.seed)

    def evaluate(policy: Policy) -> list[float]:
        played = play(policy, course.judges, preset.window)
        return [float(usd) for usd in expected_pnl_usd(played, course.judges)]

    fitted = framework.train(episodes, preset, config, evaluate, progress)
    trained = msgspec.structs.replace(fitted.trained, markets=markets_of(course))
    return framework.export(fitted.net, preset, kind, MARKET_V1, trained, folder), fitted.epochs


def markets_of(course: Course) -> str:
    """Digests of all that a model has seen, its judges included."""
    return "".join(sorted({tape.digest for tape in (*course.lessons, *course.judges)}))


STARTER_ARMS = ("base", "transformer")
STARTER_WORLD = "decoy-fast"


def train_starters(
    folder: Path, say: Callable[[str], None], config: TrainingConfig | None = None
) -> dict[str, str]:
    """The artefacts that ship: arm -> id. The same torch on the same kind of machine gives the same ids."""
    course, config = simulated_course(STARTER_WORLD), config or TrainingConfig()
    ids = {}
    for arm in STARTER_ARMS:
        artefact, epochs = train_artefact(arm, "fast", course, config, folder / arm, lambda e: say(e.line))
        ids[arm] = artefact.id
        best = max(epochs, key=lambda e: e.score)
        say(f"{arm}: model {artefact.id}, net PnL per judged market ${best.pnl_usd:.3f}")
    return ids


def same_starters(folder: Path, say: Callable[[str], None], config: TrainingConfig | None = None) -> bool:
    """Whether training again gives the models that are there: their answers to the golden histories differ by
    at most SAME_ANSWERS, for the last digits of weights are the processor's."""
    with tempfile.TemporaryDirectory() as fresh:
        train_starters(Path(fresh), say, config)
        pairs = {arm: (read_artefact(folder / arm), read_artefact(Path(fresh) / arm)) for arm in STARTER_ARMS}
    apart = {arm: answers_apart(held.golden, again.golden) for arm, (held, again) in pairs.items()}
    for arm, (held, again) in pairs.items():
        same = "the same to the bit" if held.id == again.id else f"answers differ by {apart[arm]:.2g} at most"
        say(f"{arm}: held {held.id[:12]}, trained again {again.id[:12]}: {same}")
    return max(apart.values()) <= SAME_ANSWERS
