"""`abctl db export`, `prune` and `backup`: what leaves the database, and how that is said."""

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.failures import Refused
from cli.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection, Engine

    from store.export import Manifest
    from store.prune import Pruned, Rule
    from store.room import Room

_AGE = re.compile(r"(?P<number>\d{1,6})(?P<unit>[hdw])")
_HOURS = {"h": 1, "d": 24, "w": 168}


@dataclass(frozen=True, slots=True)
class Wish:
    """What `abctl db prune` was asked for. older_than: as typed."""

    experiment: str | None
    older_than: str
    exported: tuple[Path, ...]
    is_without_export: bool
    is_dry_run: bool
    is_vacuum: bool


def exported(
    settings: Settings, folder: Path, wanted: tuple[str | None, str | None, str | None], as_json: bool
) -> None:
    """wanted: experiment, since, until, as typed."""
    from cli.database import reading
    from cli.long_work import Progress
    from cli.terminal import Table, print_json, say, show
    from store.clock import wall_clock_us
    from store.export import Extract, export
    from store.snapshot import snapshot

    experiment, since, until = wanted
    extract = Extract(experiment, time_us("--since", since), time_us("--until", until))
    progress = Progress()
    with reading(settings) as connection, snapshot(connection):
        manifest = export(
            connection,
            folder,
            extract,
            wall_clock_us(),
            lambda name, rows: progress.say(f"{name}: {rows:,} rows"),
        )
    if as_json:
        print_json({"folder": str(folder.resolve()), **_plain(manifest)})
        return
    rows = [[file.name, f"{file.rows:,}", f"{file.bytes:,}"] for file in manifest.files]
    show(Table("", ["file", "rows", "bytes"], rows))
    say(f"{folder} is whole; to remove what it holds: abctl db prune --older-than 90d --exported {folder}")


def _plain(manifest: "Manifest") -> dict[str, Any]:
    import msgspec

    shape: dict[str, Any] = msgspec.to_builtins(manifest)
    return shape


def time_us(name: str, text: str | None) -> int | None:
    """Microseconds since the epoch; a time without a zone is UTC."""
    from datetime import UTC, datetime, timedelta

    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise Refused(
            f"{name} {text!r} is not a time; write 2026-01-31 or 2026-01-31T12:00:00Z (UTC)"
        ) from None
    zoned = found if found.tzinfo else found.replace(tzinfo=UTC)
    return (zoned - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def age_us(text: str) -> int:
    """Of 90d, 36h, 4w."""
    found = _AGE.fullmatch(text)
    if found is None:
        raise Refused(f"--older-than {text!r} is not an age; write a whole number and h, d or w: 90d")
    return int(found["number"]) * _HOURS[found["unit"]] * 3_600_000_000


def pruned(settings: Settings, wish: Wish, as_json: bool) -> None:
    """Looks at everything first: where something is in no export nothing is removed."""
    from cli.database import existing
    from store.room import room_of, vacuum

    manifests = _manifests(wish)
    with existing(settings) as engine:
        with engine.connect() as connection:
            rules = _rules(connection, wish, manifests)
            before = room_of(connection)
        counts = _survey(engine, rules) if wish.is_dry_run else _checked_and_pruned(engine, rules)
        if wish.is_vacuum and not wish.is_dry_run:
            vacuum(engine)
        with engine.connect() as connection:
            after = room_of(connection)
    _tell(wish, counts, (before, after), as_json)


def _manifests(wish: Wish) -> "tuple[Manifest, ...] | None":
    """Read and checked; None where none is asked for."""
    from store.export import read_manifest

    if not wish.is_without_export:
        return tuple(read_manifest(folder) for folder in wish.exported)
    if wish.exported:
        raise Refused("--exported and --without-export say opposite things; leave one out")
    return None


def _rules(connection: "Connection", wish: Wish, manifests: "tuple[Manifest, ...] | None") -> "list[Rule]":
    from cli.db_checking import chosen
    from store import experiments
    from store.clock import wall_clock_us
    from store.prune import Rule, living_us

    now_us, old_us = wall_clock_us(), age_us(wish.older_than)
    keys = chosen(connection, wish.experiment)
    for known in experiments.every(connection):
        if known.key in keys and old_us < living_us(known):
            hours = -(-living_us(known) // 3_600_000_000)
            raise Refused(
                f"--older-than {wish.older_than}: bots of {known.key!r} may still decide in units of that age"
                f" (lifetime_s + unit_duration_s + attribution_s); say {hours}h or more"
            )
    return [Rule(key, now_us - old_us, now_us, manifests) for key in keys]


def _survey(engine: "Engine", rules: "Sequence[Rule]") -> "dict[str, Pruned]":
    from store.prune import survey
    from store.snapshot import snapshot

    with engine.connect() as connection, snapshot(connection):
        return {r.experiment: _sum(r.experiment, "would go", survey(connection, r)) for r in rules}


def _checked_and_pruned(engine: "Engine", rules: "Sequence[Rule]") -> "dict[str, Pruned]":
    if any(rule.exports is not None for rule in rules):
        _refuse_what_is_not_exported(_survey(engine, rules))
    return _prune(engine, rules)


def _prune(engine: "Engine", rules: "Sequence[Rule]") -> "dict[str, Pruned]":
    from cli.finding import actor
    from cli.long_work import giving_way
    from store.prune import prune

    return {
        r.experiment: _sum(r.experiment, "are gone", giving_way(prune(engine, r, actor()))) for r in rules
    }


def _sum(key: str, word: str, steps: "Iterator[Pruned]") -> "Pruned":
    from cli.long_work import Progress
    from store.prune import Pruned

    total, progress = Pruned(), Progress()
    for step in steps:
        total += step
        progress.say(f"{key}: {total.decisions:,} decisions of {total.units:,} units {word}")
    return total


def _refuse_what_is_not_exported(counts: "dict[str, Pruned]") -> None:
    from store.prune import not_exported

    for key, found in counts.items():
        if found.not_exported:
            raise Refused(not_exported(key, found.not_exported))


def _tell(wish: Wish, counts: "dict[str, Pruned]", rooms: "tuple[Room, Room]", as_json: bool) -> None:
    from cli.terminal import print_json, say

    if as_json:
        experiments = [{"experiment": key, **asdict(found)} for key, found in counts.items()]
        room = {"before": asdict(rooms[0]), "after": asdict(rooms[1])}
        print_json({"dry_run": wish.is_dry_run, "experiments": experiments, "room": room})
        return
    word = "would go" if wish.is_dry_run else "are gone"
    for key, found in counts.items():
        refused = f" and {found.unserved:,} refused ones" if found.unserved else ""
        say(f"{key}: {found.decisions:,} decisions{refused} of {found.units:,} units {word}")
        if found.unsound:
            say(f"{key}: {found.unsound:,} units are left alone, for their totals differ: abctl db verify")
        if found.not_exported:
            say(f"{key}: {found.not_exported:,} of these decisions are in no export that was named")
    say(_room_line(*rooms))


def _room_line(before: "Room", after: "Room") -> str:
    free = "" if after.free_bytes is None else f", {after.free_bytes:,} of them free for later rows"
    return f"the database has {after.total_bytes:,} bytes (had {before.total_bytes:,}){free}"


def backed_up(settings: Settings, folder: Path, as_json: bool) -> None:
    """Says what lies in the backup."""
    from cli.database import existing, shown
    from cli.terminal import note, print_json, say
    from store.backup import back_up

    with existing(settings) as engine:
        url = engine.url
    note(f"(copying {shown(settings)}; whoever writes may go on)")
    made = back_up(settings.place, url, folder)
    if as_json:
        print_json({**asdict(made), "folder": made.folder.resolve(), "database": made.database.resolve()})
        return
    say(f"{made.database}: {made.database_bytes:,} bytes")
    say(f"{made.journals:,} journals: {made.journal_bytes:,} bytes")
    say(f"{made.folder} holds secrets; how to restore it: docs/backup.md")
