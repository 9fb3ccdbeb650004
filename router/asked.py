"""A decision request, checked: whatever gets past here can be bound, served and stored."""

import random
import time
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from router.assignment import check_unit
from router.binding import problem_of
from router.errors import BadUnit
from router.instants import instant_us
from router.problems import invalid, shown
from router.quotes import Book, book_of
from router.wire import BriefRequest, DecideRequest
from store.records import Experiment

DEADLINE_MS_MAX = 60_000
_NAME_BYTES_MAX = 128
_IDS = random.Random()  # noqa: S311 - seeded by the system; an id is unique, not secret


@dataclass(frozen=True, slots=True)
class Claim:
    """Whose decision it is. sent_us: its started_at, if any."""

    unit: str
    bot: str
    sent_us: int | None
    is_forced: bool


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a bot asks. history: float32[k,F], 1 <= k <= 64, newest last. sent_us: its started_at, if any.

    budget_s: how long it can wait for the answer, from the first byte that came; None: as long as it takes.
    book: its quote, if any.
    """

    decision_id: str
    unit: str
    bot: str
    history: NDArray[np.float32]
    sent_us: int | None
    as_of_us: int | None
    budget_s: float | None
    force_arm: str | None
    book: Book | None = None

    @property
    def claim(self) -> Claim:
        return Claim(self.unit, self.bot, self.sent_us, self.force_arm is not None)


def claim_of(request: BriefRequest, experiment: Experiment) -> Claim:
    """The checked claim, or the problem that names the field."""
    if request.force_arm is not None:
        _checked_arm(request.force_arm, experiment)
    return Claim(
        unit=checked_unit(request.unit),
        bot=checked_name(request.bot, "bot"),
        sent_us=None if request.started_at is None else instant_us(request.started_at, "started_at"),
        is_forced=request.force_arm is not None,
    )


def asked_of(request: DecideRequest, history: NDArray[np.float32], experiment: Experiment) -> Asked:
    """The checked request with its checked history, or the problem that names the field."""
    return Asked(
        decision_id=checked_id(request.decision_id),
        unit=checked_unit(request.unit),
        bot=checked_name(request.bot, "bot"),
        history=history,
        sent_us=None if request.started_at is None else instant_us(request.started_at, "started_at"),
        as_of_us=None if request.as_of is None else instant_us(request.as_of, "as_of"),
        budget_s=None if request.deadline_ms is None else _budget_s(request.deadline_ms),
        force_arm=None if request.force_arm is None else _checked_arm(request.force_arm, experiment),
        book=None if request.quote is None else book_of(request.quote),
    )


def _budget_s(deadline_ms: float) -> float:
    if not 0 < deadline_ms <= DEADLINE_MS_MAX:
        rule = (
            f"must be above 0 and at most {DEADLINE_MS_MAX:,}, in milliseconds; leave it out to wait longer"
        )
        raise invalid("deadline_ms", rule)
    return deadline_ms / 1000


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
    return f"{time.time_ns() // 1_000_000:012x}{_IDS.getrandbits(80):020x}"


def _checked_arm(arm: str, experiment: Experiment) -> str:
    if arm not in experiment.arms:
        known = ", ".join(experiment.arms)
        raise invalid("force_arm", f"{shown(arm)} is not an arm of {experiment.key}: use one of {known}")
    return arm
