"""What a report takes from before the coins: the control's units, and the plan that its experiment names."""

import msgspec
import pytest

from router import change
from router.definition import experiment_of
from router.problems import Problem
from router.question import Question
from router.report import report_of
from router.report_gates import gate_lines, gate_tables
from router.report_html import page
from router.report_markdown import markdown
from router.snapshot import first_split
from store import experiments
from store.errors import ExperimentInUse
from store.ingest import Shipment, ingest
from store.journal import frame_bytes
from store.records import Decision, Experiment, MarketOutcome

START_US = 1_767_225_600_000_000
MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
SPAN_US = 30 * MINUTE_US
BY = change.By("test", "course")
PLAN = {"gate": "planned", "looks": [0.5, 1.0], "plan_units": 100}


@pytest.fixture
def engine(migrated):
    return migrated


def define(engine, **more):
    fields = {"key": "main", "arms": ["base", "transformer"], "control": "base", "metric": "pnl"} | more
    made = experiment_of(fields, START_US)
    experiments.create(engine, made, first_split(made, "test"), "test")


class Course:
    """Units one minute apart, each settled ten minutes after its start."""

    def __init__(self, engine, key="main"):
        self.engine, self.key, self.number, self.offset = engine, key, 0, 0
        self.version, self.share = 1, 0.0

    @property
    def now_us(self):
        return START_US + self.number * MINUTE_US

    def split(self, share):
        made = change.set_share(self.engine, self.key, "transformer", share, BY, lambda: self.now_us, 0)
        self.version, self.share = made.version, float(share)

    def bring(self, count, pnl_of):
        """pnl_of: micro-USD by (number, arm)."""
        frames = []
        for _ in range(count):
            self.number += 1
            unit = f"u{self.number:05}"
            arm = "transformer" if self.share and self.number % round(1 / self.share) == 0 else "base"
            frames += [self._decision(unit, arm), self._outcome(unit, pnl_of(self.number, arm))]
        data = b"".join(frame_bytes(msgspec.msgpack.encode(frame)) for frame in frames)
        stored = ingest(self.engine, self.key, [Shipment(f"j-{self.key}", self.offset, data)], self.now_us)
        assert not stored.dead and not stored.gaps
        self.offset += len(data)

    def _decision(self, unit, arm):
        weights = {"base": 1.0 - self.share, "transformer": self.share}
        return Decision(
            decision_id=f"d-{unit}", experiment=self.key, unit=unit, arm=arm, served_arm=arm, bot="b",
            split_version=self.version, weights=weights, started_at_us=self.now_us,
            received_at_us=self.now_us, sent_started_at_us=None, reason="assigned", forced=False,
            eligible=True, split_stale=False, binding="started_at", as_of_us=None, action="hold",
            probs=(1.0, 0.0, 0.0), value=0.0, model="m", schema="s", state=b"", history_digest=b"",
            history_used=1, latency_us=1,
        )  # fmt: skip

    def _outcome(self, unit, pnl_micro):
        at_us = self.now_us + 10 * MINUTE_US
        return MarketOutcome(
            experiment=self.key, unit=unit, pnl_micro=pnl_micro, won=None, closed_at_us=at_us, bot="b",
            fill="live", received_at_us=at_us, trades=1, stake_micro=10, fee_micro=1,
        )  # fmt: skip


def told(engine, at_us, as_of_us=None):
    return report_of(engine, Question(key="main", as_of_us=as_of_us), at_us)


def noisy(number, _arm):
    return 1_000_000 * (number * 7919 % 11 - 4)


def test_without_units_before_the_first_share_nothing_is_taken(engine):
    define(engine)
    course = Course(engine)
    course.split("0.5")
    course.bring(120, noisy)
    found = told(engine, course.now_us + SPAN_US)
    assert found["history"]["units"] == 0
    assert found["history"]["pnl_per_unit_usd"] == 0.0 and found["history"]["pnl_sd_usd"] is None
    assert not any("centred at first" in line for line in gate_lines(found))


def test_units_that_matured_before_the_first_share_are_where_the_centre_starts(engine):
    define(engine)
    course = Course(engine)
    course.bring(100, noisy)
    waiting = told(engine, course.now_us)["history"]
    assert (waiting["before"], waiting["units"]) == (None, 70)
    course.split("0.5")
    share_us = course.now_us
    course.bring(60, lambda number, _arm: 5_000_000 + noisy(number, _arm))
    found = told(engine, course.now_us + SPAN_US)
    matured = [number for number in range(1, 101) if START_US + number * MINUTE_US + SPAN_US <= share_us]
    own = [noisy(number, "base") / 1e6 for number in matured]
    assert found["history"]["units"] == len(own) == 70
    assert found["history"]["pnl_per_unit_usd"] == pytest.approx(sum(own) / len(own))
    assert found["history"]["before"].startswith("2026-01-01T01:40:00")
    assert any("70 of base's units from before 2026-01-01T01:40:00" in line for line in gate_lines(found))
    course.bring(60, noisy)
    assert told(engine, course.now_us + SPAN_US)["history"] == found["history"], "fixed by the first share"


def test_a_report_with_a_history_and_a_plan_is_told_again_byte_for_byte(engine):
    define(engine, **PLAN)
    course, saved = Course(engine), {}
    for step in range(6):
        if step == 2:
            course.split("0.5")
        course.bring(50, noisy)
        course.number += 45  # all have matured, none is within its life
        saved[course.now_us] = msgspec.json.encode(told(engine, course.now_us))
        course.number += 1
    kinds = [msgspec.json.decode(text) for text in saved.values()]
    assert [len(found["gates"]["looks"]) for found in kinds] == [0, 0, 1, 2, 2, 2]
    assert kinds[-1]["history"]["units"] == 100
    later_us = course.now_us + 30 * 24 * HOUR_US
    for at_us, text in saved.items():
        assert msgspec.json.encode(told(engine, later_us, at_us)) == text


def test_between_named_looks_the_report_says_that_it_cannot_say(engine):
    define(engine, **PLAN)
    course = Course(engine)
    course.split("0.5")
    course.bring(80, noisy)
    found = told(engine, course.now_us + SPAN_US)
    assert found["gates"]["kind"] == "planned" and found["gates"]["promote"]["answer"] == "cannot say"
    assert [look["units"] for look in found["gates"]["looks"]] == [50]
    assert found["verdict"]["verdict"] == "cannot say yet"
    assert found["gates"]["promote"]["more_units"] == 20
    line = gate_lines(found)[0]
    assert line.startswith("Promote transformer? (asked at named looks only) Cannot say: at look 1 of 2")
    assert gate_tables(found)[0].rows[0][:3] == ["50%", "50.0%", "50"]
    assert "Promote transformer?" in page(found) and "Named looks" in page(found)
    assert "Promote transformer?" in markdown(found) and "Named looks" in markdown(found)


def test_a_plan_s_deadline_is_its_last_look(engine):
    define(engine, **PLAN, until="2026-01-01T01:50:00Z")
    course = Course(engine)
    course.split("0.5")
    course.bring(95, noisy)
    found = told(engine, START_US + 200 * MINUTE_US)
    assert [look["units"] for look in found["gates"]["looks"]] == [50, 80]
    assert found["gates"]["looks"][-1]["spent"] == pytest.approx(0.05)
    assert "The plan is over" in found["gates"]["promote"]["sentence"]
    before = told(engine, START_US + 109 * MINUTE_US)["gates"]
    assert len(before["looks"]) == 1
    assert "and the last one by 2026-01-01 01:50 UTC" in before["promote"]["sentence"]


def test_a_plan_is_made_before_the_data_and_never_after(engine):
    define(engine, **PLAN)
    define(engine, **PLAN | {"plan_units": 200})
    Course(engine).bring(1, noisy)
    with pytest.raises(ExperimentInUse):
        define(engine, gate="sequential")
    with engine.connect() as connection:
        held = experiments.get(connection, "main")
    assert (held.gate, held.looks, held.plan_units) == ("planned", (0.5, 1.0), 200)


def test_an_experiment_of_an_older_release_is_sequential():
    fields = {"key": "main", "arms": ["base", "transformer"], "control": "base"}
    stored = msgspec.json.decode(msgspec.json.encode(experiment_of(fields, START_US)))
    for later in ("gate", "looks", "plan_units", "until", "pnl_margin_usd"):
        del stored[later]
    made = msgspec.convert(stored, Experiment)
    assert (made.gate, made.looks, made.plan_units, made.until) == ("sequential", (), 2000, None)
    assert made.pnl_margin_usd == 0.0


def rarely_bought(number, arm):
    """The treatment wins more often, and what it brings is worth about as much."""
    if arm == "transformer":
        return 100_000 if number % 12 else -490_000
    return 8_000_000 if number % 4 == 1 else -8_100_000


def test_a_margin_of_money_is_part_of_the_experiment(engine):
    """The same outcomes: without a margin money is in the way, with one it is not."""
    limits, answers = [], []
    for key, margin in (("strict", 0.0), ("lenient", 5.0)):
        define(engine, key=key, metric="profit_rate", pnl_margin_usd=margin)
        course = Course(engine, key)
        course.split("0.5")
        course.bring(600, rarely_bought)
        found = report_of(engine, Question(key=key), course.now_us + SPAN_US)
        money = found["gates"]["promote"]["bounds"][1]
        limits.append((money["metric"], money["limit"]))
        answers.append(found["gates"]["promote"]["answer"])
        with engine.connect() as connection:
            assert experiments.get(connection, key).pnl_margin_usd == margin
    assert limits == [("pnl", 0.0), ("pnl", -5.0)]
    assert answers == ["no", "yes"]
    assert "is not worse by $5.00 or more" in found["verdict"]["reason"]
    assert found["gates"]["may_promote"] == "no"
    asked = next(line for line in gate_lines(found) if line.startswith("Promotion asks for more"))
    assert "0 days are compared, of 2 whole weeks: does not hold" in asked
    assert "cannot be said" in asked and asked.endswith("All together: no.")
    assert asked in page(found).replace("&#x27;", "'") and "2 whole weeks" in markdown(found)


@pytest.mark.parametrize(
    ("more", "field", "said"),
    [
        ({"gate": "sometimes"}, "gate", "sometimes"),
        ({"gate": "planned"}, "looks", "the last one 1"),
        ({"looks": [1.0]}, "looks", "must be left out"),
        ({"gate": "hybrid", "looks": [0.1, 1.0]}, "looks", "at least 0.2"),
        ({"plan_units": 99}, "plan_units", "100 to"),
        ({"pnl_margin_usd": -0.01}, "pnl_margin_usd", "0 to"),
        ({"pnl_margin_usd": float("nan")}, "pnl_margin_usd", "0 to"),
        ({"metric": "pnl", "pnl_margin_usd": 0.05}, "pnl_margin_usd", "leave it out"),
        ({"until": "2026-02-01T00:00:00Z"}, "until", "name looks"),
        ({"gate": "planned", "looks": [1.0], "until": "soon"}, "until", "RFC 3339"),
        ({"gate": "planned", "looks": [1.0], "until": "2025-12-31T00:00:00Z"}, "until", "must lie ahead"),
    ],
)  # fmt: skip
def test_what_is_no_plan_is_refused_at_the_door(more, field, said):
    fields = {"key": "main", "arms": ["base", "transformer"], "control": "base"} | more
    with pytest.raises(Problem) as caught:
        experiment_of(fields, START_US)
    assert field in (caught.value.field or caught.value.detail)
    assert said in caught.value.detail
