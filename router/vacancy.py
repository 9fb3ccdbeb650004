"""Arms that no model serves: allowed, for a bot may carry an arm itself (`/v1/assign`), and always told."""

from collections.abc import Collection, Container, Mapping
from dataclasses import dataclass

from sqlalchemy import Engine

from store import experiments, models
from store.records import Experiment


@dataclass(frozen=True, slots=True)
class Vacancy:
    """An arm without a champion, and its share of the units."""

    arm: str
    share: float
    is_control: bool

    def __str__(self) -> str:
        """A sentence with the remedy."""
        give = f"give it one with `abctl model import FILE --arm {self.arm}` and `abctl model promote ID`"
        return f"{self._what()}: {give}, unless your bots carry the arm themselves (/v1/assign)"

    def _what(self) -> str:
        if self.is_control:
            return f"control arm {self.arm} has no model, so nobody answers for it (no_answer)"
        if self.share == 0.0:
            return f"arm {self.arm} has no model yet, and needs one before it gets a share"
        got = f"{100 * self.share:g}% of the units"
        return f"arm {self.arm} has {got} and no model, so the control answers for it (fallback:no_model)"


def vacancies(
    experiment: Experiment, weights: Mapping[str, float], champions: Container[str]
) -> tuple[Vacancy, ...]:
    """The experiment's arms without a champion, in its order. weights: of the newest split."""
    return tuple(
        Vacancy(arm, weights.get(arm, 0.0), arm == experiment.control)
        for arm in experiment.arms
        if arm not in champions
    )


def with_a_share(found: tuple[Vacancy, ...]) -> tuple[Vacancy, ...]:
    """Those that get units now."""
    return tuple(vacancy for vacancy in found if vacancy.share > 0.0)


def warnings_of_split(
    engine: Engine, key: str, weights: Mapping[str, float], coming: Collection[str]
) -> list[str]:
    """What to know of a split: arms that get units and have no model. coming: arms that ship with one."""
    with engine.connect() as connection:
        experiment = experiments.get(connection, key)
        served = {*models.champions(connection), *coming}
    return [str(vacancy) for vacancy in with_a_share(vacancies(experiment, weights, served))]


def warnings_of_arms(engine: Engine, experiment: Experiment, coming: Collection[str]) -> list[str]:
    """What to know of a new experiment: arms without a model, which may get one later."""
    with engine.connect() as connection:
        served = {*models.champions(connection), *coming}
    return [str(vacancy) for vacancy in vacancies(experiment, {}, served)]
