"""`training.log`: one plain line per epoch, for `tail -f`."""

from dataclasses import dataclass
from pathlib import Path
from typing import IO

from arms.training import Epoch


@dataclass(slots=True)
class TrainingLog:
    """Lines are written as their epochs end. After a kill the log holds what the checkpoint holds."""

    path: Path
    _file: IO[str] | None = None

    def begun(self, before: tuple[Epoch, ...]) -> None:
        """Starts the log, or goes on with it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        wanted = "".join(f"{epoch.line}\n" for epoch in before)
        held = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        if not wanted.startswith(held):
            held = ""
        self._file = self.path.open("a" if held else "w", encoding="utf-8", buffering=1)
        self._file.write(wanted[len(held) :])

    def batch(self, share: float) -> None:
        """Says nothing."""

    def told(self, epoch: Epoch) -> None:
        """One line, at once on its way to whoever reads."""
        if self._file is not None:
            self._file.write(f"{epoch.line}\n")

    def ended(self, words: str) -> None:
        """Closes the file; the words are for others."""
        if self._file is not None:
            self._file.close()
