"""Whose look it is: once an interval, whatever a wrong clock has written down."""

from store.rollout_looks import AHEAD_US, Look, claimed, concluded, last

MINUTE_US = 60_000_000
NOW_US = 1_767_225_600_000_000


def look_at(at_us, actor="a"):
    return Look(experiment="main", at_us=at_us, actor=actor, every_us=MINUTE_US)


def claim(engine, at_us, actor="a"):
    return claimed(engine, look_at(at_us, actor), at_us - MINUTE_US + 1)


def test_a_look_from_a_clock_that_is_ahead_stops_nobody(engine):
    day_us = 86_400_000_000
    assert claim(engine, NOW_US + day_us, "ahead")
    assert claim(engine, NOW_US, "b")
    assert not claim(engine, NOW_US + MINUTE_US // 2, "c")
    assert claim(engine, NOW_US + MINUTE_US, "c")


def test_clocks_a_little_apart_have_one_look_an_interval(engine):
    assert claim(engine, NOW_US + AHEAD_US // 2, "ahead")
    assert not claim(engine, NOW_US, "b")


def test_the_last_words_stand_until_there_are_others(engine):
    assert claim(engine, NOW_US)
    concluded(engine, look_at(NOW_US), "hold: too young")
    assert claim(engine, NOW_US + MINUTE_US, "b")
    with engine.connect() as connection:
        assert last(connection, "main").said == "hold: too young"
    concluded(engine, look_at(NOW_US + MINUTE_US, "b"), "could not look: away")
    with engine.connect() as connection:
        assert last(connection, "main").said == "could not look: away"
