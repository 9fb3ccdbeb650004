"""How much of a unit's result could have been told before its market began, on recorded markets.

A week of Bitcoin markets of 15 minutes, their UP prices a minute apart, and Binance's minutes before each.
The policy is the plainest there is: after three minutes buy what costs more, hold it to the end.
"""

import gzip
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

MINUTE_MS = 60_000
BEFORE, ENTRY = 61, 3
FOLDS = 8
_WEEK = "2025-12-12_2025-12-19"


@dataclass(frozen=True, slots=True)
class Recorded:
    """A row a market, in order of time. known: columns that were there before it began."""

    won: Floats
    pnl_usd: Floats
    known: Floats


def recorded(folder: Path) -> Recorded:
    """Markets with quotes and an hour of minutes before them. Outcome: Binance's close against its open."""
    minutes, markets = (_data(folder / f"{name}_{_WEEK}.json.gz") for name in ("BTCUSDT_1m", "markets"))
    bars = {int(bar["timestamp"]) // MINUTE_MS: bar for bar in minutes}
    quotes = _quotes(folder / "prices_1m.tar.gz")
    rows = []
    for market in sorted(markets, key=lambda one: int(one["startTime"])):
        start, end = (int(market[key]) // MINUTE_MS for key in ("startTime", "endTime"))
        seen = [price for at, price in quotes.get(market["tokenIds"][0], ()) if start <= at < end]
        if len(seen) > ENTRY and all(at in bars for at in range(start - BEFORE, end)):
            up_won = float(bars[end - 1]["close"]) >= float(bars[start]["open"])
            rows.append((*_held(seen[ENTRY], is_up=up_won), *_known(bars, start)))
    table = np.array(rows)
    return Recorded(table[:, 0], table[:, 1], _with_last_result(table[:, 2:], table[:, 0]))


def _data(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path) as file:
        found: list[dict[str, Any]] = json.load(file)["data"]
    return found


def _quotes(archive: Path) -> dict[str, list[tuple[int, float]]]:
    """UP's price by token: (minute, USD)."""
    found: dict[str, list[tuple[int, float]]] = {}
    with tarfile.open(archive) as files:
        for member in files:
            file = files.extractfile(member)
            if file is not None and member.name.endswith(".json"):
                read = json.load(file)
                points = sorted((int(one["timestamp"]) // MINUTE_MS, one["price"]) for one in read["data"])
                found[read["metadata"]["tokenId"]] = points
    return found


def _held(up_price: float, *, is_up: bool) -> tuple[float, float]:
    """(won, PnL of 1 USD) of the dearer side, held to the end."""
    price, won = (up_price, is_up) if up_price >= 0.5 else (1.0 - up_price, not is_up)
    return float(won), 1.0 / price - 1.0 if won else -1.0


def _known(bars: Mapping[int, Any], start: int) -> list[float]:
    """Returns, volatility, volume and the hour, all from before `start`."""
    hour = range(start - BEFORE, start)
    changes = np.diff(np.log([float(bars[at]["close"]) for at in hour]))
    volumes = np.array([float(bars[at]["volume"]) for at in hour])
    spread, last = float(changes.std()), float(changes[-15:].sum())
    busier = float(np.log(volumes[-15:].mean() / volumes.mean()))
    angle = 2.0 * np.pi * (start % 1440) / 1440
    return [
        spread, last, float(changes.sum()), abs(last) / spread, busier,
        float(np.sin(angle)), float(np.cos(angle)),
    ]  # fmt: skip


def _with_last_result(known: Floats, won: Floats) -> Floats:
    scaled = (known - known.mean(axis=0)) / known.std(axis=0)
    return np.column_stack([scaled, np.concatenate([[0.0], won[:-1] - won.mean()])])


def explained(known: Floats, result: Floats) -> tuple[float, float]:
    """R^2 of a linear forecast: on the rows it was made from, adjusted for its columns; and on others, each
    eighth of the time forecast from the rest. The second is below 0 where it is worse than the mean."""
    rows, columns = known.shape
    plain = float(np.mean((result - _forecast(known, result, known)) ** 2) / np.var(result))
    fold = np.arange(rows) * FOLDS // rows
    other, mean = np.empty(rows), np.empty(rows)
    for out in (fold == part for part in range(FOLDS)):
        other[out] = _forecast(known[~out], result[~out], known[out])
        mean[out] = result[~out].mean()
    unseen = float(np.sum((result - other) ** 2) / np.sum((result - mean) ** 2))
    return 1.0 - plain * (rows - 1) / (rows - columns - 1), 1.0 - unseen


def _forecast(known: Floats, result: Floats, new: Floats) -> Floats:
    fitted = np.linalg.lstsq(np.column_stack([np.ones(len(known)), known]), result, rcond=None)[0]
    found: Floats = np.column_stack([np.ones(len(new)), new]) @ fitted
    return found
