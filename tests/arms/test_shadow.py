"""The paper lives of shadow and twin, held against the simulator's own session on the same tapes."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arms.errors import ShadowError
from arms.fills import BUY, DOWN, FLAT, HOLD, MICRO, SELL, UP, Quotes, TradingRules
from arms.paper import Tick, settled_micro
from arms.schema import MARKET_V1, Feature, StateSchema
from arms.shadow import OUT_OF_ORDER, UNBORN, acted, columns_of, looked, rules_of, shown, voided
from market.session import Session
from market.worlds import DECOY_FAST, tape_of

COLUMNS = columns_of(MARKET_V1)
TAPES = [tape_of(DECOY_FAST, seed) for seed in range(6)]
ACTIONS = st.lists(st.sampled_from([HOLD, BUY, SELL]), min_size=1, max_size=200)


def ticks_of(tape):
    books = np.concatenate((tape.prices, tape.depths), axis=1).tolist()
    return [
        Tick(int(at), int(left), Quotes(*book))
        for at, left, book in zip(tape.tick_us, tape.left_us, books, strict=True)
    ]


def sent(tape, served, tick, rows):
    """What a bot that follows `served` actions sends at a tick: its own position in it."""
    return served[max(0, tick + 1 - rows) : tick + 1]


def played(tape, actions, rules):
    """The states that a session shows, and its result."""
    session, states = Session(tape, rules), []
    for tick in range(len(tape.tick_us)):
        states.append(session.state().copy())
        session.step(actions[tick % len(actions)])
    return np.array(states), session.result()


def lived(tape, shadow, served, rules, rows=20):
    """The life at the end of the tape, and every history that the shadow arm was shown."""
    states, _ = played(tape, served, rules)
    life, seen = UNBORN, []
    for i, tick in enumerate(ticks_of(tape)):
        history = sent(tape, states, i, rows)
        life = looked(life, tick, history, COLUMNS, rules)
        seen.append(shown(life, history))
        life = acted(life, shadow[i % len(shadow)], served[i % len(served)], rules)
    return life, seen


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(TAPES), ACTIONS, ACTIONS, st.sampled_from([1, 5, 20, 64]))
def test_both_lives_are_those_that_a_session_would_have_lived(tape, shadow, served, rows):
    """Money and states: the shadow is shown what it would have been shown had it been served."""
    rules = TradingRules(tape.fees)
    life, seen = lived(tape, shadow, served, rules, rows)
    own_states, own = played(tape, shadow, rules)
    _, twin = played(tape, served, rules)
    assert settled_micro(life.shadow, tape.outcome) == own.pnl_micro
    assert settled_micro(life.served, tape.outcome) == twin.pnl_micro
    for i, history in enumerate(seen):
        np.testing.assert_array_equal(history, sent(tape, own_states, i, rows))


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(TAPES), ACTIONS, ACTIONS, st.integers(0, 100), st.integers(1, 60))
def test_nothing_is_known_of_a_later_tick(tape, shadow, served, cut, cents):
    """Whatever the quotes do after a tick, the life at it and what its arm was shown are the same."""
    cut = min(cut, len(tape.tick_us) - 2)
    prices = tape.prices.copy()
    prices[cut + 1 :] = np.array([cents, cents + 1, 99 - cents, 100 - cents]) * 10_000
    rules, other = TradingRules(tape.fees), replace(tape, prices=prices)
    lives = []
    for each in (tape, other):
        states, _ = played(each, served, rules)
        life, seen = UNBORN, []
        for i, tick in enumerate(ticks_of(each)[: cut + 1]):
            life = looked(life, tick, states[: i + 1][-20:], COLUMNS, rules)
            seen.append(life.past)
            life = acted(life, shadow[i % len(shadow)], served[i % len(served)], rules)
        lives.append((life.shadow, life.served, life.differed, np.concatenate(seen)))
    assert lives[0][:3] == lives[1][:3]
    np.testing.assert_array_equal(lives[0][3], lives[1][3])


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(TAPES), ACTIONS)
def test_an_arm_against_itself_comes_out_the_same(tape, actions):
    life, _ = lived(tape, actions, actions, TradingRules(tape.fees))
    assert life.shadow == life.served
    assert life.differed == 0


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(TAPES), ACTIONS)
def test_money_adds_up(tape, actions):
    """UP and DOWN pay 1 USD together: holding makes the shares less twice their cost, both ways summed."""
    life, _ = lived(tape, actions, [HOLD], TradingRules(tape.fees))
    held = life.shadow.position
    both = settled_micro(life.shadow, UP) + settled_micro(life.shadow, DOWN)
    paid = 0 if held.side == FLAT else held.shares_micro - 2 * (held.cost_micro + held.fee_micro)
    assert both == 2 * life.shadow.booked_micro + paid
    assert settled_micro(life.served, UP) == 0


def test_rows_between_two_ticks_keep_the_position_of_the_first():
    """A bot that does not ask at every tick still sends every state."""
    tape, rules = TAPES[0], TradingRules(TAPES[0].fees, latency_us=0)
    states, _ = played(tape, [HOLD], rules)
    ticks, life = ticks_of(tape), UNBORN
    for i in (3, 4, 9):
        life = looked(life, ticks[i], states[: i + 1], COLUMNS, rules)
        seen = shown(life, states[: i + 1])
        life = acted(life, BUY, HOLD, rules)
    assert seen.shape == (10, MARKET_V1.width)
    has_position = seen[:, COLUMNS.position[0]].tolist()
    assert has_position == [0.0] * 4 + [1.0] * 6
    np.testing.assert_array_equal(seen[:, COLUMNS.market], states[:10, COLUMNS.market])


def test_a_void_life_stays_void_and_trades_no_more():
    tape, rules = TAPES[0], TradingRules(TAPES[0].fees)
    states, _ = played(tape, [HOLD], rules)
    ticks = ticks_of(tape)
    life = acted(looked(UNBORN, ticks[5], states[:6], COLUMNS, rules), BUY, HOLD, rules)
    late = looked(life, ticks[4], states[:5], COLUMNS, rules)
    assert late.void == OUT_OF_ORDER
    again = acted(looked(late, ticks[6], states[:7], COLUMNS, rules), SELL, SELL, rules)
    assert again == late
    assert voided(late, "dropped").void == OUT_OF_ORDER
    assert voided(life, "dropped").void == "dropped"


def test_a_schema_whose_position_cannot_be_rewritten_is_refused():
    with pytest.raises(ShadowError, match="position_pnl"):
        columns_of(StateSchema("s", (Feature("x", "1", 0, 1),), 1))


def test_the_quoted_fee_is_that_of_the_newest_schedule():
    assert rules_of(100 * MICRO, 70_000).fees.rate_ppm == 70_000
