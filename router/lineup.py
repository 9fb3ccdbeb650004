"""The arms that a worker serves: built-in ones in its own thread, others in processes of their own."""

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from arms.protocol import Arm
from router.aside import Aside, AsideArm
from router.breaker import Breaker
from router.inline import Inline, InlineArm
from router.pace import Pace
from router.serving import Answer, Silence, no_model
from router.station import Station


@dataclass(slots=True)
class Lineup:
    """Asks arms by name; the event loop's own. clock_s: monotonic. chance: uniform in [0, 1)."""

    clock_s: Callable[[], float] = time.perf_counter
    chance: Callable[[], float] = random.random
    _inline: Inline = field(init=False)
    _aside: dict[str, Aside] = field(default_factory=dict)
    _models: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._inline = Inline(self.clock_s)

    @property
    def models(self) -> dict[str, str]:
        """Which model each arm answers with."""
        return self._models

    def serve(self, name: str, arm: Arm | AsideArm) -> None:
        """Serves an arm, or another model of it, from now on."""
        held = self._aside.pop(name, None)
        if isinstance(arm, AsideArm):
            facts = arm.process.facts
            station = self._station(facts.model, facts.window)
            self._aside[name] = Aside(arm, station, self.clock_s)
            self._inline.remove(name)
            self._models = {**self._models, name: facts.model}
        else:
            self._inline.serve(name, InlineArm(arm, self._station(arm.model, arm.window)))
            self._models = {**self._models, name: arm.model}
        if held is not None:
            held.close()

    def _station(self, model: str, window: int) -> Station:
        return Station(model, window, Pace(self.clock_s), Breaker(self.clock_s, self.chance))

    def ask(
        self, name: str, history: NDArray[np.float32], deadline_s: float | None
    ) -> "asyncio.Future[Answer | Silence]":
        """The answer of an arm, or why there is none. deadline_s: on `clock_s`."""
        if self._inline.knows(name):
            return self._inline.ask(name, history, deadline_s)
        aside = self._aside.get(name)
        if aside is not None:
            return aside.ask(history, deadline_s)
        silent: asyncio.Future[Answer | Silence] = asyncio.get_running_loop().create_future()
        silent.set_result(no_model(name))
        return silent

    def answered_at_once(self, name: str, histories: list[NDArray[np.float32]]) -> list[Answer] | None:
        """The answers of an arm that serves in this thread and is well, else None."""
        return self._inline.answered_at_once(name, histories)

    def is_idle(self) -> bool:
        """Whether nobody waits for an arm of this thread."""
        return self._inline.is_idle()

    def one_run(self) -> AbstractContextManager[None]:
        """Arms of this thread answer at the end of it what they are asked inside."""
        return self._inline.one_run()

    async def after_a_run(self) -> None:
        """Returns when arms of this thread have answered some of what waits for them, or at once."""
        await self._inline.after_a_run()

    def close(self) -> None:
        """Ends the processes."""
        for aside in self._aside.values():
            aside.close()
