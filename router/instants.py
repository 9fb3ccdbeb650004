"""Times at the door: RFC 3339 in, or epoch milliseconds; int microseconds inside."""

from router.problems import invalid, shown
from router.starts import parse_rfc3339_us

_EARLIEST_MS = 946_684_800_000  # 2000-01-01
_LATEST_MS = 4_102_444_800_000  # 2100-01-01


def instant_us(value: int | str, field: str) -> int:
    """Microseconds since the epoch, or a problem that names the field."""
    us = value * 1000 if isinstance(value, int) else _parsed_us(value, field)
    if not _EARLIEST_MS * 1000 <= us < _LATEST_MS * 1000:
        raise invalid(
            field,
            f"{shown(value)} is not between 2000 and 2100; send RFC 3339 with offset or epoch milliseconds",
        )
    return us


def _parsed_us(text: str, field: str) -> int:
    us = parse_rfc3339_us(text)
    if us is None:
        raise invalid(
            field, f"{shown(text)} is not RFC 3339 with an offset; send for example 2026-01-05T09:57:29Z"
        )
    return us
