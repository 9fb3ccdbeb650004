"""The life of a shadow arm in one unit: the same ticks as the served arm, a paper position of its own.

Two accounts live on one price path: the shadow's, of what it would have done, and the served arm's twin, of
what it did. Only paper is compared with paper. At each tick `looked`, then the shadow arm, then `acted`; a
life that missed a tick is void for both. Nothing here reads a clock or a later tick.
"""

from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from arms.errors import ShadowError
from arms.fills import FeeSchedule, TradingRules
from arms.paper import NEW_ACCOUNT, Account, Tick, decided, met, position_features
from arms.schema import StateSchema

History = NDArray[np.float32]
ROWS_MAX: Final = 64
POSITION_NAMES: Final = ("has_position", "position_side", "position_pnl")
OUT_OF_ORDER: Final = "out_of_order"


class Columns(NamedTuple):
    """Of a state. position: those of POSITION_NAMES, in that order. market: all that do not tell of it."""

    position: tuple[int, ...]
    market: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Life:
    """After its last tick. past: float32[k,F], the shadow's own states, newest last; None before the first.

    differed: ticks at which the two arms did not say the same. void: why it counts for nobody, or empty.
    """

    ticks: int = 0
    at_us: int = 0
    shadow: Account = NEW_ACCOUNT
    served: Account = NEW_ACCOUNT
    past: History | None = None
    differed: int = 0
    void: str = ""


UNBORN: Final = Life()


def columns_of(schema: StateSchema) -> Columns:
    """Where the position stands in a state, or ShadowError where a shadow could not keep its own."""
    own = {feature.name for feature in schema.features if feature.endogenous}
    if own != set(POSITION_NAMES):
        rule = f"a shadow arm can rewrite {', '.join(POSITION_NAMES)} and nothing else"
        raise ShadowError(
            f"schema {schema.name} tells of the own position by {', '.join(sorted(own)) or 'nothing'}: {rule}"
        )
    market = tuple(i for i, name in enumerate(schema.names) if name not in own)
    return Columns(tuple(schema.names.index(name) for name in POSITION_NAMES), market)


def rules_of(stake_micro: int, fee_ppm: int) -> TradingRules:
    """Orders of a fixed notional at a taker fee of shares * rate * p * (1 - p)."""
    return TradingRules(FeeSchedule("quoted", fee_ppm, 1), stake_micro=stake_micro)


def looked(life: Life, tick: Tick, history: History, columns: Columns, rules: TradingRules) -> Life:
    """The life at a tick, before anybody decides; `shown` is what its arm sees.

    history: as the bot sent it, float32[k,F], newest last.
    """
    if life.void:
        return life
    if life.ticks and tick.at_us < life.at_us:
        return voided(life, OUT_OF_ORDER)
    shadow, served = (met(account, tick, rules) for account in (life.shadow, life.served))
    fresh = _rewritten(life, shadow, history, columns)
    past = fresh if life.past is None else np.concatenate((life.past, fresh))[-ROWS_MAX:]
    return replace(life, ticks=life.ticks + 1, at_us=tick.at_us, shadow=shadow, served=served, past=past)


def shown(life: Life, history: History) -> History:
    """float32[<=k,F]: the history that was sent, with the shadow's own position in it; none older than what
    the first tick showed."""
    assert life.past is not None  # noqa: S101 - it has looked
    return life.past[-len(history) :]


def acted(life: Life, shadow_action: int, served_action: int, rules: TradingRules) -> Life:
    """The life once both arms have said hold, buy or sell (0, 1, 2)."""
    if life.void:
        return life
    return replace(
        life,
        shadow=decided(life.shadow, shadow_action, life.at_us, rules),
        served=decided(life.served, served_action, life.at_us, rules),
        differed=life.differed + (shadow_action != served_action),
    )


def voided(life: Life, why: str) -> Life:
    """Void from now on; the first reason stands."""
    return life if life.void else replace(life, void=why)


def _rewritten(life: Life, shadow: Account, history: History, columns: Columns) -> History:
    """The rows that came since the last tick: between two ticks the position is as the last one left it."""
    fresh = history[_known_rows(life.past, history, columns) :].copy()
    fresh[:, columns.position] = position_features(life.shadow)
    fresh[-1, columns.position] = position_features(shadow)
    return fresh


def _known_rows(past: History | None, history: History, columns: Columns) -> int:
    """How many rows of a history lie at or before the last tick. The newest row is always new.

    The row of the last tick is known again by what it says of the market; none like it: all came since.
    """
    if past is None:
        return 0
    market = list(columns.market)
    same = np.flatnonzero((history[:-1, market] == past[-1, market]).all(axis=1))
    return int(same[-1]) + 1 if len(same) else 0
