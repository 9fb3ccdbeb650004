"""The states that a bot sent in a unit up to one decision, as they are in the log."""

from dataclasses import dataclass

from sqlalchemy import Connection, select, tuple_

from store import tables
from store.errors import UnknownDecision
from store.sql import table_of

_DECISIONS = table_of(tables.Decision)
_PLACE = ("received_at_us", "journal_id", "position")


@dataclass(frozen=True, slots=True)
class AskedStates:
    """states, digests: of the bot's decisions in the unit, in order; the last is the one that was asked for.

    schema_hash, model, served_arm, action, probs: of that one.
    """

    unit: str
    bot: str
    states: list[bytes]
    digests: list[bytes]
    schema_hash: str
    model: str
    served_arm: str
    action: str
    probs: tuple[float, float, float]


def asked_states(connection: Connection, experiment: str, decision_id: str) -> AskedStates:
    """UnknownDecision where SQL has no such decision, or no longer."""
    d = _DECISIONS.c
    own = d.experiment == experiment
    row = connection.execute(select(_DECISIONS).where(own, d.decision_id == decision_id)).mappings().first()
    if row is None:
        raise UnknownDecision(experiment, decision_id)
    place = tuple_(*(d[name] for name in _PLACE))
    until = place <= tuple_(*(row[name] for name in _PLACE))
    same = (own, d.unit == row["unit"], d.bot == row["bot"], until)
    query = select(d.state, d.history_digest).where(*same).order_by(*(d[name] for name in _PLACE))
    sent = connection.execute(query).all()
    return AskedStates(
        unit=row["unit"],
        bot=row["bot"],
        states=[state for state, _ in sent],
        digests=[digest for _, digest in sent],
        schema_hash=row["schema_hash"],
        model=row["model"],
        served_arm=row["served_arm"],
        action=row["action"],
        probs=(row["prob_hold"], row["prob_buy"], row["prob_sell"]),
    )
