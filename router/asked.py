"""A decision request, checked: whatever gets past here can be bound, served and stored."""

import os
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arms.errors import HistoryError
from arms.schema import StateSchema
from router.assignment import check_unit
from router.binding import problem_of
from router.errors import BadUnit
from router.instants import instant_us
from router.problems import Problem, invalid, shown
from router.wire import DecideRequest
from store.records import Experiment

HISTORY_ROWS_MAX = 64
_NAME_BYTES_MAX = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a bot asks. history: float32[k,F], 1 <= k <= 64, newest last. sent_us: its started_at, if any."""

    decision_id: str
    unit: str
    bot: str
    history: NDArray[np.float32]
    sent_us: int | None
    as_of_us: int | None
    force_arm: str | None


def asked_of(request: DecideRequest, experiment: Experiment, schema: StateSchema) -> Asked:
    """The checked request, or the problem that names the field."""
    _refuse_unsupported(request)
    return Asked(
        decision_id=checked_id(request.decision_id),
        unit=checked_unit(request.unit),
        bot=checked_name(request.bot, "bot"),
        history=history_of(request.history, schema),
        sent_us=None if request.started_at is None else instant_us(request.started_at, "started_at"),
        as_of_us=None if request.as_of is None else instant_us(request.as_of, "as_of"),
        force_arm=None if request.force_arm is None else _checked_arm(request.force_arm, experiment),
    )


def _refuse_unsupported(request: DecideRequest) -> None:
    """What could only be ignored is refused, so that nobody relies on it."""
    if request.deadline_ms is not None:
        raise invalid("deadline_ms", "is not supported yet: leave it out, and set a time-out in the client")
    if request.quote is not None:
        raise invalid("quote", "is not supported yet: leave it out until shadow arms exist")
    if request.explain:
        raise invalid("explain", "is not supported yet: leave it out")


def history_of(rows: list[list[float]], schema: StateSchema) -> NDArray[np.float32]:
    """Rows within the schema, or the problem that names the row, the feature and its range."""
    if not 1 <= len(rows) <= HISTORY_ROWS_MAX:
        rule = f"has {len(rows)} rows: send 1 to {HISTORY_ROWS_MAX}, the newest last"
        raise invalid("history", rule)
    try:
        with np.errstate(over="ignore"):  # beyond float32 becomes infinite, which the schema refuses by name
            return schema.history_of(rows)
    except HistoryError as error:
        text = str(error)
        raise Problem(422, "invalid_field", text, text.split(" ", 1)[0]) from error


def checked_unit(unit: str) -> str:
    """A unit that every store can hold."""
    try:
        return check_unit(unit)
    except BadUnit as error:
        raise problem_of(error) from error


def checked_name(name: str, field: str) -> str:
    """A bot's name or an id: printable, not blank, at most 128 bytes."""
    if not name.strip() or not name.isprintable() or len(name.encode()) > _NAME_BYTES_MAX:
        raise invalid(field, f"must be 1 to {_NAME_BYTES_MAX} bytes of printable text; send a shorter name")
    return name


def checked_id(decision_id: str | None) -> str:
    """The bot's decision id, or a new one that sorts by time."""
    if decision_id is not None:
        return checked_name(decision_id, "decision_id")
    return f"{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}"


def _checked_arm(arm: str, experiment: Experiment) -> str:
    if arm not in experiment.arms:
        known = ", ".join(experiment.arms)
        raise invalid("force_arm", f"{shown(arm)} is not an arm of {experiment.key}: use one of {known}")
    return arm
