"""Parameters, files, latency, memory and training of every preset."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from speed.found import Section

from arms.artefact import read_artefact
from arms.onnx_runtime import load, window_of
from arms.schema import MARKET_V1
from stock import course
from stock.duel import percentiles_us
from stock.subject import Subject, histories_of

REQUESTS = 1_000
BENCH = Path(__file__).resolve().parents[1]
HEADER = ("arm", "preset", "window", "parameters", "folder KB", "request p50 us", "p99 us", "batch 32 p50 us")
MORE = ("serving MiB", "samples/s", "100,000 windows s", "training MiB")


@dataclass(frozen=True, slots=True)
class CostSizes:
    """calls: timed ones."""

    calls: int
    training: course.Sizes


def costs(subjects: Sequence[Subject], sizes: CostSizes) -> Section:
    """A row for every preset."""
    run = sizes.training
    note = (
        "Untrained weights, one thread, ONNX Runtime. *request*: the window out of a list of "
        "rows, and the answer. *folder*: everything in it, the weights twice. *serving*: what a "
        f"process that holds ONNX Runtime grows by until it has answered {REQUESTS:,} requests. "
        f"*samples/s*: `arms.torch_training` without judging, in a fresh process, {run.windows:,} "
        f"windows in {run.epochs} epochs out of {run.markets:,} simulated markets; the median epoch. "
        "*100,000 windows* follows from it. *training*: the peak of that process, its markets "
        "included. The guide: 10 minutes for base, 15 for the transformer, 30 for `large`, 8 for "
        "`fast`; models of 5, 8, 20 and 3 MB."
    )
    rows = tuple(_row(subject, sizes) for subject in subjects)
    return Section("costs", "What every preset costs", (*HEADER, *MORE), rows, (), (note,))


def _row(subject: Subject, sizes: CostSizes) -> tuple[str, ...]:
    preset = subject.preset
    trained = course.trained_alone("torch", preset.kind, preset.name, sizes.training)
    return (
        preset.kind,
        preset.name,
        str(preset.window),
        f"{subject.parameters:,}",
        f"{sum(file.stat().st_size for file in subject.folder.iterdir()) / 1024:,.0f}",
        *_latencies(subject, sizes.calls),
        f"{serving_mib(subject.folder):.1f}",
        f"{trained['samples_per_s']:,.0f}",
        f"{1e5 / trained['samples_per_s']:,.1f}",
        f"{trained['peak_mib']:,.0f}",
    )


def _latencies(subject: Subject, calls: int) -> tuple[str, str, str]:
    """p50 and p99 of a request, p50 of 32 histories."""
    arm, window = subject.arm, subject.preset.window
    many, lengths = histories_of(subject.preset, 32)
    rows = many[0].tolist()
    p50, p99 = percentiles_us(lambda: arm.act(*window_of(rows, window)), calls)
    batch, _ = percentiles_us(lambda: arm.act(many, lengths), max(5, calls // 10))
    return f"{p50:,.0f}", f"{p99:,.0f}", f"{batch:,.0f}"


def serving_mib(folder: Path) -> float:
    """What a fresh process grows by when it loads this model and answers."""
    words = [sys.executable, "-m", "stock.costs", str(folder)]
    done = subprocess.run(words, check=False, capture_output=True, text=True, cwd=BENCH)
    if done.returncode != 0:
        raise SystemExit(f"serving {folder.name} failed: {done.stderr[-2000:]}")
    return float(done.stdout.splitlines()[-1])


def grow(folder: Path) -> None:
    """In that process: prints MiB."""
    before = resident_mib()
    arm = load(read_artefact(folder), MARKET_V1)
    history = np.zeros((arm.window, MARKET_V1.width), dtype=np.float32)
    for _ in range(REQUESTS):
        arm.act(*window_of(history, arm.window))
    print(resident_mib() - before)


def resident_mib() -> float:
    """Of this process, now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    grow(Path(sys.argv[1]))
