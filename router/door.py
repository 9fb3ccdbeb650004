"""The door of one worker: lets callers in by their key, and keeps itself current while decisions go on.

Keys come from SQL every POLL_S, so a revocation holds everywhere within half a second. While SQL is
away the keys known last go on (bots are not locked out), the worker says so, and a file revokes on this node.
"""

import logging
from dataclasses import dataclass, field

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from router.keys import (
    EVERYBODY,
    Grant,
    Headers,
    Keyring,
    NotAdmitted,
    check_local,
    keyring_of,
    known,
    no_keys,
)
from store import api_keys, late_audit, revocations
from store.api_keys import Scope
from store.clock import Clock
from store.data_dir import DataDir

POLL_S = 0.4
STALE_S = 2.0
_REMEMBERED = 1000
_LOG = logging.getLogger("abctl.router")


def read_keyring(engine: Engine, pepper: bytes) -> Keyring:
    """All keys as SQL holds them now."""
    with engine.connect() as connection:
        return keyring_of(api_keys.every(connection), pepper)


@dataclass(slots=True)
class Door:
    """`keyring` and `revoked_here` are replaced as a whole by the worker's loops.

    is_local: whether only this machine can reach the listener, so that a service without keys may be open.
    """

    engine: Engine
    data_dir: DataDir
    pepper: bytes
    clock: Clock
    is_local: bool
    keyring: Keyring
    confirmed_at_us: int
    revoked_here: frozenset[str] = field(default_factory=frozenset)
    _is_complaining: bool = False
    _admitted: dict[bytes, Grant] = field(default_factory=dict)
    _read: Keyring | None = None
    _heeded: frozenset[str] = field(default_factory=frozenset)

    def admit(self, headers: Headers, scope: Scope) -> Grant:
        """The caller's grant, or a problem: 401 unknown, 403 not allowed, 503 nobody can be known."""
        if self.keyring.is_empty:
            return self._admit_everybody(headers)
        said = [value for name, value in headers if name == b"authorization"]
        grant = self._recent(said[0]) if len(said) == 1 else None
        if grant is None:
            grant = known(self.keyring, self.pepper, self.revoked_here, headers)
            if len(self._admitted) < _REMEMBERED:
                self._admitted[said[0]] = grant
        grant.check_scope(scope)
        return grant

    def _recent(self, said: bytes) -> Grant | None:
        """Who the very same header was, since keys and revocations were last read. Refusals are not kept, and
        a dict looks at nothing of a header but its keyed hash before it compares a whole one."""
        if self._read is not self.keyring or self._heeded is not self.revoked_here:
            self._admitted.clear()
            self._read, self._heeded = self.keyring, self.revoked_here
        return self._admitted.get(said)

    def _admit_everybody(self, headers: Headers) -> Grant:
        if not self.is_local:
            raise no_keys()
        check_local(headers)
        return EVERYBODY

    def is_known(self, headers: Headers) -> bool:
        """Whether a caller has any key, or needs none: only then it is told what a warning says."""
        try:
            known(self.keyring, self.pepper, self.revoked_here, headers)
        except NotAdmitted:
            return self.keyring.is_empty and self.is_local
        return True

    def refresh(self) -> None:
        """Reads the keys anew, and brings to SQL what was done without it. On an error the last keys stay."""
        now_us = self.clock()
        try:
            self.keyring, self.confirmed_at_us = read_keyring(self.engine, self.pepper), now_us
            self._settle()
        except SQLAlchemyError as error:
            self._complain(str(error).split("\n", 1)[0])
        else:
            self._is_complaining = False

    def obey_revocations(self) -> None:
        """Reads the revocations of this node, which need no SQL. None is ever taken back."""
        self.revoked_here |= revocations.announced(self.data_dir)

    def warnings(self) -> list[str]:
        """What is not as it should be while callers are let in."""
        age_s = (self.clock() - self.confirmed_at_us) / 1e6
        stale = f"API keys were last confirmed {age_s:.0f} s ago: SQL does not answer, those known last go on"
        strange = self.keyring.strangers
        other = f"{strange} API keys are of another pepper and open nothing here: set ABCTL_KEY_PEPPER"
        return [*([stale] if age_s > STALE_S else []), *([other] if strange else [])]

    def _settle(self) -> None:
        for name in revocations.settle(self.data_dir, self.engine):
            _LOG.warning("no API key is called %s: nothing was revoked", name)
        late_audit.settle(self.data_dir, self.engine)

    def _complain(self, why: str) -> None:
        if not self._is_complaining:
            _LOG.warning("the API keys could not be confirmed; those known last go on: %s", why)
        self._is_complaining = True
