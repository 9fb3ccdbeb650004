"""What each training method makes of the same markets: cloning, AWR, IQL and PPO beside the rule that knows.

    python bench/methods.py [--seeds 3] [--methods bc awr iql ppo bc+ppo] [--workers 2] [--write]

The transformer's preset `fast` in the world `decoy-fast`, whose cues tell of the last ten ticks. Every method
has the same lessons, judges and number of trials, which is one, with the settings that it has where nothing
is said. The epoch is chosen on the judges; the test markets are played once, at the end, as the model is
served. bc+ppo is PPO that goes on from the clone of the same seed. Results are kept in --results line by
line, and what is there is not trained again. About ten minutes on two cores.
"""

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path

import msgspec
from quality import acted
from speed.found import table
from speed.page import placed
from stock.page import measured_on

from arms.artefact import Artefact
from arms.onnx_runtime import load
from arms.ppo import PpoConfig
from arms.presets import preset_of
from arms.schema import MARKET_V1
from arms.training import TrainingConfig
from cli.lab import Course, simulated_course, train_artefact
from cli.offline_course import train_offline
from cli.ppo_course import PLACES, train_ppo
from market.evaluation import Policy, play
from market.oracles import decoy_oracle
from market.scoring import Score, score

ARM, PRESET, WORLD = "transformer", "fast", "decoy-fast"
METHODS = ("bc", "awr", "iql", "ppo", "bc+ppo")
TRAIN_MARKETS, TEST_MARKETS, TEST_SEED = 1200, 1000, 7
EPOCHS, BATCH_SIZE, PPO_EPOCHS = 24, 192, 24
LONG, SHORT = (preset_of(kind, PRESET).window for kind in (ARM, "base"))
PAGE = Path(__file__).resolve().parent.parent / "docs" / "quality.md"
HEAD = f"""## By method

Made by `python bench/methods.py --write`, in a small world so that PPO, which plays to learn, can be
repeated: the transformer's preset `{PRESET}` ({LONG} states) in the world `{WORLD}`,
{TRAIN_MARKETS:,} markets to learn from, 200 that choose the epoch, {TEST_MARKETS:,} for these tables. One
trial each and no tuning: at most {EPOCHS} epochs of batches of {BATCH_SIZE} for `bc`, `awr` and `iql`,
{PPO_EPOCHS} epochs of {PLACES} markets by {PpoConfig().ticks} ticks for `ppo`. `bc+ppo` is `ppo`
with the clone of the same seed as its `--start`. Net of fees and per *assigned* market, 95% intervals
clustered by window. Epoch 0 is the start itself: none was better. An oracle is the best simple rule, not a
bound.
"""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """What a method, or an oracle, makes of the test markets, in USD a market. low, high: None = it cannot be
    said, and reason says why. seed, epoch, trained_s: 0 of an oracle."""

    method: str
    seed: int
    pnl_usd: float
    low: float | None
    high: float | None
    reason: str
    profit_share: float
    traded_share: float
    epoch: int
    trained_s: float


def line_of(method: str, seed: int) -> Line:
    """Trains, and lets the model play the test markets as it is served."""
    course, began_s = simulated_course(WORLD, TRAIN_MARKETS, seed), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        artefact = trained(method, course, seed, Path(folder))
        took_s = time.perf_counter() - began_s
        found = judged(partial(acted, load(artefact, MARKET_V1)), artefact.window)
    return shown(f"`{method}`", found, (seed, artefact.trained.epochs, took_s))


def trained(method: str, course: Course, seed: int, folder: Path) -> Artefact:
    """By one of METHODS; the clone that PPO goes on from is trained along with it."""
    config = TrainingConfig(epochs=EPOCHS, batch_size=BATCH_SIZE, seed=seed)
    if method == "bc":
        return train_artefact(ARM, PRESET, course, config, folder / method)[0]
    if method in {"awr", "iql"}:
        return train_offline(method, ARM, PRESET, course, config, folder / method)[0]
    start = trained("bc", course, seed, folder) if method == "bc+ppo" else None
    play_config = PpoConfig(epochs=PPO_EPOCHS, seed=seed)
    return train_ppo(ARM, PRESET, course, play_config, folder / "ppo", start=start)[0]


def oracle_line(window: int) -> Line:
    """The rule that knows the world and remembers so many ticks."""
    return shown(f"oracle, {window} ticks", judged(decoy_oracle(window), window), (0, 0, 0.0))


def judged(policy: Policy, window: int) -> Score:
    """On test markets that are the same for all seeds."""
    tests = simulated_course(WORLD, TEST_MARKETS, TEST_SEED).lessons
    return score(play(policy, tests, window), tests)


def shown(method: str, found: Score, made: tuple[int, int, float]) -> Line:
    """made: seed, epoch that was kept, seconds of training."""
    pnl, (seed, epoch, trained_s) = found.pnl_usd, made
    if pnl.estimate is None:
        raise SystemExit(f"{method}, seed {seed}: {pnl.reason}")
    return Line(
        method=method, seed=seed, pnl_usd=pnl.estimate, low=pnl.low, high=pnl.high, reason=pnl.reason or "",
        profit_share=found.profit_share, traded_share=found.traded_share, epoch=epoch, trained_s=trained_s,
    )  # fmt: skip


def lines(asked: Sequence[tuple[str, int]], workers: int, results: Path) -> Iterator[Line]:
    """What is kept already, and the rest as it comes, which is kept at once."""
    kept = results.read_bytes().splitlines() if results.exists() else []
    held = {(line.method, line.seed): line for line in (msgspec.json.decode(row, type=Line) for row in kept)}
    yield from (held[f"`{method}`", seed] for method, seed in asked if (f"`{method}`", seed) in held)
    missing = [each for each in asked if (f"`{each[0]}`", each[1]) not in held]
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        for done in as_completed([pool.submit(line_of, *each) for each in missing]):
            with results.open("ab") as file:
                file.write(msgspec.json.encode(done.result()) + b"\n")
            yield done.result()


def text_of(oracles: Sequence[Line], found: Sequence[Line]) -> str:
    """Both tables as Markdown: every training, and every method's median."""
    head = (
        "method",
        "seed",
        "net $",
        "95% from",
        "to",
        "P(profit)",
        "trades in",
        "epoch",
        "training s",
        "remark",
    )
    by_method = ("method", "seeds", "median net $", "of the long oracle", "median P(profit)", "worst seed $")
    methods = dict.fromkeys(line.method for line in found)
    medians = [median_row([line for line in found if line.method == name], oracles[0]) for name in methods]
    rows = [row_of(line) for line in (*oracles, *found)]
    return "\n".join([*table(by_method, medians), "", *table(head, rows)])


def row_of(line: Line) -> tuple[str, ...]:
    """A line of the long table."""
    interval = ["" if value is None else f"{value:+.3f}" for value in (line.low, line.high)]
    shares = f"{line.profit_share:.1%}", f"{line.traded_share:.1%}"
    made = (str(line.epoch), f"{line.trained_s:.0f}") if line.seed else ("", "")
    return (line.method, str(line.seed or ""), f"{line.pnl_usd:+.3f}", *interval, *shares, *made, line.reason)


def median_row(of_method: Sequence[Line], oracle: Line) -> tuple[str, ...]:
    """A line of the short table."""
    pnl = [line.pnl_usd for line in of_method]
    median, profits = statistics.median(pnl), statistics.median(line.profit_share for line in of_method)
    share = f"{median / oracle.pnl_usd:.0%}"
    return (of_method[0].method, str(len(pnl)), f"{median:+.3f}", share, f"{profits:.1%}", f"{min(pnl):+.3f}")


def ordered(found: Sequence[Line]) -> list[Line]:
    """By method and seed."""
    names = [f"`{method}`" for method in METHODS]
    return sorted(found, key=lambda line: (names.index(line.method), line.seed))


def main() -> None:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=METHODS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2, help="trainings at a time, a core each")
    parser.add_argument("--results", type=Path, default=Path("methods.jsonl"), help="kept line by line")
    parser.add_argument("--write", action="store_true", help=f"put the tables into {PAGE.name}")
    asked = parser.parse_args()
    found = []
    each = [(method, seed) for seed in range(1, asked.seeds + 1) for method in asked.methods]
    for line in lines(each, asked.workers, asked.results):
        found.append(line)
        print(*row_of(line), flush=True)
    text = text_of([oracle_line(window) for window in (LONG, SHORT)], ordered(found))
    print(text)
    if asked.write:
        PAGE.write_text(
            placed(PAGE.read_text(), "methods", f"{HEAD}\n{text}\n\nMeasured on {measured_on()}.")
        )


if __name__ == "__main__":
    main()
