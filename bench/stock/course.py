"""The rows that training is measured with: markets of a simulated world, labelled."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from arms.episodes import Episode, joined
from arms.epochs import Watch
from arms.presets import preset_of
from arms.training import Epoch, TrainingConfig, draw, lessons_of
from cli.lab import backend_of, simulated_course
from market.labels import labelled

WORLD = "decoy"
MARKETS = 1_200


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of a run: about so many windows in so many epochs, drawn from so many markets."""

    windows: int
    epochs: int
    markets: int


@lru_cache(maxsize=1)
def episodes_of(markets: int) -> tuple[Episode, ...]:
    """The same markets give the same bytes."""
    course = simulated_course(WORLD, markets)
    return labelled(course.lessons, course.exit_rule, 0)


def config_of(sizes: Sizes) -> TrainingConfig:
    """The defaults, but for the sizes; patience never ends it."""
    rows = sizes.windows // sizes.epochs
    return TrainingConfig(epochs=sizes.epochs, rows_per_epoch=rows, patience=sizes.epochs + 1)


def trained(backend: str, kind: str, preset: str, sizes: Sizes) -> dict[str, float]:
    """Trains in this process without judging. seconds: in all; rows: how many windows that were."""
    episodes, facts = episodes_of(sizes.markets), list[Epoch]()
    config = config_of(sizes)
    train = backend_of(backend).train
    began_s = time.perf_counter()
    train(episodes, preset_of(kind, preset), config, lambda policy: [0.0], Watch(facts.append))
    seconds = time.perf_counter() - began_s
    return {
        "rows": rows_of(episodes, config),
        "seconds": seconds,
        "samples_per_s": statistics.median(epoch.samples_per_s for epoch in facts),
        "peak_mib": peak_mib(),
    }


def peak_mib() -> float:
    """Of this process since it began; getrusage would count its parent's memory too."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
    return int(line.split()[1]) / 1024


def rows_of(episodes: Sequence[Episode], config: TrainingConfig) -> int:
    """How many windows such a run draws."""
    best, rng = lessons_of(joined(episodes)).best, np.random.default_rng(config.seed)
    return sum(len(draw(best, config.rows_per_epoch, rng).index) for _ in range(config.epochs))


def trained_alone(backend: str, kind: str, preset: str, sizes: Sizes) -> dict[str, float]:
    """The same in a fresh process on one thread, so that its peak is its own."""
    numbers = (str(sizes.windows), str(sizes.epochs), str(sizes.markets))
    words = [sys.executable, __file__, backend, kind, preset, *numbers]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(words, check=False, capture_output=True, text=True, env=os.environ | threads)
    if done.returncode != 0:
        raise SystemExit(f"training {kind} in {backend} failed: {done.stderr[-2000:]}")
    said: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return said


def main(words: Sequence[str]) -> None:
    """In that process: backend, arm, preset, windows, epochs, markets; prints JSON."""
    backend, kind, preset, *numbers = words
    windows, epochs, markets = (int(number) for number in numbers)
    print(json.dumps(trained(backend, kind, preset, Sizes(windows, epochs, markets))))


if __name__ == "__main__":
    main(sys.argv[1:])
