"""When a unit started: as sent, as its name says, or nobody knows."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import BadPattern, BadStartedAt, BadUnit
from router.splits import rfc3339
from router.starts import (
    Start,
    Tolerance,
    UnitName,
    compile_pattern,
    parse_rfc3339_us,
    read_unit,
    resolve_started_at,
)

PATTERN = compile_pattern(r"(?P<family>[a-z-]+)-(?P<window>[0-9]+[smhd]?)-(?P<start>[^@]+)")
START_S = 1_767_225_600
NOW_US = (START_S + 60) * 1_000_000
TOLERANCE = Tolerance(lifetime_s=900)


@pytest.mark.parametrize(("unit", "expected"), [
    (f"btc-updown-15m-{START_S}", ("btc-updown", 900, START_S)),
    (f"eth-4h-{START_S}", ("eth", 14400, START_S)),
    (f"eth-900-{START_S}", ("eth", 900, START_S)),
    (f"eth-30s-{START_S}", ("eth", 30, START_S)),
    ("btc-1d-2026-01-01T00:00:00Z", ("btc", 86400, START_S)),
    ("btc-1d-2026-01-01T01:00:00+01:00", ("btc", 86400, START_S)),
])  # fmt: skip
def test_names_are_read(unit, expected):
    family, window_s, start_s = expected
    assert read_unit(PATTERN, unit) == UnitName(
        family=family, window_s=window_s, started_at_us=start_s * 1_000_000
    )


def test_a_name_that_does_not_match_says_nothing():
    assert read_unit(PATTERN, f"btc-updown-15m-{START_S}@run1") is None
    assert read_unit(compile_pattern("x(?P<start>[0-9]+)"), "x5 ") is None


def test_only_the_start_is_required():
    assert read_unit(compile_pattern("m(?P<start>[0-9]+)"), "m7") == UnitName(
        family=None, window_s=None, started_at_us=7_000_000
    )


@pytest.mark.parametrize("unit", [
    "btc-15m-1767225600000", "btc-15m-noon", "btc-15m-²", "btc-0m-1767225600", "btc-1d-2026-01-01T00:00:00",
    "btc-1d-2026-13-01T00:00:00Z",
])  # fmt: skip
def test_a_name_that_matches_but_misleads_is_refused(unit):
    with pytest.raises(BadUnit, match=r"^unit '.*' names the (start|window) '.*': write"):
        read_unit(PATTERN, unit)


@pytest.mark.parametrize("pattern", ["(", "(?P<family>.+)", "(?P<start>.+)(?P<begin>.)", "",
    r"(?P<start>.)(?=x)", r"(?P<start>.)\1", "(?P<start>(.?){0,1000}(.?){0,1000})x"])  # fmt: skip
def test_patterns_that_cannot_be_used_are_refused(pattern):
    with pytest.raises(BadPattern, match=r"^unit_pattern .*: "):
        compile_pattern(pattern)


@pytest.mark.parametrize("pattern", [
    "(?P<start>(1|1)+)x", "(?P<start>(1+)+)x", "(?P<start>(.*)*)x", "(?P<start>(.?){0,100}(1|1){0,100})x",
])  # fmt: skip
def test_no_pattern_freezes_a_worker(pattern):
    compiled = compile_pattern(pattern)
    began = time.perf_counter()
    assert read_unit(compiled, "1" * 256) is None
    assert time.perf_counter() - began < 0.05


def test_a_name_may_be_in_any_script():
    unit = f"\u65e5\u672c-15m-{START_S}"
    read = read_unit(compile_pattern("(?P<family>.+)-(?P<window>[0-9]+[smhd])-(?P<start>[0-9]+)"), unit)
    assert read == UnitName(family="\u65e5\u672c", window_s=900, started_at_us=START_S * 1_000_000)


@given(st.datetimes(timezones=st.just(UTC)))
def test_rfc3339_round_trip(moment):
    us = (moment - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)
    assert parse_rfc3339_us(rfc3339(us)) == us
    assert parse_rfc3339_us(moment.isoformat()) == us


@pytest.mark.parametrize("text", [
    "", "2026-01-01", "2026-01-01T00:00:00", "2026-W01-1T00:00:00Z", "20260101T000000Z",
    "2026-02-30T00:00:00Z",
    "2026-01-01T24:00:01Z", "0001-01-01T00:00:00+23:00 ", "1767225600", "2016-12-31T23:59:60Z",
])  # fmt: skip
def test_other_texts_are_no_time(text):
    assert parse_rfc3339_us(text) is None


def test_a_time_before_the_calendar_is_no_crash():
    assert parse_rfc3339_us("0001-01-01T00:00:00+23:00") in (
        None,
        -62135596800_000_000 - 23 * 3600 * 1_000_000,
    )


def test_what_was_sent_goes_before_the_name():
    sent_us = NOW_US - 5_000_000
    unit = f"btc-updown-15m-{START_S}"
    assert resolve_started_at(sent_us, unit, PATTERN, NOW_US, TOLERANCE) == Start(
        started_at_us=sent_us, binding="started_at"
    )
    assert resolve_started_at(None, unit, PATTERN, NOW_US, TOLERANCE) == Start(
        started_at_us=START_S * 1_000_000, binding="pattern"
    )
    assert resolve_started_at(None, unit, None, NOW_US, TOLERANCE) is None
    assert resolve_started_at(None, "other", PATTERN, NOW_US, TOLERANCE) is None


@pytest.mark.parametrize("ago_us", [-1_000_000, 0, 1, 900_000_000, 901_000_000])
def test_starts_within_the_tolerance_bind(ago_us):
    assert resolve_started_at(NOW_US - ago_us, "u", None, NOW_US, TOLERANCE) is not None


@pytest.mark.parametrize(("ago_us", "rule"), [
    (-1_000_001, r"must not lie in the future, but is 1\.000 s ahead \(1 s are allowed\)"),
    (901_000_001, r"must lie within the unit's lifetime of 900 s, but is 901\.000 s ago"),
])  # fmt: skip
def test_starts_outside_name_the_rule_and_the_remedy(ago_us, rule):
    with pytest.raises(BadStartedAt, match=f"^started_at {rule}: ") as caught:
        resolve_started_at(NOW_US - ago_us, "u", None, NOW_US, TOLERANCE)
    assert caught.value.field == "started_at"
    assert caught.value.remedy


def test_a_name_from_another_time_is_refused_not_bound_to_an_old_split():
    unit = f"btc-updown-15m-{START_S - 86400}"
    with pytest.raises(BadStartedAt, match=f"^started_at read from unit '{unit}' must lie within"):
        resolve_started_at(None, unit, PATTERN, NOW_US, TOLERANCE)


def test_the_epoch_is_a_start_that_was_sent_and_is_refused():
    with pytest.raises(BadStartedAt, match="must lie within"):
        resolve_started_at(0, "u", None, NOW_US, TOLERANCE)
