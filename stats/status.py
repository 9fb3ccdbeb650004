"""Why a number may be absent: "cannot say" is a value with a reason, never NaN and never p = 1."""

from typing import Literal

Status = Literal["ok", "not_ready", "degenerate", "invalid_design"]
Metric = Literal["win_rate", "profit_rate", "pnl"]
Answer = Literal["yes", "no", "cannot say"]

METRICS: tuple[Metric, ...] = ("win_rate", "profit_rate", "pnl")
