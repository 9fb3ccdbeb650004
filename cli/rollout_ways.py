"""What `abctl rollout` does, on the database itself: the plan, its steps and its history in JSON shapes."""

import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.finding import actor
from cli.settings import Settings, read_settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from router.evidence import Evidence
    from router.rollout_steps import Hands, Keeping, Looked, Open, Recorded
    from store.rollouts import Event

Shape = dict[str, Any]
_LOOKS_MOST = 3


@dataclass(frozen=True, slots=True)
class Ways:
    """One experiment's rollouts."""

    settings: Settings
    engine: "Engine"

    @property
    def key(self) -> str:
        """The experiment's."""
        return self.settings.experiment

    def _hands(self) -> "Hands":
        from router.rollout_steps import Hands
        from store.clock import wall_clock_us

        lead_us = round(self.settings.split_lead_s * 1e6)
        return Hands(engine=self.engine, key=self.key, actor=actor(), clock=wall_clock_us, lead_us=lead_us)

    def _evidence(self, found: "Open", now_us: int) -> "Evidence":
        from router.evidence_here import evidence_here

        return evidence_here(self.engine, self.settings.place.root)(found, now_us)

    def start(self, text: str, reason: str) -> None:
        """Records it."""
        from router import rollout_steps

        rollout_steps.start(self._hands(), text, reason)

    def pause(self, reason: str) -> bool:
        """Whether that was news."""
        from router import rollout_steps

        return rollout_steps.pause(self._hands(), reason)

    def resume(self, reason: str) -> bool:
        """Whether that was news."""
        from router import rollout_steps

        return rollout_steps.resume(self._hands(), reason)

    def approve(self, reason: str) -> bool:
        """Whether that was news."""
        from router import rollout_steps

        return rollout_steps.approve(self._hands(), reason)

    def abort(self, reason: str, keeping: "Keeping") -> None:
        """Ends it."""
        from router import rollout_steps

        rollout_steps.abort(self._hands(), reason, keeping)

    def look(self) -> Shape:
        """One look, carried out; another where a service's came between, whose step this one then sees."""
        from router.rollout_watch import ONCE, looked
        from store.errors import RolloutMoved

        for _ in range(_LOOKS_MOST - 1):
            with suppress(RolloutMoved):
                return self._told(looked(self._hands(), self._evidence, ONCE))
        return self._told(looked(self._hands(), self._evidence, ONCE))

    def run(self, every_s: float) -> Iterator[Shape]:
        """Looks, until the rollout is over; `error` instead of a verdict where one could not be had."""
        from router.rollout_loop import looks

        wait = partial(_waited, every_s)
        for told in looks(self._hands(), self._evidence, wait, round(every_s * 1e6)):
            yield (
                {"experiment": self.key, "error": str(told)}
                if isinstance(told, Exception)
                else self._told(told)
            )

    def _told(self, looked: "Looked") -> Shape:
        return {"experiment": self.key, "news": looked.is_news, **asdict(looked.verdict)}

    def status(self) -> Shape:
        """Where it stands, and what a look would find now."""
        from router import rollout_steps
        from router.evidence import encoded
        from router.rollout import decide
        from store.clock import wall_clock_us

        now_us = wall_clock_us()
        found = rollout_steps.opened(self.engine, self.key)
        seen = self._evidence(found, now_us) if found.at.ended is None else None
        verdict = decide(found.plan, found.course, seen, now_us)
        return {
            **_standing_shape(found, now_us),
            "stages": len(found.plan.stages),
            "verdict": asdict(verdict),
            "watch": self._watch(now_us),
            "evidence": None if seen is None else _json(encoded(seen)),
        }

    def _watch(self, now_us: int) -> Shape:
        from router.rollout_watch import watch_of

        with self.engine.connect() as connection:
            return asdict(watch_of(connection, self.key, now_us))

    def standing(self) -> Shape:
        """Where it stands, whether or not its plan can be read."""
        from router import rollout_steps
        from store.clock import wall_clock_us

        return _standing_shape(rollout_steps.recorded(self.engine, self.key), wall_clock_us())

    def history(self) -> list[Shape]:
        """Every line of every rollout of the experiment."""
        from store import experiments, rollouts

        with self.engine.connect() as connection:
            experiments.get(connection, self.key)
            return [_line_shape(line) for line in rollouts.events(connection, self.key)]

    def verify(self) -> list[Shape]:
        """Every line with evidence: its digest and the one that SQL gives today; its verdict, and again."""
        from router import rollout_steps
        from router.rollout_audit import audited
        from store.clock import wall_clock_us

        found = rollout_steps.opened(self.engine, self.key)
        return [asdict(line) for line in audited(self.engine, found, wall_clock_us())]


def _waited(seconds: float) -> bool:
    time.sleep(seconds)
    return True


@contextmanager
def opened(experiment: str | None, data_dir: Path | None, may_make: bool = False) -> Generator[Ways]:
    """The database of the settings. may_make: where there is none, one is made, with the experiment main."""
    from cli.database import existing, writing

    settings = read_settings(experiment=experiment, data_dir=data_dir)
    with ExitStack() as stack:
        way = writing(settings) if may_make else existing(settings)
        yield Ways(settings, stack.enter_context(way))


def _standing_shape(found: "Recorded", now_us: int) -> Shape:
    from router.rollout import DAY_US
    from router.rollout_log import NOT_BEGUN

    at = found.at
    in_stage = None if at.stage == NOT_BEGUN else at.in_stage_us(now_us) / DAY_US
    return {
        "experiment": found.experiment.key,
        "rollout": found.rollout.number,
        "plan_digest": found.rollout.plan_digest,
        "treatment": found.rollout.treatment,
        "stage": at.stage + 1,
        "share": at.share,
        "days_in_stage": in_stage,
        "paused": at.paused_since_us is not None,
        "promoted": at.is_promoted,
        "ended": at.ended,
        "approved_by": sorted(at.approved_by),
        "split_version": found.history[-1].version,
    }


def _line_shape(line: "Event") -> Shape:
    import msgspec

    from router.splits import rfc3339

    fields = msgspec.structs.asdict(line)
    seen = fields.pop("evidence")
    return {**fields, "at": rfc3339(line.at_us), "evidence": _json(seen.encode()) if seen else None}


def _json(text: bytes) -> Any:
    import json

    return json.loads(text)
