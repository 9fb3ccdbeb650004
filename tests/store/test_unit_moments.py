"""Moments of unit totals: the same numbers by SQLite, PostgreSQL, DuckDB, polars and numpy."""

import json
import random
from dataclasses import asdict, fields
from functools import partial

import duckdb
import msgspec
import numpy as np
import polars as pl
import pytest
from sqlalchemy import select, text

from router.cohort import cohort_of
from router.strata import METRICS, merged, moments_of, shape_of
from stats.moments import grouped_moments, merge
from store import experiments, tables
from store.export import Extract, export
from store.ingest import Shipment, ingest
from store.records import MarketOutcome
from store.snapshot import snapshot
from store.sql import table_of
from store.unit_columns import read_units
from store.unit_moments import DAY_US, Stratum, moments_sql, stratum_of, unit_moments

START_US = 1_790_000_000_000_000
SPAN_US = 1_800_000_000
NOW_US = START_US + 5 * DAY_US
SHARES = {1: {"base": 0.9, "transformer": 0.1}, 2: {"base": 0.5, "transformer": 0.5}}
EXACT = [f.name for f in fields(Stratum) if f.type is not float]
SPREADS = ("pnl_spread", "trade_spread")


def records_of(make, seed, units=300, offset_micro=0):
    """Units of every kind: pending, missing, late, excluded, refused, of two arms; each fill; two shares."""
    chance, found = random.Random(seed), []
    for number in range(units):
        version = 1 + (number * 2) // units
        unit, arm = f"u{seed}-{number}", chance.choice(("base", "transformer"))
        start_us = START_US + number * 5 * DAY_US // units
        asked = {"unit": unit, "arm": arm, "split_version": version, "weights": SHARES[version],
                 "started_at_us": start_us, "sent_started_at_us": start_us}  # fmt: skip
        if chance.random() < 0.1:
            found.append(make.unserved(**asked, bot="b1", received_at_us=start_us))
        count = chance.randint(1, 5)
        for tick in range(count):
            served = "base" if chance.random() < 0.2 else arm
            strays = {"arm": "base"} if tick and chance.random() < 0.02 else {}
            at_us = start_us + 1 + tick
            found.append(
                make.decision(
                    **asked | strays,
                    decision_id=f"{unit}-{tick}",
                    served_arm=served,
                    received_at_us=at_us,
                    forced=number % 37 == 0,
                    split_stale=tick == 1,
                )
            )
        if chance.random() < 0.1:
            continue
        fill = "replay" if chance.random() < 0.3 else "live"
        late = SPAN_US + 1 if chance.random() < 0.05 else chance.randint(1, SPAN_US)
        said = {"fill": fill, "received_at_us": start_us + late, "closed_at_us": start_us + late}
        trades = chance.randint(0, count)
        for tick in range(trades):
            pnl = chance.randint(-900_000, 900_000)
            found.append(make.trade(decision_id=f"{unit}-{tick}", pnl_micro=pnl, won=pnl > 0, **said))
        pnl = 0 if trades == 0 else offset_micro + chance.randint(-5_000_000, 5_000_000)
        said |= {"trades": trades, "won": chance.choice((True, False, None))}
        found.append(make.market(unit=unit, bot="b1", pnl_micro=pnl, **said))
    return found


def defined(engine, make):
    experiment, first = make.experiment_and_split("main")
    experiments.create(engine, experiment, first, "me")
    experiments.append_split(engine, make.split("main", 2, 500_000))


def taken_in(engine, make, journal, records):
    ingest(engine, "main", [Shipment(journal, 0, make.framed(records))], NOW_US)


@pytest.fixture
def fill(engine, make):
    """Fills the database in several goes."""
    defined(engine, make)
    return partial(taken_in, engine, make)


def own(engine, cap_micro=None, win="pnl"):
    with engine.connect() as connection:
        experiment = msgspec.structs.replace(experiments.get(connection, "main"), win=win)
        return experiment, unit_moments(connection, experiment, NOW_US, cap_micro)


def sorted_strata(rows):
    keys = ("arm", "weights", "split_version", "fill", "day_us")
    return sorted((stratum_of(row) for row in rows), key=lambda s: tuple(getattr(s, key) for key in keys))


def by_duckdb(experiment, path, cap_micro):
    found = duckdb.connect().execute(moments_sql(experiment, NOW_US, f"read_parquet('{path}')", cap_micro))
    names = [column[0] for column in found.description]
    return sorted_strata(dict(zip(names, row, strict=True)) for row in found.fetchall())


def by_polars(experiment, path, cap_micro):
    query = moments_sql(experiment, NOW_US, "units", cap_micro)
    return sorted_strata(pl.SQLContext(units=pl.scan_parquet(path)).execute(query).collect().to_dicts())


def check_same(found, expected):
    """Counts and money to the last digit, second moments to 1e-12, zero spreads to dust."""
    assert [[getattr(s, n) for n in EXACT] for s in found] == [
        [getattr(s, n) for n in EXACT] for s in expected
    ]
    for name in SPREADS:
        ours, theirs = ([getattr(s, name) for s in strata] for strata in (found, expected))
        assert ours == pytest.approx(theirs, rel=1e-12, abs=1e-24), name


@pytest.mark.parametrize("offset_micro", [0, 10**9, 10**15])
@pytest.mark.parametrize(("cap_micro", "win"), [(None, "pnl"), (1_000_000, "reported")])
def test_four_engines_say_the_same(engine, fill, make, tmp_path, offset_micro, cap_micro, win):
    fill("j", records_of(make, 1, offset_micro=offset_micro))
    experiment, found = own(engine, cap_micro, win)
    with engine.connect() as connection, snapshot(connection):
        export(connection, tmp_path / "out", Extract(), NOW_US)
    path = tmp_path / "out" / "units.parquet"
    assert len(found) > 20
    assert min(s.mature for s in found if s.mature) == 1  # strata of one unit are among them
    check_same(by_duckdb(experiment, path, cap_micro), found)
    check_same(by_polars(experiment, path, cap_micro), found)
    check_same(by_hand(engine, experiment, cap_micro), found)
    assert {name for name in EXACT if not any(getattr(s, name) for s in found)} == set()


def by_hand(engine, experiment, cap_micro):
    """From the rows, in Python's whole numbers; states by the report's own code."""
    with engine.connect() as connection:
        rows = connection.execute(select(table_of(tables.Unit)).order_by("unit")).mappings().all()
        columns = read_units(connection, "main")
    cohort = cohort_of(experiment, columns, NOW_US)
    place = {
        (int(f), int(p)): i
        for i, (f, p) in enumerate(zip(columns.first_at_us, columns.pnl_micro, strict=True))
    }
    groups = {}
    for row in rows:
        at = place[row["first_at_us"], row["pnl_micro"]]
        matured_us = int(cohort.matured_at_us[at])
        state = next(n for n in ("mature", "pending", "missing", "excluded") if getattr(cohort, n)[at])
        if state != "mature":
            matured_us = row["started_at_us"] + SPAN_US
        key = (
            row["arm"],
            row["weights"],
            row["split_version"],
            row["fill"] or "",
            matured_us // DAY_US * DAY_US,
        )
        groups.setdefault(key, []).append((dict(row), state))
    return [stratum_by_hand(key, groups[key], cap_micro, experiment.win) for key in sorted(groups)]


def stratum_by_hand(key, rows, cap_micro, win):
    own_rows = [row for row, _ in rows]
    mature = [row for row, state in rows if state == "mature"]
    cap = cap_micro or 2**61
    counted = {n: sum(state == n for _, state in rows) for n in ("mature", "pending", "missing", "excluded")}
    summed = {n: sum(row[n] for row in own_rows) for n in ("decisions", "fallbacks", "stale")}
    money = {
        n: sum(row[n] for row in mature)
        for n in ("trades", "trade_wins", "pnl_micro", "fee_micro", "stake_micro")
    }
    squared = sum(row["trades"] ** 2 for row in mature)
    crossed = sum(row["trades"] * row["trade_wins"] for row in mature)
    mean = money["pnl_micro"] / max(1, len(mature))
    least = min((row["pnl_micro"] for row in mature), default=0)
    mean_over = (money["pnl_micro"] - least * len(mature)) / max(1, len(mature))
    assert mean == pytest.approx(least + mean_over)
    return Stratum(
        **dict(zip(("arm", "weights", "split_version", "fill", "day_us"), key, strict=True)),
        units=len(rows),
        **counted,
        **summed,
        **money,
        contaminated=sum(bool(row["contaminated"]) for row in own_rows),
        fallback_units=sum(row["fallbacks"] > 0 for row in own_rows),
        unserved=sum(row["unserved"] > 0 for row in own_rows),
        traded=sum(row["market_trades"] > 0 for row in mature),
        wins=sum(
            row["market_trades"] > 0 and bool(row["won"] if win == "reported" else row["pnl_micro"] > 0)
            for row in mature
        ),
        trades_squared=squared,
        trades_times_wins=crossed,
        capped_pnl_micro=sum(min(max(row["pnl_micro"], -cap), cap) for row in mature),
        pnl_spread=float(sum((row["pnl_micro"] - least - mean_over) ** 2 for row in mature)),
        trade_spread=sum(
            (r["trade_wins"] - (crossed / squared if squared else 0) * r["trades"]) ** 2 for r in mature
        ),
    )


def test_merged_strata_are_the_moments_of_all_units(engine, fill, make):
    fill("j", records_of(make, 2))
    experiment, found = own(engine)
    with engine.connect() as connection:
        columns = read_units(connection, "main")
    mature = cohort_of(experiment, columns, NOW_US).mature
    traded = (columns.market_trades > 0)[mature].astype(float)
    pnl = columns.pnl_micro[mature].astype(float)
    won, ones = (pnl > 0) * traded, np.ones(len(pnl))
    trades, trade_wins = columns.trades[mature].astype(float), columns.trade_wins[mature].astype(float)
    pairs = {"win_rate": (traded, won), "profit_rate": (ones, won), "pnl_micro": (ones, pnl),
             "trade_win_rate": (trades, trade_wins)}  # fmt: skip
    together = merged(found)
    for name, (trials, sums) in pairs.items():
        (whole,) = grouped_moments(np.zeros(len(pnl), dtype=np.int64), 1, ones, trials, sums)
        assert asdict(together[name]) == pytest.approx(asdict(whole), rel=1e-12, abs=1e-9), name
    assert set(pairs) == set(METRICS)


def test_only_the_strata_that_changed_need_be_merged_anew(engine, sqlite_engine, fill, make):
    """New units, and outcomes of old ones: those leave one stratum for another."""
    old, new = records_of(make, 3), records_of(make, 4, units=3)
    outcomes = [record for record in old if isinstance(record, MarketOutcome)]
    later = [*outcomes[:3], *new]
    fill("first", [record for record in old if record not in later])
    _, before = own(engine)
    fill("second", later)
    _, after = own(engine)
    unchanged = [stratum for stratum in after if stratum in before]
    changed = [stratum for stratum in after if stratum not in before]
    assert len(unchanged) > 2 * len(changed) > 0
    assert merged(before) != merged(after)
    whole, held, pieces = merged(after), merged(unchanged), merged(changed)
    for name in METRICS:
        joined = merge(held[name], pieces[name])
        assert asdict(joined) == pytest.approx(asdict(whole[name]), rel=1e-12, abs=1e-9), name
    defined(sqlite_engine, make)
    taken_in(sqlite_engine, make, "all", old + new)
    check_same(own(sqlite_engine)[1], after)


def test_more_trades_than_a_short_integer_squares(engine, fill, make):
    """PostgreSQL keeps counts in 32 bits, where the square of 46,341 has no room."""
    fill("j", records_of(make, 6, units=20))
    with engine.begin() as connection:
        connection.execute(text("UPDATE unit SET trades = 100000, trade_wins = 60000"))
    _, found = own(engine)
    assert sum(s.mature for s in found) > 3
    for s in found:
        assert (s.trades_squared, s.trades_times_wins) == (s.mature * 10**10, s.mature * 6 * 10**9)


def test_nothing_stored_is_no_stratum(engine, fill):
    fill("j", [])
    _, found = own(engine)
    assert found == []
    assert {name: m.units for name, m in merged(found).items()} == dict.fromkeys(METRICS, 0)


def test_the_shape_is_json_and_holds_every_number(engine, fill, make):
    fill("j", records_of(make, 5, units=40))
    _, found = own(engine)
    told = json.loads(json.dumps(shape_of("main", NOW_US, found)))
    first = told["strata"][0]
    assert {name: first[name] for name in EXACT} == {name: getattr(found[0], name) for name in EXACT}
    assert first["moments"]["pnl_micro"] == asdict(moments_of(found[0])["pnl_micro"])
