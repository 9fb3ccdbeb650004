"""Builds the report of an experiment from unit totals: one function behind HTTP and CLI. Knows no FastAPI."""

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine

from router.question import Question
from router.report_begun import Begun, begun
from store.records import Fill
from store.snapshot import snapshot

if TYPE_CHECKING:
    from router.report_rows import Rows

Finishing = Callable[[Connection, Begun, Question, int], "Rows"]
Shaping = Callable[["Rows", Question], dict[str, Any]]
Shadowing = Callable[[Connection, "Rows", Question], dict[str, Any] | None]


def build_report(
    engine: Engine, key: str, days: int, now_us: int, fill: Fill | None = None
) -> dict[str, Any]:
    """The report of now, without slices."""
    return report_of(engine, Question(key=key, days=days, fill=fill), now_us)


def report_of(engine: Engine, question: Question, now_us: int) -> dict[str, Any]:
    """The report in its JSON shape (docs/report.md), as it is or was; now_us: the present."""
    at_us = now_us if question.as_of_us is None else question.as_of_us
    with ThreadPoolExecutor(1, "loading") as aside:
        loading = aside.submit(_loaded)
        with _connected(engine, question, now_us) as connection:
            asked = begun(connection, question, at_us, aside)
            finish, shape, block = loading.result()
            rows = finish(connection, asked, question, at_us)
            shadow = block(connection, rows, question)
    return {**shape(rows, question), "shadow": shadow}


def _loaded() -> tuple[Finishing, Shaping, Shadowing]:
    """Loads the statistics: a process that is new does it while the database works, which takes as long."""
    from router.report_bandit import whole_shape
    from router.report_rows import rows_from
    from router.report_shadow import shadow_block

    return rows_from, whole_shape, shadow_block


def _connected(engine: Engine, question: Question, now_us: int) -> AbstractContextManager[Connection]:
    """To one moment of the database, as it is or was."""
    if question.as_of_us is None:
        return _now(engine)
    from store.as_of import as_of

    return as_of(engine, question.key, question.as_of_us, now_us)


@contextmanager
def _now(engine: Engine) -> Generator[Connection]:
    with engine.connect() as connection, snapshot(connection):
        yield connection
