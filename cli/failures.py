"""How commands fail: one sentence on stderr and a documented exit code.

0 done | 1 a fault of abctl itself | 2 wrong usage | 3 refused: the input breaks a rule
4 not found | 5 conflict: somebody else was first | 6 unavailable: service, SQL or Redis does not answer
"""

OK, FAULT, USAGE, REFUSED, NOT_FOUND, CONFLICT, UNAVAILABLE = range(7)


class CommandFailed(Exception):
    """A failure that the user can read and act on."""

    exit_code = FAULT


class Refused(CommandFailed):
    """The input breaks a rule."""

    exit_code = REFUSED


class NotFound(CommandFailed):
    """What was named does not exist."""

    exit_code = NOT_FOUND


class Conflict(CommandFailed):
    """Somebody else was first."""

    exit_code = CONFLICT


class Unavailable(CommandFailed):
    """Service, SQL or Redis does not answer."""

    exit_code = UNAVAILABLE


_BY_STATUS = {404: NotFound, 409: Conflict, 503: Unavailable, 502: Unavailable, 504: Unavailable}


def failure_of_status(status: int, detail: str) -> CommandFailed:
    """What a service refused, as a failure of the command."""
    return _BY_STATUS.get(status, Refused if 400 <= status < 500 else CommandFailed)(detail)


def exit_code_of(error: Exception) -> int | None:
    """The exit code of an error that has a sentence for the user; None for a fault of our own."""
    if isinstance(error, CommandFailed):
        return error.exit_code
    names = {kind.__name__ for kind in type(error).__mro__}
    for name, code in _BY_NAME.items():
        if name in names:
            return code
    return None


# By name, so that `abctl --help` need not import what raises them.
_BY_NAME = {
    "UnknownExperiment": NOT_FOUND,
    "UnknownModel": NOT_FOUND,
    "UnknownDecision": NOT_FOUND,
    "UnknownArm": NOT_FOUND,
    "UnknownVersion": NOT_FOUND,
    "SplitMoved": CONFLICT,
    "ExperimentInUse": CONFLICT,
    "DataDirLocked": CONFLICT,
    "StoreUnavailable": UNAVAILABLE,
    "StoreError": REFUSED,
    "RouterError": REFUSED,
    "ArmError": REFUSED,
    "MarketError": REFUSED,
    "StatsError": REFUSED,
    "Problem": REFUSED,
}
