"""What one cell of somebody else's log says, or which rule it breaks. Nothing is guessed or clipped."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from router.outcomes import USD_MAX
from router.starts import parse_rfc3339_us
from store.foreign_log import Place
from store.records import ACTIONS, Action

Field = Literal[
    "unit",
    "arm",
    "won",
    "pnl_usd",
    "stake_usd",
    "fee_usd",
    "market",
    "bot",
    "decision_id",
    "action",
    "started_at",
    "decided_at",
    "settled_at",
    "propensity",
]
Wanted = dict[Field, str]
"""Which column says what."""
TimeUnit = Literal["s", "ms", "us"]
NAME_MAX = 256
_US = {"s": 1_000_000, "ms": 1_000, "us": 1}
_TRUE, _FALSE = frozenset({"true", "1", "yes", "t"}), frozenset({"false", "0", "no", "f"})
_NULLS = frozenset({"", "nan", "na", "null", "none"})
_EARLIEST_US, _LATEST_US = 946_684_800_000_000, 4_102_444_800_000_000
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)


class BadRow(Exception):
    """One row that breaks a rule."""


@dataclass(frozen=True, slots=True)
class Cells:
    """A row's cells by what they mean. time_unit: of times that are numbers. now_us: no time is after it."""

    place: Place
    values: Mapping[str, Any]
    columns: Wanted
    time_unit: TimeUnit | None
    now_us: int

    def bad(self, name: Field, rule: str) -> BadRow:
        """The error that names the cell."""
        return BadRow(f"{self.place}, column {self.columns.get(name, name)}: {rule}")

    def _raw(self, name: Field) -> Any:
        """None where there is no column, or no value."""
        value = self.values.get(self.columns[name]) if name in self.columns else None
        if isinstance(value, float) and math.isnan(value):
            return None
        return None if isinstance(value, str) and value.strip().lower() in _NULLS else value

    def name(self, name: Field) -> str:
        """A name; there must be one."""
        value = self._raw(name)
        text = "" if value is None else str(value).strip()
        if not text or len(text) > NAME_MAX or not text.isprintable():
            told = self.values.get(self.columns[name])
            raise self.bad(
                name, f"must be 1 to {NAME_MAX} printable characters and no word for nothing, not {told!r}"
            )
        return text

    def action(self) -> Action:
        """What was decided; hold where the log has no column for it."""
        if "action" not in self.columns:
            return "hold"
        text = str(self._raw("action")).strip().lower()
        if text not in ACTIONS:
            raise self.bad("action", f"{text!r} is none of {', '.join(ACTIONS)}: write one of them")
        return text

    def truth(self, name: Field) -> bool | None:
        """True or false; None where the log says nothing."""
        value = self._raw(name)
        if value is None or isinstance(value, bool):
            return value
        text = str(value).strip().lower().removesuffix(".0")
        if text not in _TRUE | _FALSE:
            raise self.bad(name, f"{value!r} is neither true nor false: write true, false, 1, 0, yes or no")
        return text in _TRUE

    def money(self, name: Field) -> int | None:
        """Micro-USD, rounded to the nearest; None where the log says nothing."""
        usd = self._number(name)
        if usd is None:
            return None
        if abs(usd) > USD_MAX:
            raise self.bad(name, f"{usd} is beyond +-{USD_MAX:,.0f} USD: check the unit of the money")
        return round(usd * 1e6)

    def stake(self) -> int:
        """Micro-USD; 0 where the log says nothing."""
        stake = self.money("stake_usd") or 0
        if stake < 0:
            raise self.bad("stake_usd", "is negative: a stake is 0 or more")
        return stake

    def share(self) -> float:
        """The treatment's, 0 to 1; there must be one."""
        share = self._number("propensity")
        if share is None or not 0.0 <= share <= 1.0:
            raise self.bad("propensity", f"{share} must be a share of the treatment, 0 to 1, in every row")
        return share

    def _number(self, name: Field) -> float | None:
        value = self._raw(name)
        if value is None:
            return None
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise self.bad(name, f"{value!r} is no number: write 1234.5, or leave it empty") from None
        if not math.isfinite(number):
            raise self.bad(name, f"{value!r} is not finite: leave it empty where nothing is known")
        return number

    def instant(self, name: Field) -> int | None:
        """Microseconds since the epoch; None where the log says nothing."""
        value = self._raw(name)
        if value is None:
            return None
        us = self._instant_us(name, value)
        if not _EARLIEST_US <= us < _LATEST_US:
            raise self.bad(name, f"{value} is not between 2000 and 2100: check --time-unit")
        if us > self.now_us:
            raise self.bad(name, f"{value} is yet to come: check its time zone and --time-unit")
        return us

    def _instant_us(self, name: Field, value: Any) -> int:
        if isinstance(value, datetime):
            if value.tzinfo is None:
                raise self.bad(name, "has no time zone: write the column with one, say UTC")
            return (value - _EPOCH) // _MICROSECOND
        us = parse_rfc3339_us(value.strip()) if isinstance(value, str) else None
        if us is not None:
            return us
        number = self._number(name) if _is_number(value) else None
        if number is None:
            raise self.bad(name, f"{value!r} is not RFC 3339 with an offset, as 2026-01-05T09:57:29Z is")
        if self.time_unit is None:
            raise self.bad(name, "is a number: say of what since 1970, --time-unit s, ms or us")
        return round(number * _US[self.time_unit])


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
