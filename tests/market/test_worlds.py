"""The decoy's promises, measured: who can know what, and what every simple strategy earns."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit

from arms.fills import MICRO
from arms.schema import MARKET_V1
from market.errors import WorldError
from market.evaluation import expected_pnl_usd, play, totals_of
from market.oracles import (
    action_of,
    cue_now,
    decoy_oracle,
    exit_or,
    hold,
    mean_reversion,
    momentum,
    newest_spike,
    random_policy,
)
from market.realistic import RealisticWorld, realistic_tape
from market.tape import SESSION_FILLS
from market.worlds import DECOY, DECOY_FAST, NOISE, NOISE_FAST, SPIKED, events_of, round_trip_micro, tape_of

WORLDS = [(DECOY_FAST, 10), (DECOY, 20)]
TAPES = {world.name: [tape_of(world, seed) for seed in range(250)] for world, _ in WORLDS}
NEVER = 9.0


def at_cues(world, markets, window):
    """Windows that end at a cue, and the spike's sign."""
    rows, signs = [], []
    for seed in range(markets):
        features = None
        for event in events_of(world, seed):
            if event.cued:
                features = tape_of(world, seed).features if features is None else features
                rows.append(features[max(0, event.cue_tick + 1 - window) : event.cue_tick + 1])
                signs.append(event.sign)
    full = [(row, sign) for row, sign in zip(rows, signs, strict=True) if len(row) == window]
    return np.stack([row for row, _ in full]), np.array([sign for _, sign in full])


def fitted_probe(inputs, signs):
    """Logistic regression with a little ridge; returns weights, intercept last."""
    design = np.column_stack((inputs, np.ones(len(inputs))))

    def loss(weights):
        margin = signs * (design @ weights)
        slope = design.T @ (-signs * expit(-margin))
        return np.logaddexp(0, -margin).sum() + 0.5 * weights @ weights, slope + weights

    return minimize(loss, np.zeros(design.shape[1]), jac=True, method="L-BFGS-B").x


def probe_accuracy(world, window, markets=4_000):
    """On held-out markets; products of features catch a sign that only shows together with another."""
    histories, signs = at_cues(world, markets, window)
    flat = histories.reshape(len(histories), -1)
    newest = histories[:, -1]
    pairs = np.stack([newest[:, i] * newest[:, j] for i in range(12) for j in range(i)], axis=1)
    inputs = np.column_stack((flat / (flat.std(axis=0) + 1e-9), pairs / (pairs.std(axis=0) + 1e-9)))
    half = len(inputs) * 2 // 3
    weights = fitted_probe(inputs[:half], signs[:half])
    scores = np.column_stack((inputs[half:], np.ones(len(inputs) - half))) @ weights
    return float((np.sign(scores) == signs[half:]).mean()), len(inputs) - half


@pytest.mark.parametrize(("world", "window"), [(DECOY_FAST, 3), (DECOY_FAST, 5), (DECOY, 5)])
def test_a_probe_on_the_short_memory_cannot_know_the_direction(world, window):
    right, cases = probe_accuracy(world, window)
    assert cases > 2_000
    assert right <= 0.52


@pytest.mark.parametrize(("world", "window"), WORLDS)
def test_a_hand_rule_on_the_long_memory_knows_it(world, window):
    histories, signs = at_cues(world, 500, window)
    assert (newest_spike(histories) == signs).mean() >= 0.95


@pytest.mark.parametrize("world", [DECOY, DECOY_FAST, NOISE, NOISE_FAST])
def test_events_never_overlap_and_signs_show_for_one_tick_only(world):
    for seed in range(100):
        events, tape = events_of(world, seed), tape_of(world, seed)
        spikes = np.flatnonzero((np.abs(tape.features[:, SPIKED]) > 0.7).all(axis=1))
        assert spikes.tolist() == [event.spike_tick for event in events]
        cues = np.flatnonzero(cue_now(tape.features[:, None, :]))
        assert cues.tolist() == [event.cue_tick for event in events if event.cued]
        assert (np.diff([event.spike_tick for event in events]) >= world.event_ticks).all()
        assert events[-1].spike_tick + world.event_ticks <= world.tradable_ticks
        assert all(world.lag_low <= event.lag_ticks <= world.lag_high for event in events)


@pytest.mark.parametrize("world", [DECOY, DECOY_FAST])
def test_half_the_jump_is_less_than_the_round_trip_and_the_jump_is_more(world):
    for seed in range(60):
        mid = tape_of(world, seed).prices[:, :2].mean(axis=1)
        assert (np.abs(mid / MICRO - 0.5) < 0.35).all()
        for event in events_of(world, seed):
            jump_tick = event.cue_tick + world.reaction_ticks
            jump = -event.sign * (mid[jump_tick] - mid[jump_tick - 1])
            cost = round_trip_micro(int(mid[jump_tick - 1]), world)
            if event.cued:
                assert jump / 2 < cost < jump
                assert jump < 1.5 * cost
            else:
                assert abs(jump) <= world.step_micro


def expected(policy, tapes, window=20):
    """Mean and standard error per market; settlement luck would drown a dollar."""
    values = expected_pnl_usd(play(policy, tapes, window), tapes)
    return values.mean(), values.std(ddof=1) / len(values) ** 0.5


def at_spike(direction, take_profit):
    """With (+1) or against (-1) the spike at its own tick."""

    def act(histories, lengths):
        entry = action_of(direction * newest_spike(histories[:, -1:]))
        return exit_or(entry, histories[:, -1], take_profit)

    return act


def at_cue_blind(take_profit):
    def act(histories, lengths):
        coin = np.where(histories[:, -1, 0] > 0, 1, -1)
        entry = np.where(cue_now(histories), action_of(coin), 0)
        return exit_or(entry, histories[:, -1], take_profit)

    return act


def carried_sign(direction):
    """Takes a position at the spike as a memory; with +1 drops it at the cue and re-enters the other way."""

    def act(histories, lengths):
        newest, before = histories[:, -1], histories[:, -2]
        side, was = newest[:, 13], before[:, 13]
        entry = action_of(direction * newest_spike(histories[:, -1:]))
        act_now = exit_or(entry, newest, 0.02)
        close = np.where(side > 0, 2, 1)
        at_cue = (side != 0) & cue_now(histories) & (direction > 0)
        act_now = np.where(at_cue, close, act_now)
        again = (side == 0) & (was != 0) & cue_now(histories[:, :-1])
        return np.where(again, np.where(was > 0, 2, 1), act_now)

    return act


def ride_back(histories, lengths):
    """Against the spike, out on the plateau, then the other way for the retrace."""
    was = histories[:, -2, 13]
    rides = (histories[:, -1, 13] == 0) & (was != 0)
    act_now = at_spike(-1, 0.02)(histories, lengths)
    return np.where(rides, np.where(was > 0, 2, 1), act_now)


SIMPLE = {
    "against the spike, settle": at_spike(-1, NEVER),
    "with the spike, settle": at_spike(1, NEVER),
    "against the spike, take profit": at_spike(-1, 0.02),
    "with the spike, take profit": at_spike(1, 0.02),
    "against the spike, out at once": at_spike(-1, -NEVER),
    "cue, blind, take profit": at_cue_blind(0.02),
    "cue, blind, settle": at_cue_blind(NEVER),
    "position as memory, flipped at the cue": carried_sign(1),
    "position as memory, kept": carried_sign(-1),
    "ride the retrace": ride_back,
    "momentum": momentum,
    "mean reversion": mean_reversion,
    "random": random_policy(3),
}


@pytest.mark.parametrize("world", [DECOY_FAST, DECOY], ids=lambda world: world.name)
@pytest.mark.parametrize("name", SIMPLE)
def test_no_simple_strategy_gains(name, world):
    mean, error = expected(SIMPLE[name], TAPES[world.name])
    assert mean < 2.5 * error, f"{name} earns {mean:.2f} +- {error:.2f} USD a market"


def test_expected_pnl_is_the_outcome_integrated_out():
    tapes = TAPES["decoy"][:60]
    won = {
        up: [r.pnl_micro / MICRO for r in play(momentum, [replace(t, up_won=up) for t in tapes], 1)]
        for up in (0, 1)
    }
    chance = np.array([tape.prices[-1, :2].mean() / MICRO for tape in tapes])
    both = chance * won[1] + (1 - chance) * won[0]
    assert expected_pnl_usd(play(momentum, tapes, 1), tapes) == pytest.approx(both)


def test_entering_at_the_spike_and_settling_has_the_value_of_the_formula():
    """One event per market: (1 - r) * J / 2 - c / 2 a share, less for the wrong side."""
    world = replace(DECOY_FAST, name="one", events_low=1, events_high=1, step_share=0.0)
    tapes = [tape_of(world, seed) for seed in range(500)]
    stake_shares = 100 / 0.51
    for direction in (-1, 1):
        mean, error = expected(at_spike(direction, NEVER), tapes)
        cost = round_trip_micro(500_000, world) / MICRO
        kept = (1 - world.retrace_share) * world.jump_ratio * cost
        formula = stake_shares * (-direction * kept / 2 - cost / 2)
        assert abs(mean - formula) < 3.5 * error + 0.1


@pytest.mark.parametrize(("world", "window"), WORLDS)
def test_the_right_sign_at_the_cue_earns_the_jump_less_the_round_trip(world, window):
    tapes = TAPES[world.name]
    long, short = (totals_of(play(decoy_oracle(w), tapes, window)) for w in (window, 5))
    cues = np.mean([sum(e.cued for e in events_of(world, seed)) for seed in range(len(tapes))])
    cost = round_trip_micro(500_000, world) / MICRO
    assert long.trades_per_market == pytest.approx(cues, abs=0.05)
    assert long.pnl_per_market_usd == pytest.approx(cues * 200 * (world.jump_ratio - 1) * cost, rel=0.15)
    assert (short.pnl_per_market_usd, short.traded_share) == (0.0, 0.0)
    # The planted effect: at least 30 points of P(profit | assigned).
    assert long.profit_share - short.profit_share >= 0.30


@pytest.mark.parametrize("world", [NOISE, NOISE_FAST])
def test_noise_pays_nobody(world):
    tapes = [tape_of(world, seed) for seed in range(120)]
    for policy in (decoy_oracle(20), at_spike(-1, NEVER), at_cue_blind(0.02), random_policy(1)):
        mean, error = expected(policy, tapes)
        assert mean < -2 * error
    assert totals_of(play(hold, tapes, 1)).traded_share == 0


@pytest.mark.parametrize("world", [DECOY, NOISE_FAST])
def test_what_is_seen_does_not_depend_on_what_the_price_does(world):
    """Same events, another jump: features equal bit for bit."""
    for seed in range(20):
        bent = replace(world, jump_ratio=0.0, step_micro=7_000)
        assert (tape_of(world, seed).features == tape_of(bent, seed).features).all()


def test_a_seed_is_a_market_and_names_never_collide():
    again, other = tape_of(DECOY, 7), tape_of(DECOY, 8)
    assert (again.prices == TAPES["decoy"][7].prices).all() and (
        again.features == TAPES["decoy"][7].features
    ).all()
    assert other.market != again.market and other.tick_us[0] == again.end_us


def test_outcomes_are_drawn_with_the_last_mid():
    last = np.array([tape.prices[-1, :2].mean() / MICRO for tape in TAPES["decoy"]])
    won = np.array([tape.up_won for tape in TAPES["decoy"]])
    assert abs((won - last).mean()) < 3 * 0.5 / len(won) ** 0.5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"jump_ratio": 1.9}, "jump_ratio must lie"),
        ({"jump_ratio": 0.9}, "jump_ratio must lie"),
        ({"retrace_share": 0.4}, "the retrace pays"),
        ({"events_high": 9}, "do not fit"),
    ],
)
def test_a_world_that_would_pay_the_simple_is_refused(change, said):
    with pytest.raises(WorldError, match=said):
        replace(DECOY, **change)


def test_every_state_of_every_world_fits_the_schema():
    tapes = [tape_of(world, 3) for world in (DECOY, DECOY_FAST, NOISE, NOISE_FAST)]
    for tape in [*tapes, *(realistic_tape(RealisticWorld(), seed) for seed in range(20))]:
        MARKET_V1.validate(tape.features)
        assert not tape.features[:, SESSION_FILLS].any()
        assert tape.mask.all()


def test_the_realistic_world_is_calibrated_and_costs_more_than_it_tells():
    tapes = [realistic_tape(RealisticWorld(), seed) for seed in range(300)]
    quoted = np.array([t.prices[75, :2].mean() / MICRO for t in tapes])
    won = np.array([t.up_won for t in tapes])
    assert abs((won - quoted).mean()) < 3 * 0.4 / len(won) ** 0.5
    low, high = quoted < 0.4, quoted > 0.6
    assert won[low].mean() < 0.4 and won[high].mean() > 0.6
    assert totals_of(play(random_policy(1), tapes[:100], 1)).pnl_per_market_usd < 0
