"""A look at a rollout that is on record: who looks, since when and what was found.

Each interval has one look, whoever has it; the last one's age tells whether anybody looks at all.
"""

from dataclasses import dataclass

from sqlalchemy import Connection

from router.rollout_steps import EvidenceOf, Hands, Looked, look
from store import rollout_looks
from store.rollout_looks import Look

FAILED = "could not look"
"""What such a look is put down with, first."""
ONCE = 0
"""In place of an interval: this look is to be the only one."""
LATE_LOOKS = 3
"""So many intervals without a look: nobody looks any more."""
LATE_MIN_US = 120_000_000


def looked(hands: Hands, evidence_of: EvidenceOf, every_us: int) -> Looked:
    """A look now, whenever the last one was. every_us: how often its looker means to look, or ONCE."""
    begun = _begun(hands, every_us)
    rollout_looks.claimed(hands.engine, begun, begun.at_us + 1)
    return _concluded(hands, evidence_of, begun)


def looked_when_due(hands: Hands, evidence_of: EvidenceOf, every_us: int) -> Looked | None:
    """A look, where the last one of anybody is every_us old or older; else None."""
    begun = _begun(hands, every_us)
    if not rollout_looks.claimed(hands.engine, begun, begun.at_us - every_us + 1):
        return None
    return _concluded(hands, evidence_of, begun)


def _begun(hands: Hands, every_us: int) -> Look:
    return Look(experiment=hands.key, at_us=hands.clock(), actor=hands.actor, every_us=every_us)


def _concluded(hands: Hands, evidence_of: EvidenceOf, begun: Look) -> Looked:
    try:
        found = look(hands, evidence_of)
    except Exception as error:
        rollout_looks.concluded(hands.engine, begun, f"{FAILED}: {error}")
        raise
    rollout_looks.concluded(hands.engine, begun, f"{found.verdict.action}: {found.verdict.reason}")
    return found


@dataclass(frozen=True, slots=True)
class Watch:
    """Whether somebody looks. age_s: of the last look, None where there was none. every_s: how often its
    looker means to look, 0: it was the only one. is_late: the next one should have been long ago.
    """

    by: str
    age_s: float | None
    every_s: float
    is_late: bool
    said: str

    @property
    def is_failing(self) -> bool:
        """Whether the last look that ended found nothing, for it could not look."""
        return self.said.startswith(FAILED)


def watch_of(connection: Connection, key: str, now_us: int) -> Watch:
    """Of an experiment. A look every minute is late after three of them."""
    last = rollout_looks.last(connection, key)
    if last is None:
        return Watch(by="", age_s=None, every_s=0.0, is_late=True, said="")
    age_us = max(0, now_us - last.at_us)
    is_late = age_us > max(LATE_MIN_US, LATE_LOOKS * last.every_us)
    return Watch(last.actor, age_us / 1e6, last.every_us / 1e6, is_late, last.said)
