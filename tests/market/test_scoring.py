"""What a policy is worth: against sums by hand, and laws."""

from dataclasses import replace

import numpy as np
import pytest

from arms.fills import MICRO
from market.evaluation import play, totals_of
from market.oracles import decoy_oracle, hold, momentum, random_policy
from market.scoring import difference, ends_of, pnl_of, score
from market.worlds import DECOY_FAST, tape_of

TAPES = tuple(tape_of(DECOY_FAST, 900_000 + number) for number in range(60))
WINDOW = 20


@pytest.fixture(scope="module")
def played():
    policies = {
        "oracle": decoy_oracle(WINDOW),
        "hold": hold,
        "random": random_policy(1),
        "momentum": momentum,
    }
    return {name: play(policy, TAPES, WINDOW) for name, policy in policies.items()}


def test_counts_and_money_by_hand(played):
    for results in played.values():
        found, totals = score(results, TAPES), totals_of(results)
        trades = [trade for result in results for trade in result.trades]
        assert (found.markets, found.windows, found.trades) == (60, 60, len(trades))
        assert found.pnl_usd.estimate == pytest.approx(sum(r.pnl_micro for r in results) / 60 / MICRO)
        assert found.traded_share == totals.traded_share
        assert found.profit_share == totals.profit_share
        assert found.fee_usd == pytest.approx(totals.fee_per_market_usd)
        assert 0.0 <= found.exposure <= 1.0
        assert sum(found.unfilled.values()) == sum(count for r in results for _, count in r.unfilled)


def test_edge_fees_and_shares_are_the_result(played):
    """Net PnL = shares x edge - fees, over all trades."""
    results = played["random"]
    found = score(results, TAPES)
    shares = sum(t.shares_micro for r in results for t in r.trades) / MICRO
    pnl = found.edge_usd * shares - found.fee_usd * found.markets
    assert pnl == pytest.approx(found.pnl_usd.estimate * found.markets, abs=0.01)


def test_who_never_trades_has_no_rate_and_no_edge(played):
    found = score(played["hold"], TAPES)
    assert (found.trades, found.trade_win_rate, found.edge_usd) == (0, None, None)
    assert (found.drawdown_usd, found.exposure, found.fee_usd) == (0.0, 0.0, 0.0)
    assert found.pnl_usd.status == "degenerate"


def test_drawdown_is_the_deepest_fall_in_the_order_of_ends(played):
    results = played["momentum"]
    held, top, deepest = 0.0, 0.0, 0.0
    for usd in pnl_of(results):
        held += usd
        top = max(top, held)
        deepest = max(deepest, top - held)
    assert score(results, TAPES).drawdown_usd == pytest.approx(deepest)
    backwards = score(results[::-1], TAPES[::-1])
    assert backwards.drawdown_usd == pytest.approx(deepest)


def test_the_oracle_earns_and_chance_pays(played):
    assert score(played["oracle"], TAPES).pnl_usd.low > 0.0
    assert score(played["random"], TAPES).pnl_usd.high < 0.0


def test_a_difference_is_paired_and_turns_with_the_sides(played):
    ours, theirs = played["oracle"], played["random"]
    gap, back = difference(ours, theirs, TAPES), difference(theirs, ours, TAPES)
    assert (gap.low, gap.high) == pytest.approx((-back.high, -back.low))
    assert difference(ours, ours, TAPES).estimate == 0.0
    assert difference(ours, ours, TAPES).status == "degenerate"


def test_markets_that_end_together_are_one_window(played):
    """Four markets of one window say less than four of four."""
    ends = ends_of(TAPES)
    together = tuple(replace(t, end_us=int(ends[i // 4 * 4 + 3])) for i, t in enumerate(TAPES))
    whole, apart = score(played["oracle"], together), score(played["oracle"], TAPES)
    assert (whole.windows, apart.windows) == (15, 60)
    assert whole.pnl_usd.df == 14
    assert whole.pnl_usd.estimate == pytest.approx(apart.pnl_usd.estimate)


def test_a_market_is_known_by_its_quotes_whatever_it_is_called():
    tape = TAPES[0]
    assert replace(tape, market="another").digest == tape.digest
    moved = replace(tape, prices=np.where(tape.prices > 10_000, tape.prices - 10_000, tape.prices))
    assert moved.digest != tape.digest
    assert len({t.digest for t in TAPES}) == len(TAPES)
