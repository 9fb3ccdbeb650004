"""Which arms are killed as far as one node can know: by its own KILL file, and by what the audit was told."""

from sqlalchemy import Engine

from router.kills import Kills
from store import audit


def killed_arms(kills: Kills, engine: Engine, experiment: str) -> frozenset[str]:
    """By the node's own kills, and by the last word of the audit: who lifts a kill anywhere lifts it for all
    who ask here, while each node refuses to serve until its own is lifted.
    """
    own = frozenset(kill.arm for kill in kills if kill.experiment == experiment)
    with engine.connect() as connection:
        return own | audit.killed_arms(connection, experiment)
