"""How fast clustered comparisons are, beside a bare numpy pass and other libraries, on the same rows.

    python bench/stats_speed.py [--rows 10000000] [--rounds 3] [--write]

Decisions with a unit, an arm, whether they were won and what they brought; 200 of a unit. Each contender
takes the same columns and gives the difference of both arms in both metrics with clustered errors, in a
process of its own that tells its memory.
Peers that are not installed are named: pip install tea-tasting pyfixest.
"""

import argparse
import json
import math
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from carry.page import measured_on, write
from numpy.typing import NDArray
from speed.found import Finding, Section, at_most, text_of

from stats import clustered, score_difference, two_proportion
from stats.centre import PRIOR_UNITS
from stats.clusters import pair_of_rows
from stats.effect import Pair, effect_on
from stats.moments import grouped_moments, merge
from stats.scores import Scores
from stats.sequence import Look
from stats.two_by_two import TwoByTwo

A_UNIT = 200
PASSES, LOOK_MS, SUMMARY_MS, MEMORY_MIB = 3.0, 5.0, 1.0, 600
STATSMODELS_ROWS = 1_000_000
HEADING = """## Statistics

`python bench/stats_speed.py --write`. Rows are decisions, 200 of a unit, in numpy columns. *pass*: two
metrics' cluster ratios with their errors by `numpy.bincount` and nothing else: no check of any input, no
small-sample correction. Each contender runs in a process of its own; seconds are the best of its rounds,
memory is its peak, the columns included.
"""
HEADER = ("", "rows", "seconds", "rows/s", "of the pass", "peak MiB")
Ints, Bools, Floats = NDArray[np.int64], NDArray[np.bool_], NDArray[np.float64]
Columns = tuple[Ints, Bools, Floats, Floats]


def columns(rows: int) -> Columns:
    """(unit, treated, won, pnl)."""
    rng = np.random.default_rng(1)
    units = rows // A_UNIT
    unit = rng.permutation(np.repeat(np.arange(units, dtype=np.int64), A_UNIT))
    chance, treated = rng.beta(5.0, 5.0, units), rng.random(units) < 0.5
    won = (rng.random(len(unit)) < chance[unit]).astype(np.float64)
    return unit, treated[unit], won, won - 0.5 + rng.normal(0.0, 0.1, len(unit))


def bare(unit: Ints, treated: Bools, *metrics: Floats) -> list[float]:
    """What nobody can do without: counts and sums by unit, then a ratio and its error in each arm."""
    count = np.bincount(unit)
    arm = np.zeros(len(count), dtype=np.bool_)
    arm[unit] = treated
    found = []
    for values in metrics:
        sums, variance, ratios = np.bincount(unit, values), 0.0, []
        for own in (arm, ~arm):
            whole, size = sums[own].sum(), count[own].sum()
            ratios.append(whole / size)
            variance += float(((sums[own] - ratios[-1] * count[own]) ** 2).sum()) / size**2
        found.append(float(ratios[0] - ratios[1]) / math.sqrt(variance))
    return found


def ours(unit: Ints, treated: Bools, *metrics: Floats) -> list[float]:
    """The public functions, with every check."""
    return [_statistic(clustered.cr1(*pair_of_rows(unit, treated, values))) for values in metrics]


def _statistic(found: Any) -> float:
    return float(found.estimate / found.error)


def polars_group_by(*columns: NDArray[Any]) -> list[float]:
    """Moments by unit in polars, the rest in numpy."""
    import polars as pl

    names = ("unit", "treated", "won", "pnl")
    frame = pl.DataFrame(dict(zip(names, columns, strict=True)))
    sums = frame.group_by("unit").agg(
        pl.len(), pl.col("treated").first(), pl.col("won").sum(), pl.col("pnl").sum()
    )
    arm = sums["treated"].to_numpy()
    count = sums["len"].to_numpy().astype(np.float64)
    found = []
    for name in ("won", "pnl"):
        values = sums[name].to_numpy()
        variance, ratios = 0.0, []
        for own in (arm, ~arm):
            ratios.append(values[own].sum() / count[own].sum())
            variance += float(((values[own] - ratios[-1] * count[own]) ** 2).sum()) / count[own].sum() ** 2
        found.append(float(ratios[0] - ratios[1]) / math.sqrt(variance))
    return found


def statsmodels_ols(unit: Ints, treated: Bools, *metrics: Floats) -> list[float]:
    """Least squares with clustered covariance."""
    import statsmodels.api as sm

    design = np.column_stack([np.ones(len(unit)), treated.astype(np.float64)])
    fits = [sm.OLS(values, design).fit(cov_type="cluster", cov_kwds={"groups": unit}) for values in metrics]
    return [float(fit.tvalues[1]) for fit in fits]


def tea_tasting_ratio(*columns: NDArray[Any]) -> list[float]:
    """Ratio metrics of units that polars has added up."""
    import polars as pl
    import tea_tasting as tt

    names = ("unit", "variant", "won", "pnl")
    frame = pl.DataFrame(dict(zip(names, columns, strict=True))).with_columns(pl.col("variant").cast(pl.Int8))
    units = frame.group_by("unit").agg(
        pl.len().alias("n"), pl.col("variant").first(), pl.col("won", "pnl").sum()
    )
    metrics = {name: tt.RatioOfMeans(name, "n", use_t=False) for name in ("won", "pnl")}
    found = tt.Experiment(metrics).analyze(units)
    return [float(found[name].statistic) for name in ("won", "pnl")]


def pyfixest_ols(*columns: NDArray[Any]) -> list[float]:
    """Least squares with CRV1."""
    import pandas as pd
    import pyfixest as pf

    names = ("unit", "treated", "won", "pnl")
    frame = pd.DataFrame(dict(zip(names, columns, strict=True))).astype({"treated": float})
    fits = [pf.feols(f"{name} ~ treated", frame, vcov={"CRV1": "unit"}) for name in ("won", "pnl")]
    return [float(fit.tstat()["treated"]) for fit in fits]


CONTENDERS: Mapping[str, tuple[Callable[..., list[float]], str]] = {
    "bare numpy pass": (bare, "numpy"),
    "abctl": (ours, "numpy"),
    "polars group_by": (polars_group_by, "polars"),
    "tea-tasting": (tea_tasting_ratio, "tea-tasting"),
    "statsmodels": (statsmodels_ols, "statsmodels"),
    "pyfixest": (pyfixest_ols, "pyfixest"),
}


def run_alone(name: str, rows: int, rounds: int) -> None:
    """One contender, in this process: prints its best time, its peak and its two statistics as JSON."""
    work, given = CONTENDERS[name][0], columns(rows)
    times, found = [], list[float]()
    for _ in range(rounds):
        began_s = time.perf_counter()
        found = work(*given)
        times.append(time.perf_counter() - began_s)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": min(times), "peak_mib": peak, "found": found}))


def alone(name: str, rows: int, rounds: int) -> dict[str, Any]:
    """The same in a process of its own."""
    words = [sys.executable, __file__, "--alone", name, "--rows", str(rows), "--rounds", str(rounds)]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{name} failed: {done.stderr[-2000:]}")
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def installed(package: str) -> str | None:
    """Its version, if it is there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def measured(rows: int, rounds: int) -> Section:
    """All contenders on as many rows; slow peers on a million, beside a pass over as many."""
    table, absent, found = [], [], dict[str, dict[str, Any]]()
    passes = {count: alone("bare numpy pass", count, rounds)["seconds"] for count in {rows, STATSMODELS_ROWS}}
    for name, (_, package) in CONTENDERS.items():
        if installed(package) is None:
            absent.append(name)
            continue
        count = min(rows, STATSMODELS_ROWS) if name in {"statsmodels", "pyfixest"} else rows
        found[name] = one = alone(name, count, rounds)
        per_s, of_pass = count / one["seconds"] / 1e6, one["seconds"] / passes[count]
        cells = (
            f"{count:,}",
            f"{one['seconds']:.3f}",
            f"{per_s:.1f} M",
            f"{of_pass:.2f}x",
            f"{one['peak_mib']:,.0f}",
        )
        table.append((name, *cells))
    check(found)
    ratio, peak = found["abctl"]["seconds"] / passes[rows], found["abctl"]["peak_mib"]
    peers = [name for name in found if name not in {"abctl", "bare numpy pass", "statsmodels", "pyfixest"}]
    fastest = min(found[name]["seconds"] for name in peers)
    findings = (
        at_most("of the bare numpy pass", ratio, PASSES),
        Finding(
            "than every peer",
            "faster",
            f"{fastest / found['abctl']['seconds']:.2f}x",
            ratio * passes[rows] < fastest,
        ),
        Finding("memory", f"under {MEMORY_MIB} MiB", f"{peak:,.0f} MiB", peak < MEMORY_MIB),
        *looks(),
        *summaries(),
    )
    notes = (f"Not installed, so not measured: {', '.join(absent)}.",) if absent else ()
    return Section(
        "statistics",
        f"Clustered comparison of two metrics, {rows:,} decisions",
        HEADER,
        tuple(table),
        findings,
        notes,
    )


def check(found: Mapping[str, Mapping[str, Any]]) -> None:
    """All say the same of the same rows, but for corrections of small samples."""
    rows = [one["found"] for name, one in found.items() if name not in {"statsmodels", "pyfixest"}]
    if not all(np.allclose(rows[0], other, rtol=1e-3) for other in rows[1:]):
        raise SystemExit(
            f"the contenders do not agree: { {name: one['found'] for name, one in found.items()} }"
        )


def looks() -> tuple[Finding, ...]:
    """A day of 500 new units on top of all before: merged, and judged anew."""
    rng, units = np.random.default_rng(2), 500
    treated = rng.random(units) < 0.5
    scores = Scores(
        np.zeros(units, np.int64), treated, np.ones(units, bool), np.full(units, 0.5), np.ones(units),
        (rng.random(units) < 0.5).astype(float), 0.0, 0,
    )  # fmt: skip
    pair = Pair("win_rate", "new", "old", 0.05, 0.5, PRIOR_UNITS, 40.0)
    held = grouped_moments(treated.astype(np.int64), 2, np.full(units, 0.5), scores.trials, scores.sums)

    def look() -> None:
        day = grouped_moments(
            treated.astype(np.int64), 2, np.full(units, 0.5), scores.trials, scores.sums - 0.5
        )
        control, treatment = (merge(old, new) for old, new in zip(held, day, strict=True))
        effect_on([Look(treatment, control, 0.25 * 2 * units, 0.0, 0.0)], scores, pair)

    return (_under("an incremental look", _best_ms(look), LOOK_MS),)


def summaries() -> tuple[Finding, ...]:
    """Statistics of counts: the slowest of them."""
    counts = TwoByTwo(5_120, 10_000, 4_980, 10_000)
    work: dict[str, Callable[[], object]] = {
        "pooled z": lambda: two_proportion.pooled_z(counts),
        "Newcombe": lambda: two_proportion.newcombe(counts),
        "Miettinen-Nurminen": lambda: score_difference.miettinen_nurminen(counts),
    }
    slowest = max(_best_ms(one) for one in work.values())
    return (_under(f"the slowest of {', '.join(work)}", slowest, SUMMARY_MS),)


def _best_ms(work: Callable[[], object], repeats: int = 200) -> float:
    times = []
    for _ in range(repeats):
        began_s = time.perf_counter()
        work()
        times.append((time.perf_counter() - began_s) * 1e3)
    return statistics.median(times)


def _under(claim: str, spent_ms: float, limit_ms: float) -> Finding:
    return Finding(claim, f"under {limit_ms:g} ms", f"{spent_ms:.2f} ms", spent_ms < limit_ms)


def main(words: Sequence[str] | None = None) -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="put the results into docs/benchmarks.md")
    parser.add_argument("--alone", choices=list(CONTENDERS), help=argparse.SUPPRESS)
    asked = parser.parse_args(words)
    if asked.alone:
        run_alone(asked.alone, asked.rows, asked.rounds)
        return
    print(f"{measured_on()}\n", flush=True)
    section = measured(asked.rows, asked.rounds)
    print(text_of(section))
    if asked.write:
        write("statistics-heading", HEADING, [section])


if __name__ == "__main__":
    main()
