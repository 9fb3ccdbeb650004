"""A shadow arm beside the arm that serves, on a real worker: its paper life is the one it would have had."""

import asyncio
from contextlib import closing

import numpy as np
import pytest
from abctl_client.client import Client

from arms.artefact import read_artefact
from arms.fills import MICRO, FeeSchedule, TradingRules
from arms.onnx_runtime import load
from arms.schema import MARKET_V1
from market.bot import Bot, BotConfig, Ledger
from market.session import Session
from market.worlds import DECOY_FAST, tape_of
from router import kills, shadowing
from router.change import By
from router.question import Question
from router.report import report_of
from store.clock import wall_clock_us
from store.outbox import Outbox
from store.snapshot import snapshot
from store.sql import open_engine
from store.verify import verify

BY = By("test", "test")
NUMBERS = {"hold": 0, "buy": 1, "sell": 2}
QUOTED = FeeSchedule("quoted", 70_000, 1)


def shadow(node, key="main", **wanted):
    setting = shadowing.change(node.engine, key, shadowing.Wanted(**wanted), BY, wall_clock_us)
    number = None if setting.arm is None else setting.number

    def seen():
        view = node.service.desk.snapshot.views[key]
        return (view.shadow and view.shadow.number) == number

    node.wait(seen)
    return setting


def quote_of(tape, tick):
    bid, ask, down_bid, down_ask = (tape.prices[tick] / MICRO).tolist()
    return {"bid": bid, "ask": ask, "down_bid": down_bid, "down_ask": down_ask}


def rules():
    return TradingRules(QUOTED)


def deep(tape):
    """The tape with more depth than an order takes, for a quote tells no size of DOWN."""
    tape.depths[:] = 10**15
    return tape


def played_live(node, tape, unit, key="main", ticks=None):
    """A bot that does what it is told; the market's result and how many ticks it played."""
    session, started_ms, rows = Session(tape, rules()), wall_clock_us() // 1000, []
    count = len(tape.tick_us) if ticks is None else ticks
    while not session.done and session.tick < count:
        tick = session.tick
        rows.append(session.state().tolist())
        body = {
            "unit": unit,
            "bot": "b",
            "experiment": key,
            "history": rows[-20:],
            "started_at": started_ms,
            "as_of": started_ms + 900_000 - int(tape.left_us[tick]) // 1000,
            "quote": quote_of(tape, tick),
        }
        reply = node.post("/v1/decide", body)
        assert reply.status == 200, reply.body
        session.step(NUMBERS[reply.json["action"]])
    return session


def played_alone(folder, tape):
    """What the arm makes of the tape when nobody else decides."""
    arm, session = load(read_artefact(folder), MARKET_V1), Session(tape, rules())
    while not session.done:
        probs = arm.act_one(np.array(session.history(20)))[:3]
        session.step(int(np.argmax(probs)))
    return session.result()


def lives(node, unit):
    engine = open_engine(node.engine.url.render_as_string(hide_password=False))
    with engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT * FROM shadowlife WHERE unit = ?", (unit,))
        return [dict(row) for row in found.mappings()]


def lived(node, count):
    """Waits until so many ticks have become something, and SQL holds them."""
    with node.carrying():
        node.wait(lambda: not node.service.desk.shadows.waiting(), 20)


@pytest.fixture
def tape():
    return deep(tape_of(DECOY_FAST, 3))


def test_the_life_is_the_one_that_the_arm_would_have_had(node, artefacts, tape):
    shadow(node, arm="transformer")
    session = played_live(node, tape, "life-1")
    lived(node, len(tape.tick_us))
    (life,) = lives(node, "life-1")
    won = "up" if tape.up_won else "down"
    assert (life["ticks"], life["last_tick"], life["void"]) == (len(tape.tick_us), len(tape.tick_us), "")
    assert life[f"served_{won}_micro"] == session.result().pnl_micro
    alone = played_alone(artefacts / "transformer", tape)
    assert life[f"shadow_{won}_micro"] == alone.pnl_micro
    assert session.result().trades or alone.trades
    with node.engine.connect() as connection, snapshot(connection):
        assert [
            d for step in verify(connection, "main", node.data_dir.journals) for d in step.differences
        ] == []


def test_a_bot_that_sends_quotes_lives_every_tick(start_node, tmp_path):
    """The replay bot, as it comes: every unit has a whole life, and its twin made what the bot did."""
    node, tapes, ledger = start_node(), [deep(tape_of(DECOY_FAST, seed)) for seed in (11, 12, 13)], Ledger()
    shadow(node, arm="transformer", is_required=True)
    run = f"r{wall_clock_us()}"

    async def trade():
        config = BotConfig(name="bob", run=run, sends_quotes=True)
        with closing(Outbox(tmp_path / "bob.outbox")) as outbox:
            async with Client(f"http://127.0.0.1:{node.port}") as client:
                await Bot(config, client, outbox, ledger).trade(tapes)

    with node.carrying():
        asyncio.run(trade())
        node.wait(lambda: not node.service.desk.shadows.waiting(), 20)
    for tape, result in zip(tapes, sorted(ledger.played, key=lambda r: r.market), strict=True):
        (life,) = lives(node, f"{tape.market}@{run}")
        assert (life["ticks"], life["last_tick"], life["void"]) == (len(tape.tick_us), len(tape.tick_us), "")
        won = "up" if tape.up_won else "down"
        assert tape.market == result.market
        assert abs(life[f"served_{won}_micro"] - result.pnl_micro) <= MICRO
    block = report_of(node.engine, Question(key="main", days=7), wall_clock_us())["shadow"]
    assert (block["units"], block["void"], block["pnl_effect"]["clusters"]) == (3, {}, 1)


def test_two_workers_go_on_with_one_life(start_node, artefacts, tape):
    """Each tick comes to the other worker; a life is kept in Redis between them."""
    first = start_node("one")
    second = start_node("two", sql_url=str(first.engine.url), arms=())
    setting = shadow(first, arm="transformer")
    second.wait(lambda: second.service.desk.snapshot.views["main"].shadow == setting)
    unit = f"both-{wall_clock_us()}"
    started_ms = wall_clock_us() // 1000
    session, rows = Session(tape, rules()), []
    while session.tick < 12:
        node = (first, second)[session.tick % 2]
        rows.append(session.state().tolist())
        as_of = started_ms + 900_000 - int(tape.left_us[session.tick]) // 1000
        reply = asked(
            node, unit, rows[-20:], started_at=started_ms, as_of=as_of, quote=quote_of(tape, session.tick)
        )
        session.step(NUMBERS[reply.json["action"]])
        node.wait(lambda node=node: not node.service.desk.shadows.waiting())
    with first.carrying(), second.carrying():
        pass
    (life,) = lives(first, unit)
    assert (life["ticks"], life["last_tick"], life["tick_sum"], life["void"]) == (12, 12, 78, "")


def asked(node, unit, rows, **more):
    return node.post("/v1/decide", {"unit": unit, "bot": "b", "history": rows, **more})


BOOK = {"bid": 0.4, "ask": 0.42, "down_bid": 0.57, "down_ask": 0.6}


class TestWhatIsShadowed:
    """Decisions that carry a quote, of units whose arm is another one, and nothing else."""

    @pytest.fixture
    def on(self, start_node):
        node = start_node()
        shadow(node, arm="transformer")
        return node

    def life_of(self, node, unit):
        lived(node, 0)
        return lives(node, unit)

    def test_one_with_a_quote(self, on, row):
        unit = f"quote-{wall_clock_us()}"
        assert asked(on, unit, [row()], quote=BOOK).status == 200
        (life,) = self.life_of(on, unit)
        assert (life["arm"], life["setting"], life["ticks"]) == ("transformer", 1, 1)

    def test_none_without_a_quote(self, on, row):
        assert asked(on, "bare", [row()]).status == 200
        assert self.life_of(on, "bare") == []

    def test_none_that_is_forced(self, on, row):
        assert asked(on, "forced", [row()], quote=BOOK, force_arm="base").status == 200
        assert self.life_of(on, "forced") == []

    def test_none_whose_unit_has_the_arm(self, on, row):
        on.set_share(1)
        reply = asked(on, "own", [row()], quote=BOOK, started_at=wall_clock_us() // 1000 + 1_000)
        assert reply.json["arm"] == "transformer"
        assert self.life_of(on, "own") == []

    def test_none_when_it_is_off_again(self, on, row):
        shadow(on, arm=None)
        assert asked(on, "off", [row()], quote=BOOK).status == 200
        assert self.life_of(on, "off") == []

    def test_none_of_an_arm_that_is_killed(self, on, row):
        kills.add_kill(on.data_dir.root, kills.Kill("main", "transformer", 1, "test", "test"))
        on.wait(lambda: on.service.desk.kills)
        assert asked(on, "killed", [row()], quote=BOOK).status == 200
        assert self.life_of(on, "killed") == []

    def test_an_arm_without_a_model_ends_the_life(self, start_node, row):
        node, unit = start_node("no-model", arms=("base",)), f"mute-{wall_clock_us()}"
        shadow(node, arm="transformer")
        assert asked(node, unit, [row()], quote=BOOK).status == 200
        (life,) = self.life_of(node, unit)
        assert (life["void"], life["last_tick"]) == ("no_answer", 0)

    def test_a_second_life_under_another_setting_makes_the_unit_not_whole(self, on, row):
        unit = f"again-{wall_clock_us()}"
        asked(on, unit, [row()], quote=BOOK)
        shadow(on, arm="transformer", stake_usd=50.0)
        asked(on, unit, [row()], quote=BOOK)
        (life,) = self.life_of(on, unit)
        assert (life["ticks"], life["last_tick"]) == (2, 1)

    def test_time_that_runs_back_ends_a_life(self, on, row):
        unit, now_ms = f"back-{wall_clock_us()}", wall_clock_us() // 1000
        for as_of in (now_ms, now_ms - 500, now_ms + 500):
            asked(on, unit, [row()], quote=BOOK, as_of=as_of)
        (life,) = self.life_of(on, unit)
        assert life["void"] == "out_of_order"
        exposed = on.ask("GET", "/metrics").body.decode()
        assert 'abctl_shadow_ticks_total{became="out_of_order"}' in exposed

    def test_the_reply_is_the_same_as_without(self, on, row):
        one, other = asked(on, "same-1", [row()]).json, asked(on, "same-2", [row()], quote=BOOK).json
        names = ("arm", "served_arm", "action", "probs", "value", "model")
        assert [one[n] for n in names] == [other[n] for n in names]


class TestRequired:
    """A decision without a quote is refused, one by one in a batch too."""

    @pytest.fixture
    def node(self, start_node):
        node = start_node()
        shadow(node, arm="transformer", is_required=True)
        return node

    def test_a_decision(self, node, row):
        problem = node.refused("/v1/decide", {"unit": "u", "history": [row()]})
        assert problem["field"] == "quote"
        assert "transformer is shadowed" in problem["detail"]
        assert asked(node, "u", [row()], quote=BOOK).status == 200

    def test_one_of_a_batch(self, node, row):
        items = [{"unit": "a", "history": [row()]}, {"unit": "b", "history": [row()], "quote": BOOK}]
        bare, quoted = node.post("/v1/decide/batch", {"decisions": items}).json["decisions"]
        assert bare["error"]["field"] == "quote"
        assert quoted["unit"] == "b"


class TestLoad:
    """What finds no room or no memory ends its life, and is told; decisions go on."""

    def test_a_full_queue_drops_and_says_so(self, start_node, row, monkeypatch):
        node = start_node()
        shadow(node, arm="transformer")
        monkeypatch.setattr("router.shadows.QUEUE_MAX", 0)
        unit = f"full-{wall_clock_us()}"
        for _ in range(3):
            assert asked(node, unit, [row()], quote=BOOK).status == 200
        lived(node, 0)
        (life,) = lives(node, unit)
        assert (life["void"], life["ticks"], life["last_tick"]) == ("dropped", 1, 0)
        exposed = node.ask("GET", "/metrics").body.decode()
        assert 'abctl_shadow_ticks_total{became="dropped"}' in exposed

    def test_without_redis_decisions_go_on(self, start_node, row):
        node = start_node(redis_url="redis://127.0.0.1:1/0")
        shadow(node, arm="transformer")
        assert asked(node, "alone", [row()], quote=BOOK, started_at=wall_clock_us() // 1000).status == 200
        node.wait(lambda: not node.service.desk.shadows.waiting())
        exposed = node.ask("GET", "/metrics").body.decode()
        assert 'abctl_shadow_ticks_total{became="no_memory"}' in exposed
