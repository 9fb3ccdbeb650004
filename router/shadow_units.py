"""Which units of a shadowed experiment give a pair, what it is worth, and why the others give none. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from store.bulk import Row
from store.records import Experiment, ShadowSetting
from store.shadow_lives import is_whole
from store.shadow_units import ShadowUnits

MATURE: Final = "mature"
MISSING: Final = "missing"
NO_QUOTE: Final = "no_quote"
HOLE: Final = "hole"
UNSETTLED: Final = "unsettled"
CONTRADICTED: Final = "contradicted"


class Pair(NamedTuple):
    """One unit, both arms on paper, micro-USD. live_micro: what the served arm reported."""

    window: int
    shadow_micro: int
    served_micro: int
    live_micro: int


@dataclass(frozen=True, slots=True)
class Pairs:
    """pairs: of the mature units whose lives are whole, in their order. void: mature and missing ones that
    give none, by reason. ticks, differed: of the pairs' units. unfilled: paper orders there that nobody would
    have taken.
    """

    pairs: tuple[Pair, ...]
    void: Mapping[str, int]
    ticks: int
    differed: int
    unfilled: int

    @property
    def window(self) -> NDArray[np.int64]:
        """Of each pair."""
        return np.array([pair.window for pair in self.pairs], dtype=np.int64)

    @property
    def paper_usd(self) -> NDArray[np.float64]:
        """Shadow minus served, both on paper."""
        return _usd([pair.shadow_micro - pair.served_micro for pair in self.pairs])

    @property
    def profits(self) -> NDArray[np.float64]:
        """Whether the shadow made money less whether the served arm did: -1, 0 or 1."""
        both = [(pair.shadow_micro > 0) - (pair.served_micro > 0) for pair in self.pairs]
        return np.array(both, dtype=np.float64)

    @property
    def live_less_paper_usd(self) -> NDArray[np.float64]:
        """Of the served arm: how far paper is from what was reported."""
        return _usd([pair.live_micro - pair.served_micro for pair in self.pairs])


def pairs_of(
    experiment: Experiment, setting: ShadowSetting, found: ShadowUnits, fill: str, now_us: int
) -> Pairs:
    """fill: the kind of outcomes that is judged; none is pooled with another."""
    void: Counter[str] = Counter()
    pairs: list[Pair] = []
    lived: list[Row] = []
    for unit in found.units:
        state = state_of(experiment, unit, now_us)
        if state == MISSING:
            void[MISSING] += 1
        if state != MATURE or unit["fill"] != fill:
            continue
        lives = found.lives.get(unit["unit"], ())
        winners = found.winners.get(unit["unit"], frozenset())
        why = why_void(setting, unit, lives) or _why_unsettled(lives, winners)
        if why:
            void[why] += 1
        else:
            pairs.append(_pair(experiment, unit, lives, winners))
            lived += lives
    sums = (sum(life[name] for life in lived) for name in ("ticks", "differed", "unfilled"))
    return Pairs(tuple(pairs), dict(sorted(void.items())), *sums)


def state_of(experiment: Experiment, unit: Row, now_us: int) -> str:
    """As in the report (router/cohort.py): mature once all bots reported in time and the attribution is over
    (of a replay: once they reported), missing where they did not, empty before and for units left out."""
    if unit["excluded"] or unit["contaminated"]:
        return ""
    is_complete = 0 < unit["bots"] <= unit["reported"] and unit["fill"] != "mixed"
    if is_complete and unit["fill"] == "replay":
        return MATURE
    closes_us = unit["started_at_us"] + (experiment.unit_duration_s + experiment.attribution_s) * 1_000_000
    if closes_us > now_us:
        return ""
    return MATURE if is_complete and unit["settled_at_us"] <= closes_us else MISSING


def why_void(setting: ShadowSetting, unit: Row, lives: Sequence[Row]) -> str:
    """Why the lives in a unit are not whole, or empty: each decision of a bot must be a tick of its life."""
    told = min(filter(None, (life["void"] for life in lives)), default="")
    if told:
        return told
    if sum(life["ticks"] for life in lives) < unit["decisions"]:
        return NO_QUOTE if not lives else HOLE
    is_sound = all(is_whole(life) and life["setting"] == setting.number for life in lives)
    return "" if is_sound and sum(life["ticks"] for life in lives) == unit["decisions"] else HOLE


def _why_unsettled(lives: Sequence[Row], winners: frozenset[str]) -> str:
    """What is sold is worth the same whoever wins; only what is held needs to know."""
    if len(winners) > 1:
        return CONTRADICTED
    return UNSETTLED if not winners and any(map(_is_open, lives)) else ""


def _is_open(life: Row) -> bool:
    up = (life["shadow_up_micro"], life["served_up_micro"])
    return up != (life["shadow_down_micro"], life["served_down_micro"])


def _pair(experiment: Experiment, unit: Row, lives: Sequence[Row], winners: frozenset[str]) -> Pair:
    won = next(iter(winners), "up")
    return Pair(
        window=unit["started_at_us"] // (experiment.unit_duration_s * 1_000_000),
        shadow_micro=sum(life[f"shadow_{won}_micro"] for life in lives),
        served_micro=sum(life[f"served_{won}_micro"] for life in lives),
        live_micro=unit["pnl_micro"],
    )


def _usd(micro: Sequence[int]) -> NDArray[np.float64]:
    return np.array(micro, dtype=np.float64) / 1e6
