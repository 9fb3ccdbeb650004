"""Experiments and the history of their splits in SQL. Decides nothing: the caller hands in the new table."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, delete, func, select, text
from sqlalchemy.exc import IntegrityError

from store import tables
from store.audit import record_change
from store.errors import ExperimentInUse, SplitMoved, UnknownExperiment
from store.journal import end_of, journal_folders
from store.records import Experiment, Split
from store.sql import in_transaction, table_of
from store.turns import take_turn

_EXPERIMENTS = table_of(tables.Experiment)
_ARMS = table_of(tables.Arm)
_SPLITS = table_of(tables.Split)
_STAGES = table_of(tables.Stage)
_SHADOWS = table_of(tables.ShadowSetting)
_UNITS = table_of(tables.Unit)
_MARKS = table_of(tables.JournalMark)
_BUCKETS = 1_000_000
_SPLIT_CLASS = 0x61626373  # "abcs"


def create(
    engine: Engine, experiment: Experiment, first: Split, actor: str, journals: Path | None = None
) -> None:
    """Stores a new experiment with its first split; one without records may be defined anew.

    journals: where this node's lie, for what they hold may not be in SQL yet. Another node's is not seen.
    """
    in_transaction(engine, lambda c: _create(c, experiment, first, actor, journals))


def ensure(engine: Engine, experiment: Experiment, first: Split, actor: str) -> None:
    """Stores an experiment unless one of that key exists."""

    def work(connection: Connection) -> None:
        if _row(connection, experiment.key) is None:
            _create(connection, experiment, first, actor, None)

    in_transaction(engine, work)


def _create(
    connection: Connection, experiment: Experiment, first: Split, actor: str, journals: Path | None
) -> None:
    if _row(connection, experiment.key) is not None:
        take_turn(connection, experiment.key)
        if _is_used(connection, experiment.key) or (journals and _is_journaled(journals / experiment.key)):
            raise ExperimentInUse(experiment.key)
        for table in (_ARMS, _SPLITS, _STAGES, _SHADOWS):
            connection.execute(delete(table).where(table.c.experiment == experiment.key))
        connection.execute(delete(_EXPERIMENTS).where(_EXPERIMENTS.c.key == experiment.key))
    definition = msgspec.json.encode(experiment).decode()
    row = {"key": experiment.key, "definition": definition, "created_at_us": experiment.created_at_us}
    connection.execute(_EXPERIMENTS.insert(), row)
    arms = [
        {"experiment": experiment.key, "arm": a, "position": i, "runtime": "onnx"}
        for i, a in enumerate(experiment.arms)
    ]
    connection.execute(_ARMS.insert(), arms)
    _add_split(connection, first)
    record_change(connection, first.created_at_us, actor, "experiment.create", experiment.key, definition)


def _is_used(connection: Connection, key: str) -> bool:
    found = (select(t.c.experiment).where(t.c.experiment == key).limit(1) for t in (_MARKS, _UNITS))
    return any(connection.execute(query).first() is not None for query in found)


def _is_journaled(folder: Path) -> bool:
    return any(end_of(journal) > 0 for journal in journal_folders(folder))


def _row(connection: Connection, key: str) -> Any:
    return connection.execute(select(_EXPERIMENTS).where(_EXPERIMENTS.c.key == key)).one_or_none()


def get(connection: Connection, key: str) -> Experiment:
    """One experiment."""
    row = _row(connection, key)
    if row is None:
        raise UnknownExperiment(key)
    return _experiment(row)


def _experiment(row: Any) -> Experiment:
    experiment = msgspec.json.decode(row.definition, type=Experiment)
    return msgspec.structs.replace(experiment, archived_at_us=row.archived_at_us)


def every(connection: Connection) -> tuple[Experiment, ...]:
    """All experiments, the oldest first."""
    rows = connection.execute(select(_EXPERIMENTS).order_by(_EXPERIMENTS.c.created_at_us, _EXPERIMENTS.c.key))
    return tuple(_experiment(row) for row in rows)


def archive(engine: Engine, key: str, at_us: int, actor: str) -> None:
    """Marks an experiment as finished: it takes no new decisions; its numbers stay."""

    def work(connection: Connection) -> None:
        get(connection, key)
        connection.execute(
            _EXPERIMENTS.update().where(_EXPERIMENTS.c.key == key).values(archived_at_us=at_us)
        )
        record_change(connection, at_us, actor, "experiment.archive", key, "{}")

    in_transaction(engine, work)


def splits(connection: Connection, key: str) -> tuple[Split, ...]:
    """The history of a split, version 1 first."""
    rows = connection.execute(select(_SPLITS).where(_SPLITS.c.experiment == key).order_by(_SPLITS.c.version))
    return tuple(_split(row) for row in rows)


def _split(row: Any) -> Split:
    ranges = msgspec.json.decode(row.ranges, type=tuple[tuple[str, int, int], ...])
    return Split(
        experiment=row.experiment,
        version=row.version,
        salt=row.salt,
        ranges=ranges,
        effective_at_us=row.effective_at_us,
        created_at_us=row.created_at_us,
        actor=row.actor,
        reason=row.reason,
        restored_from=row.restored_from,
    )


def append_split(engine: Engine, split: Split) -> None:
    """The compare-and-set: stores version N only where N - 1 is the newest; else raises SplitMoved."""
    append_split_dated(engine, split.experiment, split.version, lambda: split)


def append_split_dated(engine: Engine, key: str, version: int, dated: Callable[[], Split]) -> Split:
    """The same for a version that is made, and dated, only when nobody else's work can delay its commit."""

    try:
        return in_transaction(engine, lambda c: add_version(c, key, version, dated))
    except IntegrityError as error:
        raise SplitMoved(key, version - 1) from error


def add_version(connection: Connection, key: str, version: int, dated: Callable[[], Split]) -> Split:
    """The same inside a transaction of the caller's, which may store what belongs to it, or fail, as one."""
    begin_split(connection)
    if newest_version(connection, key) != version - 1:
        raise SplitMoved(key, version - 1)
    split = dated()
    _add_split(connection, split)
    facts = {"version": version, "reason": split.reason, "weights": weights(split)}
    detail = msgspec.json.encode(facts).decode()
    record_change(connection, split.created_at_us, split.actor, "split.set", key, detail)
    return split


def newest_version(connection: Connection, key: str) -> int | None:
    """Of an experiment's split; None where there is none."""
    newest = select(func.max(_SPLITS.c.version)).where(_SPLITS.c.experiment == key)
    found: int | None = connection.execute(newest).scalar()
    return found


def begin_split(connection: Connection) -> None:
    """From here on `no_split_on_its_way` is False; on SQLite the transaction is alone already."""
    if connection.dialect.name != "sqlite":
        connection.execute(text("SELECT pg_advisory_xact_lock(:class, 0)"), {"class": _SPLIT_CLASS})


def no_split_on_its_way(engine: Engine) -> bool:
    """Whether no version is dated and not yet committed: one that comes after this is dated after this.

    SQLite cannot say: its commit follows the date at once, and is taken to last less than the lead's slack.
    """
    if engine.dialect.name == "sqlite":
        return True
    free = "CASE WHEN pg_try_advisory_lock_shared(:class, 0) THEN pg_advisory_unlock_shared(:class, 0) END"
    with engine.connect() as connection:
        return bool(connection.execute(text(f"SELECT {free}"), {"class": _SPLIT_CLASS}).scalar())


def _add_split(connection: Connection, split: Split) -> None:
    row = {
        "experiment": split.experiment,
        "version": split.version,
        "salt": split.salt,
        "ranges": msgspec.json.encode(split.ranges).decode(),
        "effective_at_us": split.effective_at_us,
        "created_at_us": split.created_at_us,
        "actor": split.actor,
        "reason": split.reason,
        "restored_from": split.restored_from,
    }
    connection.execute(_SPLITS.insert(), row)
    shares = msgspec.json.encode(weights(split)).decode()
    newest = select(_STAGES.c.weights).where(_STAGES.c.experiment == split.experiment)
    held = connection.execute(newest.order_by(_STAGES.c.split_version.desc()).limit(1)).scalar()
    if held != shares:
        stage = {"experiment": split.experiment, "split_version": split.version, "weights": shares}
        connection.execute(_STAGES.insert(), {**stage, "started_at_us": split.effective_at_us})


def weights(split: Split) -> dict[str, float]:
    """The share of every arm that a split names, by name."""
    buckets: dict[str, int] = {}
    for arm, start, stop in sorted(split.ranges):
        buckets[arm] = buckets.get(arm, 0) + stop - start
    return {arm: count / _BUCKETS for arm, count in buckets.items()}


def snapshot(engine: Engine) -> tuple[tuple[Experiment, tuple[Split, ...]], ...]:
    """All experiments with their split histories, read in one transaction."""
    with engine.connect() as connection:
        return tuple((e, splits(connection, e.key)) for e in every(connection))


def stage_starts(connection: Connection, key: str) -> Sequence[tuple[int, int]]:
    """(split version, start in microseconds) of every stage."""
    rows = connection.execute(
        select(_STAGES.c.split_version, _STAGES.c.started_at_us)
        .where(_STAGES.c.experiment == key)
        .order_by(_STAGES.c.split_version)
    )
    return [(row.split_version, row.started_at_us) for row in rows]
