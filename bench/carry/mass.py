"""Millions of decisions with their outcomes and unit totals, made by the database itself.

The totals are not the product's work: `check` lets the product derive some of them anew.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import psycopg
from sqlalchemy import BigInteger, Column, Engine, MetaData, Table, Text

from router import change
from store.bulk import add_new
from store.experiments import splits, weights
from store.sql import in_transaction
from store.verify import verify_units

DAYS = 40
DAY_US = 86_400_000_000
STAGES = ((0, "0.1", 10), (10, "0.25", 4), (20, "0.5", 2))
"""From which day on, which share of the treatment, and that it gets every n-th unit."""
SAMPLED_SPANS = 10
_UNITS = Table(
    "bench_unit",
    MetaData(),
    Column("u", BigInteger, primary_key=True),
    *(Column(name, Text) for name in ("unit", "arm", "weights")),
    *(Column(name, BigInteger) for name in ("at_us", "version", "pnl", "trades", "fallbacks")),
)


@dataclass(frozen=True, slots=True)
class Mass:
    """How much of it. ticks: decisions of a unit, a second apart. began_us: when the first unit started."""

    units: int
    ticks: int
    began_us: int

    @property
    def decisions(self) -> int:
        """All of them."""
        return self.units * self.ticks


def fill(engine: Engine, mass: Mass) -> None:
    """A ramp of the split, decisions, a trade of every third unit, a market outcome of each, totals."""
    versions = [_ramped(engine, mass, day, share) for day, share, _ in STAGES]
    rows = list(_units(mass, versions))
    _UNITS.create(engine)
    in_transaction(engine, lambda connection: add_new(connection, _UNITS, rows, ("u",)))
    with _raw(engine) as sql:
        for statement in _statements(mass, engine.dialect.name):
            sql.execute(statement)
    _UNITS.drop(engine)


def check(engine: Engine) -> int:
    """Units that the product's own verify found right; the first difference ends the program."""
    with engine.connect() as connection:
        steps = list(islice(verify_units(connection, "main"), SAMPLED_SPANS))
    if wrong := [difference for step in steps for difference in step.differences]:
        raise SystemExit(f"the benchmark's unit totals are not the product's: {wrong[0]}")
    return sum(step.counts.units for step in steps)


def _ramped(engine: Engine, mass: Mass, day: int, share: str) -> tuple[int, str]:
    """The version of the split with this share, in force from that day on, and its weights as JSON."""
    by, at_us = change.By("bench", "ramp"), mass.began_us + day * DAY_US
    version = change.set_share(engine, "main", "transformer", share, by, lambda: at_us, 0).version
    with engine.connect() as connection:
        found = weights(next(s for s in splits(connection, "main") if s.version == version))
    pairs = ",".join(f'"{arm}":{found[arm]}' for arm in ("base", "transformer"))
    return version, "{" + pairs + "}"


def _units(mass: Mass, versions: list[tuple[int, str]]) -> Iterator[dict[str, Any]]:
    step_us = DAYS * DAY_US // mass.units
    for u in range(mass.units):
        stage = max(i for i, (day, _, _) in enumerate(STAGES) if u * step_us >= day * DAY_US)
        is_treated = u % STAGES[stage][2] == 0
        version, shares = versions[stage]
        yield {
            "u": u,
            "unit": f"unit-{u:09d}",
            "arm": "transformer" if is_treated else "base",
            "weights": shares,
            "at_us": mass.began_us + u * step_us,
            "version": version,
            "pnl": (u * 7919) % 4001 * 1000 - 2_000_000,
            "trades": int(u % 3 == 0),
            "fallbacks": int(is_treated and u % 50 == 0),
        }


@contextmanager
def _raw(engine: Engine) -> Iterator[Any]:
    """The driver's own connection, which commits each statement; on SQLite without a log."""
    if engine.dialect.name == "sqlite":
        connection = sqlite3.connect(engine.url.database or "", isolation_level=None)
        connection.execute("PRAGMA journal_mode=OFF")
        connection.execute("PRAGMA synchronous=OFF")
        yield connection
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("ANALYZE")
        connection.close()
        return
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection
        connection.execute("VACUUM ANALYZE")


def _statements(mass: Mass, dialect: str) -> Iterator[str]:
    number = f"(u * {mass.ticks} + t)"
    if dialect == "sqlite":
        an_id, state, digest = f"printf('%032x', {number})", "zeroblob(72)", "zeroblob(8)"
        yield f"CREATE TEMP TABLE tick AS {_counted_sqlite(mass.ticks)}"
    else:
        an_id = f"lpad(to_hex({number}), 32, '0')"
        state, digest = (f"decode(repeat('00', {size}), 'hex')" for size in (72, 8))
        yield f"CREATE TEMP TABLE tick AS SELECT generate_series(0, {mass.ticks - 1})::bigint AS t"
    yield _insert(
        "decision",
        "bench_unit CROSS JOIN tick ORDER BY u, t",
        decision_id=an_id, unit="unit", bot="'bot'", arm="arm", reason="'assigned'", binding="'started_at'",
        served_arm="CASE WHEN fallbacks = 1 AND t = 0 THEN 'base' ELSE arm END", split_version="version",
        weights="weights", forced="false", eligible="true", split_stale="false",
        received_at_us="at_us + t * 1000000", started_at_us="at_us", sent_started_at_us="at_us",
        action="'hold'", prob_hold="0.8", prob_buy="0.1", prob_sell="0.1", value="0.25",
        action_propensity="1.0", model="'model'", schema_hash="'schema'", state=state, history_digest=digest,
        history_used="20", latency_us="300", journal_id="'journal'", position=f"{number} * 300",
    )  # fmt: skip
    yield _insert(
        "outcome", "bench_unit", kind="'market'", key="""'["' || unit || '","bot"]'""", trades="trades",
        **_money(), journal_id="'outcomes'", position="u * 200",
    )  # fmt: skip
    yield _insert(
        "outcome", "bench_unit, (SELECT 0 AS t) first WHERE trades = 1", kind="'trade'", key=an_id,
        decision_id=an_id, entry_price="0.5", exit_price="0.55", side="'up'", **_money(),
        journal_id="'trades'", position="u * 200",
    )  # fmt: skip
    yield _insert("unitbot", "bench_unit", unit="unit", bot="'bot'", first_at_us="at_us")
    yield _insert(
        "unit", "bench_unit", unit="unit", arm="arm", split_version="version", weights="weights",
        contaminated="false", started_at_us="at_us", start_conflicts="0", first_at_us="at_us",
        first_journal_id="'journal'", first_position=f"u * {mass.ticks * 300}",
        last_at_us=f"at_us + {mass.ticks - 1} * 1000000", decisions=str(mass.ticks), fallbacks="fallbacks",
        stale="0", unserved="0", latency_to_500_us=str(mass.ticks), bots="1", reported="1", trades="trades",
        trade_wins="CASE WHEN trades = 1 AND pnl > 0 THEN 1 ELSE 0 END", market_trades="trades",
        pnl_micro="pnl", fee_micro="1000", stake_micro="500000 * trades", fill="'live'",
        settled_at_us="at_us + 900000000",
    )  # fmt: skip


def _money() -> dict[str, str]:
    names = ("unit", "bot", "pnl_micro", "fee_micro", "stake_micro", "fill", "meta")
    values = ("unit", "'bot'", "pnl", "1000", "500000 * trades", "'live'", "'{}'")
    times = dict.fromkeys(("closed_at_us", "received_at_us"), "at_us + 900000000")
    return dict(zip(names, values, strict=True)) | times


def _counted_sqlite(count: int) -> str:
    rest = f"SELECT t + 1 FROM n WHERE t < {count - 1}"
    return f"WITH RECURSIVE n(t) AS (SELECT 0 UNION ALL {rest}) SELECT t FROM n"


def _insert(table: str, source: str, **values: str) -> str:
    names, expressions = ", ".join(values), ", ".join(values.values())
    return f"INSERT INTO {table} (experiment, {names}) SELECT 'main', {expressions} FROM {source}"
