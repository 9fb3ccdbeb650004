"""A candidate on a log whose truth is known: found by whole episodes, missed by single decisions, and never
said where the log cannot know it. Recomputed from Parquet by plain numpy."""

import itertools
import math

import numpy as np
import polars as pl
import pytest

from arms.logged_histories import digest_of
from arms.protocol import Acted
from arms.schema import MARKET_V1
from router.candidate import Candidate, answered
from router.definition import experiment_of
from router.dsjson_log import Features
from router.errors import UnknownArm
from router.logged_units import Which
from router.off_policy import Screen, screened
from router.snapshot import first_split
from store import experiments, schema
from store.export import Extract, export
from store.ingest import Shipment, ingest
from store.journal import frame_bytes
from store.logged_actions import LoggedAction
from store.prune import Rule, prune
from store.records import ACTIONS, Decision, MarketOutcome, TradeOutcome
from store.snapshot import snapshot
from store.sql import open_engine

from msgspec.msgpack import encode  # isort: skip

START_US = 1_767_225_600_000_000
LATER_US = START_US + 20 * 86_400_000_000
UNITS, STEPS = 900, 2
SIGN, HELD = 3, 12  # features: what the market does, and whether the bot bought before
LOGGING = {  # hold, buy, sell by sign and held
    (1, 0): (0.5, 0.3, 0.2),
    (1, 1): (0.4, 0.4, 0.2),
    (-1, 0): (0.4, 0.3, 0.3),
    (-1, 1): (0.2, 0.5, 0.3),
}
WANTED = {
    (1, 0): (0.1, 0.8, 0.1),
    (1, 1): (0.2, 0.6, 0.2),
    (-1, 0): (0.2, 0.7, 0.1),
    (-1, 1): (0.2, 0.6, 0.2),
}


def reward(sign, held, action):
    """In USD. To buy again what is held is punished: so a decision changes what the next one is worth."""
    return (0.0, float(sign) - 3.0 * held, 0.25 * held - 0.5)[action]


def truth(policy):
    """Expected PnL of a unit, over all signs and all actions."""
    total = 0.0
    for signs in itertools.product((1, -1), repeat=STEPS):
        for actions in itertools.product(range(3), repeat=STEPS):
            chance, held, gained = 0.5**STEPS, 0, 0.0
            for sign, action in zip(signs, actions, strict=True):
                chance *= policy[sign, held][action]
                gained += reward(sign, held, action)
                held = int(action == 1)
            total += chance * gained
    return total


def state(sign, held):
    row = np.zeros(MARKET_V1.width, dtype=np.float32)
    row[SIGN], row[HELD] = sign, held
    return row


class Table:
    """An arm that looks up its probabilities, and wants to have seen the states before."""

    model, window = "candidate-1", 2

    def __init__(self, policy=WANTED):
        self.policy = policy

    def act(self, histories, lengths):
        assert histories.shape[1:] == (self.window, MARKET_V1.width)
        assert ((histories[:, 0] != 0).any(axis=1) == (lengths == 2)).all()
        newest = histories[:, -1]
        probs = [self.policy[int(s), int(h)] for s, h in newest[:, [SIGN, HELD]]]
        return Acted(np.array(probs, dtype=np.float32), np.zeros(len(probs), dtype=np.float32))


def records(rule="sample", change=lambda facts: facts):
    rng = np.random.default_rng(5)
    for number in range(UNITS):
        unit, held, pnl, seen = f"u{number:04}", 0, 0.0, []
        for step in range(STEPS):
            sign = int(rng.choice((1, -1)))
            seen.append(state(sign, held))
            probs = LOGGING[sign, held]
            action = int(rng.choice(3, p=probs)) if rule == "sample" else int(np.argmax(probs))
            at_us = START_US + number * 1_000 + step
            yield decision(f"{unit}-{step}", unit, at_us, seen, probs, action, rule, change)
            if action:
                yield trade(f"{unit}-{step}", reward(sign, held, action))
            pnl += reward(sign, held, action)
            held = int(action == 1)
        yield MarketOutcome(
            experiment="main", unit=unit, bot="b", pnl_micro=round(pnl * 1e6), fee_micro=0, stake_micro=1,
            trades=1, won=None, fill="paper", closed_at_us=START_US, received_at_us=START_US + 10**6,
        )  # fmt: skip


def decision(name, unit, at_us, seen, probs, action, rule, change):
    facts = {
        "state": seen[-1].tobytes(),
        "history_digest": digest_of(np.array(seen)),
        "schema": MARKET_V1.hash,
        "arm": ("base", "transformer")[int(unit[1:]) % 2],
    }
    return Decision(
        decision_id=name, experiment="main", unit=unit, bot="b", reason="assigned", binding="started_at",
        split_version=1, weights={"base": 1.0, "transformer": 0.0}, forced=False, eligible=True,
        split_stale=False, received_at_us=at_us, started_at_us=START_US, sent_started_at_us=None,
        as_of_us=None, action=ACTIONS[action], probs=probs, value=0.0, model="m", history_used=len(seen),
        latency_us=1, action_propensity=1.0 if rule == "argmax" else probs[action],
        **{"served_arm": facts["arm"], **change(facts)},
    )  # fmt: skip


def trade(decision_id, pnl_usd):
    return TradeOutcome(
        experiment="main", decision_id=decision_id, pnl_micro=round(pnl_usd * 1e6), fee_micro=0,
        stake_micro=1, entry_price=None, exit_price=None, side=None, won=None, fill="paper",
        closed_at_us=START_US, received_at_us=START_US + 10**6,
    )  # fmt: skip


def filled(url, made):
    engine = open_engine(url)
    schema.upgrade(engine)
    wanted = experiment_of(
        {"key": "main", "arms": ["base", "transformer"], "control": "base", "action_rule": "sample"}, START_US
    )
    experiments.ensure(engine, wanted, first_split(wanted, "test"), "test")
    data = b"".join(frame_bytes(encode(record)) for record in made)
    assert not ingest(engine, "main", [Shipment("j", 0, data)], START_US).dead
    return engine


@pytest.fixture(scope="module")
def sampled(tmp_path_factory):
    engine = filled(f"sqlite:///{tmp_path_factory.mktemp('ope')}/abctl.db", records())
    yield engine
    engine.dispose()


def asked(engine, arm=None, rule="sample", **fields):
    with engine.connect() as connection, snapshot(connection):
        candidate = Candidate(arm or Table(), MARKET_V1, rule)
        return screened(connection, Screen(key="main", **fields), candidate, LATER_US)


def holds(value, number):
    return value["low"] <= number <= value["high"]


def test_whole_episodes_find_the_truth(sampled):
    found = asked(sampled)
    assert (found["status"], found["reason"], found["remedy"], found["warnings"]) == ("ok", "", "", [])
    assert found["log"] | {"arms": 0} == {
        "units": UNITS, "decisions": UNITS * STEPS, "argmax_share": 0.0, "arms": 0,
        "left_out": {"decisions_gone": 0, "other_schema": 0, "history_unknown": 0},
    }  # fmt: skip
    values = found["rewards"]["pnl_usd"]
    for kind in ("ips", "snips", "dr"):
        assert holds(values[kind], truth(WANTED)), kind
        assert not holds(values[kind], truth(LOGGING)), kind
    assert holds(values["logged"], truth(LOGGING))
    assert holds(found["overlap"]["mean_weight"], 1.0)
    assert found["evidence"]["status"] == "screening_only"


def test_single_decisions_miss_it_and_are_refused_as_evidence(sampled):
    found = asked(sampled, per="decision")
    for kind in ("ips", "snips", "dr"):
        value = found["rewards"]["pnl_usd"][kind]
        assert value["status"] == "ok"
        assert not STEPS * value["low"] <= truth(WANTED) <= STEPS * value["high"], kind
    assert found["evidence"]["status"] == "screening_only"
    assert "refused as evidence for a promotion" in found["evidence"]["sentence"]
    assert "screening only" in found["evidence"]["sentence"]


def test_the_logging_policy_itself_gets_what_the_log_got(sampled):
    found = asked(sampled, Table(LOGGING))
    overlap, values = found["overlap"], found["rewards"]["pnl_usd"]
    assert overlap["effective"] == pytest.approx(UNITS, rel=1e-6)
    assert (overlap["largest"], overlap["mean_weight"]["estimate"]) == pytest.approx((1.0, 1.0), rel=1e-6)
    for kind in ("ips", "snips", "dr"):
        assert values[kind]["estimate"] == pytest.approx(values["logged"]["estimate"], rel=1e-6)


def test_one_arms_units_alone(sampled):
    found = asked(sampled, which=Which(arm="base"))
    assert (found["log"]["units"], found["log"]["arms"]) == (UNITS // 2, ["base"])
    with pytest.raises(UnknownArm, match="must be one of base, transformer"):
        asked(sampled, which=Which(arm="nobody"))


def test_nothing_matured_says_so(sampled):
    found = asked(sampled, which=Which(days=1))
    assert (found["status"], found["log"]["units"]) == ("not_ready", 0)
    assert found["rewards"]["pnl_usd"]["ips"]["estimate"] is None
    assert asked(sampled, which=Which(days=1), per="decision")["status"] == "not_ready"


def predicted(known, rewards):
    """Ridge as least squares with rows of its own for the penalty, by the other four fifths of the units."""
    varying = known[:, known.std(axis=0) > 0].astype(np.float64)
    found = np.zeros(len(rewards))
    for fold in range(5):
        out = np.arange(len(rewards)) % 5 == fold
        middle, spread = varying[~out].mean(axis=0), varying[~out].std(axis=0)
        near = (varying - middle) / spread
        penalty = math.sqrt(known.shape[1]) * np.eye(near.shape[1])
        level = rewards[~out].mean()
        aim = np.concatenate([rewards[~out] - level, np.zeros(near.shape[1])])
        slopes = np.linalg.lstsq(np.concatenate([near[~out], penalty]), aim, rcond=None)[0]
        found[out] = level + near[out] @ slopes
    return found


@pytest.mark.parametrize("where", ["sqlite", "postgres"])
def test_an_export_read_by_numpy_says_the_same(where, tmp_path, request):
    url = (
        f"sqlite:///{tmp_path}/abctl.db"
        if where == "sqlite"
        else request.getfixturevalue("fresh_postgres_url")
    )
    engine = filled(url, records())
    with engine.connect() as connection, snapshot(connection):
        export(connection, tmp_path / "out", Extract(), LATER_US)
    d, units = (pl.read_parquet(tmp_path / "out" / f"{name}.parquet") for name in ("decisions", "units"))
    states = np.array([np.frombuffer(row, "<f4") for row in d["state"]])
    wanted = np.array([WANTED[int(s), int(h)] for s, h in states[:, [SIGN, HELD]]])
    taken = np.array([ACTIONS.index(a) for a in d["action"]])
    weights = wanted[np.arange(len(d)), taken] / d["action_propensity"].to_numpy()
    of_unit = (pl.col("w").product(), pl.col("state").sort_by("received_at_us").first())
    by_unit = d.with_columns(w=weights).group_by("unit").agg(*of_unit).join(units, "unit").sort("unit")
    w, r = by_unit["w"].to_numpy(), by_unit["pnl_micro"].to_numpy() / 1e6
    capped = np.minimum(w, 2.0)
    found = asked(engine, cap=2.0)
    values, overlap = found["rewards"]["pnl_usd"], found["overlap"]
    assert values["ips"]["estimate"] == pytest.approx(np.mean(capped * r), rel=1e-6)
    assert values["ips"]["error"] == pytest.approx(np.std(capped * r, ddof=1) / math.sqrt(UNITS), rel=1e-6)
    assert values["snips"]["estimate"] == pytest.approx(np.sum(capped * r) / np.sum(capped), rel=1e-6)
    q = predicted(np.array([np.frombuffer(row, "<f4") for row in by_unit["state"]]), r)
    assert q.std() > 0.05
    assert values["dr"]["estimate"] == pytest.approx(np.mean(q + capped * (r - q)), rel=1e-6)
    assert values["dr"]["error"] == pytest.approx(
        np.std(q + capped * (r - q), ddof=1) / math.sqrt(UNITS), rel=1e-6
    )
    assert overlap["effective"] == pytest.approx(w.sum() ** 2 / (w**2).sum(), rel=1e-6)
    assert overlap["largest"] == pytest.approx(w.max(), rel=1e-6)
    assert overlap["clipped"] == np.count_nonzero(w > 2.0) > 0
    assert any("weights were cut" in warning for warning in found["warnings"])
    engine.dispose()


def test_an_argmax_log_is_refused_with_the_remedy(tmp_path):
    engine = filled(f"sqlite:///{tmp_path}/abctl.db", records("argmax"))
    partly = {key: (0.6, 0.3, 0.1) if key[0] == 1 else (0.2, 0.1, 0.7) for key in LOGGING}
    found = asked(engine, Table(partly), rule="argmax")
    assert (found["status"], found["log"]["argmax_share"]) == ("invalid_design", 1.0)
    assert found["overlap"]["unsupported"] > 0.3
    assert "lies on actions that the log could not take" in found["reason"]
    assert 'action_rule = "sample"' in found["remedy"]
    for kind in ("ips", "snips", "dr"):
        value = found["rewards"]["pnl_usd"][kind]
        assert (value["status"], value["estimate"]) == ("invalid_design", None)
    same = asked(engine, Table(LOGGING), rule="argmax")
    assert (same["status"], same["overlap"]["unsupported"]) == ("ok", 0.0)
    opposite = dict.fromkeys(LOGGING, (0.0, 0.0, 1.0))
    assert asked(engine, Table(opposite), rule="argmax")["status"] == "degenerate"
    engine.dispose()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda facts: facts | {"history_digest": b"12345678"}, "history_unknown"),
        (lambda facts: facts | {"schema": "0" * 16}, "other_schema"),
        (lambda facts: facts | {"state": facts["state"][:-4]}, "other_schema"),
    ],
)
def test_what_cannot_be_asked_about_is_left_out_and_refused(tmp_path, change, why):
    engine = filled(f"sqlite:///{tmp_path}/abctl.db", itertools.islice(records(change=change), 300))
    found = asked(engine)
    assert found["status"] == "invalid_design"
    assert found["log"]["left_out"][why] > 50
    assert "cannot be weighed" in found["reason"]
    assert found["remedy"] and found["warnings"]
    engine.dispose()


def test_pruned_units_are_counted(tmp_path):
    engine = filled(f"sqlite:///{tmp_path}/abctl.db", itertools.islice(records(), 300))
    list(prune(engine, Rule("main", LATER_US, LATER_US, None), "test"))
    found = asked(engine)
    assert found["log"]["left_out"]["decisions_gone"] > 50
    assert (found["status"], found["log"]["units"]) == ("invalid_design", 0)
    engine.dispose()


class Echo:
    """An arm whose answer tells what it was shown: the sign now, and how many states."""

    model, window = "echo", 3

    def act(self, histories, lengths):
        probs = np.stack([lengths / 10, 0.5 + histories[:, -1, SIGN] / 10], axis=1)
        return Acted(np.column_stack([probs, 1 - probs.sum(axis=1)]).astype(np.float32), np.zeros(len(probs)))


def logged(bot, seen, **more):
    facts = {
        "decision_id": f"{bot}{len(seen)}", "unit": "u", "bot": bot, "served_arm": "base",
        "received_at_us": 1, "action": "buy", "probs": (0.25, 0.5, 0.25), "propensity": 0.5, "model": "m",
        "schema_hash": MARKET_V1.hash, "state": seen[-1].tobytes(),
        "history_digest": digest_of(np.array(seen)), "pnl_micro": None, "won": None,
    }  # fmt: skip
    return LoggedAction(**facts | more)


def test_each_bot_of_a_unit_has_a_history_of_its_own():
    a = [state(1, 0), state(2, 0), state(3, 0), state(4, 0)]
    b = [state(-1, 0), state(-2, 0)]
    unit = [*(logged("a", a[: n + 1]) for n in range(4)), logged("b", b[:1]), logged("b", b)]
    found = answered(unit, Candidate(Echo(), MARKET_V1, "sample"))
    np.testing.assert_allclose(found.wanted[:, 0], [0.1, 0.2, 0.3, 0.3, 0.1, 0.2], rtol=1e-6)
    np.testing.assert_allclose(found.target, [0.6, 0.7, 0.8, 0.9, 0.4, 0.3], rtol=1e-6)
    np.testing.assert_allclose(found.propensity, 0.5)
    missed = [logged("a", a[:1]), logged("a", a[:3])]  # at the second tick it did not ask
    assert answered(missed, Candidate(Echo(), MARKET_V1, "sample")) == "history_unknown"


def test_shares_that_do_not_add_up_are_taken_as_the_draw_took_them():
    unit = [logged("a", [state(1, 0)], probs=(0.2503, 0.5006, 0.2503), propensity=0.5006)]
    found = answered(unit, Candidate(Echo(), MARKET_V1, "argmax"))
    assert found.propensity.tolist() == pytest.approx([0.5006 / 1.0012])
    assert found.wanted.tolist() == [[0.0, 1.0, 0.0]]
    certain = answered([logged("a", [state(1, 0)], propensity=1.0)], Candidate(Echo(), MARKET_V1, "sample"))
    assert certain.possible.tolist() == [[0.0, 1.0, 0.0]]


def test_states_of_another_schema_are_numbered():
    features = Features(MARKET_V1.hash, MARKET_V1.names)
    assert features.of(logged("a", [state(1, 0)])) == MARKET_V1.names
    assert features.of(logged("a", [state(1, 0)], schema_hash="x"))[:2] == ["f00", "f01"]


def test_trades_that_are_not_reported_one_by_one_have_no_single_rewards(tmp_path):
    made = (record for record in records() if not isinstance(record, TradeOutcome))
    engine = filled(f"sqlite:///{tmp_path}/abctl.db", made)
    found = asked(engine, per="decision")
    assert found["status"] == "invalid_design"
    assert "report every trade" in found["remedy"]
    assert asked(engine)["status"] == "ok"
    engine.dispose()
