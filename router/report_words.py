"""Numbers of reports as people read them, on a terminal and on a page."""

from datetime import UTC, datetime


def time_text(at_us: int) -> str:
    """2026-01-05 09:57:29Z."""
    return datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def percent(value: float | None, digits: int = 1) -> str | None:
    """62.5%."""
    return None if value is None else f"{100 * value:.{digits}f}%"


def points(value: float | None) -> str | None:
    """A difference of shares in percentage points: +27.7 pp."""
    return None if value is None else f"{100 * value:+.1f} pp"


def share_text(value: float) -> str:
    """A share as a percentage with as many digits as it has."""
    return f"{100 * value:.4f}".rstrip("0").rstrip(".") + "%"


def usd(value: float | None) -> str | None:
    """-$1,234.50; below ten cents four decimals: $0.0385."""
    return None if value is None else ("-" if value < 0 else "") + _dollars(abs(value))


def signed_usd(value: float | None) -> str | None:
    """A difference of money: +$1.54."""
    return None if value is None else ("-" if value < 0 else "+") + _dollars(abs(value))


def _dollars(amount: float) -> str:
    return f"${amount:,.4f}" if 0 < amount < 0.1 else f"${amount:,.2f}"


def span_text(span_s: float) -> str:
    """An age: 7.5 min, 15.94 min, 56 s."""
    return f"{span_s:g} s" if span_s < 60 else f"{span_s / 60:,.4g} min"


def words_of(counts: dict[str, int]) -> str:
    """3 parked outcomes, 1 dead letter; only what is not 0, or "nothing"."""
    return ", ".join(_counted(name.replace("_", " "), n) for name, n in counts.items() if n) or "nothing"


def _counted(plural: str, count: int) -> str:
    return f"{count:,} {plural.removesuffix('s') if count == 1 else plural}"


def e_text(e_value: float | None) -> str | None:
    """Beyond a million more digits say no more."""
    if e_value is None:
        return None
    if e_value > 1e6:
        return "over 1e6"
    return f"{e_value:,.0f}" if e_value >= 1000 else f"{e_value:.3g}"


def p_text(p: float | None) -> str | None:
    """0.0013; below a millionth more digits say no more."""
    if p is None:
        return None
    return "<1e-6" if p < 1e-6 else f"{p:.2g}"
