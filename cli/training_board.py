"""TensorBoard event files of a training, whichever framework trains: loss, accuracy, net PnL, speed."""

import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # type: ignore[import-untyped]
from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]
from tensorboard.summary.writer.event_file_writer import EventFileWriter  # type: ignore[import-untyped]

from arms.training import Epoch

_COUNTERS = ("epoch", "epochs")


@dataclass(slots=True)
class Board:
    """Every number of an epoch under its own name; step = epoch. A training from the start replaces the
    events of the one before."""

    folder: Path
    _writer: EventFileWriter | None = None

    def begun(self, before: tuple[Epoch, ...]) -> None:
        """A new file. The last epoch before is told again: the kill may have come between its checkpoint and
        its events, and START makes TensorBoard forget what earlier files say from that step on."""
        if not before:
            shutil.rmtree(self.folder, ignore_errors=True)
        self._writer = EventFileWriter(str(self.folder))
        if before:
            session = SessionLog(status=SessionLog.START)
            last = before[-1]
            self._writer.add_event(Event(wall_time=time.time(), step=last.epoch, session_log=session))
            self.told(last)

    def batch(self, share: float) -> None:
        """Says nothing."""

    def told(self, epoch: Epoch) -> None:
        """Scalars, on the disk when this returns."""
        if self._writer is not None:
            self._writer.add_event(event_of(epoch, time.time()))
            self._writer.flush()

    def ended(self, words: str) -> None:
        """Closes the file; the words are for others."""
        if self._writer is not None:
            self._writer.close()


def event_of(epoch: Epoch, at_s: float) -> Event:
    """The numbers of an epoch. at_s: seconds since 1970."""
    numbers = {name: value for name, value in asdict(epoch).items() if name not in _COUNTERS}
    scalars = [Summary.Value(tag=name, simple_value=value) for name, value in numbers.items()]
    return Event(wall_time=at_s, step=epoch.epoch, summary=Summary(value=scalars))
