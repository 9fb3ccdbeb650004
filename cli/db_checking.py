"""`abctl db verify` and `rebuild`: what they walk over and how they say what they found."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from cli.failures import NotFound, Refused
from cli.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from store.differences import Difference
    from store.verify import Checked, Counts


def verified(settings: Settings, experiment: str | None, as_json: bool) -> None:
    """Prints every difference; Refused where there is one."""
    from cli.database import reading
    from store.snapshot import snapshot
    from store.verify import verify

    journals = settings.place.journals
    with reading(settings) as connection, snapshot(connection):
        walks = ((key, verify(connection, key, journals)) for key in chosen(connection, experiment))
        found = _told(settings, walks, "differs", as_json)
    if found:
        raise Refused(_remedy(found))


def rebuilt(settings: Settings, experiment: str | None, as_json: bool) -> None:
    """Repairs, and prints what was repaired."""
    from cli.database import existing
    from cli.finding import actor
    from cli.long_work import giving_way
    from store.clock import wall_clock_us
    from store.rebuild import rebuild

    with existing(settings) as engine:
        with engine.connect() as connection:
            keys = chosen(connection, experiment)
        walks = ((key, giving_way(rebuild(engine, key, actor(), wall_clock_us()))) for key in keys)
        _told(settings, walks, "repaired", as_json)


def chosen(connection: "Connection", experiment: str | None) -> list[str]:
    """The experiment that was named, or all that have a row anywhere."""
    from store.verify import experiments_in

    keys = experiments_in(connection)
    if experiment is None:
        return keys
    if experiment not in keys:
        raise NotFound(
            f"there is no experiment {experiment!r}; SQL knows {', '.join(keys) or 'none'}; name one of them"
        )
    return [experiment]


def _told(
    settings: Settings, walks: "Iterable[tuple[str, Iterator[Checked]]]", word: str, as_json: bool
) -> "list[Difference]":
    """Walks, saying each difference as it is found; returns them all."""
    from cli.database import shown
    from cli.terminal import print_json, say

    found: list[Difference] = []
    shapes = []
    for key, steps in walks:
        counts, own = _walked(key, steps, word, as_json)
        found += own
        shapes.append(_shape(key, counts, own))
        if not as_json:
            say(_summary(key, counts, word))
    if as_json:
        print_json({"database": shown(settings), "differences": len(found), "experiments": shapes})
    return found


def _walked(
    key: str, steps: "Iterator[Checked]", word: str, as_json: bool
) -> "tuple[Counts, list[Difference]]":
    from cli.long_work import Progress
    from cli.terminal import say
    from store.verify import Counts

    counts, found, progress = Counts(), list["Difference"](), Progress()
    for step in steps:
        counts += step.counts
        found += step.differences
        for difference in () if as_json else step.differences:
            say(f"{word}: {_line(difference)}")
        progress.say(f"{key}: {counts.units:,} units, {counts.decisions:,} decisions")
    return counts, found


def _line(d: "Difference") -> str:
    """Names come from bots: nothing in them ends a line."""
    from cli.masking import one_line

    name = " ".join(repr(part) for part in d.key)
    return one_line(f"{d.experiment} {d.table} {name} {d.column}: stored {d.stored!r}, derived {d.derived!r}")


def _summary(key: str, counts: "Counts", word: str) -> str:
    ends = {"differs": "differences", "repaired": "repaired"}
    pruned = f", {counts.pruned_units:,} units without their decisions" if counts.pruned_units else ""
    late = f", {counts.late_decisions:,} decisions after that" if counts.late_decisions else ""
    journals = f", {counts.journal_records:,} records in {counts.journals:,} journals"
    refused = f", {counts.unserved:,} refused ones" if counts.unserved else ""
    looked = f"{counts.units:,} units, {counts.decisions:,} decisions{refused}{pruned}{late}"
    return f"{key}: {looked}{journals if counts.journals else ''}: {counts.differences:,} {ends[word]}"


def _shape(key: str, counts: "Counts", found: "list[Difference]") -> dict[str, Any]:
    from dataclasses import asdict

    named = [asdict(d) for d in found]
    return {"experiment": key, **asdict(counts), "differences": named}


def _remedy(found: "list[Difference]") -> str:
    """Totals and the units of trades follow from rows; a row or a mark that is wrong does not."""
    whole = {"decision", "unserved", "journalmark"}
    lost = sum(d.table in whole or (d.table, d.column) == ("outcome", "row") for d in found)
    said = f"{len(found):,} differences"
    if lost < len(found):
        said += "; `abctl db rebuild` repairs totals"
    if lost:
        said += f"; {lost:,} are of rows that SQL lost, or of its marks: restore a backup (docs/backup.md)"
    return said
