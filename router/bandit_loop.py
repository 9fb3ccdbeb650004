"""A bandit looks again and again. Nothing is kept between two looks: who takes over goes on from SQL."""

from collections.abc import Callable, Iterator

from router.bandit_steps import Looked, look
from router.rollout_loop import PASSING
from router.rollout_steps import Hands


def looks(
    hands: Hands, killed: Callable[[], tuple[str, ...]], wait: Callable[[], bool]
) -> Iterator[Looked | Exception]:
    """A look after each wait that says True. What passes is told, and looked past."""
    going = True
    while going:
        try:
            yield look(hands, killed())
        except PASSING as error:
            yield error
        going = wait()
