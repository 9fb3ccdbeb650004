"""One market episode as arrays: what a session plays, whether it was recorded or simulated."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arms.fills import DOWN, UP, FeeSchedule, Side
from arms.schema import MARKET_V1
from market.errors import TapeError

QUOTE_NAMES = ("up_bid", "up_ask", "down_bid", "down_ask")
HAS_POSITION = MARKET_V1.names.index("has_position")
POSITION_SIDE = MARKET_V1.names.index("position_side")
POSITION_PNL = MARKET_V1.names.index("position_pnl")
TIME_REMAINING = MARKET_V1.names.index("time_remaining")
ENDOGENOUS = tuple(i for i, feature in enumerate(MARKET_V1.features) if feature.endogenous)
SESSION_FILLS = (*ENDOGENOUS, TIME_REMAINING)
"""Columns that only the one who plays knows; 0 on every tape."""
EXOGENOUS = tuple(i for i in range(MARKET_V1.width) if i not in SESSION_FILLS)


@dataclass(frozen=True, slots=True)
class Tape:
    """`[T,4]` columns are up_bid, up_ask, down_bid, down_ask.

    tick_us: int64[T], not falling, before `end_us`. prices: int64[T,4] micro-USD, 0 = no quote. depths:
    int64[T,4] micro-shares. features: float32[T,F], 0 in the columns that a session fills.
    mask: bool[F], False = the source cannot know this feature and the column is 0.
    """

    market: str
    tick_us: NDArray[np.int64]
    end_us: int
    prices: NDArray[np.int64]
    depths: NDArray[np.int64]
    features: NDArray[np.float32]
    mask: NDArray[np.bool_]
    up_won: bool
    fees: FeeSchedule

    def __post_init__(self) -> None:
        ticks = len(self.tick_us)
        shapes = (self.prices.shape, self.depths.shape, self.features.shape, self.mask.shape)
        wanted = ((ticks, 4), (ticks, 4), (ticks, MARKET_V1.width), (MARKET_V1.width,))
        if ticks == 0 or shapes != wanted:
            raise TapeError(f"tape {self.market}: prices, depths, features, mask are {shapes}, need {wanted}")
        if (np.diff(self.tick_us) < 0).any() or self.tick_us[-1] >= self.end_us:
            raise TapeError(f"tape {self.market}: tick_us must not fall and must end before end_us: sort it")
        if not np.isfinite(self.features).all() or self.features[:, SESSION_FILLS].any():
            raise TapeError(
                f"tape {self.market}: features must be finite, and 0 in the columns a session fills"
            )
        if ((self.prices < 0) | (self.prices >= 1_000_000)).any() or (self.depths < 0).any():
            raise TapeError(f"tape {self.market}: prices must lie in [0, 1) USD, depths must not be negative")

    @property
    def outcome(self) -> Side:
        """The side that pays 1 USD."""
        return UP if self.up_won else DOWN

    @property
    def digest(self) -> str:
        """16 hex digits by which a market is known again, whatever it is called: of its times and quotes."""
        columns = (self.tick_us, self.prices, self.depths)
        content = b"".join(np.ascontiguousarray(column, dtype="<i8").tobytes() for column in columns)
        return hashlib.blake2b(content, digest_size=8).hexdigest()

    @property
    def name_digest(self) -> str:
        """16 hex digits of its name and end: another recorder's quotes of it differ somewhere."""
        return hashlib.blake2b(f"{self.market}\0{self.end_us}".encode(), digest_size=8).hexdigest()

    @property
    def left_us(self) -> NDArray[np.int64]:
        return self.end_us - self.tick_us
