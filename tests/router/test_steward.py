"""Who looks after rollouts: one leader, one look an interval, one step; with a real Redis, and without."""

import signal
import subprocess
import sys
import time
from dataclasses import replace

import msgspec
import pytest
import redis

from router import change, rollout_steps
from router.definition import experiment_of
from router.kills import Kill, add_kill
from router.rollout_evidence import failed
from router.rollout_steps import Hands
from router.rollout_watch import LATE_MIN_US, ONCE, looked, looked_when_due, watch_of
from router.snapshot import first_split
from router.steward import ROLE, Steward, Terms
from store import experiments, keys, rollout_looks, rollouts
from store.clock import wall_clock_us
from store.fenced_lease import FencedLease, kept, token_of
from store.stream import open_redis

EVERY_US = 60_000_000
PLAN = """
version = 1
stages = [{share = 0.1, units_min = 10, days_min = 1, days_max = 20}]
primary = {metric = "win_rate", effect = 0.05}
money = {margin_usd = 0.02}
"""


@pytest.fixture
def key(redis_token):
    """An experiment that nobody else has locks for."""
    return redis_token


@pytest.fixture
def engine(migrated, key):
    made = experiment_of({"key": key, "arms": ["base", "transformer"], "control": "base"}, wall_clock_us())
    experiments.ensure(migrated, made, first_split(made, "test"), "test")
    return migrated


@pytest.fixture
def hands(engine, key, clock):
    return Hands(engine=engine, key=key, actor="ana", clock=clock, lead_us=2_000_000)


@pytest.fixture
def steward(engine, clock, tmp_path, redis_url):
    """steward("name"): one of several nodes."""

    def made(name, url=redis_url):
        root = tmp_path / name
        root.mkdir(exist_ok=True)
        terms = Terms(
            engine=engine,
            root=root,
            actor=f"serve/{name}",
            holder=name,
            clock=clock,
            lead_us=2_000_000,
            every_us=EVERY_US,
        )
        return Steward(terms, open_redis(url, 1.0))

    return made


def lines(engine, key):
    with engine.connect() as connection:
        return rollouts.events(connection, key)


def watched(engine, key, clock):
    with engine.connect() as connection:
        return watch_of(connection, key, clock())


def shares(engine, key):
    return [split.weights["transformer"] for split in change.history(engine, key)]


def actions(told):
    return [found.verdict.action for found in told]


def test_one_node_leads_and_looks_once_an_interval(steward, engine, hands, key, clock):
    a, b = steward("a"), steward("b")
    assert (a.round(), b.round()) == ([], [])
    rollout_steps.start(hands, PLAN, "")
    assert (actions(a.round()), b.round()) == (["advance"], [])
    for _ in range(5):
        clock.after(11.9)
        assert (a.round(), b.round()) == ([], [])
    clock.after(0.5)
    assert (b.round(), actions(a.round())) == ([], ["hold"])
    assert [line.actor for line in lines(engine, key)] == ["ana", "serve/a", "serve/a"]
    assert shares(engine, key) == [0.0, 0.1]


def test_another_node_goes_on_where_the_leader_left(steward, hands, clock):
    a, b = steward("a"), steward("b")
    rollout_steps.start(hands, PLAN, "")
    assert actions(a.round()) == ["advance"]
    a.release()
    assert b.round() == []  # it leads now, and the look of this interval was had
    clock.after(61)
    assert (a.round(), actions(b.round())) == ([], ["hold"])


def test_without_redis_all_lead_and_one_has_the_look(steward, engine, hands, key, clock):
    a, b = (steward(name, "redis://127.0.0.1:1") for name in "ab")
    rollout_steps.start(hands, PLAN, "")
    assert (actions(a.round()), b.round()) == (["advance"], [])
    clock.after(61)
    assert (actions(b.round()), a.round()) == (["hold"], [])
    assert len(lines(engine, key)) == 3


def test_a_rollout_that_is_over_is_not_looked_at(steward, engine, hands, key):
    rollout_steps.start(hands, PLAN, "")
    rollout_steps.abort(hands, "", "base")
    assert steward("a").round() == []
    with engine.connect() as connection:
        assert rollouts.open_ones(connection) == ()
        assert rollout_looks.last(connection, key) is None
    rollout_steps.start(hands, PLAN, "again")
    assert actions(steward("a").round()) == ["advance"]


def test_what_cannot_be_looked_at_is_told_and_hinders_no_other(steward, engine, hands, key, clock, caplog):
    other = experiment_of({"key": "zzz", "arms": ["base", "transformer"], "control": "base"}, clock())
    experiments.ensure(engine, other, first_split(other, "test"), "test")
    for one in (hands, replace(hands, key="zzz")):
        rollout_steps.start(one, PLAN, "")
    with engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE rollout SET plan = '' WHERE experiment = '{key}'")
    a = steward("a", "redis://127.0.0.1:1")
    told = []
    for _ in range(3):
        told += [found.is_news for found in a.round()]
        clock.after(61)
    assert told == [True, True, False]
    assert watched(engine, key, clock).said.startswith("could not look: plan")
    assert sum("was not looked at" in record.message for record in caplog.records) == 1


def test_the_kill_of_the_node_gives_the_units_back(steward, engine, hands, key, clock):
    rollout_steps.start(hands, PLAN, "")
    a = steward("a")
    a.round()
    add_kill(a.terms.root, Kill(key, "transformer", clock(), "ana", "prices"))
    clock.after(61)
    assert actions(a.round()) == ["rollback"]
    assert shares(engine, key)[-1] == 0.0


def test_it_is_told_whether_somebody_looks(engine, hands, key, clock):
    nobody = watched(engine, key, clock)
    assert (nobody.by, nobody.age_s, nobody.is_late) == ("", None, True)
    rollout_steps.start(hands, PLAN, "")
    looked(hands, evidence, ONCE)
    clock.after(30)
    assert watched(engine, key, clock).age_s == pytest.approx(30)
    assert looked_when_due(replace(hands, actor="serve/a"), evidence, EVERY_US) is None
    clock.after(31)
    assert looked_when_due(replace(hands, actor="serve/a"), evidence, EVERY_US) is not None
    found = watched(engine, key, clock)
    assert (found.by, found.every_s, found.is_late) == ("serve/a", 60.0, False)
    assert found.said.startswith("hold: ")
    clock.after(max(LATE_MIN_US, 3 * EVERY_US) / 1e6 + 1)
    assert watched(engine, key, clock).is_late


def evidence(found, now_us):
    """Usable, and without a number in it: it climbs into the first stage and no further."""
    return msgspec.structs.replace(failed(found, (), now_us, "none here"), failed="")


FROZEN = """
import sys
from pathlib import Path
from router.steward import Steward, Terms
from store.clock import wall_clock_us
from store.sql import open_engine
from store.stream import open_redis
import router.evidence_here as here, router.steward as stewards
from store import rollouts

def stop():
    print("here", flush=True)
    sys.stdin.readline()

real_evidence, real_append = here.evidence_here, rollouts.append
def slow_evidence(engine, root):
    inner = real_evidence(engine, root)
    def evidence(found, now_us):
        seen = inner(found, now_us)
        stop()
        return seen
    return evidence
def slow_append(*words):
    stop()
    return real_append(*words)
if sys.argv[4] == "evidence":
    here.evidence_here = slow_evidence
else:
    rollouts.append = slow_append
terms = Terms(engine=open_engine(sys.argv[1]), root=Path(sys.argv[3]), actor="serve/frozen", holder="frozen",
    clock=wall_clock_us, lead_us=0, every_us=1_000_000)
steward = Steward(terms, open_redis(sys.argv[2], 1.0))
stewards.FencedLease.__init__.__defaults__ = (900,)
print([found.verdict.action for found in steward.round()], steward.complaints, flush=True)
"""


@pytest.mark.parametrize("place", ["evidence", "append"])
def test_a_leader_that_was_frozen_past_its_lease_moves_nothing(
    engine, sql_url, hands, key, steward, redis_url, tmp_path, place
):
    """SIGSTOP after its evidence, or after its last look at the lock; another leads; SIGCONT."""
    rollout_steps.start(replace(hands, clock=wall_clock_us), PLAN, "")
    root = tmp_path / "frozen"
    root.mkdir()
    words = [sys.executable, "-c", FROZEN, sql_url, redis_url, str(root), place]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, **pipes) as leader:
        assert leader.stdout.readline() == "here\n"
        time.sleep(1.5)  # longer than its lease, which is renewed while it works
        other = steward("other")
        other.terms = replace(other.terms, clock=wall_clock_us, every_us=1_000_000)
        assert other.round() == []
        leader.send_signal(signal.SIGSTOP)
        leader.stdin.write("go on\n")
        leader.stdin.flush()
        deadline_s = time.monotonic() + 20
        while not (told := other.round()):
            assert time.monotonic() < deadline_s, "nobody took over"
            time.sleep(0.05)
        leader.send_signal(signal.SIGCONT)
        said = leader.communicate(timeout=60)[0]
    assert actions(told) == ["advance"]
    assert said.startswith("[] ")
    assert ("Overtaken" if place == "evidence" else "RolloutMoved") in said
    assert [line.actor for line in lines(engine, key)] == ["ana", "serve/other"]
    assert shares(engine, key) == [0.0, 0.1]
    assert watched(engine, key, wall_clock_us).by == "serve/other"


class TestLease:
    @pytest.fixture
    def lease(self, redis_url, redis_token):
        client = redis.Redis.from_url(redis_url)
        return lambda holder: FencedLease(client, keys.leader(redis_token, ROLE), holder, term_ms=300)

    def test_each_takeover_has_a_greater_token(self, lease):
        a, b = lease("a"), lease("b")
        first = a.lead()
        assert (a.lead(), b.lead(), a.is_led_by(first)) == (first, None, True)
        a.release(first)
        second = b.lead()
        assert (a.lead(), a.is_led_by(first)) == (None, False)
        time.sleep(0.4)
        third = a.lead()
        assert token_of(first) < token_of(second) < token_of(third)
        assert not b.is_led_by(second)

    def test_a_name_that_begins_like_another_is_another(self, lease):
        assert lease("node-1").lead() is not None
        assert lease("node").lead() is None
        assert lease("node-11").lead() is None

    def test_who_leads_no_more_releases_nothing(self, lease):
        a, b = lease("a"), lease("b")
        old = a.lead()
        a.release(old)
        mark = b.lead()
        a.release(old)
        assert b.is_led_by(mark)

    def test_it_is_kept_while_the_work_lasts(self, lease):
        a, b = lease("a"), lease("b")
        mark = a.lead()
        with kept(a):
            time.sleep(0.8)
            assert b.lead() is None
        assert a.is_led_by(mark)
