"""The methods of `abctl model train`: what each takes, and how it is run."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Final

from arms.artefact import Artefact
from arms.epochs import Watch
from arms.ppo import PpoConfig
from arms.training import TrainingConfig
from cli.failures import Refused
from cli.lab import Course
from cli.training_run import Job, Make, by_cloning


@dataclass(frozen=True, slots=True)
class Usual:
    """What a method takes where the user says nothing."""

    batch_size: int = 64
    learning_rate: float = TrainingConfig().learning_rate


USUAL: Final = MappingProxyType(
    {
        "bc": Usual(),
        "awr": Usual(),
        "iql": Usual(),
        "ppo": Usual(PpoConfig().batch_size, PpoConfig().learning_rate),
    }
)


def config_of(
    method: str, epochs: int, batch_size: int | None, learning_rate: float | None, seed: int
) -> TrainingConfig:
    """With the method's own numbers where none is given."""
    usual = USUAL[method]
    return TrainingConfig(
        epochs=epochs,
        batch_size=usual.batch_size if batch_size is None else batch_size,
        learning_rate=usual.learning_rate if learning_rate is None else learning_rate,
        seed=seed,
    )


def check_fits(method: str, *, has_start: bool, has_dropout: bool) -> None:
    """Options that the method would only ignore are refused."""
    if has_start and method != "ppo":
        raise Refused(f"--start is for ppo: {method} learns from nothing, so leave it out")
    if has_dropout and method == "ppo":
        raise Refused("ppo uses no dropout, whose noise it would take for the policy's: leave --dropout out")


def maker_of(method: str, start: Artefact | None) -> Make:
    """start: the model that ppo goes on from."""
    makers: dict[str, Callable[[], Make]] = {
        "bc": lambda: by_cloning,
        "awr": lambda: partial(_offline, "awr"),
        "iql": lambda: partial(_offline, "iql"),
        "ppo": lambda: partial(_online, start),
    }
    return makers[method]()


def _offline(method: str, job: Job, course: Course, watch: Watch) -> Artefact:
    from cli.offline_course import train_offline

    artefact, _ = train_offline(
        method, job.arm, job.preset, course, job.config, job.place.output, watch, job.backend,
        dropout=job.dropout, checkpoint_at=job.place.checkpoint,
    )  # fmt: skip
    return artefact


def _online(start: Artefact | None, job: Job, course: Course, watch: Watch) -> Artefact:
    from cli.ppo_course import train_ppo

    asked = job.config
    config = PpoConfig(
        epochs=asked.epochs, batch_size=asked.batch_size, learning_rate=asked.learning_rate, seed=asked.seed
    )
    artefact, _ = train_ppo(
        job.arm, job.preset, course, config, job.place.output, watch, job.backend, start,
        checkpoint_at=job.place.checkpoint,
    )  # fmt: skip
    return artefact
