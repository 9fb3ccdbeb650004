"""Looks again and again. Nothing is kept between two looks: whoever takes over goes on from SQL."""

from collections.abc import Callable, Iterator

from sqlalchemy.exc import InterfaceError, OperationalError

from router.rollout_steps import EvidenceOf, Hands, Looked
from router.rollout_watch import ONCE, looked
from store.errors import RolloutMoved, SplitMoved, StaleEvidence, StoreUnavailable

PASSING = (RolloutMoved, SplitMoved, StaleEvidence, StoreUnavailable, OperationalError, InterfaceError)
"""What another look may mend: somebody else was first, or SQL is away."""


def looks(
    hands: Hands, evidence_of: EvidenceOf, wait: Callable[[], bool], every_us: int = ONCE
) -> Iterator[Looked | Exception]:
    """A look after each wait that says True, until the rollout is over. What passes is told, and looked
    past. every_us: how often it is meant to be, for who asks whether somebody looks.
    """
    going = True
    while going:
        try:
            found = looked(hands, evidence_of, every_us)
        except PASSING as error:
            yield error
        else:
            yield found
            going = found.verdict.action != "done"
        going = going and wait()
