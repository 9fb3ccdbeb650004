"""What bots send in the benchmark: 3 KB each, 20 states of 18 features, many units."""

import secrets
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from store.clock import wall_clock_us

STATES, FEATURES = 20, 18
UNITS = 200
BATCH = 256


@dataclass(frozen=True, slots=True)
class Load:
    """Bodies to send in turn, and the file that holds them, one a line."""

    path: str
    bodies: tuple[bytes, ...]
    file: Path


def decisions(folder: Path) -> Load:
    """One decision for each of UNITS units that nobody has seen, which start now."""
    return saved("/v1/decide", _fresh(UNITS), folder)


def batches(folder: Path, count: int = 4) -> Load:
    """BATCH decisions in a body, each of another unit."""
    items = _fresh(BATCH)
    bodies = tuple(b'{"decisions":[' + b",".join(items[i:] + items[:i]) + b"]}" for i in range(count))
    return saved("/v1/decide/batch", bodies, folder)


def _fresh(count: int) -> tuple[bytes, ...]:
    name, started_at = secrets.token_hex(4), wall_clock_us() // 1000
    histories = np.random.default_rng(1).uniform(0, 0.9, (count, STATES, FEATURES)).round(5)
    return tuple(
        msgspec.json.encode(
            {"unit": f"bench-{name}-{i}", "history": rows.tolist(), "started_at": started_at, "bot": "bench"}
        )
        for i, rows in enumerate(histories)
    )


def saved(path: str, bodies: tuple[bytes, ...], folder: Path) -> Load:
    """Bodies for a path, written where wrk finds them."""
    file = folder / f"{secrets.token_hex(4)}.jsonl"
    file.write_bytes(b"".join(body + b"\n" for body in bodies))
    return Load(path, bodies, file)
