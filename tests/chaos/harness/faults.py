"""What is broken, when and for how long: a plan that a seed fixes. Pure."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

Span = tuple[float, float]
SHORT: tuple[Span, Span] = ((0.3, 1.2), (0.1, 0.5))
LONG: tuple[Span, Span] = ((0.4, 4.0), (0.3, 1.5))
"""How long a fault lasts and how long it is quiet before, in seconds."""


@dataclass(frozen=True, slots=True)
class Fault:
    """kind: what is done, to whom. hold_s: how long it lasts. gap_s: quiet time before it.

    meanwhile: a second fault in the middle of the first; "" where there is none.
    """

    kind: str
    hold_s: float
    gap_s: float
    meanwhile: str = ""

    @property
    def name(self) -> str:
        """Both of them."""
        return f"{self.kind} + {self.meanwhile}" if self.meanwhile else self.kind


EVERYWHERE = (
    *(f"kill {role}" for role in ("supervisor", "worker", "shipper", "redis")),
    *(f"freeze {role}" for role in ("supervisor", "worker", "shipper", "redis")),
    "fill quota",
    "fill redis",
    "empty redis",
)
ON_SQLITE = (*EVERYWHERE, "lock sqlite")
ON_POSTGRES = (
    *EVERYWHERE,
    "kill postgres",
    "kill backend",
    "freeze postgres",
    *(f"{mode} {net}" for net in ("redis-net", "sql-net") for mode in ("delay", "truncate", "reset", "hole")),
)


HOLDING = {"freeze", "lock", "delay", "hole", "fill"}
"""What lasts; everything else is over at once."""
MEANWHILE = ("kill worker", "kill shipper", "kill redis", "empty redis")


def plan(kinds: Sequence[str], count: int, seed: int, spans: tuple[Span, Span]) -> list[Fault]:
    """`count` faults, the second ones too, in a random order; each kind nearly as often as any other."""
    rng = random.Random(f"faults {seed}")
    faults, wanted = list[Fault](), list[str]()
    while (missing := count - sum(1 + bool(fault.meanwhile) for fault in faults)) > 0:
        wanted = wanted or rng.sample(kinds, len(kinds))
        kind = wanted.pop()
        meanwhile = _second(rng, kind) if missing > 1 else ""
        faults.append(Fault(kind, rng.uniform(*spans[0]), rng.uniform(*spans[1]), meanwhile))
    return faults


def _second(rng: random.Random, kind: str) -> str:
    """Often something else breaks while one thing lasts; never what is broken already."""
    verb, _, whom = kind.partition(" ")
    others = [other for other in MEANWHILE if other.partition(" ")[2] != whom]
    return rng.choice(others) if verb in HOLDING and whom != "supervisor" and rng.random() < 0.7 else ""


def summary(faults: Sequence[Fault]) -> str:
    """How many of each kind, the second ones among them."""
    every = [kind for fault in faults for kind in (fault.kind, fault.meanwhile) if kind]
    counts = sorted(Counter(every).items())
    return f"{len(every)} faults: " + ", ".join(f"{count} x {kind}" for kind, count in counts)
