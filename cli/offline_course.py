"""Offline reinforcement learning put together: who plays, what judges, what is exported."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from arms.artefact import Artefact
from arms.checkpoint import Checkpoint
from arms.epochs import UNWATCHED, Fitted, Watch
from arms.errors import EpisodeError
from arms.offline import Awr, Iql, Method, OfflineEpoch, facts_of
from arms.presets import Preset, preset_of
from arms.schema import MARKET_V1
from arms.training import Epoch, Evaluate, TrainingConfig
from arms.trajectories import Trajectory, digest_of
from cli.lab import (
    Course,
    backend_of,
    check_windows,
    judged_by,
    judging_of,
    put_in_place,
    recipe_of,
    seen_in,
    with_dropout,
    with_lineage,
)
from market.rollouts import rolled_out

METHODS: Final[Mapping[str, Method]] = MappingProxyType({"awr": Awr(), "iql": Iql()})
ROLLS: Final = 2
"""How often the behaviour plays a market, each time with other luck of its own."""

TrainOffline = Callable[[Sequence[Trajectory], Preset, TrainingConfig, Method, Evaluate, Watch], Fitted[Any]]


def train_offline(
    method: str | Method,
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
    """AWR or IQL of one arm on the course's lessons as a trying behaviour policy plays them; its artefact.

    method: awr, iql, or one with settings of its own. With `checkpoint_at` every epoch is kept in that file
    and the training goes on from it; it is deleted once the artefact is written. Raises TrainingError when a
    loss is not finite; the checkpoint then holds the best epoch until there.
    """
    how = method_of(method)
    preset = with_dropout(preset_of(kind, preset_name), dropout)
    played = rolled_out(course.lessons * ROLLS, course.exit_rule, config.seed)
    check_windows(course.name, played, config.batch_size)
    checkpoint = None
    if checkpoint_at is not None:
        checkpoint = Checkpoint(
            checkpoint_at, made_of(course, played, preset, config, how, backend), OfflineEpoch
        )

    watch = replace(watch, checkpoint=checkpoint)
    fitted = trainer_of(backend)(played, preset, config, how, judged_by(course, preset), watch)
    recipe = {**recipe_of(preset, config, backend), **facts_of(how)}
    trained = with_lineage(fitted.trained, seen_in(course), recipe)
    artefact = put_in_place(
        folder,
        lambda place: backend_of(backend).export(fitted.net, preset, kind, MARKET_V1, trained, place),
    )
    if checkpoint is not None:
        checkpoint.remove()
    return artefact, fitted.epochs


def method_of(method: str | Method) -> Method:
    """EpisodeError: there is none of that name."""
    if not isinstance(method, str):
        return method
    if method not in METHODS:
        raise EpisodeError(f"offline method {method!r} does not exist: choose one of {', '.join(METHODS)}")
    return METHODS[method]


def trainer_of(backend: str) -> TrainOffline:
    """torch or mlx; only the one that is named is imported."""
    if backend == "mlx":
        from arms import mlx_offline

        return mlx_offline.train
    from arms import torch_offline

    return torch_offline.train


def made_of(
    course: Course,
    played: Sequence[Trajectory],
    preset: Preset,
    config: TrainingConfig,
    method: Method,
    backend: str,
) -> dict[str, str]:
    """Everything that decides the weights."""
    recipe = {**recipe_of(preset, config, backend), **facts_of(method)}
    return {**recipe, "data": digest_of(played), "judging data": judging_of(course)}
