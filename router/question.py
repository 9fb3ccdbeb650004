"""What a report is asked for. Light: the command line knows it before anything heavy is imported."""

from dataclasses import dataclass
from typing import Literal, get_args

from store.records import Fill

SliceBy = Literal["market", "bot", "day", "model"]
SLICE_BYS: tuple[SliceBy, ...] = get_args(SliceBy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """days: of the descriptive window. fill: None judges the kind of the first mature unit. by: slices.

    as_of_us: the past moment to be reproduced, None for now.
    """

    key: str
    days: int = 7
    fill: Fill | None = None
    by: SliceBy | None = None
    as_of_us: int | None = None
