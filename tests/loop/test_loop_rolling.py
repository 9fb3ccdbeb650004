"""HUP: the workers are replaced under load and nobody notices; or a terminal was closed, the service ends."""

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from abctl_client.client import Client
from abctl_client.errors import AbctlError

ROW = [0.0] * 18
STARTED_MS = int(time.time() * 1000)
HEAD = (
    b"POST /v1/decide HTTP/1.1\r\nhost: 127.0.0.1\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\n\r\n"
)
BOTS = 32
ROLLS, RAW_ROLLS = 5, 2
ROLL_MAX_S = 60.0
# Takes a terminal as its own, then becomes `abctl ...`.
AT_TERMINAL = """
import os, sys
os.setsid()
os.open(sys.argv[1], os.O_RDWR)
os.execv(sys.executable, [sys.executable, "-P", "-c", "from cli.main import main; main()", *sys.argv[2:]])
"""


def pause_s(bot):
    """How long a bot waits between two decisions; the slowest longer than a draining worker does."""
    return (0.02, 0.1, 0.3, 0.7)[bot % 4]


@dataclass
class Traffic:
    """What the bots saw."""

    loop: object
    answered: list = field(default_factory=list)
    failed: list = field(default_factory=list)
    resets: int = 0
    dials: int = 0
    is_over: bool = False

    def unit(self, bot):
        return f"bot-{bot}@{self.loop.run}"


def roll(loop, tools):
    """One rolling restart, to its end; every worker is another one afterwards."""
    before = set(loop.pids("worker"))
    done = lambda: loop.service.log.read_text().count("abctl has replaced its workers")  # noqa: E731
    count = done()
    os.kill(loop.service.process.pid, signal.SIGHUP)
    took_s = tools.wait_until(lambda: done() > count, ROLL_MAX_S, 0.1)
    after = set(loop.pids("worker"))
    assert len(after) == 2
    assert not before & after
    return took_s


async def under_traffic(traffic, bot, disturb):
    """All bots at work while `disturb` runs beside them."""
    async with asyncio.TaskGroup() as group:
        for number in range(BOTS):
            group.create_task(bot(traffic, number))
        await asyncio.sleep(1.0)
        try:
            return await asyncio.to_thread(disturb)
        finally:
            traffic.is_over = True


async def client_bot(traffic, number):
    """Without patience: every request is sent once, and once more after a lost connection."""
    async with Client(traffic.loop.service.url) as client:
        while not traffic.is_over:
            try:
                decision = await client.decide(traffic.unit(number), [ROW], started_at=STARTED_MS)
            except AbctlError as error:
                traffic.failed.append(str(error))
            else:
                traffic.answered.append(decision.decision_id)
            await asyncio.sleep(pause_s(number))


async def raw_bot(traffic, number):
    """Keeps its connection as long as the service does, and never resends."""
    while not traffic.is_over:
        reader, writer = await asyncio.open_connection("127.0.0.1", traffic.loop.port)
        traffic.dials += 1
        try:
            is_open = True
            while is_open and not traffic.is_over:
                is_open = await raw_decision(traffic, number, reader, writer)
                await asyncio.sleep(pause_s(number))
        except (ConnectionError, asyncio.IncompleteReadError):
            traffic.resets += 1
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def raw_decision(traffic, number, reader, writer):
    """Whether the connection may be used again. A close that came before the request costs nothing."""
    if reader.at_eof():
        return False
    body = json.dumps({"unit": traffic.unit(number), "history": [ROW], "started_at": STARTED_MS}).encode()
    writer.write(HEAD % len(body) + body)
    answer = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(answer.split(b"content-length: ")[1].split(b"\r\n")[0])
    decision = json.loads(await reader.readexactly(length))
    if not answer.startswith(b"http/1.1 200"):
        traffic.failed.append(str(decision))
    else:
        traffic.answered.append(decision["decision_id"])
    return b"connection: close" not in answer


def check_sql(traffic, tools):
    """Every answered decision is in SQL once, and all of a unit under one arm."""
    loop, answered = traffic.loop, traffic.answered
    tools.wait_until(lambda: {row[0] for row in loop.sql(tools.DECISIONS)} >= set(answered), 30.0, 0.2)
    held = [row[0] for row in loop.sql(tools.DECISIONS)]
    assert len(held) == len(set(held))
    assert len(answered) == len(set(answered))
    arms = "SELECT unit FROM decision WHERE unit LIKE :like GROUP BY unit HAVING count(DISTINCT arm) > 1"
    assert loop.sql(arms) == []
    return len(held)


@pytest.fixture
def pair(tools):
    """A service of two workers."""
    with tools.open_loop(flags=("--workers", "2")) as loop:
        loop.service.start()
        loop.split("0.5")
        yield loop


@pytest.mark.timeout(400)
def test_no_client_sees_a_rolling_restart(pair, tools):
    traffic = Traffic(pair)
    took = asyncio.run(under_traffic(traffic, client_bot, lambda: [roll(pair, tools) for _ in range(ROLLS)]))
    in_sql = check_sql(traffic, tools)
    print(f"rolls of {[round(s, 1) for s in took]} s; {len(traffic.answered)} answered, {in_sql} in SQL")
    assert traffic.failed == []
    assert len(traffic.answered) > 1000


@pytest.mark.timeout(400)
def test_a_client_that_never_resends_sees_next_to_nothing(pair, tools):
    """Only a request that crosses the closing of an idle connection on the wire is lost: hardly ever one."""
    traffic = Traffic(pair)
    asyncio.run(under_traffic(traffic, raw_bot, lambda: [roll(pair, tools) for _ in range(RAW_ROLLS)]))
    check_sql(traffic, tools)
    print(f"{traffic.resets} resets in {len(traffic.answered)} decisions, {traffic.dials} connections")
    assert traffic.failed == []
    assert traffic.resets <= RAW_ROLLS
    assert traffic.dials >= BOTS + RAW_ROLLS


def test_a_successor_that_cannot_answer_is_sent_away(loop, tools):
    """The worker that serves goes on with what it has."""
    before = loop.pids("worker")
    for file in (loop.folder / "models").glob("*/model.onnx"):
        file.write_bytes(b"broken")
    os.kill(loop.service.process.pid, signal.SIGHUP)
    tools.wait_until(lambda: "abctl keeps the workers it has" in loop.service.log.read_text(), ROLL_MAX_S)
    assert "control arm base has no loaded model" in loop.service.log.read_text()
    assert loop.pids("worker") == before
    loop.trade(tools.short_tapes(4))
    loop.check_books()


def test_every_event_is_a_line_of_json(tools):
    with tools.open_loop(flags=("--json",)) as loop:
        loop.service.start()
        url = loop.service.url
        os.kill(loop.service.process.pid, signal.SIGHUP)
        tools.wait_until(lambda: "restarted" in loop.service.log.read_text(), ROLL_MAX_S)
        loop.service.stop()
        lines = [line for line in loop.service.log.read_text().splitlines() if line.startswith("{")]
        events = [json.loads(line) for line in lines]
        assert [e["event"] for e in events] == ["ready", "restarting", "restarted", "stopping", "stopped"]
        assert events[0]["url"] == url
        assert events[0]["data_dir"] == str(loop.folder.resolve())
        assert events[2]["workers"] == 1


@pytest.mark.parametrize("is_nohup", [False, True], ids=["closed", "nohup"])
def test_a_closed_terminal_ends_the_service_unless_it_was_started_with_nohup(tools, is_nohup):
    with tools.open_loop() as loop:
        master, slave = pty.openpty()
        told = loop.folder.parent / "told"
        words = [sys.executable, "-c", AT_TERMINAL, os.ttyname(slave)]
        words += ["serve", "--port", "0", "--data-dir", loop.folder, "--json"]
        handler = signal.signal(signal.SIGHUP, signal.SIG_IGN if is_nohup else signal.SIG_DFL)
        with told.open("w") as file:
            process = subprocess.Popen(words, stdin=slave, stdout=file, stderr=subprocess.DEVNULL)
        signal.signal(signal.SIGHUP, handler)
        try:
            tools.wait_until(lambda: '"ready"' in told.read_text(), 30.0)
            os.close(slave)
            os.close(master)
            if is_nohup:
                time.sleep(1.0)
                assert process.poll() is None
                assert "restarting" not in told.read_text()
                process.terminate()
            assert process.wait(20) == 0
        finally:
            process.kill()
        events = [json.loads(line)["event"] for line in told.read_text().splitlines()]
        assert events == ["ready", "stopping", "stopped"]
