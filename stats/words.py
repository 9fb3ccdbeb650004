"""Numbers as words, for sentences that people read."""

from datetime import UTC, datetime

from stats.status import Metric

NAMES: dict[Metric, str] = {"win_rate": "win rate", "profit_rate": "profit rate", "pnl": "net PnL"}


def signed(metric: Metric, value: float) -> str:
    """A difference: +6.1 points, or -$0.1234."""
    if metric != "pnl":
        return f"{100.0 * value:+.1f} points"
    return f"{'-' if value < 0 else '+'}${usd(abs(value))}"


def usd(value: float) -> str:
    return f"{value:,.2f}" if abs(value) >= 1.0 else f"{value:.4f}"


def level(alpha: float) -> str:
    return f"{100.0 * (1.0 - alpha):g}%"


def utc(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M UTC")


def seconds(span_s: float) -> str:
    """A span as people say it: 14 s, 15 min 56 s, 2 h 5 min."""
    whole = round(span_s)
    if whole < 60:
        return f"{span_s:.3g} s"
    large, small, names = (whole // 60, whole % 60, ("min", "s"))
    if whole >= 3600:
        large, small, names = (whole // 3600, whole % 3600 // 60, ("h", "min"))
    return f"{large:,} {names[0]} {small} {names[1]}" if small else f"{large:,} {names[0]}"


def many(count: int, name: str) -> str:
    return f"{count:,} {name}" if count == 1 else f"{count:,} {name}s"


def about(count: int, name: str) -> str:
    """A rough count, rounded up to two significant figures."""
    step = 10 ** max(0, len(str(count)) - 2)
    return many(-(-count // step) * step, name)
