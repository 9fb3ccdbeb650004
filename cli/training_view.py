"""A training as it is seen while it runs: a live view on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from arms.training import Epoch
from cli.terminal import note, signed_usd


@dataclass(slots=True)
class Seen:
    """What was told so far. share: of the running epoch, in [0, 1]."""

    title: str
    epochs: int
    clock_s: Callable[[], float] = time.monotonic
    reports: list[Epoch] = field(default_factory=list)
    share: float = 0.0
    _before: int = 0
    _began_s: float = 0.0

    def begun(self, before: tuple[Epoch, ...]) -> None:
        """The clock starts."""
        self.reports, self._before, self._began_s = list(before), len(before), self.clock_s()

    def batch(self, share: float) -> None:
        """Within an epoch."""
        self.share = share

    def told(self, epoch: Epoch) -> None:
        """An epoch is done."""
        self.reports.append(epoch)
        self.share = 0.0

    @property
    def best(self) -> Epoch | None:
        """The epoch that is kept: of equals the first."""
        return max(self.reports, key=lambda epoch: epoch.score, default=None)

    @property
    def done(self) -> float:
        """Epochs, the running one by its share."""
        return len(self.reports) + self.share

    @property
    def left_s(self) -> float | None:
        """If all epochs to come take as long as those of this run did; None before there is a measure."""
        done = self.done - self._before
        if done <= 0:
            return None
        return (self.clock_s() - self._began_s) / done * (self.epochs - self.done)


@dataclass(slots=True)
class PlainView:
    """A line per epoch on stderr."""

    def begun(self, before: tuple[Epoch, ...]) -> None:
        """Says nothing."""

    def batch(self, share: float) -> None:
        """Says nothing."""

    def told(self, epoch: Epoch) -> None:
        """With what the log leaves out."""
        pnl = signed_usd(epoch.pnl_usd)
        note(f"{epoch.line}  net PnL/market {pnl}  {epoch.samples_per_s:,.0f} samples/s")

    def ended(self, words: str) -> None:
        """Says nothing."""


class LiveView:
    """A bar and the newest numbers, redrawn in place; the last picture stays."""

    def __init__(self, seen: Seen, console: Console) -> None:
        self._seen = seen
        self._bar = Progress(
            TextColumn("epoch {task.fields[number]}/{task.total}"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:3.0f}%  {task.fields[left]}"),
            expand=True,
        )
        self._task = self._bar.add_task("", total=seen.epochs, number=0, left="")
        self._live = Live(console=console, get_renderable=self._picture, refresh_per_second=4)

    def begun(self, before: tuple[Epoch, ...]) -> None:
        """Draws from now on."""
        self._seen.begun(before)
        self._live.start()

    def batch(self, share: float) -> None:
        """Seen at the next drawing."""
        self._seen.batch(share)

    def told(self, epoch: Epoch) -> None:
        """Seen at the next drawing."""
        self._seen.told(epoch)

    def ended(self, words: str) -> None:
        """Draws a last time."""
        self._live.stop()

    def _picture(self) -> Group:
        seen = self._seen
        number = min(len(seen.reports) + (seen.share > 0), seen.epochs)
        left = f"{duration(seen.left_s)} left" if seen.left_s is not None else ""
        self._bar.update(self._task, completed=seen.done, number=number, left=left)
        return Group(Text(seen.title, style="bold"), self._bar, _numbers(seen))


def view_of(seen: Seen) -> PlainView | LiveView:
    """By what stderr is."""
    console = Console(stderr=True)
    if console.is_terminal and not console.is_dumb_terminal:
        return LiveView(seen, console)
    return PlainView()


def duration(seconds: float) -> str:
    """1:02:03, or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def pnl_text(epoch: Epoch) -> str:
    """+$0.123 +- 0.040: the mean and its standard error."""
    return f"{signed_usd(epoch.pnl_usd)} \N{PLUS-MINUS SIGN} {epoch.pnl_se_usd:.3f}"


def _numbers(seen: Seen) -> Table:
    grid = Table.grid(padding=(0, 2))
    if not seen.reports:
        return grid
    newest, best = seen.reports[-1], seen.best
    rows = {
        "loss": f"{newest.loss:.4f}",
        "accuracy": f"{newest.accuracy:.3f}",
        "net PnL per market": pnl_text(newest),
        "best": f"{pnl_text(best)}, epoch {best.epoch}" if best else "",
        "samples/s": f"{newest.samples_per_s:,.0f}",
    }
    for name, value in rows.items():
        grid.add_row(name, value)
    return grid
