"""When a unit started: as the bot sent it, or as the unit's name says by the experiment's `unit_pattern`.

A start lets every process bind the unit alone: the arm is then a pure function of unit, start and history.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, cast

import re2

from router.errors import BadPattern, BadStartedAt, BadUnit

SKEW_S_DEFAULT = 1.0
UNIT_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
GROUPS = {"family", "window", "start"}
PATTERN_MEMORY_BYTES = 256 << 10
EPOCH_S = re.compile(r"[0-9]{1,11}")
WINDOW = re.compile(r"([0-9]{1,8})([smhd]?)")
RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """A regular expression for a whole unit with the named groups start (required), family and window.

    Such as `(?P<family>.+)-(?P<window>[0-9]+[smhd])-(?P<start>[0-9]+)` for btc-updown-15m-1767225600.
    RE2 takes time linear in the unit, where `re` could take years (`(1|1)+x`); its memory bounds the factor.
    """
    options = re2.Options()
    options.log_errors = False
    options.max_mem = PATTERN_MEMORY_BYTES
    try:
        compiled = cast("re.Pattern[str]", re2.compile(pattern, options))
    except re2.error as error:
        why = error.args[0].decode(errors="replace")
        remedy = "write it in RE2's syntax, without look-around and back references; see docs/assignment.md"
        raise BadPattern("unit_pattern", f"is no regular expression ({why})", remedy) from error
    unknown = sorted(set(compiled.groupindex) - GROUPS)
    if unknown or "start" not in compiled.groupindex:
        rule = f"must name the group start, may name family and window, but {unknown or 'start'} is "
        rule += "unknown" if unknown else "missing"
        raise BadPattern("unit_pattern", rule, "write the start of the market as (?P<start>[0-9]+)")
    return compiled


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitName:
    """What a unit's name says: its family (for slices), how long it lasts, and when it starts."""

    family: str | None
    window_s: int | None
    started_at_us: int


def read_unit(pattern: re.Pattern[str], unit: str) -> UnitName | None:
    """The parts of a unit's name; None where the pattern does not match, an error where it misleads."""
    match = pattern.fullmatch(unit)
    if match is None:
        return None
    parts = match.groupdict()
    window = parts.get("window")
    return UnitName(
        family=parts.get("family"),
        window_s=None if window is None else window_s(window, unit),
        started_at_us=start_us(parts.get("start") or "", unit),
    )


def window_s(text: str, unit: str) -> int:
    """Seconds in "15m", "4h", "1d", "900s" or "900"."""
    match = WINDOW.fullmatch(text)
    if match is None or int(match[1]) == 0:
        raise BadUnit(
            "unit", f"{unit!r} names the window {text!r}", "write it in seconds, or as 900s, 15m, 4h or 1d"
        )
    return int(match[1]) * UNIT_S[match[2]]


def start_us(text: str, unit: str) -> int:
    """Microseconds since the epoch of epoch seconds or of RFC 3339."""
    if EPOCH_S.fullmatch(text):
        return int(text) * 1_000_000
    parsed = parse_rfc3339_us(text)
    if parsed is None:
        raise BadUnit(
            "unit", f"{unit!r} names the start {text!r}", "write epoch seconds or RFC 3339 with an offset"
        )
    return parsed


def parse_rfc3339_us(text: str) -> int | None:
    """Microseconds since the epoch; None for anything else, a time without an offset or a leap second."""
    if RFC3339.fullmatch(text) is None:
        return None
    try:
        moment = datetime.fromisoformat(text.upper())
        since = moment - datetime.fromtimestamp(0, UTC)
    except (ValueError, OverflowError):
        return None
    return (since.days * 86400 + since.seconds) * 1_000_000 + since.microseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """How far a start may lie from now: a unit's lifetime back, the clocks' skew ahead.

    The skew must stay below the split's lead: a version that this process does not know yet takes effect
    a whole lead after it was committed, so no start accepted now can fall under it (see `is_stale`).
    """

    lifetime_s: float
    skew_s: float = SKEW_S_DEFAULT


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """When a unit started and who said so: the two bindings that need no Redis."""

    started_at_us: int
    binding: Literal["started_at", "pattern"]


def resolve_started_at(
    sent_us: int | None, unit: str, pattern: re.Pattern[str] | None, now_us: int, tolerance: Tolerance
) -> Start | None:
    """The start that binds the unit: the one sent, else the one in its name, else None (bind at first sight).

    Either must lie in [now - lifetime - skew, now + skew], else an error: a start outside it would
    quietly choose an old split, or one that is still to come.
    """
    if sent_us is not None:
        check_start("started_at", sent_us, now_us, tolerance)
        return Start(started_at_us=sent_us, binding="started_at")
    named = read_unit(pattern, unit) if pattern is not None else None
    if named is None:
        return None
    check_start(f"started_at read from unit {unit!r}", named.started_at_us, now_us, tolerance)
    return Start(started_at_us=named.started_at_us, binding="pattern")


def check_start(name: str, start_at_us: int, now_us: int, tolerance: Tolerance) -> None:
    """Raise unless the start lies within the tolerance of now."""
    ahead_s = (start_at_us - now_us) / 1e6
    if ahead_s > tolerance.skew_s:
        rule = (
            f"must not lie in the future, but is {ahead_s:.3f} s ahead ({tolerance.skew_s:g} s are allowed)"
        )
        raise BadStartedAt(name, rule, "decide from the unit's start on, and check this machine's clock")
    if -ahead_s > tolerance.lifetime_s + tolerance.skew_s:
        rule = (
            f"must lie within the unit's lifetime of {tolerance.lifetime_s:g} s, but is {-ahead_s:.3f} s ago"
        )
        raise BadStartedAt(
            name, rule, "for a replay name the unit market@run and send the time the run started"
        )
