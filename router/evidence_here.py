"""The evidence of a rollout as one node sees it: SQL's, with the kills of its own data directory and those of
others that the audit has told SQL.
"""

from pathlib import Path

from sqlalchemy import Engine

from router.errors import BadKillFile
from router.evidence import Evidence
from router.kills import read_kills
from router.known_kills import killed_arms
from router.rollout_evidence import evidence_of, failed
from router.rollout_steps import EvidenceOf, Open


def evidence_here(engine: Engine, root: Path) -> EvidenceOf:
    """Reads evidence from SQL, and from the KILL file of a data directory which arms are killed."""

    def evidence(found: Open, now_us: int) -> Evidence:
        try:
            kills = read_kills(root)
        except BadKillFile as error:
            return failed(found, (), now_us, str(error))
        killed = killed_arms(kills, engine, found.experiment.key)
        return evidence_of(engine, found, tuple(sorted(killed)), now_us)

    return evidence
