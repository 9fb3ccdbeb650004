"""What an experiment asks, as the report needs it, and what was known before it began."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from stats.errors import DesignError
from stats.plan import GateKind, looks_fault
from stats.status import METRICS, Metric
from stats.units import ArmCounts, Stage, Units


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """attribution_s: how long after its end a unit's outcome is waited for.

    v_plan_units: units at an even split that the bound is tuned for; fixed at the first split, never changed
    after. pnl_margin_usd: how much less net PnL per unit still counts as not worse. looked_at: "once" where
    all units were there before anybody looked. win: in words, what a unit is that won. gate, looks: how
    promotion is decided, and at which shares of the plan (see `plan`); until_us: when the last look is at the
    latest. row_name: what has a coin of its own, where that is not the unit: a block of a switchback.
    """

    arms: tuple[str, ...]
    control: str
    treatment: str
    metric: Metric
    started_us: int
    attribution_s: int
    alpha: float = 0.05
    v_plan_units: int = 2000
    unit_name: str = "market"
    pnl_margin_usd: float = 0.0
    looked_at: Literal["often", "once"] = "often"
    win: str = "with a net profit"
    gate: GateKind = "sequential"
    looks: tuple[float, ...] = ()
    until_us: int | None = None
    row_name: str | None = None

    def __post_init__(self) -> None:
        if len(set(self.arms)) != len(self.arms):
            raise DesignError("design.arms names an arm twice: name each arm once")
        for field, arm in (("control", self.control), ("treatment", self.treatment)):
            if arm not in self.arms:
                raise DesignError(
                    f"design.{field} is {arm!r}, which is not among the arms {', '.join(self.arms)}"
                )
        if self.control == self.treatment:
            raise DesignError(
                f"design.control and design.treatment are both {self.control!r}: compare two arms"
            )
        if self.metric not in METRICS:
            raise DesignError(f"design.metric is {self.metric!r}: choose one of {', '.join(METRICS)}")
        if not 0.0 < self.alpha < 1.0 or self.v_plan_units < 1 or not self.pnl_margin_usd >= 0.0:
            raise DesignError("design needs alpha inside (0, 1), v_plan_units >= 1 and pnl_margin_usd >= 0")
        fault = looks_fault(self.gate, self.looks)
        if fault is not None:
            raise DesignError(f"design.looks {fault}")

    @property
    def counted(self) -> str:
        """What evidence is counted in."""
        return self.row_name or self.unit_name

    @property
    def pair(self) -> tuple[int, int]:
        """Indices of (treatment, control)."""
        return self.arms.index(self.treatment), self.arms.index(self.control)


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The control's record from before the treatment's first share: where the centre starts, and the scale of
    the PnL. units: how many it was made of; what too few of them would say stays as it is without any.
    """

    win_rate: float = 0.5
    profit_rate: float = 0.5
    pnl_mean_micro: float = 0.0
    pnl_sd_micro: float | None = None
    units: int = 0

    def prior(self, metric: Metric) -> float:
        if metric == "pnl":
            return self.pnl_mean_micro
        return self.win_rate if metric == "win_rate" else self.profit_rate


def check_fit(design: Design, units: Units, counts: Mapping[str, ArmCounts], stages: Sequence[Stage]) -> None:
    """Raise DesignError unless every arm and stage that the data name exists."""
    strangers = [arm for arm in counts if arm not in design.arms]
    if strangers:
        raise DesignError(
            f"counts name the arm(s) {', '.join(strangers)}, which design.arms lacks: add or drop them"
        )
    for stage in stages:
        if len(stage.weights) != len(design.arms):
            raise DesignError(
                f"stage {stage.version} has {len(stage.weights)} weights for {len(design.arms)} arms"
            )
    if len(units) and int(units.arm.max()) >= len(design.arms):
        raise DesignError(
            f"units.arm holds index {int(units.arm.max())} but design has {len(design.arms)} arms"
        )
    if len(units) and int(units.stage.max()) >= len(stages):
        raise DesignError(
            f"units.stage holds index {int(units.stage.max())} but {len(stages)} stages were given"
        )
