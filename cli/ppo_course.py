"""Online training in the simulator put together: what is played, what judges, what is exported."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from arms.artefact import Artefact, Trained, markets_in
from arms.environment import Environment
from arms.epochs import UNWATCHED, Fitted, Watch
from arms.errors import ArtefactError, TrainingError
from arms.ppo import PpoConfig
from arms.presets import Preset, preset_of
from arms.schema import MARKET_V1
from arms.training import Epoch, Evaluate
from cli.lab import Course, backend_of, judged_by, markets_of, put_in_place, recipe_of, with_lineage
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
) -> tuple[Artefact, tuple[Epoch, ...]]:
    """PPO of one arm on the course's lessons, and its artefact; `start` is a model of the same kind and
    preset whose weights it begins with.

    Raises TrainingError when a loss is not finite; the best model until then has been written to the folder.
    """
    preset = preset_of(kind, preset_name)
    if start is not None and (start.kind, start.preset) != (kind, preset_name):
        raise ArtefactError(
            f"model {start.id} is a {start.kind}/{start.preset} and cannot start a {kind}/{preset_name}: "
            "choose the arm and preset of the model"
        )
    environment = VectorEnv(course.lessons, PLACES, preset.window, config.seed)

    fitted = improve_of(backend)(environment, preset, config, judged_by(course, preset), watch, start)
    recipe = recipe_of(preset, config, backend) | {"start": "none" if start is None else start.id}
    trained = with_lineage(fitted.trained, _met(course, start), recipe)
    if fitted.stopped and not trained.epochs:
        raise TrainingError(f"{fitted.stopped}; no epoch was better than the start, so nothing is written")
    artefact = put_in_place(
        folder,
        lambda place: backend_of(backend).export(fitted.net, preset, kind, MARKET_V1, trained, place),
    )
    if fitted.stopped:
        raise TrainingError(
            f"{fitted.stopped}; the best model until then, of epoch {trained.epochs}, is in {folder}"
        )
    return artefact, fitted.epochs


def improve_of(backend: str) -> Improve:
    """torch or mlx; only the one that is named is imported."""
    if backend == "mlx":
        from arms import mlx_ppo

        return mlx_ppo.train
    from arms import torch_ppo

    return torch_ppo.train


def _met(course: Course, start: Artefact | None) -> str:
    """Digests of all markets the weights have met, those of the start included; unknown where the start's
    are."""
    if start is None:
        return markets_of(course)
    earlier = markets_in(start.trained)
    own = markets_in(Trained(markets=markets_of(course)))
    return "".join(sorted(earlier | own)) if earlier else ""
