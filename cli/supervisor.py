"""Keeps the processes of `abctl serve` alive, replaces and ends them in order; does no work itself."""

import logging
import signal
import socket
import time
from dataclasses import dataclass, field

from cli.child import Child
from cli.events import Event, Tell
from cli.failures import Unavailable
from cli.hangup import Hangups
from cli.rolling import Roll
from store.errors import StoreUnavailable
from store.valkey import PrivateValkey

TEND_INTERVAL_S = 0.05
_VALKEY_PAUSE_S = 10.0
_LOG = logging.getLogger("abctl.serve")


@dataclass(slots=True)
class Supervisor:
    """The processes of one service. tell: where its events go.

    The steward begins when the service answers, and nothing waits for it.
    """

    listener: socket.socket
    valkey: PrivateValkey | None
    workers: list[Child]
    shipper: Child
    steward: Child
    tell: Tell
    hangups: Hangups = field(default_factory=Hangups)
    is_stopping: bool = False
    is_restart_wanted: bool = False
    _roll: Roll | None = None
    _valkey_at_s: float = 0.0

    def start(self) -> None:
        """Lets the children begin. From here on TERM and INT mean an orderly stop, HUP a rolling restart."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_end)
        signal.signal(signal.SIGHUP, self._on_hangup)
        for child in (self.shipper, *self.workers):
            child.go()
        self.tend()

    def run(self) -> None:
        """Tends the children until TERM or INT."""
        self.steward.go()
        while not self.is_stopping:
            self.tend()
            self.steward.tend(time.monotonic())
            self._roll_on()
            self.hangups.look(time.monotonic())
            time.sleep(TEND_INTERVAL_S)

    def tend(self) -> None:
        """Starts again what has died."""
        self.tend_children()
        now_s = time.monotonic()
        if self.valkey is not None and now_s >= self._valkey_at_s:
            self._tend_valkey(self.valkey)

    def tend_children(self) -> None:
        """Before `start` this only begins their imports."""
        now_s = time.monotonic()
        for child in (self.shipper, *self.workers):
            child.tend(now_s)

    def check_start(self, deaths_allowed: int) -> None:
        """Raises Unavailable with the reason where a child cannot start."""
        for child in (self.shipper, *self.workers):
            if child.deaths > deaths_allowed:
                why = child.words or "its last lines are above"
                raise Unavailable(f"the {child.role} ended {child.deaths} times at its start: {why}")

    def stop(self) -> None:
        """Refuses new requests, answers those in flight, carries the journals to SQL, ends all children."""
        self.listener.close()
        self.steward.ask_to_end(time.monotonic())
        workers = [*self.workers, *(self._roll.guests if self._roll else ())]
        for worker in workers:
            worker.ask_to_end(time.monotonic())
        for worker in workers:
            worker.end()
        self.shipper.end()
        self.steward.end()

    def _roll_on(self) -> None:
        now_s = time.monotonic()
        if self._roll is not None:
            self._roll.step(now_s)
            if self._roll.is_over:
                self._finish(self._roll, now_s)
                self._roll = None
        elif self.is_restart_wanted:
            self.is_restart_wanted = False
            self._roll = Roll(self.workers, now_s)
            facts = {"workers": len(self.workers)}
            self.tell(Event("restarting", "abctl replaces its workers, one by one", facts))

    def _finish(self, roll: Roll, now_s: float) -> None:
        """The shipper goes last: what it has not carried yet waits in the journals. So does the steward."""
        if roll.failure:
            said = f"abctl keeps the workers it has: the new one failed: {roll.failure}"
            self.tell(Event("restart_abandoned", said, {"replaced": roll.place, "reason": roll.failure}))
            return
        self.shipper.ask_to_end(now_s)
        self.steward.ask_to_end(now_s)
        seconds = round(now_s - roll.began_s, 1)
        facts = {"workers": roll.place, "seconds": seconds}
        self.tell(Event("restarted", f"abctl has replaced its workers in {seconds} s", facts))

    def _tend_valkey(self, valkey: PrivateValkey) -> None:
        """Decisions need no Redis: where it does not come back, the service goes on and tries again."""
        try:
            if valkey.ensure():
                _LOG.warning("the private Valkey had ended and was started again")
        except (StoreUnavailable, OSError) as error:
            self._valkey_at_s = time.monotonic() + _VALKEY_PAUSE_S
            _LOG.error("%s; trying again in %.0f s", error, _VALKEY_PAUSE_S)

    def _on_end(self, _number: int, _frame: object) -> None:
        self.is_stopping = True

    def _on_hangup(self, _number: int, _frame: object) -> None:
        meaning = self.hangups.meaning()
        self.is_stopping = self.is_stopping or meaning == "stop"
        self.is_restart_wanted = self.is_restart_wanted or meaning == "restart"
