"""`--as-of`: reports that were saved during a course are told again later, byte for byte."""

import msgspec
import pytest

from router import change
from router.definition import experiment_of
from router.question import Question
from router.report import report_of
from router.snapshot import first_split
from store import experiments, models
from store.errors import BadMoment, MomentPruned, UnknownExperiment
from store.ingest import Shipment, ingest
from store.journal import frame_bytes
from store.prune import Rule, prune
from store.records import Decision, MarketOutcome, TradeOutcome, Unserved

START_US = 1_767_225_600_000_000
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
BYS = (None, "market", "bot", "day", "model")
BY = change.By("test", "course")


@pytest.fixture
def engine(migrated):
    made = experiment_of({"key": "main", "arms": ["base", "transformer"], "control": "base"}, START_US)
    experiments.ensure(migrated, made, first_split(made, "test"), "test")
    return migrated


class Course:
    """A scripted experiment: what bots and operators do, in the order in which it is received."""

    def __init__(self, engine):
        self.engine = engine
        self.now_us = START_US
        self.offset, self.waiting = 0, b""
        self.version, self.treated = 1, 0

    def store(self, record):
        self.waiting += frame_bytes(msgspec.msgpack.encode(record))

    def flush(self):
        """Brings to SQL what was received."""
        stored = ingest(self.engine, "main", [Shipment("j", self.offset, self.waiting)], self.now_us)
        assert not stored.gaps
        self.offset, self.waiting = self.offset + len(self.waiting), b""

    def split(self, share):
        made = change.set_share(self.engine, "main", "transformer", share, BY, lambda: self.now_us, HOUR_US)
        self.version = made.version

    def common(self, unit, arm, weights):
        return {
            "experiment": "main", "unit": unit, "bot": "b", "arm": arm, "split_version": self.version,
            "weights": weights, "forced": False, "eligible": True, "split_stale": False,
            "received_at_us": self.now_us, "sent_started_at_us": None,
            "started_at_us": START_US + (self.now_us - START_US) // HOUR_US * HOUR_US,
        }  # fmt: skip

    def decide(self, decision_id, unit, arm, weights, **more):
        fields = {"reason": "assigned", "served_arm": arm} | self.common(unit, arm, weights) | more
        self.store(
            Decision(
                decision_id=decision_id, binding="started_at", as_of_us=None, action="hold",
                probs=(1.0, 0.0, 0.0), value=0.0, model="m", schema="s", state=b"", history_digest=b"",
                history_used=1, latency_us=1, **fields,
            )
        )  # fmt: skip

    def refuse(self, unit, arm, weights, **more):
        self.store(Unserved(**({"reason": "overloaded"} | self.common(unit, arm, weights) | more)))

    def trade(self, decision_id, pnl_micro, **more):
        fields = {"fill": "live", "entry_price": 0.4, "exit_price": 1.0 if pnl_micro > 0 else 0.0} | more
        self.store(
            TradeOutcome(
                experiment="main", decision_id=decision_id, pnl_micro=pnl_micro, fee_micro=10,
                stake_micro=400_000, side="up", won=None, closed_at_us=self.now_us,
                received_at_us=self.now_us, **fields,
            )
        )  # fmt: skip

    def settle(self, unit, pnl_micro, **more):
        fields = {"bot": "b", "fill": "live", "trades": None} | more
        self.store(
            MarketOutcome(
                experiment="main", unit=unit, pnl_micro=pnl_micro, fee_micro=10, stake_micro=400_000,
                won=None,
                closed_at_us=self.now_us, received_at_us=self.now_us, **fields,
            )
        )  # fmt: skip


def run(course):
    """Three days with everything that can be late, odd or contradictory; yields how the moment is, when
    a report is worth saving: "within" the life of a unit, or between them.
    """
    weights = {1: {"base": 1.0, "transformer": 0.0}}
    yield "between"
    models_of(course, "base", "m1")
    for n in range(72):
        course.now_us = max(course.now_us, START_US + n * HOUR_US) + 7
        if n in {10, 36}:
            share = {10: "0.25", 36: "0.5"}[n]
            course.split(share)
            weights[course.version] = {"base": 1 - float(share), "transformer": float(share)}
            yield "between"
        unit, arm = f"btc-updown-15m-{n:04d}@r", ("base", "transformer")[n > 10 and n % 3 == 0]
        own = weights[course.version]
        course.decide(f"d{n}", unit, arm, own, served_arm="base" if n % 9 == 0 else arm)
        if n % 7 == 0:
            course.refuse(unit, arm, own)
        if n % 11 == 0:  # a trade of a decision that comes only later: parked until then
            course.trade(f"late{n}", -70_000)
        course.now_us += 1_000_000
        yield from ["within"] if n in {22, 55} else []
        course.decide(f"late{n}", unit, arm, own, bot="c" if n % 5 == 0 else "b")
        course.now_us += 600_000_000
        if n % 4:
            course.trade(f"d{n}", 300_000 if n % 3 else -400_000)
        course.settle(unit, 250_000 if n % 3 else -400_000, fill="paper" if n % 17 == 0 else "live")
        if n % 10 == 0:
            course.now_us += 3 * HOUR_US  # too late for its attribution
            course.settle(unit, 5, bot="c")
            course.settle(unit, 9, bot="stranger")
            course.settle(unit, 77, bot="c")  # contradicts
        if n == 60:
            models_of(course, "base", "m2")
            yield "between"
    course.settle("nobody-asked", 1)
    yield "between"
    course.now_us += DAY_US
    experiments.archive(course.engine, "main", course.now_us, "test")
    yield "between"


def models_of(course, arm, name):
    digest = {"m1": "a1", "m2": "b2"}[name]
    models.register(course.engine, models.ModelEntry(digest, arm, "{}", course.now_us, "test"), {"f": b""})
    models.set_alias(course.engine, models.AliasChange(arm, "champion", digest, course.now_us, "test", ""))


def told(engine, at_us, by, as_of_us=None):
    question = Question(key="main", days=2, by=by, as_of_us=as_of_us)
    return msgspec.json.encode(report_of(engine, question, at_us))


def saved_reports(engine):
    """(the course, reports by moment and slices, how each moment is). What follows comes a bit later."""
    course, saved, kinds = Course(engine), {}, {}
    for kind in run(course):
        course.flush()
        saved |= {(course.now_us, by): told(engine, course.now_us, by) for by in BYS}
        kinds[course.now_us] = kind
        course.now_us += 1
    return course, saved, kinds


ODDITIES = ("late", "unserved", "stranger_outcomes", "conflicts", "parked_outcomes", "other_fill")


def test_every_saved_report_is_told_again_byte_for_byte(engine):
    course, saved, kinds = saved_reports(engine)
    last = told(engine, course.now_us, "bot")
    later_us = course.now_us + 30 * DAY_US
    assert len(kinds) >= 8
    assert len(set(saved.values())) == len(saved), "every moment differs from every other"
    again = {(at_us, by): told(engine, later_us, by, at_us) for at_us, by in saved}
    assert [key for key in saved if again[key] != saved[key]] == []
    assert told(engine, course.now_us, "bot") == last, "looking back leaves no trace"
    report = msgspec.json.decode(last)
    assert all(report["excluded"][name] > 0 for name in ODDITIES), report["excluded"]
    assert any("model of arm base changed" in line for line in report["warnings"])


def test_what_was_pruned_is_told_where_it_was_whole_and_refused_where_it_was_not(engine):
    course, saved, kinds = saved_reports(engine)
    later_us = course.now_us + 30 * DAY_US
    steps = prune(engine, Rule("main", later_us, later_us, None), "test")
    assert sum(step.decisions for step in steps) > 100
    for at_us, kind in kinds.items():
        if kind == "between":
            assert told(engine, later_us, "bot", at_us) == saved[at_us, "bot"]
        else:
            with pytest.raises(MomentPruned, match="1 units of 'main' whose decisions were pruned"):
                told(engine, later_us, None, at_us)


def test_moments_that_no_report_can_be_of(engine):
    with pytest.raises(BadMoment, match="future"):
        told(engine, START_US + 1, None, START_US + 2)
    with pytest.raises(BadMoment, match="before 'main' was created"):
        told(engine, START_US + 1, None, START_US - 1)
    with pytest.raises(UnknownExperiment), engine.connect():
        report_of(engine, Question(key="never", as_of_us=START_US), START_US)
