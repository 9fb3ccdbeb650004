"""Wins among trials of two arms, where each trial is a unit of its own."""

from dataclasses import dataclass

from stats.comparison import Comparison, not_ready, refused
from stats.errors import UnitsError


@dataclass(frozen=True, slots=True)
class TwoByTwo:
    """1: treatment, 0: control. largest_cluster: most trials that share one coin; above 1 every method that
    takes trials for independent refuses.
    """

    wins_1: int
    trials_1: int
    wins_0: int
    trials_0: int
    largest_cluster: int = 1

    def __post_init__(self) -> None:
        for arm, wins, trials in (
            ("treatment", self.wins_1, self.trials_1),
            ("control", self.wins_0, self.trials_0),
        ):
            if not 0 <= wins <= trials:
                raise UnitsError(
                    f"{arm} has {wins} wins in {trials} trials: wins lie between 0 and the trials"
                )

    @property
    def rates(self) -> tuple[float, float]:
        """(treatment, control); needs a trial in each."""
        return self.wins_1 / self.trials_1, self.wins_0 / self.trials_0

    @property
    def difference(self) -> float:
        treated, control = self.rates
        return treated - control

    @property
    def units(self) -> int:
        return self.trials_1 + self.trials_0

    @property
    def pooled(self) -> float:
        return (self.wins_1 + self.wins_0) / self.units


def unreadable(table: TwoByTwo) -> Comparison | None:
    """Why a method for independent trials cannot read this table, or None."""
    if table.trials_1 == 0 or table.trials_0 == 0:
        return not_ready("an arm has no trial yet")
    if table.largest_cluster > 1:
        reason = (
            f"up to {table.largest_cluster} trials share one coin: this method takes trials for independent;"
            " use one that is clustered by unit"
        )
        return refused(reason, table.difference)
    return None
