"""Whether and when a failed request is sent again. Every request is keyed, so twice is harmless."""

from dataclasses import dataclass

from abctl_client.errors import AbctlError

BACKOFF_FIRST_S = 0.1
BACKOFF_MAX_S = 5.0
PASSING = {0, 502, 503, 504}


@dataclass(frozen=True, slots=True)
class Patience:
    """One resend after a lost connection or a "later" from the service; more until `patience_s` is over."""

    timeout_s: float
    patience_s: float = 0.0

    def pause_s(self, error: AbctlError, sent: int, elapsed_s: float, draw: float) -> float | None:
        """Seconds to wait before sending again, None to give up. sent: times so far; draw: uniform in [0, 1).

        The first resend waits only if the service asked for it, and no longer than a request may take.
        """
        if error.status not in PASSING:
            return None
        asked_s = error.retry_after_s or 0.0
        if sent == 1 and error.code != "timed_out" and asked_s <= self.timeout_s:
            return asked_s
        backoff_s = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(sent, 10)) * (0.5 + draw / 2)
        pause_s = max(asked_s, backoff_s)
        return pause_s if elapsed_s + pause_s <= self.patience_s else None
