"""Bad input through the real path, records into SQL and the report out: each has its status and its sentence.

What must not come in at all is refused at the door, with real requests.
"""

import json
import math
from dataclasses import dataclass, field

import msgspec
import pytest

from router import change
from router.definition import experiment_of
from router.report import build_report
from router.report_html import page
from router.report_markdown import markdown
from router.report_tables import check_lines
from router.snapshot import first_split
from store import experiments, schema
from store.ingest import Shipment, ingest
from store.journal import frame_bytes
from store.records import Decision, MarketOutcome
from store.sql import open_engine

START_US = 1_767_225_600_000_000
MINUTE_US = 60_000_000
SPAN_US = 30 * MINUTE_US
DAY_US = 86_400_000_000
LATER_US = START_US + 20 * DAY_US
EVEN = {"base": 0.5, "transformer": 0.5}
NEVER_TREATED = {"base": 1.0, "transformer": 0.0}
ALWAYS_TREATED = {"base": 0.0, "transformer": 1.0}
BROKEN = "cannot say: assignment is broken"
NOT_YET = "cannot say yet"


def asked(number, arm, unit=None, weights=EVEN, version=2, start_us=START_US, received_us=None):
    """A decision of a unit. Version 1 has the control alone, 2 an even split, 3 the treatment alone."""
    return Decision(
        decision_id=f"d{number}", experiment="main", unit=unit or f"u{number}", bot="b", arm=arm,
        served_arm=arm, reason="assigned", binding="started_at", split_version=version, weights=weights,
        forced=False, eligible=True, split_stale=False, as_of_us=None, action="hold", probs=(1.0, 0.0, 0.0),
        started_at_us=start_us, sent_started_at_us=start_us,
        received_at_us=start_us + number if received_us is None else received_us,
        value=0.0, model="m", schema="s", state=b"", history_digest=b"", history_used=1, latency_us=1,
    )  # fmt: skip


def ended(number, usd, unit=None, received_us=START_US + 10 * MINUTE_US):
    """A market outcome of the unit that decision `number` asked about."""
    return MarketOutcome(
        experiment="main", unit=unit or f"u{number}", bot="b", pnl_micro=round(usd * 1e6), fee_micro=0,
        stake_micro=10_000_000, trades=1, won=None, fill="live", closed_at_us=received_us,
        received_at_us=received_us, meta="{}",
    )  # fmt: skip


def alternating(count, usd_of, arms=("base", "transformer"), **more):
    """`count` units whose arms take turns; usd_of(number, arm): what it brought, None: nobody knows."""
    records = []
    for number in range(count):
        arm = arms[number % len(arms)]
        records.append(asked(number, arm, **more))
        usd = usd_of(number, arm)
        if usd is not None:
            records.append(ended(number, usd))
    return records


def mixed(number, arm):
    """A third of the units wins, in both arms."""
    return 2.0 if number // 2 % 3 == 0 else -1.0


def two_arms(count):
    """100 units, of which `count` were decided under the other arm as well, later."""
    again = [
        asked(
            1000 + n, "transformer" if n % 2 == 0 else "base", unit=f"u{n}", received_us=START_US + MINUTE_US
        )
        for n in range(count)
    ]
    return [*alternating(100, mixed), *again]


def clock_back():
    """Each decision is received a second before the one ahead of it, its outcome before its unit starts."""
    start_us = START_US + DAY_US
    records = []
    for number in range(100):
        arm = ("base", "transformer")[number % 2]
        received_us = start_us - number * 1_000_000
        records.append(asked(number, arm, start_us=start_us, received_us=received_us))
        records.append(ended(number, mixed(number, arm), received_us=start_us - 2_000_000 - number))
    return records


@dataclass(frozen=True)
class Case:
    """What goes in, and what the report must say. said: parts of reason, warnings, checks and page."""

    records: list
    status: str
    verdict: str
    said: tuple[str, ...]
    pnl_status: str | None = None
    metric: str = "profit_rate"
    now_us: int = LATER_US
    counts: dict = field(default_factory=dict)


NOTHING_YET = (
    "no unit yet has an outcome in time and a coin that could have fallen either way. It takes about 40"
)
ALIKE = "all units of an arm came out alike, in both arms: there is no variation to judge by."
NO_SHARE = "100 of 100 units (100.0%) have no usable propensity (not logged, or 0 for the arm they got)"
CASES = {
    "no units": Case(
        [], "not_ready", NOT_YET, (NOTHING_YET, "no trade of base and transformer was reported"),
        counts={"units": (0, 0), "pending": (0, 0)},
    ),
    "no outcomes, not due": Case(
        alternating(60, lambda *_: None), "not_ready", NOT_YET, (NOTHING_YET,),
        now_us=START_US + SPAN_US - 1, counts={"pending": (30, 30), "missing": (0, 0)},
    ),
    "no outcomes, due": Case(
        alternating(60, lambda *_: None), "not_ready", NOT_YET,
        (NOTHING_YET, "No outcome came in time for 30 of transformer's 30 and 30 of base's 30 markets."),
        counts={"pending": (0, 0), "missing": (30, 30)},
    ),
    "no outcomes of one arm": Case(
        alternating(60, lambda n, arm: None if arm == "transformer" else mixed(n, arm)), "not_ready", NOT_YET,
        ("transformer has 0 and base 30 effective units; an interval needs 20 in each.",
         "No outcome came in time for 30 of transformer's 30 and 0 of base's 30 markets."),
        counts={"missing": (0, 30)},
    ),
    "some outcomes missing": Case(
        alternating(200, lambda n, arm: None if n % 20 < 2 else mixed(n, arm)), "ok", NOT_YET,
        ("missing for 10.0% of transformer's and 10.0% of base's markets: the estimate could be",),
        counts={"missing": (10, 10)},
    ),
    "treatment empty": Case(
        alternating(6, mixed, arms=("base",)), "not_ready", NOT_YET,
        ("transformer has 0 and base 6 effective units; an interval needs 20 in each.",),
        counts={"units": (6, 0)},
    ),
    "control empty": Case(
        alternating(6, mixed, arms=("transformer",)), "not_ready", NOT_YET,
        ("transformer has 6 and base 0 effective units; an interval needs 20 in each.",),
        counts={"units": (0, 6)},
    ),
    "an arm empty of many": Case(
        alternating(100, mixed, arms=("base",)), "not_ready", BROKEN,
        ("units did not fall on the arms as the split says (E = 1.88e+11, alarm at 1,000)", "ALARM"),
    ),
    "one unit": Case(
        alternating(1, mixed), "not_ready", NOT_YET,
        ("transformer has 0 and base 1 effective units; an interval needs 20 in each.",
         "1 decision, 1 market with a fill"),
        counts={"mature": (1, 0)},
    ),
    "all wins, alike": Case(
        alternating(100, lambda *_: 1.0), "degenerate", NOT_YET, (ALIKE,), "degenerate",
        counts={"wins": (50, 50)},
    ),
    "all wins, of different size": Case(
        alternating(100, lambda n, arm: 1.0 + n // 2 % 5), "degenerate", NOT_YET, (ALIKE,), "ok",
        counts={"wins": (50, 50)},
    ),
    "all wins against none": Case(
        alternating(100, lambda n, arm: 1.0 if arm == "transformer" else -1.0), "degenerate", NOT_YET,
        (ALIKE,), "degenerate", counts={"wins": (0, 50)},
    ),
    "every PnL negative": Case(
        alternating(100, lambda n, arm: -1.0 - n // 2 % 5), "degenerate", NOT_YET, (ALIKE,), "ok",
        counts={"wins": (0, 0), "pnl_usd": (-150.0, -150.0)},
    ),
    "every PnL negative, judged by money": Case(
        alternating(100, lambda n, arm: -1.0 - n // 2 % 5), "ok", NOT_YET,
        ("The lower bound is -$", "0 is inside"), metric="pnl", counts={"pnl_per_unit_usd": (-3.0, -3.0)},
    ),
    "every PnL zero": Case(
        alternating(100, lambda *_: 0.0), "degenerate", NOT_YET, (ALIKE,), "degenerate",
        counts={"zeros": (50, 50), "wins": (0, 0)},
    ),
    "e = 0 throughout": Case(
        alternating(100, mixed, arms=("base",), weights=NEVER_TREATED, version=1), "not_ready", NOT_YET,
        (NOTHING_YET,), counts={"mature": (100, 0)},
    ),
    "e = 0, and treated all the same": Case(
        alternating(100, mixed, weights=NEVER_TREATED, version=1), "invalid_design", BROKEN,
        ("50 of 100 units (50.0%) have no usable propensity", "at most 0.1% may: log every arm's share",
         "50 markets assigned to an arm whose share was 0 at the time.",
         "clean, but 50 units lie in an arm whose share was 0"),
    ),
    "e = 1 throughout": Case(
        [*alternating(40, mixed), *(r for n in range(100, 160) for r in (
            asked(n, "transformer", weights=ALWAYS_TREATED, version=3), ended(n, mixed(n, "transformer"))))],
        "ok", NOT_YET, ("The lower bound is", "0 is inside"), counts={"mature": (20, 80)},
    ),
    "e = 1, and not treated all the same": Case(
        alternating(100, mixed, arms=("base",), weights=ALWAYS_TREATED, version=3), "invalid_design", BROKEN,
        (NO_SHARE, "100 markets assigned to an arm whose share was 0 at the time."),
    ),
    "clocks that run backwards": Case(
        clock_back(), "ok", NOT_YET,
        ("100 units settled before starting: a clock ran backwards, or bots report too early",),
        counts={"mature": (50, 50)},
    ),
    "this machine's clock behind": Case(
        alternating(100, mixed), "not_ready", NOT_YET,
        (NOTHING_YET, "100 units starting only after now: this machine's clock is behind"),
        now_us=START_US - DAY_US, counts={"pending": (50, 50), "mature": (0, 0)},
    ),
    "one unit in two arms": Case(
        two_arms(1), "ok", NOT_YET,
        ("1 market assigned to two arms (contaminated), counted under the first: look for bots",
         "Left out or odd: 1 contaminated."),
        counts={"units": (50, 50), "contaminated": (1, 0)},
    ),
    "many units in two arms": Case(
        two_arms(6), "ok", BROKEN,
        ("6 of the pair's 100 markets were assigned to two arms, more than 1%: find why",
         "6 markets assigned to two arms (contaminated), counted under the first"),
        counts={"units": (50, 50), "contaminated": (3, 3)},
    ),
}  # fmt: skip


@pytest.fixture
def told(tmp_path):
    """The report of a case, through a journal's frames and SQLite."""
    engine = open_engine(f"sqlite:///{tmp_path}/abctl.db")

    def of(case):
        schema.upgrade(engine)
        fields = {"key": "main", "arms": ["base", "transformer"], "control": "base", "metric": case.metric}
        made = experiment_of(fields, START_US - 2 * DAY_US)
        experiments.ensure(engine, made, first_split(made, "test"), "test")
        by, early_us = change.By("test", "test"), START_US - DAY_US
        change.set_share(engine, "main", "transformer", "0.5", by, lambda: early_us, 0)
        change.set_share(engine, "main", "transformer", "1", by, lambda: early_us + 1, 0)
        change.set_share(engine, "main", "transformer", "0.5", by, lambda: early_us + 2, 0)
        data = b"".join(frame_bytes(msgspec.msgpack.encode(record)) for record in case.records)
        if data:
            assert not ingest(engine, "main", [Shipment("j", 0, data)], START_US).dead
        return build_report(engine, "main", 30, case.now_us)

    yield of
    engine.dispose()


def numbers(value):
    """Every number anywhere in a report."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [n for part in value for n in numbers(part)]
    return [value] if isinstance(value, int | float) else []


@pytest.mark.parametrize("name", CASES)
def test_bad_input_has_its_status_and_its_sentence(told, name):
    case = CASES[name]
    report = told(case)
    effect = report["effect"]
    assert effect["status"] == case.status
    assert report["pnl_effect"]["status"] == (case.pnl_status or case.status)
    assert report["verdict"]["verdict"] == case.verdict
    text = "\n".join(
        [report["verdict"]["reason"], *report["warnings"], *check_lines(report), markdown(report)]
    )
    for part in case.said:
        assert part in text, (part, text)
    for column, expected in case.counts.items():
        assert tuple(report["arms"][arm][column] for arm in ("base", "transformer")) == expected, column


@pytest.mark.parametrize("name", CASES)
def test_what_cannot_be_said_is_null_and_never_nan_or_a_sure_p(told, name):
    report = told(CASES[name])
    assert all(map(math.isfinite, numbers(report)))
    for effect in (report["effect"], report["pnl_effect"]):
        bounds = [effect[n] for n in ("low", "high", "lower_one_sided", "upper_one_sided", "e_value", "p")]
        assert all((bound is None) == (effect["status"] != "ok") for bound in bounds)
        assert (effect["status"] == "ok") or effect["reason"]
    assert json.loads(json.dumps(report, allow_nan=False))["headline"]["sentence"].endswith(".")


@pytest.mark.parametrize("name", ["no units", "one unit", "all wins, alike", "clocks that run backwards"])
def test_a_page_of_it_can_be_drawn(told, name):
    report = told(CASES[name])
    drawn = page(report)
    assert report["verdict"]["verdict"] in drawn
    assert "nan" not in drawn.lower()


NOW = b'"closed_at": "2026-01-05T10:00:00Z", "fill": "live"'
DOOR = {
    "infinite PnL": (b'"pnl_usd": Infinity', "pnl_usd", "is NaN or infinite: send a finite number"),
    "minus infinite PnL": (b'"pnl_usd": -Infinity', "pnl_usd", "is NaN or infinite: send a finite number"),
    "PnL beyond every float": (b'"pnl_usd": 1e999', "pnl_usd", "number out of range"),
    "PnL that is no number": (b'"pnl_usd": NaN', "pnl_usd", "is NaN or infinite: send a finite number"),
    "missing PnL": (b'"trades": 1', "pnl_usd", "missing required field `pnl_usd`"),
    "PnL that is null": (b'"pnl_usd": null', "pnl_usd", "expected `float`, got `null`"),
}


@pytest.mark.parametrize("name", DOOR)
def test_money_that_is_none_is_refused_at_the_door_and_leaves_no_outcome(node, name):
    money, named, rule = DOOR[name]
    unit = f"door {name}"
    node.decide(unit)
    body = b'{"kind": "market", "unit": "%s", %s, %s}' % (unit.encode(), money, NOW)
    reply = node.post("/v1/outcomes", body)
    assert reply.status in {400, 422}
    problem = reply.json
    assert problem.get("field", "body") == named
    assert rule in problem["detail"]
    with node.carrying():
        pass
    with node.engine.connect() as connection:
        held = connection.exec_driver_sql("SELECT count(*) FROM outcome WHERE unit = ?", (unit,)).scalar()
    assert held == 0
