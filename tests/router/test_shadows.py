"""The queue of shadow ticks: behind every decision that waits, bounded, and never mixed up."""

import asyncio

import msgspec
import numpy as np
import pytest

from arms.fills import Quotes
from arms.protocol import Acted
from arms.schema import MARKET_V1
from router.definition import experiment_of
from router.journals import Journals
from router.lineup import Lineup
from router.quotes import Book
from router.shadow_job import Job
from router.shadows import QUEUE_MAX, ROWS_MAX, Shadows
from router.station import ROWS_MAX as DECISIONS_A_RUN
from store.journal import Quota, frames
from store.lives import MemoryLives
from store.records import Record, ShadowSetting

MAIN = experiment_of({"key": "main", "arms": ["base", "transformer"], "control": "base"}, 1)
SETTING = ShadowSetting(
    experiment="main",
    number=1,
    arm="transformer",
    is_required=False,
    stake_micro=100_000_000,
    fee_ppm=70_000,
    margin_micro=1_000_000,
    since_us=1,
    actor="me",
    reason="",
)
QUOTES = Quotes(480_000, 500_000, 500_000, 520_000, 10**15, 10**15, 10**15, 10**15)


class Arm:
    """Always buys, and notes whose run it was."""

    def __init__(self, name, runs):
        self.model, self.window, self.runs = name, 2, runs

    def act(self, histories, lengths):
        del lengths
        self.runs.append((self.model, len(histories)))
        probs = np.tile(np.array([0.0, 1.0, 0.0], np.float32), (len(histories), 1))
        return Acted(probs, np.zeros(len(histories), np.float32))


def job(unit, at_us, bot="b"):
    return Job(
        setting=SETTING,
        experiment=MAIN,
        unit=unit,
        bot=bot,
        decision_id=f"{unit}-{at_us}",
        at_us=at_us,
        left_us=800_000_000,
        history=np.full((2, MARKET_V1.width), 0.1, np.float32),
        book=Book(QUOTES, None),
        served_action="hold",
    )


class Bench:
    """A queue over two real arms, and what it journals."""

    def __init__(self, folder):
        self.runs, self.lineup, self.folder = [], Lineup(), folder
        for name in ("base", "transformer"):
            self.lineup.serve(name, Arm(name, self.runs))
        self.journals = Journals(folder, Quota(folder, 1 << 30))
        self.shadows = Shadows(self.lineup, self.journals, MemoryLives(), MARKET_V1)

    async def done(self):
        working = asyncio.create_task(self.shadows.run())
        while self.shadows.waiting():  # noqa: ASYNC110 - a look at every turn
            await asyncio.sleep(0)
        working.cancel()

    def records(self):
        decoder = msgspec.msgpack.Decoder(Record)
        paths = sorted(self.folder.glob("*/*/*.seg"))
        return [decoder.decode(f.payload) for path in paths for f in frames(path.read_bytes(), 0)]


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def test_decisions_that_wait_come_first(bench):
    """Those of the other arm too, and all of them."""

    async def script():
        bench.shadows.take(job("u", 1))
        working = asyncio.create_task(bench.done())
        history = np.zeros((2, MARKET_V1.width), np.float32)
        asked = [bench.lineup.ask("base", history, None) for _ in range(3 * DECISIONS_A_RUN)]
        await asyncio.gather(*asked, working)

    asyncio.run(script())
    assert bench.runs == [*[("base", DECISIONS_A_RUN)] * 3, ("transformer", 1)]


def test_lives_of_one_run_are_different_ones_and_few(bench):
    async def script():
        for at_us in (1_000_000, 2_000_000):
            for unit in range(ROWS_MAX + 2):
                bench.shadows.take(job(f"u{unit}", at_us))
        await bench.done()

    asyncio.run(script())
    assert max(rows for _, rows in bench.runs) == ROWS_MAX
    found = bench.records()
    assert sorted((r.unit, r.tick) for r in found) == [
        (f"u{u}", t) for u in range(ROWS_MAX + 2) for t in (1, 2)
    ]
    assert {r.void for r in found} == {""}


def test_ticks_of_one_life_are_lived_in_their_order(bench):
    async def script():
        for at_us in range(1, 6):
            bench.shadows.take(job("u", at_us * 500_000))
        await bench.done()

    asyncio.run(script())
    found = bench.records()
    assert [(r.tick, r.decision_id) for r in found] == [(n, f"u-{n * 500_000}") for n in range(1, 6)]
    assert found[0].shadow_up_micro == found[0].shadow_down_micro == 0
    assert found[1].shadow_up_micro > 0 > found[1].shadow_down_micro
    assert {(r.served_up_micro, r.served_down_micro) for r in found} == {(0, 0)}


def test_what_finds_no_room_ends_its_life_once(bench):
    async def script():
        for unit in range(QUEUE_MAX):
            bench.shadows.take(job(f"u{unit}", 1))
        for at_us in (1, 2, 3):
            bench.shadows.take(job("late", at_us))
        await bench.done()
        bench.shadows.take(job("late", 4))
        await bench.done()

    asyncio.run(script())
    late = [(r.tick, r.void) for r in bench.records() if r.unit == "late"]
    assert late == [(0, "dropped")]
    assert len(bench.records()) == QUEUE_MAX + 1
