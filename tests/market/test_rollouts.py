"""What a behaviour policy plays for offline learning: rewards where they belong, costs in, no hindsight."""

from dataclasses import replace

import numpy as np
import pytest

from arms.fills import HOLD, MICRO, NO_FEE, TradingRules
from arms.trajectories import digest_of
from market.errors import TapeError
from market.labels import DECOY_EXIT, ExitRule
from market.rollouts import Explorer, rolled_out
from market.session import Session
from market.tape import HAS_POSITION, POSITION_PNL
from market.worlds import DECOY_FAST, tape_of

TAPES = tuple(tape_of(DECOY_FAST, seed) for seed in range(20))
SILENT = Explorer(quiet_entry=0.0, eventful_entry=0.0)


@pytest.fixture(scope="module")
def played():
    return rolled_out(TAPES, DECOY_EXIT, seed=3)


def test_the_same_seed_gives_the_same_bytes(played):
    assert digest_of(rolled_out(TAPES, DECOY_EXIT, seed=3)) == digest_of(played)
    assert digest_of(rolled_out(TAPES, DECOY_EXIT, seed=4)) != digest_of(played)


def test_state_action_and_reward_of_a_tick_belong_together(played):
    """Bug (a): the actions played again show the same states and pay the same, tick by tick."""
    assert len({trajectory.market for trajectory in played}) == len(TAPES)
    for tape, trajectory in zip(TAPES, played, strict=True):
        session = Session(tape)
        for tick, action in enumerate(trajectory.actions.tolist()):
            np.testing.assert_array_equal(session.state(), trajectory.states[tick])
            before = session.booked_micro
            session.step(action)
            assert trajectory.rewards_usd[tick] == (session.booked_micro - before) / MICRO
        assert session.done
        assert trajectory.rewards_usd.sum() == pytest.approx(session.result().pnl_micro / MICRO, abs=1e-9)


def test_every_tick_is_stored_once(played):
    """Bug (b)."""
    for tape, trajectory in zip(TAPES, played, strict=True):
        assert len(trajectory.states) == len(tape.tick_us)
        assert not (trajectory.states[1:] == trajectory.states[:-1]).all(axis=1).any()


def test_fees_spread_and_minimum_sizes_are_in_the_rewards(played):
    """Bug (f): the same actions cost less without a fee, still something without one, and a stake below
    the minimum buys nothing."""
    paid = sum(trajectory.rewards_usd.sum() for trajectory in played)
    free = TradingRules(NO_FEE)
    without_fee = rolled_out(TAPES, DECOY_EXIT, seed=3, rules=free)
    entries = sum(int((t.actions > 0).sum()) for t in without_fee)
    assert paid < sum(trajectory.rewards_usd.sum() for trajectory in without_fee) - 2.0 * len(TAPES)
    assert entries > len(TAPES)
    flat = tuple(_without_moves(tape) for tape in TAPES)
    spread = [t.rewards_usd[t.rewards_usd != 0] for t in rolled_out(flat, DECOY_EXIT, seed=3, rules=free)]
    closed = np.concatenate(spread)
    assert closed[np.abs(closed) < 20] == pytest.approx(-0.02 * 100 / 0.51, rel=1e-3)
    tiny = rolled_out(TAPES, DECOY_EXIT, seed=3, rules=TradingRules(NO_FEE, stake_micro=MICRO))
    assert sum(int((t.actions > 0).sum()) for t in tiny) > len(TAPES)
    assert not any(t.rewards_usd.any() or t.states[:, HAS_POSITION].any() for t in tiny)


def _without_moves(tape):
    return replace(tape, prices=np.tile(np.array([490_000, 510_000] * 2), (len(tape.prices), 1)))


def test_who_does_nothing_gets_exactly_nothing():
    """Bug (e)."""
    for trajectory in rolled_out(TAPES, DECOY_EXIT, 0, SILENT):
        assert not trajectory.actions.any() and not trajectory.rewards_usd.any()
        assert not trajectory.worth_usd.any() and trajectory.use.any()


def test_worth_is_what_the_state_says_of_the_position(played):
    for trajectory in played:
        np.testing.assert_array_equal(
            trajectory.worth_usd, trajectory.states[:, POSITION_PNL].astype(np.float64) * 50
        )
    assert any(trajectory.worth_usd.any() for trajectory in played)


def test_no_action_knows_what_comes():
    """A market that goes on differently is played the same until then."""
    tape, cut = TAPES[0], 60
    other = tape.prices.copy()
    other[cut:] += np.array([50_000, 50_000, -50_000, -50_000])
    changed = replace(tape, prices=other, up_won=not tape.up_won)
    for seed in range(20):
        before, after = (rolled_out([played], DECOY_EXIT, seed)[0] for played in (tape, changed))
        np.testing.assert_array_equal(before.actions[:cut], after.actions[:cut])
        np.testing.assert_array_equal(before.use[:cut], after.use[:cut])


def test_ticks_for_learning_do_not_depend_on_the_action():
    """Nobody ever gets in: the same ticks are kept as where nobody tries."""
    tiny = TradingRules(NO_FEE, stake_micro=MICRO, latency_us=0)
    tried, idle = (rolled_out(TAPES, DECOY_EXIT, 0, e, tiny) for e in (Explorer(), SILENT))
    assert any(t.actions.any() for t in tried) and not any(t.actions.any() for t in idle)
    for one, other in zip(tried, idle, strict=True):
        np.testing.assert_array_equal(one.use, other.use)


def test_while_an_order_is_on_its_way_nothing_is_decided_or_learned():
    late = TradingRules(NO_FEE, latency_us=1_600_000)
    for trajectory in rolled_out(TAPES, DECOY_EXIT, 0, rules=late):
        for tick in np.flatnonzero(trajectory.actions):
            waiting = slice(tick + 1, tick + 4)
            assert (trajectory.actions[waiting] == HOLD).all()
            assert not trajectory.use[waiting].any()


def test_every_action_is_tried_flat_and_held(played):
    states, actions = (np.concatenate([getattr(t, n) for t in played]) for n in ("states", "actions"))
    held = states[:, HAS_POSITION] > 0
    for where in (held, ~held):
        assert set(actions[where].tolist()) == {0, 1, 2}


def test_an_exit_that_a_state_cannot_show_is_refused():
    with pytest.raises(TapeError, match="60 USD and a state shows 50"):
        rolled_out(TAPES, ExitRule(take_profit_usd=8, stop_loss_usd=60), 0)
    with pytest.raises(TapeError, match=r"explorer early_exit is 1\.5"):
        Explorer(early_exit=1.5)
