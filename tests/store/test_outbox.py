"""A bot's outbox: what was put there is sent until somebody says that it has it."""

import msgspec
import pytest

from store.outbox import Outbox

PUT_AND_DIE = """
import os, signal, sys
from pathlib import Path
from store.outbox import Outbox
outbox = Outbox(Path(sys.argv[1]))
for number in range(50):
    outbox.put([{"n": number}, {"n": number, "second": True}])
print("put", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "outbox.db"


@pytest.fixture
def outbox(path):
    outbox = Outbox(path)
    yield outbox
    outbox.close()


def test_a_killed_bot_loses_nothing(path, make):
    child = make.python(PUT_AND_DIE, path)
    assert child.communicate()[0] == "put\n"
    assert child.returncode == -9
    again = Outbox(path)
    assert [item.outcome["n"] for item in again.waiting()] == [n for n in range(50) for _ in range(2)]
    again.close()


def test_what_is_acknowledged_is_forgotten(outbox):
    outbox.put([{"n": n} for n in range(3)])
    first, second, third = outbox.waiting()
    outbox.acknowledge([first.number, third.number])
    assert outbox.waiting() == [second]


def test_a_number_is_never_given_twice(outbox):
    outbox.put([{}])
    (first,) = outbox.waiting()
    outbox.acknowledge([first.number])
    outbox.put([{}])
    assert outbox.waiting()[0].number > first.number


def test_what_is_refused_is_kept_with_the_reason(outbox, path):
    outbox.put([{"n": 1}, {"n": 2}])
    outbox.refuse(outbox.waiting()[0], "unknown unit")
    assert [item.outcome for item in outbox.waiting()] == [{"n": 2}]
    again = Outbox(path)
    assert again.refused() == [({"n": 1}, "unknown unit")]
    again.close()


def test_all_of_them_or_none(outbox):
    with pytest.raises(TypeError):
        outbox.put([{"n": 1}, {"n": object()}])
    assert outbox.waiting() == []
    outbox.put([{"n": 2}])
    assert len(outbox.waiting()) == 1


def test_structs_are_sent_as_their_json(outbox):
    class Said(msgspec.Struct, tag="trade", tag_field="kind"):
        pnl_usd: float

    outbox.put([Said(0.5)])
    assert outbox.waiting()[0].outcome == {"kind": "trade", "pnl_usd": 0.5}


def test_a_limit_takes_the_oldest(outbox):
    outbox.put([{"n": n} for n in range(5)])
    assert [item.outcome["n"] for item in outbox.waiting(limit=2)] == [0, 1]
