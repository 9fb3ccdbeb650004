"""`abctl db moments`: strata of unit totals, as a table, as JSON, or as the SQL that makes them."""

from typing import TYPE_CHECKING

from cli.settings import Settings

if TYPE_CHECKING:
    from store.unit_moments import Stratum

_COLUMNS = (
    "arm", "split", "fill", "units", "mature", "pending", "missing", "decisions",
    "trades", "wins", "win rate", "net PnL $", "a unit $", "sd $",
)  # fmt: skip


def moments_shown(settings: Settings, cap_usd: float | None, as_json: bool) -> None:
    """The strata of this moment."""
    from cli.database import reading
    from cli.terminal import Table, print_json, show
    from router.strata import shape_of
    from store import experiments
    from store.clock import wall_clock_us
    from store.snapshot import snapshot
    from store.unit_moments import unit_moments

    now_us, key = wall_clock_us(), settings.experiment
    with reading(settings) as connection, snapshot(connection):
        experiment = experiments.get(connection, key)
        strata = unit_moments(connection, experiment, now_us, _micro(cap_usd))
    if as_json:
        print_json(shape_of(key, now_us, strata))
    else:
        show(Table(f"Unit totals of {key} by arm, split and fill", _COLUMNS, _rows(strata), 3))


def moments_sql_shown(settings: Settings, units: str, cap_usd: float | None) -> None:
    """The query alone, for another engine."""
    from cli.database import reading
    from cli.terminal import say
    from store import experiments
    from store.clock import wall_clock_us
    from store.unit_moments import moments_sql

    with reading(settings) as connection:
        experiment = experiments.get(connection, settings.experiment)
    say(moments_sql(experiment, wall_clock_us(), units, _micro(cap_usd)))


def _micro(cap_usd: float | None) -> int | None:
    return None if cap_usd is None else round(cap_usd * 1e6)


def _rows(strata: "list[Stratum]") -> list[tuple[str, ...]]:
    from router.strata import by_split

    return [_row(group) for group in by_split(strata).values()]


def _row(group: "list[Stratum]") -> tuple[str, ...]:
    from router.strata import merged, total

    s, moments = total(group), merged(group)
    won, pnl = moments["win_rate"], moments["pnl_micro"]
    counts = (s.units, s.mature, s.pending, s.missing, s.decisions, s.trades, s.wins)
    return (
        s.arm,
        str(s.split_version),
        s.fill or "-",
        *(f"{count:,}" for count in counts),
        f"{won.ratio:.1%}" if won.weight else "-",
        f"{s.pnl_micro / 1e6:,.2f}",
        f"{pnl.ratio / 1e6:,.4f}" if s.mature else "-",
        f"{(pnl.spread / (s.mature - 1)) ** 0.5 / 1e6:,.4f}" if s.mature > 1 else "-",
    )
