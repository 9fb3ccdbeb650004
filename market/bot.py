"""A bot that plays tapes against the HTTP endpoint: many markets at once in one process, outcomes by an outbox.

Time is rebased: a tape is played now, as fast as the service answers, as the unit `{market}@{run}` which starts
now. A decision that was not answered is sent again under the same id until it is; then the next tick is played.
"""

import asyncio
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from abctl_client.client import Client
from abctl_client.errors import AbctlError
from abctl_client.ids import RANDOM_BYTES, decision_id
from abctl_client.messages import MarketOutcome, TradeOutcome

from arms.fills import MICRO, UP
from market.outbox import Outbox, Waiting
from market.session import MarketResult, Session, Trade
from market.tape import Tape

ACTION_NUMBERS = {"hold": 0, "buy": 1, "sell": 2}
HISTORY_ROWS = 20
_DELIVERY_PAUSE_S = 0.2


@dataclass(slots=True)
class Ledger:
    """What the bot sent and what was answered: decision id -> unit, decision id -> assigned arm."""

    sent: dict[str, str] = field(default_factory=dict)
    answered: dict[str, str] = field(default_factory=dict)
    played: list[MarketResult] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class BotConfig:
    """name: the bot in every request. run: told apart from other runs of the same markets."""

    name: str
    run: str
    markets_at_once: int = 16
    history_rows: int = HISTORY_ROWS


class Bot:
    """One bot. `client` decides how long it waits for a service that is away."""

    def __init__(self, config: BotConfig, client: Client, outbox: Outbox, ledger: Ledger) -> None:
        self._config = config
        self._client = client
        self._outbox = outbox
        self._ledger = ledger
        self._tapes_left = True

    async def trade(self, tapes: Sequence[Tape]) -> None:
        """Plays every tape once and returns when all outcomes are acknowledged."""
        queue = iter(tapes)
        self._tapes_left = True
        deliver = asyncio.create_task(self._deliver())
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._config.markets_at_once):
                    group.create_task(self._play_all(queue))
        finally:
            self._tapes_left = False
        await deliver

    async def _play_all(self, queue: Iterable[Tape]) -> None:
        for tape in queue:
            await self._play(tape)

    async def _play(self, tape: Tape) -> None:
        unit = f"{tape.market}@{self._config.run}"
        session = Session(tape)
        started_at_ms = time.time_ns() // 1_000_000
        ids: list[str] = []
        reported = 0
        while not session.done:
            ids.append(decision_id(time.time_ns() // 1_000_000, os.urandom(RANDOM_BYTES)))
            session.step(await self._ask(unit, ids[-1], started_at_ms, session))
            if len(session.trades) > reported:
                self._outbox.put([trade_outcome(t, ids[t.decided_tick]) for t in session.trades[reported:]])
                reported = len(session.trades)
        result = session.result()
        self._ledger.played.append(result)
        self._outbox.put([market_outcome(result, unit, self._config.name)])

    async def _ask(self, unit: str, asked_id: str, started_at_ms: int, session: Session) -> int:
        self._ledger.sent[asked_id] = unit
        decision = await self._client.decide(
            unit,
            session.history(self._config.history_rows),
            started_at=started_at_ms,
            bot=self._config.name,
            decision_id=asked_id,
        )
        self._ledger.answered[asked_id] = decision.arm
        return ACTION_NUMBERS[decision.action]

    async def _deliver(self) -> None:
        """Sends what waits until nothing does and no tape is left."""
        while True:
            waiting = self._outbox.waiting()
            if not waiting and not self._tapes_left:
                return
            if not waiting or not await self._sent(waiting):
                await asyncio.sleep(_DELIVERY_PAUSE_S)

    async def _sent(self, waiting: list[Waiting]) -> bool:
        try:
            results = await self._client.outcomes([item.outcome for item in waiting])
        except AbctlError:
            return False
        done = []
        for item, result in zip(waiting, results, strict=True):
            if result.status == "rejected":
                self._outbox.refuse(item, str(result.error))
            else:
                done.append(item.number)
        self._outbox.acknowledge(done)
        return True


def trade_outcome(trade: Trade, opened_by: str) -> TradeOutcome:
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
        closed_at=time.time_ns() // 1_000_000,
    )


def market_outcome(result: MarketResult, unit: str, bot: str) -> MarketOutcome:
    """A market's whole net result as it is reported."""
    return MarketOutcome(
        unit=unit,
        bot=bot,
        pnl_usd=result.pnl_micro / MICRO,
        fee_usd=result.fee_micro / MICRO,
        stake_usd=result.stake_micro / MICRO,
        trades=len(result.trades),
        fill="replay",
        closed_at=time.time_ns() // 1_000_000,
    )
