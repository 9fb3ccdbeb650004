"""One tick of a shadow arm: from a decision that was answered to the record that the journal keeps. Pure."""

from dataclasses import dataclass
from functools import lru_cache

import msgspec
import numpy as np
from numpy.typing import NDArray

from arms.fills import DOWN, UP, TradingRules
from arms.paper import Account, Tick, settled_micro
from arms.shadow import UNBORN, Life, rules_of
from router.decided import Placed
from router.quotes import Book
from router.serving import Answer, action_of
from store.records import ACTIONS, Action, Experiment, ShadowSetting, ShadowTick

Key = tuple[str, str, str]
"""(experiment, unit, bot): whose life it is."""
_rules = lru_cache(rules_of)


@dataclass(frozen=True, slots=True)
class Job:
    """A decision that its arm has answered, and the setting under which another one decides on paper.

    at_us: the state's time, as the bot says, else when it came. history: float32[k,F], as it was sent.
    """

    setting: ShadowSetting
    experiment: Experiment
    unit: str
    bot: str
    decision_id: str
    at_us: int
    left_us: int
    history: NDArray[np.float32]
    book: Book
    served_action: Action

    @property
    def key(self) -> Key:
        """Whose life it is."""
        return self.experiment.key, self.unit, self.bot

    @property
    def tick(self) -> Tick:
        """What a paper account sees."""
        return Tick(self.at_us, self.left_us, self.book.quotes)

    @property
    def rules(self) -> TradingRules:
        """What a paper order pays."""
        fee_ppm = self.setting.fee_ppm if self.book.fee_ppm is None else self.book.fee_ppm
        return _rules(self.setting.stake_micro, fee_ppm)


def job_of(setting: ShadowSetting, placed: Placed, answer: Answer) -> Job | None:
    """The tick of a decision; None where nothing is shadowed in its unit.

    That is where it has no quote, is forced or in no comparison, or its unit has the shadow's arm anyway.
    """
    asked, bound, book = placed.asked, placed.bound, placed.asked.book
    if book is None or placed.served.forced or not bound.assigned.eligible:
        return None
    if bound.assigned.arm == setting.arm:
        return None
    at_us = placed.received_at_us if asked.as_of_us is None else asked.as_of_us
    return Job(
        setting=setting,
        experiment=placed.experiment,
        unit=asked.unit,
        bot=asked.bot,
        decision_id=asked.decision_id,
        at_us=at_us,
        left_us=bound.started_at_us + placed.experiment.unit_duration_s * 1_000_000 - at_us,
        history=asked.history,
        book=book,
        served_action=action_of(placed.experiment, answer, asked.decision_id)[0],
    )


def record_of(job: Job, life: Life, action: Action) -> ShadowTick:
    """What the journal keeps of a tick that was lived, or of the end of a life."""
    return ShadowTick(
        experiment=job.experiment.key,
        decision_id=job.decision_id,
        unit=job.unit,
        bot=job.bot,
        arm=job.setting.arm or "",
        setting=job.setting.number,
        tick=0 if life.void else life.ticks,
        void=life.void,
        at_us=job.at_us,
        action=action,
        served_action=job.served_action,
        unfilled=life.shadow.unfilled + life.served.unfilled,
        **_worth("shadow", life.shadow),
        **_worth("served", life.served),
    )


def number_of(action: Action) -> int:
    """hold, buy, sell as 0, 1, 2."""
    return ACTIONS.index(action)


def _worth(whose: str, account: Account) -> dict[str, int]:
    return {
        f"{whose}_up_micro": settled_micro(account, UP),
        f"{whose}_down_micro": settled_micro(account, DOWN),
    }


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    """A life between two ticks. past: its rows as little-endian float32."""

    ticks: int
    at_us: int
    shadow: Account
    served: Account
    differed: int
    void: str
    rows: int
    past: bytes


_ENCODE = msgspec.msgpack.Encoder().encode
_DECODER = msgspec.msgpack.Decoder(_Kept)


def kept(life: Life) -> bytes:
    """A life as it is remembered."""
    past = b"" if life.past is None else life.past.astype("<f4").tobytes()
    rows = 0 if life.past is None else len(life.past)
    lived = (life.ticks, life.at_us, life.shadow, life.served, life.differed, life.void)
    return _ENCODE(_Kept(*lived, rows, past))


def revived(content: bytes | None) -> Life:
    """The life to go on with: a new one where none is remembered."""
    if content is None:
        return UNBORN
    held = _DECODER.decode(content)
    past = np.frombuffer(held.past, dtype="<f4").reshape(held.rows, -1) if held.rows else None
    return Life(held.ticks, held.at_us, held.shadow, held.served, past, held.differed, held.void)
