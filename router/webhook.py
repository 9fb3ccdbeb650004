"""Tells a webhook every line of every rollout, from a thread that nothing waits for.

The address is the operator's alone: it comes from a setting, never from a request. No redirect is followed,
no proxy of the environment is used, and of the answer only the status is read.
"""

import http.client
import logging
import random
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from router.errors import BadWebhook
from router.telling import OLD_S, headers_of, is_given_up, key_of, message_of, pause_s
from store import rollout_tellings
from store.clock import Clock
from store.rollout_tellings import Due

SILENCE_S = 10.0
WHOLE_S = 20.0
"""For all of an attempt: a receiver that drips does not keep us."""
CLAIM_S = 60.0
_POLL_S = 1.0
_LOG = logging.getLogger("abctl.webhook")


@dataclass(frozen=True, slots=True)
class Webhook:
    """address: where to send. key: signs. Neither is ever shown: an address may hold a secret as well."""

    address: SplitResult = field(repr=False)
    key: bytes = field(repr=False)


def webhook_of(url: str, secret: str) -> Webhook:
    """BadWebhook where the address is no http(s) URL, has a password, or the secret is none."""
    address = _address(url)
    if address is None:
        raise BadWebhook("webhook_url", "must be http://HOST/... or https://HOST/...", "write it so")
    if address.username is not None or address.password is not None:
        raise BadWebhook("webhook_url", "holds a name or a password", "check the signature instead")
    return Webhook(address, key_of(secret))


def _address(url: str) -> SplitResult | None:
    """A URL in its parts; None where it is none that can be posted to."""
    try:
        address = urlsplit(url)
        is_whole = bool(address.hostname) and address.port != 0 and not address.fragment
    except ValueError:
        return None
    is_plain = url.isascii() and url.isprintable() and " " not in url
    return address if is_whole and is_plain and address.scheme in {"http", "https"} else None


def posted(hook: Webhook, headers: dict[str, str], body: bytes) -> int:
    """The status of the answer. Raises OSError or http.client.HTTPException where there is none in time."""
    connection = _connection(hook.address)
    cut = threading.Timer(WHOLE_S, _cut, (connection,))
    cut.daemon = True
    cut.start()
    try:
        connection.request("POST", _target(hook.address), body, headers)
        return connection.getresponse().status
    finally:
        cut.cancel()
        connection.close()


def _connection(address: SplitResult) -> http.client.HTTPConnection:
    host = address.hostname or ""
    if address.scheme == "http":
        return http.client.HTTPConnection(host, address.port, timeout=SILENCE_S)
    context = ssl.create_default_context()
    return http.client.HTTPSConnection(host, address.port, timeout=SILENCE_S, context=context)


def _target(address: SplitResult) -> str:
    path = address.path or "/"
    return f"{path}?{address.query}" if address.query else path


def _cut(connection: http.client.HTTPConnection) -> None:
    with suppress(OSError, AttributeError):
        connection.sock.shutdown(2)


@dataclass(frozen=True, slots=True)
class Teller:
    """luck: random numbers in [0, 1) that spread the attempts."""

    engine: Engine
    hook: Webhook
    clock: Clock
    luck: Callable[[], float] = random.random

    def round(self) -> int:
        """Tells each experiment's next line whose time has come; how many were told."""
        now_us = self.clock()
        with self.engine.connect() as connection:
            found = rollout_tellings.due(connection, now_us, now_us - round(OLD_S * 1e6))
        return sum(map(self._tell, found))

    def _tell(self, found: Due) -> bool:
        if not rollout_tellings.claimed(self.engine, found, self.clock() + round(CLAIM_S * 1e6)):
            return False
        if found.passed_over:
            _LOG.warning("%d lines of %s are too old to be told", found.passed_over, found.line.experiment)
        status, why = self._sent(found)
        if not why:
            rollout_tellings.done(self.engine, found.line)
        else:
            self._note_failure(found, status, why)
        return not why

    def _sent(self, found: Due) -> tuple[int | None, str]:
        """The status, and why that is a failure, or "". No words of the receiver: they may say anything."""
        message = message_of(found.line)
        headers = headers_of(message, self.hook.key, self.clock() // 1_000_000)
        try:
            status = posted(self.hook, headers, message.body)
        except (OSError, http.client.HTTPException) as error:
            return None, f"no answer: {type(error).__name__}"
        return status, "" if 200 <= status < 300 else f"answered {status}"

    def _note_failure(self, found: Due, status: int | None, why: str) -> None:
        line = found.line
        where = f"line {line.seq} of {line.experiment}"
        if is_given_up((self.clock() - line.at_us) / 1e6, status):
            _LOG.error("the webhook refuses %s for good: %s", where, why)
            rollout_tellings.given_up(self.engine, line, why)
            return
        wait_s = pause_s(found.attempt, self.luck())
        _LOG.warning("the webhook was not told %s: %s; again in %.0f s", where, why, wait_s)
        rollout_tellings.failed(self.engine, line, self.clock() + round(wait_s * 1e6), why)


def tell_beside(teller: Teller) -> None:
    """Tells from a thread of its own, for as long as the process lives."""

    def run() -> None:
        while True:
            try:
                told = teller.round()
            except SQLAlchemyError as error:
                _LOG.warning("the webhook waits for SQL: %s", str(error).split("\n")[0])
                told = 0
            except Exception:  # noqa: BLE001 - a thread that ended would be silent for ever
                _LOG.exception("telling the webhook failed and goes on")
                told = 0
            if not told:
                time.sleep(_POLL_S)

    threading.Thread(target=run, name="webhook", daemon=True).start()
