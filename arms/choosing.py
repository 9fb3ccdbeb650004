"""Which arm a market gets, for bots that carry the arms: by the service, by a split table, by a coin.

A chooser is any callable from a market to the name of an arm, or to a `Choice`, which also says why.
"""

import asyncio
import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Protocol, Self

import msgspec
from abctl_client.bucket import BUCKETS, bucket
from abctl_client.errors import AbctlError
from abctl_client.messages import Assignment, Instant

from arms.errors import ActError

BASE: Final = "base"
TRANSFORMER: Final = "transformer"


@dataclass(frozen=True, slots=True)
class Choice:
    """The arm that acts in a market. by: service, split, random, fallback, or own (a callable of yours).
    facts: what it was decided from, as names and JSON values."""

    arm: str
    by: str = "own"
    facts: Mapping[str, Any] = field(default_factory=dict)


Choose = Callable[[str], str | Choice]


class Assigner(Protocol):
    """What is asked of `abctl_client.client.Client`."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def assign(
        self, unit: str, *, started_at: Instant | None = None, experiment: str | None = None
    ) -> Assignment: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ByService:
    """See `chosen_by_service`."""

    client: Assigner
    experiment: str | None = None
    started_at: Callable[[str], Instant | None] = lambda market: None
    fallback: str | None = None

    def __call__(self, market: str) -> Choice:
        """Asks on a connection of its own and waits for the answer."""
        if _in_event_loop():
            raise ActError(
                f"asking for the arm of {market!r} would block the event loop: "
                "write `await hybrid.enter(market)` before the market's first act"
            )
        return asyncio.run(self._alone(market))

    async def asked(self, market: str) -> Choice:
        """Asks on the client's connection, which must be open in this event loop."""
        return await self._asked(self.client, market)

    async def _alone(self, market: str) -> Choice:
        async with copy.copy(self.client) as client:  # the caller's may be open in another loop
            return await self._asked(client, market)

    async def _asked(self, client: Assigner, market: str) -> Choice:
        started_at = self.started_at(market)
        try:
            return _assigned(await client.assign(market, started_at=started_at, experiment=self.experiment))
        except AbctlError as error:
            if self.fallback is None or not _unanswered(error):
                error.add_note(f"So market {market!r} has no arm, and none is taken in silence: ask again.")
                raise
            facts = {"code": error.code, "status": error.status, "detail": str(error)}
            return Choice(self.fallback, "fallback", facts)


def chosen_by_service(
    client: Assigner,
    experiment: str | None = None,
    *,
    started_at: Callable[[str], Instant | None] = lambda market: None,
    fallback: str | None = None,
) -> ByService:
    """The arm that `POST /v1/assign` names; the one that serves where the assigned one is killed.

    client: an `abctl_client.client.Client`. started_at: when a market opened, the same for all bots (None: by
    the experiment's unit_pattern, or at the first question). fallback: the arm where the service does not
    answer (no connection, too late, 429, 5xx). Without it, and where it refuses, AbctlError passes through.
    """
    return ByService(client=client, experiment=experiment, started_at=started_at, fallback=fallback)


def chosen_by_split(split: Mapping[str, Any], *, control: str = BASE, eligible_share: float = 1.0) -> Choose:
    """The arm of a split table, without a service: sections 1 and 2 of docs/assignment.md.

    split: the JSON of `abctl split show --json`. It stays this version: what is changed later is not seen.
    control and eligible_share: as the experiment says, where it has a gate. Raises ValueError on a table that
    does not cover the buckets.
    """
    experiment, version, salt = split["experiment"], split["version"], split["salt"]
    weights, ranges = dict(split["weights"]), tuple((r["arm"], r["from"], r["to"]) for r in split["ranges"])
    _check_cover(ranges)
    eligible_to = _buckets(eligible_share, "eligible_share")

    def choose(market: str) -> Choice:
        at = bucket(salt, market)
        facts = {"experiment": experiment, "split_version": version, "bucket": at}
        if eligible_to < BUCKETS and bucket(f"{experiment}/gate", market) >= eligible_to:
            return Choice(control, "split", facts | {"eligible": False, "propensity": {control: 1.0}})
        (arm,) = (arm for arm, start, stop in ranges if start <= at < stop)
        return Choice(arm, "split", facts | {"eligible": True, "propensity": weights})

    return choose


def chosen_at_random(share: float = 0.5, *, seed: int = 0) -> Choose:
    """The guide's coin, tossed once per market: transformer with probability `share`, else base.

    The same seed gives a market the same arm in every process, also after a restart. share: in steps of 1e-6.
    """
    reach = _buckets(share, "share")

    def choose(market: str) -> Choice:
        at = bucket(f"seed-{seed}", market)
        propensity = {BASE: (BUCKETS - reach) / BUCKETS, TRANSFORMER: reach / BUCKETS}
        facts = {"seed": seed, "bucket": at, "propensity": propensity}
        return Choice(TRANSFORMER if at < reach else BASE, "random", facts)

    return choose


def _assigned(assignment: Assignment) -> Choice:
    facts = msgspec.structs.asdict(assignment)
    return Choice(assignment.served_arm, "service", facts)


def _unanswered(error: AbctlError) -> bool:
    return error.status in {0, 429} or error.status >= 500


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _check_cover(ranges: tuple[tuple[str, int, int], ...]) -> None:
    stops = [0, *(stop for _, _, stop in ranges)]
    whole = stops[-1] == BUCKETS and all(
        start == at < stop for at, (_, start, stop) in zip(stops, ranges, strict=False)
    )
    if not whole:
        raise ValueError(
            f"ranges of the split must lie side by side from 0 to {BUCKETS}: "
            "give the JSON of `abctl split show --json`"
        )


def _buckets(share: float, name: str) -> int:
    buckets = round(share * BUCKETS) if 0 <= share <= 1 else -1
    if buckets < 0 or abs(share * BUCKETS - buckets) > 1e-6:
        raise ValueError(f"{name} is {share!r}: it must be a multiple of 0.000001 from 0 to 1")
    return buckets
