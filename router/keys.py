"""Who a caller is and what it may do: the check of an API key. Pure but for the hash; costs microseconds."""

import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from router.problems import Problem
from store.api_keys import SCOPES, ApiKey, Scope
from store.tokens import TOKEN_CHARACTERS, digest_of, id_of, pepper_id

Headers = Sequence[tuple[bytes, bytes]]
_BEARER = b"bearer "
_LOCAL_HOST = re.compile(rb"(?:localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])(?::[0-9]{1,5})?", re.IGNORECASE)


class NotAdmitted(Problem):
    """401 or 403 with the challenge that HTTP asks for."""

    def __init__(self, status: int, code: str, detail: str, challenge: str) -> None:
        super().__init__(status, code, detail)
        self.challenge = challenge

    def headers(self) -> dict[str, str]:
        """WWW-Authenticate."""
        return super().headers() | {"www-authenticate": self.challenge}


@dataclass(frozen=True, slots=True)
class Grant:
    """What a caller may do. name: its key's, "" where the service is open. experiment: the only one."""

    name: str
    scopes: frozenset[Scope]
    experiment: str | None = None

    def check_scope(self, scope: Scope) -> None:
        """403 where the key has not this scope; `admin` has all."""
        if scope not in self.scopes:
            rule = f"key {self.name!r} has no scope {scope!r}: use a key that `abctl key create` gave it to"
            raise NotAdmitted(403, "forbidden", rule, f'Bearer error="insufficient_scope", scope="{scope}"')

    def check_experiment(self, key: str) -> None:
        """403 where the key is for another experiment."""
        if self.experiment is not None and self.experiment != key:
            rule = f"key {self.name!r} is for experiment {self.experiment!r} alone: use a key for this one"
            raise NotAdmitted(403, "forbidden", rule, 'Bearer error="insufficient_scope"')

    def check_whole_service(self) -> None:
        """403 where the key is for one experiment, and the answer tells of all."""
        if self.experiment is not None:
            self.check_experiment("")

    def actor(self, said: str) -> str:
        """The name in the audit: what the key proves, a slash, what the caller says."""
        return "/".join(part for part in (self.name, said) if part) or "http"


EVERYBODY = Grant("", frozenset(SCOPES))


@dataclass(frozen=True, slots=True)
class Held:
    """One key as the service holds it."""

    digest: bytes
    grant: Grant
    is_revoked: bool


_NOBODY = Held(bytes(32), Grant("", frozenset()), is_revoked=True)


@dataclass(frozen=True, slots=True)
class Keyring:
    """All keys as SQL held them at one moment. strangers: how many are of a pepper that is not here."""

    by_id: Mapping[bytes, Held]
    strangers: int

    @property
    def is_empty(self) -> bool:
        """No key was ever made: the service is open to its own machine."""
        return not self.by_id and not self.strangers

    @property
    def active(self) -> int:
        """How many keys open something."""
        return sum(not held.is_revoked for held in self.by_id.values())


def keyring_of(keys: Iterable[ApiKey], pepper: bytes) -> Keyring:
    """The keys that this pepper can check, by id."""
    mine, listed = pepper_id(pepper), list(keys)
    by_id = {
        key.id.encode(): Held(key.digest, _grant_of(key), key.revoked_at_us is not None)
        for key in listed
        if key.pepper == mine
    }
    return Keyring(by_id, sum(key.pepper != mine and key.revoked_at_us is None for key in listed))


def _grant_of(key: ApiKey) -> Grant:
    return Grant(key.name, frozenset(SCOPES if "admin" in key.scopes else key.scopes), key.experiment)


def known(keyring: Keyring, pepper: bytes, revoked_here: frozenset[str], headers: Headers) -> Grant:
    """The caller's grant by its key, or 401. Takes the same time whatever part of the key is wrong."""
    token = _token_of(headers)
    held = keyring.by_id.get(id_of(token), _NOBODY)
    if not hmac.compare_digest(held.digest, digest_of(pepper, token)):
        raise _unknown("the API key is not one of this service: check ABCTL_API_KEY", "invalid_token")
    if held.is_revoked or held.grant.name in revoked_here:
        raise _unknown(f"key {held.grant.name!r} was revoked: ask for a new one", "invalid_token")
    return held.grant


def _token_of(headers: Headers) -> bytes:
    """The one bearer token of a request."""
    sent = [value for name, value in headers if name == b"authorization"]
    if not sent:
        raise _unknown("an API key is needed: send the header Authorization: Bearer KEY (ABCTL_API_KEY)", "")
    token = sent[0][len(_BEARER) :].strip()
    if len(sent) > 1 or sent[0][: len(_BEARER)].lower() != _BEARER or len(token) != TOKEN_CHARACTERS:
        rule = (
            "Authorization must be sent once, as Bearer and a key of `abctl key create`: check ABCTL_API_KEY"
        )
        raise _unknown(rule, "invalid_request")
    return token


def _unknown(detail: str, error: str) -> NotAdmitted:
    challenge = f'Bearer realm="abctl", error="{error}"' if error else 'Bearer realm="abctl"'
    return NotAdmitted(401, "unauthorized", detail, challenge)


def check_local(headers: Headers) -> None:
    """403 unless the caller called this machine by its own name: a web page can make a browser call 127.0.0.1
    under the page's name (DNS rebinding), and a proxy passes on the name that strangers called."""
    for name, value in headers:
        if name == b"host" and not _LOCAL_HOST.fullmatch(value):
            rule = (
                "the service is open to its own machine alone: call 127.0.0.1, or make keys: abctl key create"
            )
            raise Problem(403, "not_local", rule)


def no_keys() -> Problem:
    """503: the service may not be open, and nobody has a key."""
    rule = "the service is not on loopback and has no API key: make one with `abctl key create`"
    return Problem(503, "no_keys", rule, retry_after_s=1)
