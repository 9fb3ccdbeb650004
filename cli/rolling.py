"""A rolling restart: every worker gets a successor, one after the other; none ends before it is ready."""

from dataclasses import dataclass

from cli.child import Child

READY_WITHIN_S = 60.0


@dataclass(slots=True)
class Roll:
    """workers: the supervisor's own list; a place in it is taken over once the successor is ready.

    At most one process more than usual lives. failure: why the rest stays as it is, or "".
    """

    workers: list[Child]
    began_s: float
    place: int = 0
    coming: Child | None = None
    leaving: Child | None = None
    failure: str = ""

    @property
    def is_over(self) -> bool:
        """Nobody comes and nobody leaves any more."""
        is_through = bool(self.failure) or self.place == len(self.workers)
        return is_through and self.coming is None and self.leaving is None

    @property
    def guests(self) -> list[Child]:
        """Processes that are not in the list of workers, or no longer."""
        return [child for child in (self.coming, self.leaving) if child is not None]

    def step(self, now_s: float) -> None:
        """One look at who comes and who leaves; never waits. now_s: a monotonic clock."""
        if self.leaving is not None:
            self._see_off(self.leaving, now_s)
        elif self.coming is not None:
            self._receive(self.coming, now_s)
        elif not self.is_over:
            self.coming = self.workers[self.place].successor()
            self.coming.start(now_s)

    def _see_off(self, leaving: Child, now_s: float) -> None:
        if leaving.has_ended(now_s):
            self.leaving = None

    def _receive(self, coming: Child, now_s: float) -> None:
        lives = coming.lives()
        if lives and coming.is_ready:
            self.leaving, self.workers[self.place] = self.workers[self.place], coming
            self.coming = None
            self.place += 1
            self.leaving.ask_to_end(now_s)
        elif not lives or coming.words or now_s - coming.started_s > READY_WITHIN_S:
            silent = f"it was not ready within {READY_WITHIN_S:.0f} s" if lives else "it ended without a word"
            self.failure = coming.words or silent
            self.coming, self.leaving = None, coming
            coming.ask_to_end(now_s)
