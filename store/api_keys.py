"""API keys in SQL: who may do what. Keeps digests, never keys. No name is used twice: the audit is plain."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import msgspec
from sqlalchemy import Connection, Engine, select

from store import tables
from store.audit import record_change
from store.errors import BadKey, KeyTaken, UnknownKey
from store.sql import in_transaction, table_of

Scope = Literal["decide", "record", "report", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_TABLE = table_of(tables.ApiKey)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """One key. experiment: the only one that it is good for, or None for all. pepper: the pepper's id."""

    id: str
    name: str
    scopes: tuple[Scope, ...]
    experiment: str | None
    pepper: str
    digest: bytes
    created_at_us: int
    created_by: str
    revoked_at_us: int | None = None
    revoked_by: str | None = None


def checked_name(name: str) -> str:
    """A name that can stand in the audit, in a path and in a log."""
    if not _NAME.fullmatch(name):
        raise BadKey(f"key name {name!r} must be 1-63 of a-z, 0-9, _ and -, starting with a letter or digit")
    return name


def checked_scopes(scopes: Sequence[str]) -> tuple[Scope, ...]:
    """Known scopes, each once, in the order of SCOPES."""
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        said = f"not {unknown[0]!r}" if unknown else "and there must be one"
        raise BadKey(f"scope must be one of {', '.join(SCOPES)}, {said}")
    return tuple(scope for scope in SCOPES if scope in scopes)


def create(engine: Engine, key: ApiKey) -> None:
    """Stores a new key; KeyTaken where one of its name is or was there."""

    def work(connection: Connection) -> None:
        if connection.execute(select(_TABLE.c.id).where(_TABLE.c.name == key.name)).first() is not None:
            raise KeyTaken(key.name)
        connection.execute(_TABLE.insert(), _row_of(key))
        detail = {"name": key.name, "id": key.id, "scopes": key.scopes}
        _record(connection, key.created_at_us, key.created_by, "key.create", key.experiment, detail)

    in_transaction(engine, work)


def revoke(engine: Engine, name: str, at_us: int, actor: str, reason: str) -> int:
    """Ends a key for good; returns when it ended: at_us, or the moment at which it was revoked before."""

    def work(connection: Connection) -> int:
        row = connection.execute(select(_TABLE).where(_TABLE.c.name == name)).one_or_none()
        if row is None:
            raise UnknownKey(name)
        if row.revoked_at_us is not None:
            return int(row.revoked_at_us)
        ended = _TABLE.update().where(_TABLE.c.name == name).values(revoked_at_us=at_us, revoked_by=actor)
        connection.execute(ended)
        _record(connection, at_us, actor, "key.revoke", row.experiment, {"name": name, "reason": reason})
        return at_us

    return in_transaction(engine, work)


def every(connection: Connection) -> tuple[ApiKey, ...]:
    """All keys, revoked ones too, the oldest first."""
    rows = connection.execute(select(_TABLE).order_by(_TABLE.c.created_at_us, _TABLE.c.name)).mappings()
    return tuple(_key_of(dict(row)) for row in rows)


def _key_of(row: dict[str, Any]) -> ApiKey:
    fields: dict[str, Any] = {**row, "scopes": checked_scopes(row["scopes"].split())}
    return ApiKey(**fields)


def _row_of(key: ApiKey) -> dict[str, Any]:
    fields: dict[str, Any] = {name: getattr(key, name) for name in ApiKey.__dataclass_fields__}
    return fields | {"scopes": " ".join(key.scopes)}


def _record(
    connection: Connection, at_us: int, actor: str, action: str, experiment: str | None, detail: object
) -> None:
    record_change(connection, at_us, actor, action, experiment, msgspec.json.encode(detail).decode())
