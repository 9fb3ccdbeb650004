"""How long the report's arithmetic takes: python bench/report_maths.py [units]."""

import sys
import time

import numpy as np

from stats.report import Design, report
from stats.shape import as_dict
from stats.units import ArmCounts, Stage, Units

REPEATS = 5


def simulated(count: int, seed: int = 1) -> Units:
    """A ramp 10% -> 25% -> 50% over 40 days, no effect."""
    rng = np.random.default_rng(seed)
    stage = np.minimum(np.arange(count) * 3 // count, 2)
    e = np.array([0.1, 0.25, 0.5])[stage]
    traded = rng.random(count) < 0.6
    pnl_micro = np.where(traded, rng.normal(0.0, 2e6, count), 0.0).astype(np.int64)
    trades = traded * rng.integers(1, 5, count)
    return Units.of(
        {
            "arm": (rng.random(count) < e).astype(np.int64),
            "stage": stage,
            "e": e,
            "day": np.arange(count) * 40 // count,
            "traded": traded,
            "won": pnl_micro > 0,
            "pnl_micro": pnl_micro,
            "stake_micro": traded * 5_000_000,
            "fee_micro": traded * 50_000,
            "decisions": np.full(count, 150),
            "fallbacks": np.zeros(count, np.int64),
            "trades": trades,
            "trade_wins": rng.binomial(trades, 0.5),
        }
    )


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    units = simulated(count)
    arms = ("base", "transformer")
    tally = np.bincount(units.stage * 2 + units.arm, minlength=6).reshape(3, 2)
    stages = [
        Stage(
            version=index + 1, weights=(1 - share, share), counts=tuple(tally[index].tolist()), started_us=0
        )
        for index, share in enumerate((0.1, 0.25, 0.5))
    ]
    design = Design(
        arms=arms,
        control="base",
        treatment="transformer",
        metric="win_rate",
        started_us=0,
        attribution_s=900,
    )
    counts = {arm: ArmCounts(units=int(tally[:, index].sum())) for index, arm in enumerate(arms)}
    took = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        as_dict(report(design, units, counts, stages))
        took.append(time.perf_counter() - began)
    print(f"report of {count:,} units: {min(took) * 1e3:.1f} ms (best of {REPEATS})")
    print(report(design, units, counts, stages).verdict)


if __name__ == "__main__":
    main()
