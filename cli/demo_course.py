"""What the demo trains on and trades, how its bots run, and the check of its books."""

import asyncio
import sqlite3
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from abctl_client.client import Client
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from arms.training import Epoch, TrainingConfig
from cli.failures import CommandFailed
from cli.lab import Course, recorded_course, simulated_course, train_artefact
from cli.terminal import signed_usd
from market.bot import Bot, BotConfig, Ledger
from market.evaluation import play, totals_of
from market.oracles import decoy_oracle
from market.tape import Tape
from market.worlds import DECOY_FAST, tape_of
from store.outbox import Outbox

BOTS = 2
MARKETS_AT_ONCE = 8
_TRADED_SEED = 5_000_000
_ORACLE_MARKETS = 300
_SETTLE_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class DemoCourse:
    """early: traded at 10%, late: at 50%. planted: the effect that was planted, in words."""

    name: str
    title: str
    training: Course
    early: tuple[Tape, ...]
    late: tuple[Tape, ...]
    seed: int
    planted: str = ""
    why_unsure: str = ""


def simulated_demo(markets: int, seed: int) -> DemoCourse:
    """Decoy markets: a long memory can see what a short one cannot, and by how much is known."""
    first = _TRADED_SEED + seed * 10_000_000
    tapes = tuple(tape_of(DECOY_FAST, first + i) for i in range(markets))
    cut = markets // 4
    return DemoCourse(
        name="simulated",
        title=f"{markets} simulated markets of world {DECOY_FAST.name}, {DECOY_FAST.ticks} ticks each",
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
    from market.polymarket_1s import import_polymarket_1s
    from market.recording import read_tapes

    recording = data
    if not (data / "markets.parquet").is_file():
        recording = directory / f"recording-{data.resolve().name}"
        import_polymarket_1s(data, recording)
    tapes = sorted(read_tapes(recording), key=lambda tape: int(tape.tick_us[0]))
    days = [_day(tape) for tape in tapes]
    taught = tuple(t for t, day in zip(tapes, days, strict=True) if day == days[0])
    traded = tuple(t for t, day in zip(tapes, days, strict=True) if day != days[0])
    if not traded:
        raise CommandFailed(
            f"{data} holds one day only: the demo trains on the first day and trades the others"
        )
    cut = max(1, len(traded) // 3)
    return DemoCourse(
        name=f"recorded-{data.resolve().name}",
        title=f"{len(traded)} recorded markets of {days[-1]} (training: {len(taught)} of {days[0]})",
        training=recorded_course(data.name, taught),
        early=traded[:cut],
        late=traded[cut:],
        seed=seed,
        why_unsure=(
            f"{len(traded)} markets cannot settle this: the verdict above says how many it would take. The"
            " recording lacks trades and Binance prices (those features are 0): the arms have little to see."
        ),
    )


def _day(tape: Tape) -> str:
    return datetime.fromtimestamp(int(tape.tick_us[0]) / 1e6, UTC).strftime("%Y-%m-%d")


def train_both(course: DemoCourse, folder: Path, epochs: int) -> dict[str, Path]:
    """Trains base and transformer with a progress bar; arm -> artefact folder."""
    columns = (
        TextColumn("   {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[said]}"),
    )
    with Progress(*columns) as bar:
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

    train_artefact(arm, "fast", course.training, config, folder, progress)
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
