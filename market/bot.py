"""A bot that plays tapes against the HTTP endpoint: many markets at once, outcomes by an outbox.

Time is rebased: a tape is played now, as fast as the service answers, as the unit `{market}@{run}` which
starts now. A decision that was not answered is sent again under the same id; only then comes the next tick.
"""

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec
from abctl_client.client import Client
from abctl_client.ids import RANDOM_BYTES, decision_id
from abctl_client.messages import DecideOptions, MarketOutcome, Quote, TradeOutcome

from arms.fills import MICRO, UP
from market.session import MarketResult, Session, Trade
from market.tape import Tape
from store.outbox import Outbox, Waiting

ACTION_NUMBERS = {"hold": 0, "buy": 1, "sell": 2}
HISTORY_ROWS = 20
_DELIVERY_PAUSE_S = 0.2
_ENCODE = msgspec.json.Encoder().encode
_LOG = logging.getLogger("abctl.bot")


@dataclass(slots=True)
class Ledger:
    """The bot's own books: decision id -> unit as sent, decision id -> assigned arm as answered.

    refused: why the service will never take an outcome, one line each; the outbox keeps the outcomes.
    """

    sent: dict[str, str] = field(default_factory=dict)
    answered: dict[str, str] = field(default_factory=dict)
    played: list[MarketResult] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class BotConfig:
    """name: the bot in every request. run: told apart from other runs of the same markets.

    sends_quotes: the book and the tape's own time with every decision, for a shadow arm.
    """

    name: str
    run: str
    markets_at_once: int = 16
    history_rows: int = HISTORY_ROWS
    sends_quotes: bool = False


@dataclass(frozen=True, slots=True)
class Chance:
    """Where a bot takes time and randomness from."""

    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    random_bytes: Callable[[int], bytes] = os.urandom


class Bot:
    """One bot. `client` decides how long it waits for a service that is away.

    When that patience is over `trade` raises the client's error; the outbox keeps what was not acknowledged,
    and the next `trade` with the same outbox, also by another process, delivers it.
    """

    def __init__(
        self, config: BotConfig, client: Client, outbox: Outbox, ledger: Ledger, chance: Chance | None = None
    ) -> None:
        self._config = config
        self._client = client
        self._outbox = outbox
        self._ledger = ledger
        self._chance = chance or Chance()
        self._tapes_left = True

    async def trade(self, tapes: Sequence[Tape]) -> None:
        """Plays every tape once and returns when all outcomes, earlier ones too, are acknowledged."""
        self._tapes_left = True
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._deliver())
                async with asyncio.TaskGroup() as players:
                    queue = iter(tapes)
                    for _ in range(self._config.markets_at_once):
                        players.create_task(self._play_all(queue))
                self._tapes_left = False
        except BaseExceptionGroup as failures:
            raise _first(failures) from failures

    async def _play_all(self, queue: Iterator[Tape]) -> None:
        for tape in queue:
            await self._play(tape)

    async def _play(self, tape: Tape) -> None:
        unit = f"{tape.market}@{self._config.run}"
        session = Session(tape)
        started_at_ms = self._chance.now_ms()
        history: deque[msgspec.Raw] = deque(maxlen=self._config.history_rows)
        ids: list[str] = []
        reported = 0
        while not session.done:
            now_ms = self._chance.now_ms()
            ids.append(decision_id(now_ms, self._chance.random_bytes(RANDOM_BYTES)))
            history.append(msgspec.Raw(_ENCODE(session.state().tolist())))
            more = quoted(tape, session.tick, started_at_ms) if self._config.sends_quotes else DecideOptions()
            session.step(await self._ask(unit, ids[-1], started_at_ms, list(history), more))
            if len(session.trades) > reported:
                closed = session.trades[reported:]
                self._outbox.put([trade_outcome(t, ids[t.decided_tick], now_ms) for t in closed])
                reported = len(session.trades)
        result = session.result()
        outcome = market_outcome(result, unit, self._config.name, self._chance.now_ms())
        self._outbox.put([msgspec.structs.replace(outcome, winner="up" if tape.up_won else "down")])
        self._ledger.played.append(result)

    async def _ask(
        self, unit: str, asked_id: str, started_at_ms: int, history: list[msgspec.Raw], more: DecideOptions
    ) -> int:
        """The action's number. Every row was encoded once, when its tick came."""
        self._ledger.sent[asked_id] = unit
        own = DecideOptions(started_at=started_at_ms, bot=self._config.name, decision_id=asked_id)
        own.update(more)
        decision = await self._client.decide(unit, history, **own)
        self._ledger.answered[asked_id] = decision.arm
        return ACTION_NUMBERS[decision.action]

    async def _deliver(self) -> None:
        """Sends what waits until nothing does and no tape is left."""
        while True:
            was_last = not self._tapes_left
            waiting = self._outbox.waiting()
            if waiting:
                await self._send(waiting)
            elif was_last:
                return
            if self._tapes_left:
                await asyncio.sleep(_DELIVERY_PAUSE_S)

    async def _send(self, waiting: list[Waiting]) -> None:
        results = await self._client.outcomes([item.outcome for item in waiting])
        done: list[int] = []
        for item, result in zip(waiting, results, strict=True):
            if result.status == "rejected":
                self._lay_aside(item, str((result.error or {}).get("detail", result.error)))
            else:
                done.append(item.number)
        self._outbox.acknowledge(done)

    def _lay_aside(self, item: Waiting, why: str) -> None:
        self._outbox.refuse(item, why)
        self._ledger.refused.append(why)
        _LOG.warning("bot %s: an outcome is refused and laid aside: %s", self._config.name, why)


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """What went wrong first, without the groups around it."""
    first = failures.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


def quoted(tape: Tape, tick: int, started_at_ms: int) -> DecideOptions:
    """The book of a tick, and when it was if the tape had started then. No size tells of DOWN's depth."""
    bid, ask, down_bid, down_ask = (tape.prices[tick] / MICRO).tolist()
    bid_size, ask_size = (tape.depths[tick, :2] / MICRO).tolist()
    quote = Quote(
        bid=bid, ask=ask, bid_size=bid_size, ask_size=ask_size, down_bid=down_bid, down_ask=down_ask
    )
    since_ms = int(tape.tick_us[tick] - tape.tick_us[0]) // 1000
    return DecideOptions(quote=quote, as_of=started_at_ms + since_ms)


def trade_outcome(trade: Trade, opened_by: str, now_ms: int) -> TradeOutcome:
    """A closed trade as it is reported."""
    return TradeOutcome(
        decision_id=opened_by,
        pnl_usd=trade.pnl_micro / MICRO,
        fee_usd=trade.fee_micro / MICRO,
        stake_usd=trade.stake_micro / MICRO,
        entry_price=trade.entry_price_micro / MICRO,
        exit_price=trade.exit_price_micro / MICRO,
        side="up" if trade.side == UP else "down",
        fill="replay",
        closed_at=now_ms,
    )


def market_outcome(result: MarketResult, unit: str, bot: str, now_ms: int) -> MarketOutcome:
    """A market's whole net result as it is reported."""
    return MarketOutcome(
        unit=unit,
        bot=bot,
        pnl_usd=result.pnl_micro / MICRO,
        fee_usd=result.fee_micro / MICRO,
        stake_usd=result.stake_micro / MICRO,
        trades=len(result.trades),
        fill="replay",
        closed_at=now_ms,
    )
