"""Online training in the simulator put together: what is played, what judges, what is exported."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from arms.artefact import Artefact, Trained, markets_in, names_in
from arms.checkpoint import Checkpoint
from arms.environment import Environment
from arms.epochs import UNWATCHED, Fitted, Watch
from arms.errors import ArtefactError, EpisodeError
from arms.ppo import PpoConfig, PpoEpoch
from arms.presets import Preset, preset_of
from arms.schema import MARKET_V1
from arms.training import Epoch, Evaluate
from cli.lab import (
    Course,
    backend_of,
    judged_by,
    judging_of,
    put_in_place,
    recipe_of,
    seen_in,
    with_lineage,
)
from market.vector_env import VectorEnv

PLACES = 64
"""Markets played in step."""


Improve = Callable[[Environment, Preset, PpoConfig, Evaluate, Watch, Artefact | None], Fitted[Any]]


def train_ppo(
    kind: str,
    preset_name: str,
    course: Course,
    config: PpoConfig,
    folder: Path,
    watch: Watch = UNWATCHED,
    backend: str = "torch",
    start: Artefact | None = None,
    *,
    checkpoint_at: Path | None = None,
) -> tuple[Artefact, tuple[Epoch, ...]]:
    """PPO of one arm on the course's lessons, and its artefact; `start` is a model of the same kind and
    preset whose weights it begins with.

    With `checkpoint_at` every epoch is kept in that file and the training goes on from it; it is deleted once
    the artefact is written. Raises TrainingError when a loss is not finite; the checkpoint then holds the
    best weights until there.
    """
    preset = preset_of(kind, preset_name)
    if start is not None and (start.kind, start.preset) != (kind, preset_name):
        raise ArtefactError(
            f"model {start.id} is a {start.kind}/{start.preset} and cannot start a {kind}/{preset_name}: "
            "choose the arm and preset of the model"
        )
    rows = PLACES * config.ticks
    if rows < config.batch_size:
        raise EpisodeError(
            f"an epoch plays {rows:,} windows, fewer than a batch of {config.batch_size:,}: "
            f"give a --batch-size of at most {rows}"
        )
    environment = VectorEnv(course.lessons, PLACES, preset.window, config.seed)
    recipe = recipe_of(preset, config, backend) | {"start": "none" if start is None else start.id}
    checkpoint = None
    if checkpoint_at is not None:
        data = {"data": environment.digest, "judging data": judging_of(course)}
        checkpoint = Checkpoint(checkpoint_at, {"method": "ppo", **recipe, **data}, PpoEpoch)

    watch = replace(watch, checkpoint=checkpoint)
    fitted = improve_of(backend)(environment, preset, config, judged_by(course, preset), watch, start)
    trained = with_lineage(fitted.trained, _met(course, start), recipe)
    artefact = put_in_place(
        folder,
        lambda place: backend_of(backend).export(fitted.net, preset, kind, MARKET_V1, trained, place),
    )
    if checkpoint is not None:
        checkpoint.remove()
    return artefact, fitted.epochs


def improve_of(backend: str) -> Improve:
    """torch or mlx; only the one that is named is imported."""
    if backend == "mlx":
        from arms import mlx_ppo

        return mlx_ppo.train
    from arms import torch_ppo

    return torch_ppo.train


def _met(course: Course, start: Artefact | None) -> Trained:
    """All markets that the weights have met, those of the start included; unknown where the start's are."""
    own = seen_in(course)
    if start is None:
        return own
    return Trained(
        markets=_together(markets_in(start.trained), markets_in(own)),
        names=_together(names_in(start.trained), names_in(own)),
    )


def _together(earlier: frozenset[str], own: frozenset[str]) -> str:
    return "".join(sorted(earlier | own)) if earlier else ""
