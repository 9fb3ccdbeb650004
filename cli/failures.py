"""How commands fail: a documented exit code, and one sentence on stderr; with --json one line of JSON there.

0 done | 1 a fault of abctl itself | 2 wrong usage | 3 refused: the input breaks a rule
4 not found | 5 conflict: somebody else was first | 6 unavailable: service, SQL or Redis does not answer
130 interrupted (Ctrl-C) | 141 the reader of our output has gone
"""

import json
import sys
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from cli.masking import masked, one_line

if TYPE_CHECKING:
    from typer import BadParameter

OK, FAULT, USAGE, REFUSED, NOT_FOUND, CONFLICT, UNAVAILABLE = range(7)
INTERRUPTED, READER_GONE = 130, 141
KINDS = {
    FAULT: "fault",
    USAGE: "usage",
    REFUSED: "refused",
    NOT_FOUND: "not_found",
    CONFLICT: "conflict",
    UNAVAILABLE: "unavailable",
}
"""What programs are told that an exit code means. An interruption needs no words."""


class CommandFailed(Exception):
    """A failure that the user can read and act on."""

    exit_code = FAULT


class Refused(CommandFailed):
    """The input breaks a rule."""

    exit_code = REFUSED


class NotAllowed(Refused):
    """The service wants a key, or another one."""


class NotFound(CommandFailed):
    """What was named does not exist."""

    exit_code = NOT_FOUND


class Conflict(CommandFailed):
    """Somebody else was first."""

    exit_code = CONFLICT


class Unavailable(CommandFailed):
    """Service, SQL or Redis does not answer."""

    exit_code = UNAVAILABLE


_BY_STATUS = {
    401: NotAllowed,
    403: NotAllowed,
    404: NotFound,
    409: Conflict,
    503: Unavailable,
    502: Unavailable,
    504: Unavailable,
}


def failure_of_status(status: int, detail: str) -> CommandFailed:
    """What a service refused, as a failure of the command."""
    return _BY_STATUS.get(status, Refused if 400 <= status < 500 else CommandFailed)(detail)


def exit_code_of(error: Exception) -> int | None:
    """The exit code of an error that has a sentence for the user; None for a fault of our own."""
    if isinstance(error, CommandFailed):
        return error.exit_code
    names = {kind.__name__ for kind in type(error).__mro__}
    if "OSError" in names and getattr(error, "filename", None) is None:
        return None
    return next((code for name, code in _BY_NAME.items() if name in names), None)


Tell = Callable[[Exception], int]


def told_to_people(error: Exception) -> int:
    """Says it in one sentence; the exit code. A fault of our own is raised again, for its traceback."""
    code = exit_code_of(error)
    if code is None:
        raise error
    if code == USAGE:
        cast("BadParameter", error).show()
    else:
        sys.stderr.write(f"abctl: {sentence_of(error)}\n")
    return code


def told_to_programs(error: Exception) -> int:
    """Says it as JSON in one line, the last one on stderr; the exit code. A traceback comes before it."""
    code, message = exit_code_of(error), sentence_of(error)
    if code is None:
        traceback.print_exception(error)
        said = f"{error!r} is a fault of abctl: please report the lines above"
        code, message = FAULT, one_line(masked(said))
    facts = {"kind": KINDS[code], "exit_code": code, "message": message}
    sys.stderr.write(json.dumps({"error": facts}) + "\n")
    return code


def sentence_in(said: str) -> str:
    """What a command that failed said on stderr, told either way, for people."""
    try:
        return str(json.loads(said.splitlines()[-1])["error"]["message"])
    except (IndexError, ValueError, KeyError, TypeError):
        return said


def sentence_of(error: Exception) -> str:
    """The error in one line, without secrets."""
    return one_line(masked(_said(error)))


def _said(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"cannot use {error.filename}: {error.strerror}; name another file or directory"
    if type(error).__module__.startswith("sqlalchemy"):
        said = getattr(error, "orig", None) or error
        text = str(said).split("\n")[0]
        return f"the database: {text}; check ABCTL_DATABASE_URL, for example postgresql://user@host/abctl"
    if type(error).__module__.startswith("typer"):
        return " ".join(cast("BadParameter", error).format_message().split())
    return " ".join(str(getattr(error, "detail", None) or error).split())


# By name, so that `abctl --help` need not import what raises them. The first that fits counts.
_BY_NAME = {
    "UsageError": USAGE,
    "UnknownExperiment": NOT_FOUND,
    "UnknownModel": NOT_FOUND,
    "UnknownDecision": NOT_FOUND,
    "UnknownArm": NOT_FOUND,
    "UnknownVersion": NOT_FOUND,
    "UnknownKey": NOT_FOUND,
    "ArchivedExperiment": CONFLICT,
    "SplitMoved": CONFLICT,
    "RolloutMoved": CONFLICT,
    "RolloutOpen": CONFLICT,
    "StaleEvidence": CONFLICT,
    "NoRollout": NOT_FOUND,
    "ExperimentInUse": CONFLICT,
    "KeyTaken": CONFLICT,
    "MomentPruned": CONFLICT,
    "DataDirLocked": CONFLICT,
    "StoreUnavailable": UNAVAILABLE,
    "StoreError": REFUSED,
    "RouterError": REFUSED,
    "ArmError": REFUSED,
    "MarketError": REFUSED,
    "StatsError": REFUSED,
    "Problem": REFUSED,
    "AbctlError": UNAVAILABLE,  # the client: a bot's service went away
    "ArgumentError": REFUSED,  # a database URL that SQLAlchemy cannot read
    "OperationalError": UNAVAILABLE,
    "InterfaceError": UNAVAILABLE,
    "RedisError": UNAVAILABLE,
    "OSError": REFUSED,
}
