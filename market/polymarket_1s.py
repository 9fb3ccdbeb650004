"""Imports CSVs of Polymarket up/down markets polled once a second into a recording.

Input: `market_data_*.csv` or `.csv.gz` with Timestamp, TargetTime (window start), Expiration (window end),
and per token Up/Down: Bid, Ask (0.0 = side empty, not a price), BidLiquidity, AskLiquidity (shares, top 5
levels).

Outcome rule: the source has no official outcomes. The last row must lie within OUTCOME_WINDOW_US of the end
and both tokens' quotes, read apart, must put UP's chance at 0.9 or more (Up won) or at 0.1 or less (Down
won). A one-sided book is read by its one quote. Anything else is excluded and counted by reason.
"""

from pathlib import Path
from typing import Final

import polars as pl

from arms.fills import NO_FEE
from market.errors import RecordingError
from market.recording import MARKET_SCHEMA, TICK_SCHEMA, RecordingInfo, info, write_recording
from market.tape import QUOTE_NAMES

OUTCOME_WINDOW_US: Final = 10_000_000
SURE: Final = 0.9
GAP_US: Final = 2_500_000
FEES_BEGIN_US: Final = 1_767_657_600_000_000
"""2026-01-06T00:00Z. Later files need their own fee schedule, which this format does not tell."""

PRICES: Final = {
    f"{token}{side}": f"{token.lower()}_{side.lower()}" for token in ("Up", "Down") for side in ("Bid", "Ask")
}
DEPTHS: Final = {f"{column}Liquidity": f"{name}_depth" for column, name in PRICES.items()}
TIMES: Final = {"Timestamp": "tick_us", "TargetTime": "start_us", "Expiration": "end_us"}


def import_polymarket_1s(source: Path, out: Path) -> RecordingInfo:
    """Converts every market_data CSV in `source` into the recording `out`, and sums up what was found."""
    files = sorted((*source.glob("market_data_*.csv"), *source.glob("market_data_*.csv.gz")))
    if not files:
        raise RecordingError(
            f"{source} holds no market_data_*.csv or .csv.gz: point to the folder of the CSV files"
        )
    rows = pl.concat([_read_csv(path) for path in files]).sort("tick_us", maintain_order=True)
    _refuse_fee_era(rows)
    kept = rows.unique(["market", "tick_us"], keep="last", maintain_order=True)
    markets = _markets(kept, _duplicates(rows, kept), source.name)
    write_recording(out, kept.select(TICK_SCHEMA.names()), markets)
    return info(out)


def _read_csv(path: Path) -> pl.DataFrame:
    try:
        raw = pl.read_csv(path, schema_overrides=dict.fromkeys((*PRICES, *DEPTHS), pl.Float64))
        timed = raw.select(
            *(
                pl.col(old).str.to_datetime("%Y-%m-%d %H:%M:%S").dt.epoch("us").alias(new)
                for old, new in TIMES.items()
            ),
            *(_price(old).alias(new) for old, new in PRICES.items()),
            *(pl.col(old).fill_null(0.0).alias(new) for old, new in DEPTHS.items()),
        )
    except (pl.exceptions.PolarsError, OSError) as error:
        raise RecordingError(
            f"{path.name} cannot be read as market data ({_first_line(error)}): repair or drop it"
        ) from error
    named = timed.with_columns(_market_name())
    return named.filter((pl.col("tick_us") >= pl.col("start_us")) & (pl.col("tick_us") < pl.col("end_us")))


def _price(column: str) -> pl.Expr:
    """Null unless strictly inside (0, 1): 0.0 is an empty side."""
    return pl.when((pl.col(column) > 0) & (pl.col(column) < 1)).then(pl.col(column))


def _market_name() -> pl.Expr:
    minutes = (pl.col("end_us") - pl.col("start_us")) // 60_000_000
    return pl.format("btc-updown-{}m-{}", minutes, pl.col("start_us") // 1_000_000).alias("market")


def _refuse_fee_era(rows: pl.DataFrame) -> None:
    late = rows.filter(pl.col("start_us") >= FEES_BEGIN_US)
    if len(late):
        raise RecordingError(
            f"market {late['market'][0]} opened after 2026-01-06, when taker fees began: this format "
            "does not say which schedule held, so import such days from a source that does"
        )


def _duplicates(rows: pl.DataFrame, kept: pl.DataFrame) -> pl.DataFrame:
    """Rows dropped per market because a later row has the same time."""
    before, after = (frame.group_by("market").len() for frame in (rows, kept))
    joined = before.join(after, on="market", suffix="_kept")
    return joined.select("market", (pl.col("len") - pl.col("len_kept")).cast(pl.Int64).alias("duplicates"))


def _markets(ticks: pl.DataFrame, duplicates: pl.DataFrame, source: str) -> pl.DataFrame:
    quoted = [pl.col(name).is_not_null() for name in QUOTE_NAMES]
    gap = pl.col("tick_us").diff()
    summary = ticks.group_by("market", maintain_order=True).agg(
        pl.col("start_us").first(),
        pl.col("end_us").first(),
        pl.col("tick_us").last(),
        *(pl.col(name).last() for name in QUOTE_NAMES),
        pl.len().cast(pl.Int64).alias("ticks"),
        (gap > GAP_US).sum().cast(pl.Int64).alias("gaps"),
        gap.max().fill_null(0).alias("max_gap_us"),
        (~pl.all_horizontal(quoted)).sum().cast(pl.Int64).alias("one_sided"),
        ((pl.col("up_bid") >= pl.col("up_ask")) | (pl.col("down_bid") >= pl.col("down_ask")))
        .sum()
        .cast(pl.Int64)
        .alias("crossed"),
    )
    judged = summary.with_columns(_up_won().alias("up_won")).with_columns(_excluded().alias("excluded"))
    decided = judged.with_columns(
        pl.when(pl.col("excluded").is_null()).then(pl.col("up_won")).alias("up_won")
    )
    return decided.join(duplicates, on="market").select(
        *(name for name in MARKET_SCHEMA.names() if name not in ("fees", "source")),
        pl.lit(NO_FEE.name).alias("fees"),
        pl.lit(source).alias("source"),
    )


def _up_won() -> pl.Expr:
    up, down = _chance("up"), 1 - _chance("down")
    return (
        pl.when((up >= SURE) & (down >= SURE))
        .then(True)
        .when((up <= 1 - SURE) & (down <= 1 - SURE))
        .then(False)
    )


def _chance(token: str) -> pl.Expr:
    """The token's mid; the one quote of a one-sided book; null of an empty one."""
    bid, ask = pl.col(f"{token}_bid"), pl.col(f"{token}_ask")
    return pl.mean_horizontal(bid, ask).round(6)


def _excluded() -> pl.Expr:
    """Why a market cannot be played, null if it can."""
    ends_early = pl.col("end_us") - pl.col("tick_us") > OUTCOME_WINDOW_US
    return (
        pl.when(ends_early)
        .then(pl.lit("ends_early"))
        .when(pl.col("up_won").is_null())
        .then(pl.lit("outcome_ambiguous"))
        .otherwise(pl.lit(None, dtype=pl.String))
    )


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
