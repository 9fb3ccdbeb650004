"""What a webhook is told of a rollout's line, and how it is signed: Standard Webhooks 1.0.0, HMAC-SHA256.

Pure. https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
import hmac
from dataclasses import dataclass

import msgspec

from router.errors import BadWebhook
from router.splits import rfc3339
from store.rollouts import Event

PREFIX = "whsec_"
KEY_BYTES_MIN, KEY_BYTES_MAX = 24, 64
_UNSAID = "the evidence could not be read"
"""Such a reason may name a file or a server of ours: it stays in the history."""
_FIRST_S, _LONGEST_S = 5.0, 3600.0
OLD_S = 3 * 86_400.0
"""Lines of longer ago are not told any more."""
REFUSED_S = 86_400.0
"""A wrong secret, or an ingress that is not yet back, is mended by then."""
_PASSING = frozenset({408, 409, 425, 429})


@dataclass(frozen=True, slots=True)
class Message:
    """id: the same however often it is sent. body: what is signed and sent, byte by byte."""

    id: str
    body: bytes


def key_of(secret: str) -> bytes:
    """The bytes of a secret `whsec_BASE64`; BadWebhook where it is none."""
    secret = secret.strip()
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not secret.startswith(PREFIX) or not KEY_BYTES_MIN <= len(key) <= KEY_BYTES_MAX:
        rule = f"must be {PREFIX} and {KEY_BYTES_MIN} to {KEY_BYTES_MAX} random bytes in base64"
        raise BadWebhook("webhook_secret", rule, 'make one: echo "whsec_$(openssl rand -base64 32)"')
    return key


def message_of(line: Event) -> Message:
    """A line as JSON. No name of a machine, no path, no evidence: its digest names that."""
    names = ("experiment", "rollout", "seq", "kind", "action", "cause", "stage", "share", "split_version")
    data = {name: getattr(line, name) for name in (*names, "actor", "evidence_digest")}
    reason = _UNSAID if line.cause == "no_evidence" else line.reason
    told = {
        "type": f"rollout.{line.kind}",
        "timestamp": rfc3339(line.at_us),
        "data": {**data, "stage": line.stage + 1, "reason": reason},
    }
    return Message(f"{line.experiment}/{line.rollout}/{line.seq}", msgspec.json.encode(told))


def headers_of(message: Message, key: bytes, now_s: int) -> dict[str, str]:
    """The headers of one attempt. now_s: seconds since the epoch, of the attempt and not of the line."""
    signed = f"{message.id}.{now_s}.".encode() + message.body
    code = base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    return {
        "content-type": "application/json",
        "webhook-id": message.id,
        "webhook-timestamp": str(now_s),
        "webhook-signature": f"v1,{code}",
    }


def pause_s(tries: int, luck: float) -> float:
    """Seconds until the next attempt, after `tries` of them: doubling, at most an hour, spread by luck in
    [0, 1) over the upper half, so that many senders do not come back at once.
    """
    longest_s = min(_FIRST_S * 2.0 ** min(tries - 1, 20), _LONGEST_S)
    return longest_s * (0.5 + 0.5 * luck)


def is_given_up(age_s: float, status: int | None) -> bool:
    """Whether a line that is so old is left untold, because it is still refused for what it is: those behind
    it wait. status: of the last answer, None where there was none. Else it is tried until it is OLD_S old.
    """
    is_refused = status is not None and 400 <= status < 500 and status not in _PASSING
    return is_refused and age_s >= REFUSED_S
