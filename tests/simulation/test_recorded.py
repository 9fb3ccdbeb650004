"""What a forecast from before a market explains of its result, on recorded markets."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from trials.recorded import Recorded, explained, recorded


@pytest.fixture(scope="module")
def week(shared_part: Callable[..., Path]) -> Recorded:
    return recorded(shared_part("data", "polymarket_btc15m_1m_binance"))


def test_nothing_known_before_a_market_tells_its_result(week: Recorded) -> None:
    """docs/simulation.md prints these."""
    won, pnl = (explained(week.known, column) for column in (week.won, week.pnl_usd))
    print(f"{len(week.won)} markets, {week.won.mean():.3f} won")
    print(f"R^2 of wins {won[0]:.3f}, on others {won[1]:.3f}; of PnL {pnl[0]:.3f}, on others {pnl[1]:.3f}")
    assert len(week.won) == 437
    assert max(*won, *pnl) < 0.02


def test_what_is_known_is_found() -> None:
    """Else the test above could not fail."""
    rng = np.random.default_rng(20260902)
    known = rng.normal(size=(400, 8))
    adjusted, unseen = explained(known, known[:, 0] + rng.normal(size=400))
    assert adjusted == pytest.approx(0.5, abs=0.08)
    assert unseen == pytest.approx(0.5, abs=0.08)
