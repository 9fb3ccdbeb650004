"""What the signal HUP means: replace the workers, or that the terminal of the service was closed."""

import os
import signal
from dataclasses import dataclass, field
from typing import Literal

Meaning = Literal["restart", "stop", "nothing"]
SILENT_S = 5.0


def has_terminal() -> bool:
    """Whether this process has a controlling terminal now."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def is_hangup_ignored() -> bool:
    """Whether we were started so that the end of a terminal does not matter, as by `nohup`."""
    return signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@dataclass(slots=True)
class Hangups:
    """Make one before HUP is handled. The kernel takes the terminal away before it sends the signal.

    A job that its shell has disowned is not told when the terminal closes: after SILENT_S without the signal
    one that comes later means a restart, as where there never was a terminal.
    """

    had_terminal: bool = field(default_factory=has_terminal)
    is_ignored: bool = field(default_factory=is_hangup_ignored)
    _lost_s: float | None = None

    def look(self, now_s: float) -> None:
        """Notices a terminal that has gone. now_s: a monotonic clock."""
        if not self.had_terminal or has_terminal():
            return
        if self._lost_s is None:
            self._lost_s = now_s
        elif now_s - self._lost_s > SILENT_S:
            self.had_terminal = False

    def meaning(self) -> Meaning:
        """Of the signal that has just come."""
        is_closed = self.had_terminal and not has_terminal()
        self.had_terminal = self.had_terminal and not is_closed
        if not is_closed:
            return "restart"
        return "nothing" if self.is_ignored else "stop"
