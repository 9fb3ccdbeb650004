"""The model registry in SQL: artefacts by content hash, with their bytes; aliases with all their history."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from sqlalchemy import Connection, Engine, select

from store import tables
from store.audit import record_change
from store.errors import UnclearModel, UnknownModel
from store.sql import in_transaction, insert_new, table_of

_MODELS = table_of(tables.Model)
_FILES = table_of(tables.ModelFile)
_ALIASES = table_of(tables.Alias)
CHAMPION, CHALLENGER = "champion", "challenger"
"""Aliases of an arm: the model that serves, and the one that is to be tried against it."""
LEAST_BEGINNING: Final = 4
"""Characters of an id that name a model: as of a commit in git."""
SHOWN, MOST_NAMED = 12, 5
_ID = re.compile(r"[0-9a-f]{1,64}")


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One registered model; facts: the text of its config.json."""

    id: str
    arm: str
    facts: str
    created_at_us: int
    actor: str


@dataclass(frozen=True, slots=True)
class AliasChange:
    """From `at_us` on, `alias` of `arm` names `model_id`."""

    arm: str
    alias: str
    model_id: str
    at_us: int
    actor: str
    reason: str


def register(engine: Engine, entry: ModelEntry, content: Mapping[str, bytes]) -> bool:
    """Stores a model under its content hash; returns False where it is there already."""

    def work(connection: Connection) -> bool:
        known = connection.execute(select(_MODELS.c.id).where(_MODELS.c.id == entry.id)).scalar()
        if known is not None:
            return False
        row = {n: getattr(entry, n) for n in ("id", "arm", "facts", "created_at_us", "actor")}
        connection.execute(insert_new(connection, _MODELS), row)
        files = [{"model_id": entry.id, "name": n, "content": b} for n, b in sorted(content.items())]
        connection.execute(insert_new(connection, _FILES), files)
        detail = msgspec.json.encode({"id": entry.id, "arm": entry.arm}).decode()
        record_change(connection, entry.created_at_us, entry.actor, "model.register", None, detail)
        return True

    return in_transaction(engine, work)


def listed(connection: Connection) -> list[ModelEntry]:
    """All models, the newest first."""
    rows = connection.execute(select(_MODELS).order_by(_MODELS.c.created_at_us.desc(), _MODELS.c.id))
    return [ModelEntry(r.id, r.arm, r.facts, r.created_at_us, r.actor) for r in rows]


def find(connection: Connection, name: str) -> ModelEntry:
    """The model of this id, the only one whose id starts so, or the one that `ARM@ALIAS` names now.

    UnclearModel: the beginning is shorter than `LEAST_BEGINNING`, or several ids start so.
    """
    arm, at, alias = name.partition("@")
    asked = aliased(connection, alias).get(arm, "") if at else name
    matches = [entry for entry in listed(connection) if entry.id.startswith(asked)] if asked else []
    whole = [entry for entry in matches if entry.id == asked]
    if not whole and asked:
        _check_beginning(asked, matches)
    if not matches:
        raise UnknownModel(name)
    return (whole or matches)[0]


def _check_beginning(asked: str, matches: Sequence[ModelEntry]) -> None:
    if len(asked) < LEAST_BEGINNING:
        raise UnclearModel(
            f"model {asked!r} is too short: give at least {LEAST_BEGINNING} characters of an id, all of it,"
            " or ARM@ALIAS (base@champion); `abctl model list` shows them"
        )
    if len(matches) > 1:
        shown = max(SHOWN, len(asked) + LEAST_BEGINNING)
        candidates = ", ".join(f"{entry.id[:shown]} (arm {entry.arm})" for entry in matches[:MOST_NAMED])
        more = f" and {len(matches) - MOST_NAMED} more" if len(matches) > MOST_NAMED else ""
        raise UnclearModel(
            f"{len(matches)} models begin with {asked!r}: {candidates}{more}; give more of the id"
        )


def set_alias(engine: Engine, change: AliasChange) -> None:
    """Appends a change of an alias; the model may be named by a prefix of its id."""

    def work(connection: Connection) -> None:
        model_id = find(connection, change.model_id).id
        names = ("arm", "alias", "at_us", "actor", "reason")
        row = {n: getattr(change, n) for n in names} | {"model_id": model_id}
        connection.execute(_ALIASES.insert(), row)
        detail = msgspec.json.encode({"alias": change.alias, "arm": change.arm, "id": model_id}).decode()
        record_change(connection, change.at_us, change.actor, "model.promote", None, detail)

    in_transaction(engine, work)


def alias_history(connection: Connection) -> list[AliasChange]:
    """Every change of every alias, the oldest first."""
    rows = connection.execute(select(_ALIASES).order_by(_ALIASES.c.id))
    return [AliasChange(r.arm, r.alias, r.model_id, r.at_us, r.actor, r.reason) for r in rows]


def aliased(connection: Connection, alias: str) -> dict[str, str]:
    """The model that an alias of each arm names now."""
    return {c.arm: c.model_id for c in alias_history(connection) if c.alias == alias}


def names(connection: Connection) -> dict[str, list[str]]:
    """The aliases that name a model now, by its id; of its arm."""
    found: dict[str, list[str]] = {}
    for alias in (CHAMPION, CHALLENGER):
        for model_id in aliased(connection, alias).values():
            found.setdefault(model_id, []).append(alias)
    return found


def champions(connection: Connection) -> dict[str, str]:
    """The model that each arm serves."""
    return aliased(connection, CHAMPION)


def materialise(engine: Engine, model_id: str, folder: Path) -> Path:
    """Writes a model's files to folder/ID once; returns that path. The loader checks the hash."""
    if not _ID.fullmatch(model_id):  # nothing but our own ids becomes a path, whoever wrote to SQL
        raise UnknownModel(model_id)
    target = folder / model_id
    if target.is_dir():
        return target
    with engine.connect() as connection:
        rows = connection.execute(select(_FILES).where(_FILES.c.model_id == model_id)).all()
    if not rows:
        raise UnknownModel(model_id)
    staging = folder / f".{model_id}.{id(rows):x}"
    staging.mkdir(parents=True)
    for row in rows:
        (staging / Path(row.name).name).write_bytes(row.content)
    try:
        staging.rename(target)
    except OSError:
        if not target.is_dir():
            raise
    return target
