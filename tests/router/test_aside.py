"""Somebody else's arm in its own process: it may fail, hang or die, and only its decisions notice."""

import asyncio
import os
import signal
import time
from dataclasses import replace

import numpy as np
import psutil
import pytest

from arms.artefact import Config, Golden, contents_of, write_artefact
from arms.aside import hello_of
from arms.errors import ArmError
from arms.schema import MARKET_V1
from router.aside import AsideArm, started
from router.lineup import Lineup
from router.serving import Answer, Silence

LIMIT_S = 0.2
FINE, RAISES, SLEEPS, HOLDS_LOCK, DIES, MISSHAPEN = (i / 8 for i in range(6))
MOODY = """
import ctypes, os, sys, time
import numpy as np
from arms.errors import ArtefactError
from arms.protocol import Acted

FINE, RAISES, SLEEPS, HOLDS_LOCK, DIES, MISSHAPEN = (i / 8 for i in range(6))


class Moody:
    model, window = "moody-1", 2

    def act(self, histories, lengths):
        print("what an arm prints is no answer")
        mood = float(histories[:, -1, 0].max())
        if mood == RAISES:
            raise ValueError("a bad day")
        if mood == SLEEPS:
            time.sleep(30)
        if mood == HOLDS_LOCK:
            ctypes.PyDLL(None).sleep(30)  # holds the interpreter's lock
        if mood == DIES:
            os._exit(7)
        if mood == MISSHAPEN:
            return Acted(np.zeros((1, 2), np.float32), np.zeros(1, np.float32))
        probs = np.tile(np.array([0.2, 0.3, 0.5], np.float32), (len(histories), 1))
        return Acted(probs, np.arange(len(histories), dtype=np.float32))


def load(artefact, schema):
    if artefact.config.arm == "picky":
        raise ArtefactError("it does not like this model")
    if artefact.config.arm == "mortal":
        os._exit(3)
    return Moody()
"""


@pytest.fixture(scope="module")
def moody(tmp_path_factory):
    """A distribution that offers the kind `moody`, on the path of child processes; makes its artefacts."""
    site = tmp_path_factory.mktemp("site")
    info = site / "moody_arm-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: moody-arm\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[abctl.arms]\nmoody = moody_arm_module:load\n")
    (site / "moody_arm_module.py").write_text(MOODY)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(site)

    def make(arm="moody"):
        folder = site / arm
        config = Config(arm=arm, kind="moody", window=2, schema=MARKET_V1.name, schema_hash=MARKET_V1.hash)
        write_artefact(folder, config, Golden(history=[], length=[], probs=[], value=[]), b"x", None)
        return hello_of(contents_of(folder), MARKET_V1, LIMIT_S)

    yield make
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


@pytest.fixture
def lineup(moody):
    hello = moody()
    found = Lineup()
    found.serve("moody", AsideArm(hello, started(hello)))
    yield found
    found.close()


def history(mood, rows=2):
    made = np.zeros((rows, MARKET_V1.width), np.float32)
    made[:, 0] = mood
    return made


def ask(lineup, *moods, budget_s=None):
    async def asked():
        deadline_s = None if budget_s is None else lineup.clock_s() + budget_s
        return await asyncio.gather(*(lineup.ask("moody", history(mood), deadline_s) for mood in moods))

    return asyncio.run(asked())


def pid_of(lineup):
    return lineup._aside["moody"]._process.process.pid


def test_it_answers_in_batches(lineup):
    answers = ask(lineup, *[FINE] * 8)
    assert all(isinstance(answer, Answer) for answer in answers)
    assert answers[0].probs == pytest.approx((0.2, 0.3, 0.5))
    assert sorted(answer.value for answer in answers) == list(range(8)), "one run"
    assert {(answer.model, answer.history_used) for answer in answers} == {("moody-1", 2)}


@pytest.mark.parametrize(
    ("mood", "why"), [(RAISES, "ValueError: a bad day"), (MISSHAPEN, "the arm answered [1, 2] and [1]")]
)
def test_what_it_raises_is_its_silence_and_it_goes_on(lineup, mood, why):
    [silence] = ask(lineup, mood)
    assert (silence.reason, silence.why) == (
        "fallback:error",
        f"failed: {why}" if "[" not in why else silence.why,
    )
    assert why in silence.why
    assert [type(answer) for answer in ask(lineup, FINE, mood, FINE)] == [Answer, Silence, Answer]


@pytest.mark.parametrize("mood", [SLEEPS, HOLDS_LOCK])
def test_a_run_that_takes_too_long_is_ended_and_the_arm_comes_back(lineup, mood):
    hung = pid_of(lineup)

    async def course():
        began_s = time.monotonic()
        silence = await lineup.ask("moody", history(mood), None)
        took_s = time.monotonic() - began_s
        meanwhile = await lineup.ask("moody", history(FINE), None)
        deadline_s = time.monotonic() + 20
        while isinstance(answer := await lineup.ask("moody", history(FINE), None), Silence):
            assert time.monotonic() < deadline_s
            await asyncio.sleep(0.05)
        return silence, took_s, meanwhile, answer

    silence, took_s, meanwhile, answer = asyncio.run(course())
    assert silence.reason == "fallback:timeout"
    assert LIMIT_S <= took_s < LIMIT_S + 0.5
    assert meanwhile.reason == "fallback:starting"
    assert answer.model == "moody-1"
    assert not psutil.pid_exists(hung)


def test_one_that_dies_is_replaced(lineup):
    async def course():
        silence = await lineup.ask("moody", history(DIES), None)
        deadline_s = time.monotonic() + 20
        while isinstance(await lineup.ask("moody", history(FINE), None), Silence):
            assert time.monotonic() < deadline_s
            await asyncio.sleep(0.05)
        return silence

    silence = asyncio.run(course())
    assert silence.reason == "fallback:error"
    assert "its process ended" in silence.why


def test_a_deadline_is_kept_though_the_run_goes_on(lineup):
    ask(lineup, FINE)

    async def course():
        began_s = lineup.clock_s()
        silence = await lineup.ask("moody", history(SLEEPS), began_s + 0.05)
        return silence, lineup.clock_s() - began_s

    silence, took_s = asyncio.run(course())
    assert silence.reason == "fallback:deadline"
    assert took_s < LIMIT_S


def test_one_that_hangs_ends_by_itself_when_nobody_is_left_to_end_it(moody):
    """Its process gets the kernel's alarm: the worker may have been killed while it ran."""
    hello = moody()
    arm = started(hello)
    from arms.aside import SHAPE, framed

    stuck = np.ascontiguousarray(history(HOLDS_LOCK)[None])
    question = SHAPE.pack(1, 2, MARKET_V1.width) + stuck.tobytes() + np.array([2]).tobytes()
    arm.link.setblocking(True)
    arm.link.sendall(framed(question))
    arm.link.close()
    assert arm.process.wait(10) == -signal.SIGALRM


@pytest.mark.parametrize(
    ("arm", "why"),
    [("picky", "it does not like this model"), ("mortal", "its process ended while it loaded")],
)
def test_one_that_does_not_load_is_refused_with_its_reason_and_leaves_nothing(moody, arm, why):
    before = set(psutil.Process().children())
    with pytest.raises(ArmError, match=why):
        started(moody(arm))
    assert set(psutil.Process().children()) == before


def test_a_model_for_other_states_is_refused(moody):
    hello = moody()
    other = hello_of(hello.files, replace(MARKET_V1, name="other-v1"), LIMIT_S)
    with pytest.raises(ArmError, match="make it again for this schema"):
        started(other)
