"""Was it so? What a rollout was decided on, told by SQL once more, and what follows from it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from sqlalchemy import Engine

from router.evidence import Evidence, decoded, digest
from router.rollout import decide
from router.rollout_evidence import reread
from router.rollout_steps import Open
from store import rollouts
from store.errors import MomentPruned


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """One line with evidence. written, now: digests of it, as kept and as SQL tells that moment today.

    said, again: the verdict that was written down, and the one that follows from the evidence as kept.
    pruned: the decisions that would tell the moment are gone, and nothing is compared but the verdicts; `now`
    is empty.
    """

    seq: int
    written: str
    now: str
    said: str
    again: str
    same: bool
    pruned: bool = False


def audited(engine: Engine, open_: Open, now_us: int) -> Iterator[Audited]:
    """Every line of a rollout that was decided on evidence. Reads all decisions for each."""
    with engine.connect() as connection:
        lines = rollouts.events(connection, open_.experiment.key, open_.rollout.number)
    for line in lines:
        if line.evidence:
            yield _audited(engine, open_, line, now_us)


def _audited(engine: Engine, open_: Open, line: rollouts.Event, now_us: int) -> Audited:
    was = decoded(line.evidence)
    now = _digest_now(engine, open_, was, now_us)
    before = tuple(event for event in open_.course.events if event.seq < line.seq)
    verdict = decide(open_.plan, replace(open_.course, events=before), was, was.looked_at_us)
    said, again = f"{line.action} {line.cause}", f"{verdict.action} {verdict.cause}"
    written = line.evidence_digest
    return Audited(
        seq=line.seq,
        written=written,
        now=now or "",
        said=said,
        again=again,
        same=(now in {written, None}) and digest(was) == written and said == again,
        pruned=now is None,
    )


def _digest_now(engine: Engine, open_: Open, was: Evidence, now_us: int) -> str | None:
    """None where SQL cannot tell the moment any more."""
    if was.failed:
        return digest(was)
    try:
        return digest(reread(engine, open_, was, now_us))
    except MomentPruned:
        return None
