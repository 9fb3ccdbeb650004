"""Builds the report of an experiment from unit totals: one function behind HTTP and CLI. Knows no FastAPI."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sqlalchemy import Engine

from router.question import Question
from router.report_rows import Rows, rows_of
from store.as_of import as_of
from store.records import Fill

Shaping = Callable[[Rows, Question], dict[str, Any]]


def build_report(
    engine: Engine, key: str, days: int, now_us: int, fill: Fill | None = None
) -> dict[str, Any]:
    """The report of now, without slices."""
    return report_of(engine, Question(key=key, days=days, fill=fill), now_us)


def report_of(engine: Engine, question: Question, now_us: int) -> dict[str, Any]:
    """The report in its JSON shape (docs/report.md), as it is or was; now_us: the present."""
    with ThreadPoolExecutor(1, "shaping") as aside:
        shaping = aside.submit(_shaping)
        rows = _rows(engine, question, now_us)
    return shaping.result()(rows, question)


def _shaping() -> Shaping:
    """Loads the statistics: a process that is new does it while the database works, which takes as long."""
    from router.report_shape import shape_of

    return shape_of


def _rows(engine: Engine, question: Question, now_us: int) -> Rows:
    if question.as_of_us is None:
        with engine.connect() as connection:
            return rows_of(connection, question, now_us)
    with as_of(engine, question.key, question.as_of_us, now_us) as connection:
        return rows_of(connection, question, question.as_of_us)
