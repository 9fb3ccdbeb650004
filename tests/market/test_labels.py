from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arms.fills import BUY, DOWN, HOLD, MICRO, SELL, UP, TradingRules
from market.evaluation import play
from market.labels import DECOY_EXIT, MARKET_EXIT, ExitRule, entries_of, labelled
from market.oracles import VISIBLE, cue_now
from market.realistic import RealisticWorld, realistic_tape
from market.session import Session
from market.tape import HAS_POSITION, POSITION_PNL, POSITION_SIDE
from market.worlds import DECOY_FAST, NOISE_FAST, SPIKED, events_of, tape_of


def wants_out(state, left_us, rule):
    pnl_usd = state[POSITION_PNL] * 50
    hit = pnl_usd >= rule.take_profit_usd or pnl_usd <= -rule.stop_loss_usd
    return hit or left_us <= rule.flatten_left_us


def played_by_rule(tape, entry_tick, action, rule):
    """Net USD of deciding `action` at `entry_tick` and then following the exit rule, tick by tick."""
    session = Session(tape)
    while not session.done:
        side, state = session.position.side, session.state()
        if side and wants_out(state, int(tape.left_us[session.tick]), rule):
            session.step(SELL if side == UP else BUY)
        elif session.tick == entry_tick:
            session.step(action)
        else:
            session.step(HOLD)
    result = session.result()
    return result.pnl_micro / MICRO, len(result.trades)


def holed(tape, seed):
    """The same market with missing quotes."""
    rng = np.random.default_rng(seed)
    prices = tape.prices.copy()
    prices[rng.random(prices.shape) < 0.1] = 0
    return replace(tape, prices=prices)


def deep(tape):
    """The same market with room for every order: a session sells in parts where a label waits."""
    return replace(tape, depths=np.full_like(tape.depths, 10**12))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 500), st.integers(0, 149), st.sampled_from([BUY, SELL]), st.integers(0, 3))
def test_a_value_is_what_a_session_earns_by_the_same_rule(seed, tick, action, kind):
    tape = [
        lambda: tape_of(DECOY_FAST, seed),
        lambda: tape_of(NOISE_FAST, seed),
        lambda: deep(realistic_tape(RealisticWorld(), seed)),
        lambda: holed(tape_of(DECOY_FAST, seed), seed),
    ][kind]()
    # Thresholds off the price grid, so that the float mark and the float32 feature agree on their side.
    rule = ExitRule(take_profit_usd=1.0137, stop_loss_usd=14.0137)
    entries = entries_of(tape, rule, TradingRules(tape.fees), UP if action == BUY else DOWN)
    value_usd, trades = played_by_rule(tape, tick, action, rule)
    assert trades == int(entries.filled[tick])
    assert entries.value_usd[tick] == pytest.approx(value_usd, abs=1e-3)


def test_values_do_not_know_a_better_exit_than_the_rule():
    """A hindsight exit would make many entries pay; with the rule they pay seldom and lose on average."""
    tapes = [tape_of(NOISE_FAST, seed) for seed in range(50)]
    values = np.concatenate(
        [episode.values[episode.use][:, 1:] for episode in labelled(tapes, DECOY_EXIT, seed=1)]
    )
    assert (values > 0).mean() < 0.25
    assert values.mean() < -3


def flat_values(tapes, chosen):
    """Mean values of (hold, buy, sell) over flat ticks that `chosen(seed, tape)` picks."""
    picked = []
    for seed, tape in enumerate(tapes):
        up, down = (entries_of(tape, DECOY_EXIT, TradingRules(tape.fees), side) for side in (UP, DOWN))
        picked += [(up.value_usd[t], down.value_usd[t], sign) for t, sign in chosen(seed)]
    up, down, sign = np.array(picked).T
    return np.where(sign > 0, down, up).mean(), np.where(sign > 0, up, down).mean()


def test_labels_teach_to_hold_at_the_spike_and_to_trade_at_the_cue():
    tapes = [tape_of(DECOY_FAST, seed) for seed in range(300)]
    events = [events_of(DECOY_FAST, seed) for seed in range(300)]
    against, with_it = flat_values(tapes, lambda seed: [(e.spike_tick, e.sign) for e in events[seed]])
    assert against < -1 and with_it < -5
    against, with_it = flat_values(tapes, lambda seed: [(e.cue_tick, e.sign) for e in events[seed] if e.cued])
    assert 2 < against < 5 and with_it < -10
    # Who sees the cue and not the spike would take either side half the time.
    assert against + with_it < -5


def test_in_position_ticks_clone_the_exit_rule():
    tapes = [tape_of(DECOY_FAST, seed) for seed in range(40)]
    held = closing = 0
    for tape, episode in zip(tapes, labelled(tapes, DECOY_EXIT, seed=3), strict=True):
        states, best = episode.states, episode.values.argmax(axis=1)
        for t in np.flatnonzero((states[:, HAS_POSITION] > 0) & episode.use):
            out = wants_out(states[t].astype(float), int(tape.left_us[t]), DECOY_EXIT)
            close = SELL if states[t, POSITION_SIDE] > 0 else BUY
            assert best[t] == (close if out else HOLD)
            held, closing = held + 1, closing + out
    assert held > 200 and closing > 30


def test_rolled_states_are_what_a_session_would_have_shown():
    tapes = [tape_of(DECOY_FAST, seed) for seed in range(10)]
    for tape, episode in zip(tapes, labelled(tapes, DECOY_EXIT, seed=5), strict=True):
        side = episode.states[:, POSITION_SIDE]
        starts = np.flatnonzero((side != 0) & (np.roll(side, 1) == 0)) - 1
        stops = np.flatnonzero((side == 0) & (np.roll(side, 1) != 0)) - 1
        session = Session(tape)
        while not session.done:
            assert session.state() == pytest.approx(episode.states[session.tick], abs=1e-5)
            t = session.tick
            up = episode.states[min(t + 1, len(side) - 1), POSITION_SIDE] if t in starts else side[t]
            action = (BUY if up > 0 else SELL) if t in starts else HOLD
            session.step((SELL if side[t] > 0 else BUY) if t in stops else action)


def test_the_same_seed_gives_the_same_bytes_and_order_is_kept():
    tapes = [tape_of(DECOY_FAST, seed) for seed in range(5)]
    one, two, other = (labelled(tapes, DECOY_EXIT, seed=seed) for seed in (1, 1, 2))
    assert [episode.market for episode in one] == [tape.market for tape in tapes]
    for a, b in zip(one, two, strict=True):
        assert a.states.tobytes() == b.states.tobytes() and a.values.tobytes() == b.values.tobytes()
    assert any(a.states.tobytes() != b.states.tobytes() for a, b in zip(one, other, strict=True))


def test_ticks_that_cannot_fill_are_not_used():
    tape = tape_of(DECOY_FAST, 1)
    (episode,) = labelled([tape], DECOY_EXIT, seed=1)
    assert not episode.use[109:].any()
    (empty,) = labelled([replace(tape, prices=np.zeros_like(tape.prices))], MARKET_EXIT, seed=1)
    assert not empty.use.any() and not empty.values.any()


def test_a_policy_of_the_label_s_own_means_earns_the_oracle_s_money():
    """What a perfect learner would do with these labels, read off the planted truth: hold but at cues."""
    tapes = [tape_of(DECOY_FAST, seed) for seed in range(100)]

    def perfect(histories, lengths):
        newest = histories[:, -1]
        spikes = np.where(np.abs(histories[:, ::-1, SPIKED[0]]) > VISIBLE, histories[:, ::-1, SPIKED[0]], 0)
        sign = np.sign(spikes[np.arange(len(spikes)), (spikes != 0).argmax(axis=1)])
        entry = np.where(cue_now(histories), np.where(sign > 0, SELL, np.where(sign < 0, BUY, HOLD)), HOLD)
        close = np.where(newest[:, POSITION_SIDE] > 0, SELL, BUY)
        managed = np.where(newest[:, POSITION_PNL] >= 0.02, close, HOLD)
        return np.where(newest[:, HAS_POSITION] > 0, managed, entry)

    earned = sum(result.pnl_micro for result in play(perfect, tapes, window=10)) / MICRO
    worth = 0.0
    for seed, tape in enumerate(tapes):
        up, down = (entries_of(tape, DECOY_EXIT, TradingRules(tape.fees), side) for side in (UP, DOWN))
        for event in events_of(DECOY_FAST, seed):
            worth += (down if event.sign > 0 else up).value_usd[event.cue_tick] if event.cued else 0.0
    assert earned == pytest.approx(worth, rel=1e-3)
