"""A recording: a folder of two Parquet files, `ticks.parquet` and `markets.parquet` (see docs/recordings.md).

Prices are USD in (0, 1), null = nobody quotes. Depths are shares. Times are int64 microseconds, UTC.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from arms.fills import FEES, MICRO
from market.errors import RecordingError
from market.features import features_of
from market.tape import QUOTE_NAMES, Tape

DEPTH_NAMES = tuple(f"{name}_depth" for name in QUOTE_NAMES)
TICK_SCHEMA = pl.Schema(
    {"market": pl.String, "tick_us": pl.Int64}
    | dict.fromkeys(QUOTE_NAMES, pl.Float64)
    | dict.fromkeys(DEPTH_NAMES, pl.Float64)
)
MARKET_SCHEMA = pl.Schema(
    {
        "market": pl.String,
        "start_us": pl.Int64,
        "end_us": pl.Int64,
        "up_won": pl.Boolean,
        "excluded": pl.String,
        "ticks": pl.Int64,
        "gaps": pl.Int64,
        "max_gap_us": pl.Int64,
        "one_sided": pl.Int64,
        "crossed": pl.Int64,
        "duplicates": pl.Int64,
        "fees": pl.String,
        "source": pl.String,
    }
)


@dataclass(frozen=True, slots=True)
class RecordingInfo:
    """Counts over a recording. `excluded` counts markets by the reason why they cannot be played."""

    markets: int
    playable: int
    excluded: tuple[tuple[str, int], ...]
    ticks: int
    gaps: int
    max_gap_us: int
    one_sided: int
    crossed: int
    duplicates: int
    up_won: int
    first_us: int
    last_us: int
    sources: tuple[str, ...]


def write_recording(folder: Path, ticks: pl.DataFrame, markets: pl.DataFrame) -> None:
    """Writes both files, ticks sorted by market start and time. Schemas must match exactly."""
    _check_schema(ticks.schema, TICK_SCHEMA, "ticks")
    _check_schema(markets.schema, MARKET_SCHEMA, "markets")
    folder.mkdir(parents=True, exist_ok=True)
    markets = markets.sort("start_us", "market")
    ordered = markets.select("market").join(ticks.sort("tick_us"), on="market", maintain_order="left_right")
    ordered.write_parquet(folder / "ticks.parquet", compression="zstd", statistics=True)
    markets.write_parquet(folder / "markets.parquet", compression="zstd", statistics=True)


def read_markets(folder: Path) -> pl.DataFrame:
    return _read(folder / "markets.parquet", MARKET_SCHEMA)


def read_tapes(folder: Path) -> Iterator[Tape]:
    """Playable markets in time order; excluded ones are left out (`info` counts them)."""
    markets = read_markets(folder)
    parts = _read(folder / "ticks.parquet", TICK_SCHEMA).partition_by("market", as_dict=True)
    for row in markets.filter(pl.col("excluded").is_null()).iter_rows(named=True):
        ticks = parts.get((row["market"],))
        if ticks is None:
            raise RecordingError(
                f"market {row['market']} has no rows in ticks.parquet: import the recording again"
            )
        yield _tape(ticks, row)


def info(folder: Path) -> RecordingInfo:
    """What a recording holds and what is wrong with it, from `markets.parquet` alone."""
    markets = read_markets(folder)
    if markets.is_empty():
        raise RecordingError(f"{folder} holds no market: record or import at least one")
    reasons = markets["excluded"].drop_nulls().value_counts().sort("excluded").rows()
    sums = markets.select("ticks", "gaps", "one_sided", "crossed", "duplicates").sum().row(0, named=True)
    spans = markets.select(pl.col("max_gap_us").max(), pl.col("start_us").min(), pl.col("end_us").max()).row(
        0, named=True
    )
    return RecordingInfo(
        markets=len(markets),
        playable=int(markets["excluded"].is_null().sum()),
        excluded=tuple((reason, count) for reason, count in reasons),
        up_won=int(markets["up_won"].sum()),
        max_gap_us=spans["max_gap_us"],
        first_us=spans["start_us"],
        last_us=spans["end_us"],
        sources=tuple(sorted(markets["source"].unique())),
        **sums,
    )


def _tape(ticks: pl.DataFrame, row: dict[str, Any]) -> Tape:
    """`row` is the market's row of markets.parquet."""
    market, fees = row["market"], row["fees"]
    if fees not in FEES:
        raise RecordingError(f"market {market}: fees '{fees}' is unknown, use one of {', '.join(FEES)}")
    for name in ("end_us", "up_won"):
        if row[name] is None:
            raise RecordingError(
                f"market {market}: {name} is null, but it is not excluded: say what it was, or exclude it"
            )
    if unknown := ticks["tick_us"].null_count():
        raise RecordingError(f"market {market}: tick_us of {unknown} ticks is null: leave those ticks out")
    tick_us = ticks["tick_us"].to_numpy()
    prices, depths = _micro(ticks, QUOTE_NAMES), _micro(ticks, DEPTH_NAMES)
    features, mask = features_of(tick_us, prices, depths)
    return Tape(market, tick_us, row["end_us"], prices, depths, features, mask, row["up_won"], FEES[fees])


def _micro(ticks: pl.DataFrame, names: tuple[str, ...]) -> NDArray[np.int64]:
    """Null and NaN become 0: no quote, no depth."""
    values = ticks.select(pl.col(names).fill_nan(None).fill_null(0.0)).to_numpy()
    return np.asarray(np.rint(values * MICRO), dtype=np.int64)


def _read(path: Path, schema: pl.Schema) -> pl.DataFrame:
    if not path.is_file():
        raise RecordingError(
            f"{path} is missing: a recording is a folder with ticks.parquet and markets.parquet,"
            " made of CSV files by `abctl data import CSV_FOLDER RECORDING`"
        )
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise RecordingError(
            f"{path} is not readable Parquet ({error}): import the recording again"
        ) from error
    _check_schema(frame.schema, schema, path.name)
    return frame


def _check_schema(found: pl.Schema, wanted: pl.Schema, name: str) -> None:
    for column, kind in wanted.items():
        if found.get(column) != kind:
            raise RecordingError(f"{name}: column {column} is {found.get(column)}, it must be {kind}")
