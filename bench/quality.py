"""What the arms learn, 3 seeds: simulated worlds whose best rule is known, a realistic one, and recordings.

    python bench/quality.py                          trains both arms in every world, prints the tables
    python bench/quality.py --worlds decoy --seeds 1
    python bench/quality.py --recordings ../shared/data/polymarket_btc15m_1s --write

Both arms get the same markets, the same settings and one trial. The epoch is chosen by net PnL on markets of
its own (validation), early stop too; the markets of the tables are seen once, at the end. No trade counts as
0. Results are kept in --results line by line, and what is there is not trained again. About 4 minutes of one
core for an arm of the transformer's and a seed.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from speed.found import table
from speed.page import placed

from arms.artefact import Artefact
from arms.onnx_runtime import load
from arms.protocol import Arm
from arms.schema import MARKET_V1
from arms.training import Epoch, TrainingConfig
from cli.lab import Course, recorded_course, simulated_course, train_artefact
from market.evaluation import play
from market.oracles import decoy_oracle
from market.recording import read_tapes
from market.scoring import difference, ends_of, pnl_of
from market.session import MarketResult
from market.tape import Tape
from stats.comparison import Comparison

ARMS = ("base", "transformer")
PRESET = "default"
LONG, SHORT = 20, 5
TEST_SEED = 7
TEST_MARKETS = 1000
WORLDS = {"decoy": 1500, "noise": 1500, "realistic": 1500}
"""Markets to learn from."""
EPOCHS, BATCH_SIZE = 24, 192
GAP_CLOSED, APART, IDLE = 0.6, 0.1, 0.02
PAGE = Path(__file__).resolve().parent.parent / "docs" / "quality.md"
TITLE = "# What the arms learn\n"
HEAD = f"""Made by `python bench/quality.py --recordings FOLDER --write`. Preset `{PRESET}` (base 5 states,
transformer 20), behaviour cloning with at most {EPOCHS} epochs of batches of {BATCH_SIZE}, 3 seeds; both arms
have the same markets, settings and number of trials. The epoch is chosen by net PnL on markets of its own;
the markets of these tables are seen once, at the end. Net of fees and per *assigned* market: one without a
trade counts as 0.
"""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One arm after one training, on the test markets. oracle_usd: of the best simple rule for its window."""

    world: str
    seed: int
    arm: str
    pnl_usd: float
    profit_share: float
    traded_share: float
    trained_s: float
    epoch: int
    oracle_usd: float | None = None


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """Transformer less base on the same markets, in USD a market, 95% clustered by window."""

    world: str
    seed: int
    markets: int
    days: int
    estimate: float | None
    low: float | None
    high: float | None
    reason: str


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """Both arms of one seed in one world."""

    lines: list[Line]
    gap: Gap


@dataclass(frozen=True, slots=True)
class Subject:
    """Where arms learn and are judged. oracle: the best simple rule of a memory, where it is known."""

    name: str
    course: Callable[[int], Course]
    tests: tuple[Tape, ...]
    has_oracle: bool


def simulated(name: str) -> Subject:
    """A world; its test markets are the same for all seeds."""
    tests = simulated_course(name, TEST_MARKETS, TEST_SEED).lessons
    return Subject(name, lambda seed: simulated_course(name, WORLDS[name], seed), tests, name == "decoy")


def recorded(folder: Path) -> Subject:
    """The first recorded day to learn from, the last one to be judged on."""
    tapes = sorted(read_tapes(folder), key=lambda tape: tape.end_us)
    days = sorted({day_of(tape) for tape in tapes})
    if len(days) < 2:
        raise SystemExit(f"{folder} holds {len(days)} day(s) of playable markets: two are needed")
    first = tuple(tape for tape in tapes if day_of(tape) == days[0])
    last = tuple(tape for tape in tapes if day_of(tape) == days[-1])
    return Subject("recordings", lambda _: recorded_course(folder.name, first), last, has_oracle=False)


def day_of(tape: Tape) -> int:
    """Days since 1970, UTC."""
    return int(tape.end_us // 86_400_000_000)


def trial_of(subject: Subject, seed: int, folder: Path) -> Trial:
    """Trains both arms and lets them play the test markets."""
    played: dict[str, tuple[MarketResult, ...]] = {}
    lines = []
    for arm in ARMS:
        began_s = time.perf_counter()
        config = TrainingConfig(epochs=EPOCHS, batch_size=BATCH_SIZE, seed=seed)
        artefact, epochs = train_artefact(
            arm, PRESET, subject.course(seed), config, folder / f"{subject.name}-{seed}-{arm}"
        )
        took_s = time.perf_counter() - began_s
        played[arm] = play(partial(acted, load(artefact, MARKET_V1)), subject.tests, artefact.window)
        oracle = oracle_usd(subject, artefact)
        lines.append(line_of((subject.name, seed, arm), played[arm], took_s, kept(epochs), oracle))
    paired = difference(played["transformer"], played["base"], subject.tests)
    return Trial(lines=lines, gap=gap_of(subject, seed, paired))


def acted(arm: Arm, histories: NDArray[np.float32], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """The likeliest action, as it is served."""
    return np.asarray(arm.act(histories, lengths).probs.argmax(axis=1), dtype=np.int64)


def kept(epochs: Sequence[Epoch]) -> int:
    """The number of the epoch whose weights are in the artefact."""
    return max(epochs, key=lambda epoch: epoch.score).epoch


def oracle_usd(subject: Subject, artefact: Artefact) -> float | None:
    """Net PnL a market of the rule that knows the world, with the arm's own memory."""
    if not subject.has_oracle:
        return None
    return float(pnl_of(play(decoy_oracle(artefact.window), subject.tests, artefact.window)).mean())


def line_of(
    who: tuple[str, int, str],
    results: tuple[MarketResult, ...],
    trained_s: float,
    epoch: int,
    oracle: float | None,
) -> Line:
    """What one arm made of the test markets."""
    world, seed, arm = who
    pnl = pnl_of(results)
    return Line(
        world=world, seed=seed, arm=arm, pnl_usd=float(pnl.mean()), profit_share=float((pnl > 0).mean()),
        traded_share=sum(1 for r in results if r.trades) / len(results), trained_s=trained_s, epoch=epoch,
        oracle_usd=oracle,
    )  # fmt: skip


def gap_of(subject: Subject, seed: int, paired: Comparison) -> Gap:
    """The paired comparison as it is kept."""
    days = len({day_of(tape) for tape in subject.tests})
    return Gap(
        world=subject.name, seed=seed, markets=len(ends_of(subject.tests)), days=days,
        estimate=paired.estimate, low=paired.low, high=paired.high, reason=paired.reason or "",
    )  # fmt: skip


def trials(subjects: Sequence[Subject], seeds: int, results: Path) -> Iterator[Trial]:
    """What is kept already, and the rest, which is kept as soon as it is there."""
    lines = results.read_bytes().splitlines() if results.exists() else []
    held = {(t.gap.world, t.gap.seed): t for t in (msgspec.json.decode(line, type=Trial) for line in lines)}
    for subject in subjects:
        for seed in range(1, seeds + 1):
            if (subject.name, seed) not in held:
                with tempfile.TemporaryDirectory() as folder:
                    found = trial_of(subject, seed, Path(folder))
                with results.open("ab") as file:
                    file.write(msgspec.json.encode(found) + b"\n")
                held[subject.name, seed] = found
            yield held[subject.name, seed]


def text_of(found: Sequence[Trial]) -> str:
    """Both tables and the promises, as Markdown."""
    head = ("world", "seed", "arm", "net $", "oracle $", "P(profit)", "trades in", "epoch", "training s")
    rows = [row_of(line) for trial in found for line in trial.lines]
    gaps = [gap_row(trial.gap) for trial in found]
    gap_head = ("world", "seed", "markets", "days", "transformer less base $", "95% from", "to", "remark")
    parts = [*table(head, rows), "", *table(gap_head, gaps), "", *promises(found)]
    return "\n".join(parts)


def row_of(line: Line) -> tuple[str, ...]:
    """A line of the first table."""
    oracle = "" if line.oracle_usd is None else f"{line.oracle_usd:.2f}"
    shares = (f"{line.profit_share:.1%}", f"{line.traded_share:.1%}")
    facts = (line.world, str(line.seed), line.arm, f"{line.pnl_usd:+.3f}", oracle, *shares)
    return (*facts, str(line.epoch), f"{line.trained_s:.0f}")


def gap_row(gap: Gap) -> tuple[str, ...]:
    """A line of the second table."""
    numbers = ["" if value is None else f"{value:+.3f}" for value in (gap.estimate, gap.low, gap.high)]
    return (gap.world, str(gap.seed), str(gap.markets), str(gap.days), *numbers, gap.reason)


def promises(found: Sequence[Trial]) -> list[str]:
    """Each bar beside its worst seed."""
    checks: list[tuple[str, str, str, bool]] = []
    decoys = [trial for trial in found if trial.gap.world == "decoy"]
    if decoys:
        closed = [share_closed(trial) for trial in decoys]
        apart = [apart_of(trial) for trial in decoys]
        checks += [
            ("decoy: share of the gap between the oracles that the transformer closes",
             f"at least {GAP_CLOSED:.0%}", shown(closed), min(closed) >= GAP_CLOSED),
            ("decoy: base from its own oracle, of the long oracle's net PnL",
             f"at most {APART:.0%}", shown(apart), max(apart) <= APART),
        ]  # fmt: skip
    noises = [trial for trial in found if trial.gap.world == "noise"]
    if noises:
        idle = [line.traded_share for trial in noises for line in trial.lines]
        holds = [holds_zero(trial.gap) for trial in noises]
        checks += [
            ("noise: markets with a trade", f"at most {IDLE:.0%}", shown(idle), max(idle) <= IDLE),
            ("noise: the interval holds 0", "all seeds", f"{sum(holds)} of {len(holds)}", all(holds)),
        ]  # fmt: skip
    rows = [(claim, bar, seen, "yes" if holds else "**no**") for claim, bar, seen, holds in checks]
    return table(("promise", "bar", "by seed", "holds"), rows) if rows else []


def holds_zero(gap: Gap) -> bool:
    """Whether nothing can be told apart; where nobody traded the difference is 0 and has no interval."""
    if gap.low is None or gap.high is None:
        return gap.estimate == 0
    return gap.low <= 0 <= gap.high


def share_closed(trial: Trial) -> float:
    """(transformer - short oracle) / (long oracle - short oracle)."""
    base, transformer = trial.lines
    assert base.oracle_usd is not None
    assert transformer.oracle_usd is not None
    return (transformer.pnl_usd - base.oracle_usd) / (transformer.oracle_usd - base.oracle_usd)


def apart_of(trial: Trial) -> float:
    """|base - its oracle| / long oracle: base's own oracle earns 0 (ADR 0008)."""
    base, transformer = trial.lines
    assert base.oracle_usd is not None
    assert transformer.oracle_usd is not None
    return abs(base.pnl_usd - base.oracle_usd) / transformer.oracle_usd


def shown(shares: Sequence[float]) -> str:
    """Of every seed."""
    return ", ".join(f"{share:.1%}" for share in shares) + f" (median {statistics.median(shares):.1%})"


def main() -> None:
    """Runs the benchmark; 1 where a promise is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--worlds", nargs="*", default=list(WORLDS), choices=list(WORLDS))
    parser.add_argument("--recordings", type=Path, help="folder of recorded markets of two days at least")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=Path("quality.jsonl"), help="kept line by line")
    parser.add_argument("--write", action="store_true", help=f"put the tables into {PAGE.name}")
    asked = parser.parse_args()
    subjects = [simulated(name) for name in asked.worlds]
    subjects += [recorded(asked.recordings)] if asked.recordings else []
    found = []
    for trial in trials(subjects, asked.seeds, asked.results):
        found.append(trial)
        print(*(" ".join(row_of(line)) for line in trial.lines), sep="\n", flush=True)
    text = text_of(found)
    print(text)
    if asked.write:
        page = PAGE.read_text() if PAGE.exists() else TITLE
        PAGE.write_text(placed(page, "cloning", f"{HEAD}\n{text}"))
    sys.exit("**no**" in text)


if __name__ == "__main__":
    main()
