"""Rows of somebody else's log as our records: what each says, and which rule a bad one breaks."""

from datetime import UTC, date, datetime

import pytest

from router.definition import experiment_of
from router.foreign import foreign_of
from router.foreign_rows import Terms, all_of, good_of
from store.errors import BadForeignLog
from store.foreign_log import ForeignRow, Place
from store.records import Decision, MarketOutcome, TradeOutcome

NOW_US = 1_800_000_000_000_000
AT_US = 1_767_607_200_000_000
AT = "2026-01-05T10:00:00Z"
ROW = {"unit": "u1", "arm": "old", "won": "1", "decided_at": AT}
SHARES = {"old": 0.5, "new": 0.5}


def terms(*columns, **changed):
    facts = {
        "key": "own",
        "columns": {name: name for name in columns or ROW},
        "arms": {"old": "old", "new": "new"},
        "shares": SHARES,
        "at_us": None,
        "time_unit": None,
    }
    return Terms(**(facts | changed))


def lines(*rows):
    return [ForeignRow(Place("own.csv", n, n + 1), ROW | row) for n, row in enumerate(rows, 1)]


def read(*rows, of=None):
    return all_of(lines(*rows), of or terms(*ROW, *rows[0]), NOW_US).rows


def refused(*rows, of=None):
    with pytest.raises(BadForeignLog) as caught:
        read(*rows, of=of)
    return str(caught.value)


def records(*rows, of=None):
    found = read(*rows, of=of)
    money = "pnl_usd" in rows[0]
    fields = {
        "key": "own",
        "arms": ["old", "new"],
        "control": "old",
        "win": "pnl" if money else "reported",
    }
    return foreign_of(experiment_of(fields, found[0].start_us), found, "me")


def of_kind(foreign, kind):
    return [record for record in foreign.records if isinstance(record, kind)]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"unit": ""}, "own.csv, line 2, column unit: must be 1 to 256 printable characters"),
        ({"unit": "NA"}, "no word for nothing, not 'NA'"),
        ({"unit": "u" * 257}, "must be 1 to 256 printable characters"),
        ({"unit": "u\x1b[2J"}, "printable"),
        ({"arm": "third"}, "column arm: 'third' is no arm; named are old, new: name it --treatment"),
        ({"won": "maybe"}, "write true, false, 1, 0, yes or no"),
        ({"won": "2"}, "'2' is neither true nor false"),
        ({"pnl_usd": "inf"}, "column pnl_usd: 'inf' is not finite: leave it empty"),
        ({"pnl_usd": "-Infinity"}, "is not finite"),
        ({"pnl_usd": float("inf")}, "is not finite"),
        ({"pnl_usd": "1e9"}, "check the unit of the money"),
        ({"pnl_usd": "$5"}, "'$5' is no number: write 1234.5, or leave it empty"),
        ({"fee_usd": "inf"}, "column fee_usd: 'inf' is not finite"),
        ({"stake_usd": "-1"}, "a stake is 0 or more"),
        ({"action": "short"}, "'short' is none of hold, buy, sell: write one of them"),
        ({"action": ""}, "is none of hold, buy, sell"),
        ({"market": "BTC@1"}, "column market: 'BTC@1' has an @"),
        ({"market": "BTC-1767607200"}, "has an @, six digits or a sign at its end"),
        ({"market": "m" * 255}, "column unit: is longer than 256 characters with its market"),
        ({"decision_id": ""}, "column decision_id: must be 1 to 256"),
        ({"decided_at": ""}, "or --at for all rows without one"),
        ({"decided_at": "yesterday"}, "is not RFC 3339 with an offset"),
        ({"decided_at": "2026-01-05T10:00:00"}, "is not RFC 3339 with an offset"),
        ({"decided_at": datetime(2026, 1, 5)}, "has no time zone"),  # noqa: DTZ001 - that is the point
        ({"decided_at": date(2026, 1, 5)}, "is not RFC 3339 with an offset"),
        ({"decided_at": 1767607200}, "--time-unit s, ms or us"),
        ({"decided_at": "1999-12-31T23:59:59Z"}, "is not between 2000 and 2100"),
        ({"decided_at": "2090-01-01T00:00:00Z"}, "is yet to come: check its time zone and --time-unit"),
        ({"settled_at": "2026-01-05T09:59:59Z"}, "is before the decision"),
        ({"settled_at": "2090-01-01T00:00:00Z"}, "column settled_at: 2090-01-01T00:00:00Z is yet to come"),
        ({"started_at": ""}, "give the start of its unit in every row"),
        ({"started_at": "2026-01-05T10:00:01Z"}, "is before its unit's start"),
    ],
)
def test_a_row_that_breaks_a_rule_names_file_line_column_rule_and_remedy(row, said):
    assert said in refused(row)
    assert refused(row).endswith("Mend it, or leave such rows out: --skip-bad")
    rest = good_of(lines(row, dict.fromkeys(row, None) | spared(row)), terms(*ROW, *row), NOW_US)
    assert (len(rest.rows), len(rest.bad)) == (1, 1)


def spared(row):
    """A good row with the same columns."""
    good = ROW | {"pnl_usd": "1", "fee_usd": "0", "stake_usd": "1", "action": "buy", "market": "BTC"}
    good |= {"decision_id": "d2", "settled_at": AT, "started_at": AT}
    return {name: good[name] for name in row}


@pytest.mark.parametrize("share", ["", "1.5", "-0.1", "nan", "0.33333333"])
def test_a_propensity_is_never_guessed_or_rounded(share):
    assert "column propensity: " in refused({"propensity": share}, of=terms(*ROW, "propensity", shares=None))


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ({"decision_id": "d"}, {"decision_id": "d"}, "decision id 'd' is that of own.csv, line 2"),
        ({"started_at": AT}, {"started_at": "2026-01-05T09:00:00Z"}, "unit 'u1' started at another time in"),
        ({"market": "BTC"}, {"market": "ETH"}, "unit 'u1' is of market 'BTC' in own.csv, line 2: map"),
    ],
)
def test_a_row_that_contradicts_an_earlier_one_is_bad(first, second, said):
    assert f"own.csv, line 3: {said}" in refused(first, second)
    rest = good_of(lines(first, second, first | {"decision_id": "e"}), terms(*ROW, *first), NOW_US)
    assert [row.place.line for row in rest.rows] == [2, 4]


def test_a_bad_row_binds_no_later_one():
    rows = ({"market": "ETH", "arm": "third"}, {"market": "BTC"})
    rest = good_of(lines(*rows), terms(*ROW, "market"), NOW_US)
    assert [row.unit for row in rest.rows] == ["BTC@u1"]


def test_addresses_are_no_markets():
    units = [row.unit for row in read({"unit": "ann@example.com"}, {"unit": "bob@example.com"})]
    assert sorted(units) == ["ann@example.com", "bob@example.com"]


def test_nothing_left_says_why():
    with pytest.raises(BadForeignLog, match=r"no row is left .* 'third' is no arm"):
        good_of(lines({"arm": "third"}), terms(), NOW_US)


@pytest.mark.parametrize(
    ("cell", "won"),
    [
        *((word, True) for word in ("TRUE", "true", "1", "1.0", "yes", " T ", True, 1)),
        *((word, False) for word in ("FALSE", "0", "0.0", "no", "f", False, 0.0)),
        *((word, None) for word in ("", "NaN", "NA", "null", "None", None, float("nan"))),
    ],
)
def test_words_for_won(cell, won):
    (row,) = read({"won": cell})
    assert (row.won, row.has_outcome) == (won, won is not None)


@pytest.mark.parametrize(
    ("cell", "unit"),
    [
        (AT, None),
        ("2026-01-05T11:00:00+01:00", None),
        (datetime(2026, 1, 5, 10, tzinfo=UTC), None),
        ("1767607200", "s"),
        (1767607200.0, "s"),
        ("1767607200000", "ms"),
        (AT_US, "us"),
    ],
)
def test_one_moment_in_many_words(cell, unit):
    (row,) = read({"decided_at": cell}, of=terms(time_unit=unit))
    assert row.at_us == row.start_us == row.settled_us == AT_US


def test_what_a_row_says_is_what_is_recorded():
    more = {"market": "BTC", "bot": "b7", "decision_id": "d9", "action": "SELL", "pnl_usd": "-1.25"}
    more |= {"stake_usd": "2", "fee_usd": "0.01", "started_at": "2026-01-05T09:45:00Z"}
    more |= {"settled_at": "2026-01-05T10:15:00Z"}
    made = records(more)
    (decision,) = of_kind(made, Decision)
    assert (decision.decision_id, decision.unit, decision.bot) == ("d9", "BTC@u1", "b7")
    assert (decision.arm, decision.action, decision.weights) == ("old", "sell", SHARES)
    start_us = AT_US - 900_000_000
    assert (decision.received_at_us, decision.started_at_us) == (AT_US, start_us)
    assert decision.sent_started_at_us == start_us
    for outcome in (*of_kind(made, TradeOutcome), *of_kind(made, MarketOutcome)):
        assert (outcome.pnl_micro, outcome.stake_micro, outcome.fee_micro) == (-1_250_000, 2_000_000, 10_000)
        assert (outcome.received_at_us, outcome.fill) == (AT_US + 900_000_000, "replay")
    assert made.splits[0].effective_at_us == start_us


def test_money_that_is_not_there_is_no_zero():
    made = records({"pnl_usd": "", "won": "1"}, {"unit": "u2", "pnl_usd": "3"})
    assert [market.unit for market in of_kind(made, MarketOutcome)] == ["u2"]
    assert (made.outcomes, made.without_outcome) == (1, 1)


def test_a_unit_is_the_sum_of_its_rows():
    made = records({"pnl_usd": "0.1"}, {"pnl_usd": "0.2"}, {"pnl_usd": ""}, {"unit": "u2", "pnl_usd": "9"})
    assert [m.pnl_micro for m in of_kind(made, MarketOutcome) if m.unit == "u1"] == [300_000]
    assert (len(of_kind(made, Decision)), made.outcomes, made.without_outcome) == (4, 3, 0)


def test_a_unit_of_two_arms_is_counted():
    made = records({}, {"arm": "new"}, {"unit": "u2"})
    assert (made.units, made.of_two_arms) == ({"old": 2}, 1)


def test_rows_come_in_the_order_of_their_times():
    later, sooner = {"unit": "u2", "decided_at": "2026-01-05T11:00:00Z"}, {}
    assert [row.unit for row in read(later, sooner)] == ["u1", "u2"]


def test_each_share_is_a_version_from_its_first_unit_on():
    of = terms(*ROW, "propensity", shares=None)
    times = [f"2026-01-05T1{hour}:00:00Z" for hour in range(3)]
    rows = [
        {"unit": f"u{n}", "decided_at": at, "propensity": e}
        for n, (at, e) in enumerate(zip(times, (0.1, 0.25, 0.1), strict=True))
    ]
    made = records(*rows, of=of)
    assert [split.ranges for split in made.splits] == [
        (("old", 0, 900_000), ("new", 900_000, 1_000_000)),
        (("old", 0, 750_000), ("new", 750_000, 1_000_000)),
    ]
    assert [decision.split_version for decision in of_kind(made, Decision)] == [1, 2, 1]


def test_won_and_not_won_is_no_answer():
    with pytest.raises(BadForeignLog, match=r"is won and not won \(own.csv, line 2; own.csv, line 3\)"):
        records({}, {"won": "0"})
