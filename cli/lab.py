"""Puts market and arms together for training: what to learn from, what to judge by, what to export."""

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from arms.artefact import FILES, Artefact, Trained, read_artefact
from arms.checkpoint import Checkpoint
from arms.episodes import Episode, digest_of
from arms.epochs import UNWATCHED, Fitted, Watch
from arms.errors import ArtefactError, EpisodeError
from arms.golden import answers_apart
from arms.ppo import PpoConfig
from arms.presets import Preset, TransformerPreset, preset_of
from arms.protocol import loader_of
from arms.schema import MARKET_V1, StateSchema
from arms.training import Epoch, Evaluate, Policy, TrainingConfig
from arms.trajectories import Trajectory
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
LEAST_WINDOWS = 3
_JUDGE_SEED = 1_000_000
SAME_ANSWERS = 1e-3


Train = Callable[[Sequence[Episode], Preset, TrainingConfig, Evaluate, Watch], Fitted[Any]]
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
    """Recorded markets in time order: the last fifth of the windows judges, the one before it is left out as
    an embargo. Markets that end together are one window: the assets of a quarter of an hour share its news.
    EpisodeError: fewer than 3 windows, or no judge that begins after the lessons' end."""
    ends_us = sorted({tape.end_us for tape in tapes})
    if len(ends_us) < LEAST_WINDOWS:
        raise EpisodeError(
            f"recording {name} has {len(ends_us)} windows of playable markets: at least {LEAST_WINDOWS} are "
            "needed, to learn from, to leave out between, and to judge by; `abctl data info` says what is "
            "excluded"
        )
    ordered = sorted(tapes, key=lambda tape: int(tape.tick_us[0]))
    cut = max(1, round(0.8 * len(ends_us)) - 1)
    learned_us, left_out_us = ends_us[cut - 1 : cut + 1]
    lessons = tuple(tape for tape in ordered if tape.end_us <= learned_us)
    later = (tape for tape in ordered if tape.end_us > left_out_us)
    judges = tuple(tape for tape in later if tape.tick_us[0] >= learned_us)
    if not judges:
        raise EpisodeError(
            f"recording {name}: every market of the last windows begins before the lessons end: "
            "record for longer"
        )
    return Course(name, lessons, judges, MARKET_EXIT)


def of_asset(tapes: Sequence[Tape], asset: str) -> tuple[Tape, ...]:
    """The markets of an asset: the first word of `btc-updown-15m-1766745900`. EpisodeError: there is none."""
    by_asset = {tape.market: tape.market.split("-")[0].upper() for tape in tapes}
    found = tuple(tape for tape in tapes if by_asset[tape.market] == asset.upper())
    if not found:
        there = ", ".join(sorted(set(by_asset.values()))) or "no market at all"
        raise EpisodeError(f"no recorded market is of {asset.upper()}: this recording has {there}")
    return found


def train_artefact(
    kind: str,
    preset_name: str,
    course: Course,
    config: TrainingConfig,
    folder: Path,
    watch: Watch = UNWATCHED,
    backend: str = "torch",
    *,
    dropout: float | None = None,
    checkpoint_at: Path | None = None,
) -> tuple[Artefact, tuple[Epoch, ...]]:
    """Behaviour cloning of one arm, and its artefact. dropout: instead of the preset's.

    With `checkpoint_at` every epoch is kept in that file, and the training goes on from it where it is there
    and was made of the same; it is deleted once the artefact is written.
    """
    framework = backend_of(backend)
    preset = with_dropout(preset_of(kind, preset_name), dropout)
    episodes = labelled(course.lessons, course.exit_rule, config.seed)
    check_windows(course.name, episodes, config.batch_size)
    checkpoint = None
    if checkpoint_at is not None:
        made_of = {"method": "bc", **recipe_of(preset, config, backend), **data_of(course, episodes)}
        checkpoint = Checkpoint(checkpoint_at, made_of)

    watch = replace(watch, checkpoint=checkpoint)
    fitted = framework.train(episodes, preset, config, judged_by(course, preset), watch)
    trained = with_lineage(fitted.trained, seen_in(course), recipe_of(preset, config, backend))
    artefact = put_in_place(
        folder, lambda place: framework.export(fitted.net, preset, kind, MARKET_V1, trained, place)
    )
    if checkpoint is not None:
        checkpoint.remove()
    return artefact, fitted.epochs


def judged_by(course: Course, preset: Preset) -> Evaluate:
    """Plays the course's judging markets, without the luck of their settlement."""

    def evaluate(policy: Policy) -> list[float]:
        played = play(policy, course.judges, preset.window)
        return [float(usd) for usd in expected_pnl_usd(played, course.judges)]

    return evaluate


def with_dropout(preset: Preset, dropout: float | None) -> Preset:
    """The preset with another dropout. EpisodeError: it has none."""
    if dropout is None:
        return preset
    if not isinstance(preset, TransformerPreset):
        raise EpisodeError(f"arm {preset.kind} has no dropout: leave --dropout out, or train a transformer")
    return replace(preset, dropout=dropout)


def check_windows(name: str, markets: Sequence[Episode] | Sequence[Trajectory], batch_size: int) -> None:
    """EpisodeError: too few to fill one batch."""
    found = sum(int(market.use.sum()) for market in markets)
    if 0 < found < batch_size:
        raise EpisodeError(
            f"{name} has {found} windows to learn from, fewer than a batch of {batch_size}: "
            f"give a --batch-size of at most {found}, or more markets"
        )


def put_in_place(folder: Path, export: Callable[[Path], Artefact]) -> Artefact:
    """Writes beside the folder, loads what was written as a service would, and only then takes its place: a
    model that is there stays until another one is whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as beside:
        fresh = Path(beside) / "fresh"
        artefact = export(fresh)
        loader_of(artefact.kind)(artefact, MARKET_V1)
        if folder.exists():
            check_replaceable(folder)
            folder.rename(Path(beside) / "before")
        fresh.rename(folder)
    return read_artefact(folder)


def check_replaceable(folder: Path) -> None:
    """ArtefactError for a file, and for a folder that holds anything but a model: it is somebody's."""
    if not folder.is_dir():
        raise ArtefactError(f"{folder} is not a folder: nothing is touched; give a new one")
    others = sorted({path.name for path in folder.iterdir()} - set(FILES))
    if others:
        raise ArtefactError(
            f"{folder} holds {others[0]}, which is no part of a model: nothing is touched; give a new folder"
        )


def with_lineage(trained: Trained, seen: Trained, recipe: dict[str, str]) -> Trained:
    """What weights were made from, by which settings and by which code."""
    markets, names, code = seen.markets, seen.names, f"abctl {version('abctl')}"
    return msgspec.structs.replace(trained, markets=markets, names=names, config=recipe, code=code)


def recipe_of(preset: Preset, config: TrainingConfig | PpoConfig, backend: str) -> dict[str, str]:
    """What of the options and versions decides the weights."""
    settings = {**asdict(config), "dropout": getattr(preset, "dropout", None)}
    named = {name.replace("_", " "): str(value) for name, value in settings.items()}
    return {"arm": preset.kind, "preset": preset.name, "backend": f"{backend} {version(backend)}", **named}


def data_of(course: Course, episodes: Sequence[Episode]) -> dict[str, str]:
    """Which data decides them: what is learned from, and what chooses the best epoch."""
    return {"data": digest_of(episodes), "judging data": judging_of(course)}


def judging_of(course: Course) -> str:
    """32 hex digits of the markets that choose the best epoch."""
    judges = "".join(tape.digest for tape in course.judges).encode()
    return hashlib.blake2b(judges, digest_size=16).hexdigest()


def seen_in(course: Course) -> Trained:
    """By what the markets that a model has seen are known again, its judges included: quotes and names."""
    seen = (*course.lessons, *course.judges)
    return Trained(
        markets="".join(sorted({tape.digest for tape in seen})),
        names="".join(sorted({tape.name_digest for tape in seen})),
    )


STARTER_ARMS = ("base", "transformer")
STARTER_WORLD = "decoy-fast"


def train_starters(
    folder: Path, say: Callable[[str], None], config: TrainingConfig | None = None
) -> dict[str, str]:
    """The artefacts that ship: arm -> id. The same torch on the same kind of machine gives the same ids."""
    course, config = simulated_course(STARTER_WORLD), config or TrainingConfig()
    ids = {}
    for arm in STARTER_ARMS:
        artefact, epochs = train_artefact(
            arm, "fast", course, config, folder / arm, Watch(lambda e: say(e.line))
        )
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
