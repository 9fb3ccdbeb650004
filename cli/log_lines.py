"""The log's lines: what others sent cannot begin one, and no secret stands in one."""

import logging
from typing import Any

from cli.masking import masked, one_line

FORMAT = "%(asctime)s %(name)s %(levelname)s %(message)s"
_INDENT = "    | "


class Lines(logging.Formatter):
    """One record is one line; the lines of a traceback follow, each with an indent that no record has."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """The line."""
        record.message = one_line(masked(record.message))
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """The traceback, indented."""
        return _indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802
        """The stack, indented."""
        return _indented(super().formatStack(stack_info))


def _indented(text: str) -> str:
    return "\n".join(f"{_INDENT}{one_line(masked(line))}" for line in text.split("\n"))


_OF_ANYBODY = "Invalid HTTP request received."


def is_news(record: logging.LogRecord) -> bool:
    """Not what any stranger can cause at will: it would fill the disk. The metrics count it."""
    return record.msg != _OF_ANYBODY


def log_to_stderr() -> None:
    """Sets the process's log up."""
    logging.getLogger("uvicorn.error").addFilter(is_news)
    handler = logging.StreamHandler()
    handler.setFormatter(Lines(FORMAT))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
