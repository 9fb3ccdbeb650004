"""What the demo trains on and trades, how its bots run, and the check of its books."""

import asyncio
import sqlite3
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from abctl_client.client import Client
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)

from arms.epochs import Watch
from arms.training import Epoch, TrainingConfig
from cli.failures import CommandFailed
from cli.lab import Course, recorded_course, simulated_course, train_artefact
from cli.terminal import signed_usd
from market.bot import Bot, BotConfig, Ledger
from market.evaluation import play, totals_of
from market.oracles import decoy_oracle
from market.tape import Tape
from market.worlds import DECOY_FAST, tape_of
from stats.verdict import NOT_YET
from store.outbox import Outbox

BOTS = 2
MARKETS_AT_ONCE = 8
_TRADED_SEED = 5_000_000
_ORACLE_MARKETS = 300
_SETTLE_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class DemoCourse:
    """title: lines. early: traded at 10%, late: at 50%. planted: the effect that was planted, in words.
    lacks: what the arms cannot see here, in words."""

    name: str
    title: tuple[str, ...]
    training: Course
    early: tuple[Tape, ...]
    late: tuple[Tape, ...]
    seed: int
    planted: str = ""
    lacks: str = ""


def simulated_demo(markets: int, seed: int) -> DemoCourse:
    """Decoy markets: a long memory can see what a short one cannot, and by how much is known."""
    first = _TRADED_SEED + seed * 10_000_000
    tapes = tuple(tape_of(DECOY_FAST, first + i) for i in range(markets))
    cut = markets // 4
    return DemoCourse(
        name="simulated",
        title=(f"{markets} simulated markets of world {DECOY_FAST.name}, {DECOY_FAST.ticks} ticks each",),
        training=simulated_course(DECOY_FAST.name, seed=seed),
        early=tapes[:cut],
        late=tapes[cut:],
        seed=seed,
        planted=planted_effect(tapes[:_ORACLE_MARKETS]),
    )


def planted_effect(tapes: tuple[Tape, ...]) -> str:
    """What perfect use of 10 ticks earns over perfect use of 3, on the markets to be traded."""
    long, short = (totals_of(play(decoy_oracle(window), tapes, window)) for window in (10, 3))
    points = 100 * (long.profit_share - short.profit_share)
    usd = long.pnl_per_market_usd - short.pnl_per_market_usd
    return (
        f"planted: perfect use of 10 ticks makes a profit in {points:+.0f} points more of the markets than"
        f" perfect use of 3 ({long.profit_share:.0%} against {short.profit_share:.0%}),"
        f" and earns {signed_usd(usd)} more a market"
    )


def recorded_demo(data: Path, directory: Path, seed: int) -> DemoCourse:
    """Recorded markets: the first day teaches, the days after it are traded."""
    from market.recording import read_tapes

    recording = _recording(data, directory)
    tapes = sorted(read_tapes(recording), key=lambda tape: int(tape.tick_us[0]))
    first = min(why_excluded(recording), default="")
    taught = tuple(tape for tape in tapes if _day(int(tape.tick_us[0])) == first)
    traded = tapes[len(taught) :]
    if not taught or not traded:
        raise CommandFailed(
            f"{data} needs playable markets on its first day (they teach) and on later ones (they are traded)"
        )
    cut, training = max(1, len(traded) // 3), recorded_course(data.name, taught)
    return DemoCourse(
        name=f"recorded-{data.resolve().name}",
        title=(*excluded_lines(recording), lesson_line(training, len(taught))),
        training=training,
        early=tuple(traded[:cut]),
        late=tuple(traded[cut:]),
        seed=seed,
        lacks="The recording lacks trades and Binance prices (those features are 0): the arms see little.",
    )


def _recording(data: Path, directory: Path) -> Path:
    """The folder itself where it is a recording, else what its CSV files become."""
    from market.polymarket_1s import import_polymarket_1s

    if (data / "markets.parquet").is_file():
        return data
    recording = directory / f"recording-{data.resolve().name}"
    import_polymarket_1s(data, recording)
    return recording


def why_excluded(recording: Path) -> dict[str, list[str | None]]:
    """Day -> of each of its markets, why it cannot be played; None where it can."""
    from market.recording import read_markets

    days: dict[str, list[str | None]] = {}
    for start_us, reason in read_markets(recording).select("start_us", "excluded").rows():
        days.setdefault(_day(start_us), []).append(reason)
    return days


def excluded_lines(recording: Path) -> list[str]:
    """A line a day: how many of its recorded markets can be played, and why the others cannot."""
    lines = []
    for i, (day, reasons) in enumerate(sorted(why_excluded(recording).items())):
        odd = Counter(reason for reason in reasons if reason is not None)
        use = "teach" if i == 0 else "are traded"
        line = f"{len(reasons) - odd.total()} of {len(reasons)} recorded markets of {day} {use}"
        why = ", ".join(f"{count} {reason}" for reason, count in sorted(odd.items()))
        lines.append(f"{line}; excluded: {why or 'none'}")
    return lines


def lesson_line(course: Course, taught: int) -> str:
    """What becomes of the markets that teach."""
    lessons, judges = len(course.lessons), len(course.judges)
    embargo = taught - lessons - judges
    return f"of those {taught}, {lessons} are learned from, {judges} judge, {embargo} between is left out"


def closing_sentence(course: DemoCourse, verdict: str, more_units: int | None) -> str:
    """What the verdict means for this run."""
    count = len(course.early) + len(course.late)
    if verdict != NOT_YET:
        said = f"After {count} markets the verdict is: {verdict}."
    elif more_units is None:
        said = f"{count} markets cannot settle this: the verdict above says why."
    else:
        said = f"{count} markets cannot settle this: about {more_units:,} more would."
    return f"{said} {course.lacks}".rstrip()


def _day(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%Y-%m-%d")


def progress_columns() -> tuple[ProgressColumn, ...]:
    """Of the bar: who learns, how far it is, what it says; brackets in that are no markup."""
    return (
        TextColumn("   {task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[said]}", markup=False),
    )


def train_both(course: DemoCourse, folder: Path, epochs: int) -> dict[str, Path]:
    """Trains base and transformer with a progress bar; arm -> artefact folder."""
    with Progress(*progress_columns()) as bar:
        return {
            arm: _trained(course, TrainingConfig(epochs=epochs, seed=course.seed), arm, folder / arm, bar)
            for arm in ("base", "transformer")
        }


def _trained(course: DemoCourse, config: TrainingConfig, arm: str, folder: Path, bar: Progress) -> Path:
    task = bar.add_task(f"{arm:<12}", total=config.epochs, said="")
    seen: list[Epoch] = []

    def progress(epoch: Epoch) -> None:
        seen.append(epoch)
        kept = max(seen, key=lambda e: e.score)
        said = f"loss {epoch.loss:.3f}, kept {signed_usd(kept.pnl_usd)}/market"
        bar.update(task, completed=epoch.epoch, said=said)

    train_artefact(arm, "fast", course.training, config, folder, Watch(progress))
    bar.update(task, completed=config.epochs)
    return folder


def trade(url: str, folder: Path, tapes: tuple[Tape, ...], run: str, ledger: Ledger) -> None:
    """Lets several bots play the tapes against the service at once, and waits until all is acknowledged."""
    asyncio.run(_trade(url, folder, tapes, run, ledger))


async def _trade(url: str, folder: Path, tapes: tuple[Tape, ...], run: str, ledger: Ledger) -> None:
    async with Client(url, timeout_s=10.0, patience_s=120.0) as client, asyncio.TaskGroup() as group:
        for i in range(BOTS):
            config = BotConfig(name=f"bot-{i + 1}", run=run, markets_at_once=MARKETS_AT_ONCE)
            bot = Bot(config, client, Outbox(folder / f"bot-{i + 1}.outbox"), ledger)
            group.create_task(bot.trade(tapes[i::BOTS]))


_BOOKS = """
SELECT
  (SELECT count(*) FROM decision WHERE experiment = 'main' AND unit LIKE :run),
  (SELECT count(*) FROM outcome WHERE experiment = 'main' AND kind = 'market' AND unit LIKE :run),
  (SELECT count(*) FROM outcome WHERE experiment = 'main' AND kind = 'trade' AND unit LIKE :run),
  (SELECT count(*) FROM unit WHERE experiment = 'main' AND unit LIKE :run),
  (SELECT sum(decisions) FROM unit WHERE experiment = 'main' AND unit LIKE :run),
  (SELECT count(*) FROM (SELECT unit FROM decision WHERE experiment = 'main' AND unit LIKE :run
                         GROUP BY unit HAVING count(DISTINCT arm) > 1))
"""


def balance(data_dir: Path, ledger: Ledger, run: str) -> list[str]:
    """Lines that compare the bots' own books with SQL; raises where they differ."""
    trades = sum(len(result.trades) for result in ledger.played)
    markets = len(ledger.played)
    wanted = (len(ledger.answered), markets, trades, markets, len(ledger.answered), 0)
    found = _settled_books(data_dir, wanted, run)
    if found != wanted or set(ledger.sent) != set(ledger.answered):
        raise CommandFailed(
            f"the books do not balance: SQL has {found}, the bots say {wanted}; please report this"
        )
    return [
        f"decisions: {len(ledger.sent):,} sent = {len(ledger.answered):,} answered = {found[0]:,} in SQL",
        f"outcomes:  {markets} markets and {trades} trades played = {found[1]} and {found[2]} in SQL",
        "every market kept one and the same arm, also across the change of the split",
    ]


def _settled_books(data_dir: Path, wanted: tuple[int, ...], run: str) -> tuple[int, ...]:
    """What SQL holds, once it holds as much as the bots say (or the time is up)."""
    deadline = time.monotonic() + _SETTLE_TIMEOUT_S
    while True:
        with sqlite3.connect(f"file:{data_dir / 'abctl.db'}?mode=ro", uri=True) as connection:
            found = tuple(connection.execute(_BOOKS, {"run": f"%@{run}"}).fetchone())
        if found == wanted or time.monotonic() > deadline:
            return found
        time.sleep(0.2)
