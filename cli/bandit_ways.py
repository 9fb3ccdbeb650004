"""What `abctl bandit` does, on the database itself, in JSON shapes."""

import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.finding import actor
from cli.settings import Settings, read_settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from router.assignment import Split
    from router.bandit import Choice, Evidence
    from router.bandit_steps import Looked
    from router.rollout_steps import Hands

Shape = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ways:
    """One experiment's bandit."""

    settings: Settings
    engine: "Engine"

    @property
    def key(self) -> str:
        """The experiment's."""
        return self.settings.experiment

    def look(self) -> Shape:
        """One look, carried out."""
        from router import bandit_steps

        return self._told(bandit_steps.look(self._hands(), self._killed()))

    def run(self, every_s: float) -> Iterator[Shape]:
        """Looks without an end; `error` instead of a choice where one could not be had."""
        from router.bandit_loop import looks

        for told in looks(self._hands(), self._killed, partial(_waited, every_s)):
            yield (
                {"experiment": self.key, "error": str(told)}
                if isinstance(told, Exception)
                else self._told(told)
            )

    def status(self) -> Shape:
        """What a look would find now, and the regret so far."""
        from router import bandit_steps
        from router.bandit_evidence import regret_from, rows_now
        from router.report_bandit import regret_shape
        from router.splits import rfc3339
        from store.clock import wall_clock_us

        course, now_us = bandit_steps.opened(self.engine, self.key), wall_clock_us()
        rows = rows_now(self.engine, self.key, now_us)
        seen, choice = bandit_steps.chosen(course, rows, self._killed(), now_us)
        line = course.line
        return {
            **_shape(self.key, choice, seen, course.history[-1]),
            "metric": course.experiment.metric,
            "floor": course.experiment.bandit_floor,
            "interval_s": course.experiment.bandit_interval_s,
            "last_move": None if line is None else {"at": rfc3339(line.at_us), "version": line.version},
            "regret": regret_shape(course.experiment, regret_from(rows)),
        }

    def resume(self, reason: str) -> bool:
        """Whether that was news."""
        from router import bandit_steps

        return bandit_steps.resume(self._hands(), reason)

    def _hands(self) -> "Hands":
        from router.rollout_steps import Hands
        from store.clock import wall_clock_us

        lead_us = round(self.settings.split_lead_s * 1e6)
        return Hands(engine=self.engine, key=self.key, actor=actor(), clock=wall_clock_us, lead_us=lead_us)

    def _killed(self) -> tuple[str, ...]:
        from router.kills import read_kills
        from router.known_kills import killed_arms

        return tuple(sorted(killed_arms(read_kills(self.settings.place.root), self.engine, self.key)))

    def _told(self, looked: "Looked") -> Shape:
        return _shape(self.key, looked.choice, looked.seen, looked.split)


def _shape(key: str, choice: "Choice", seen: "Evidence", split: "Split") -> Shape:
    """weights: the split's now; wanted: what the evidence asks for."""
    from router.assignment import BUCKETS
    from router.splits import rfc3339

    return {
        "experiment": key,
        "action": choice.action,
        "cause": choice.cause,
        "reason": choice.reason,
        "as_of": rfc3339(seen.as_of_us),
        "due": rfc3339(choice.due_us),
        "split_version": split.version,
        "weights": dict(split.weights),
        "wanted": {arm: count / BUCKETS for arm, count in choice.weights.items()},
        "chances": dict(choice.chances),
        "totals": {arm: asdict(total) for arm, total in seen.totals.items()},
    }


def _waited(seconds: float) -> bool:
    time.sleep(seconds)
    return True


@contextmanager
def opened(experiment: str | None, data_dir: Path | None) -> Generator[Ways]:
    """The database of the settings, which must be there."""
    from cli.database import existing

    settings = read_settings(experiment=experiment, data_dir=data_dir)
    with ExitStack() as stack:
        yield Ways(settings, stack.enter_context(existing(settings)))
