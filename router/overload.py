"""What a worker does with decisions beyond what it can have on its way at once."""

from dataclasses import dataclass
from typing import Literal

from router.problems import Problem
from router.serving import Silence

Policy = Literal["refuse", "control"]
Load = Literal["normal", "control", "refuse"]

OVERLOADED = Silence("fallback:overload", "is not asked while the worker has too much to do")


@dataclass(frozen=True, slots=True)
class Overload:
    """limit: decisions on their way in one worker. policy: beyond it 503, or up to twice it the control.

    Whoever is refused is still assigned: its unit is counted under its arm, as unserved.
    """

    limit: int = 256
    policy: Policy = "refuse"

    def load(self, on_way: int) -> Load:
        """What is done with a decision when so many, itself among them, are on their way."""
        if on_way <= self.limit:
            return "normal"
        return "control" if self.policy == "control" and on_way <= 2 * self.limit else "refuse"


NORMAL = Overload()


def overloaded() -> Problem:
    """503: try again, under the same decision id."""
    detail = (
        "the worker has more decisions on their way than it takes at once: send this one again, more slowly"
    )
    return Problem(503, "overloaded", detail, retry_after_s=1)
