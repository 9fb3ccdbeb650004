"""`--fill` chooses which fills are judged, and the report says which."""

import json

import pytest


@pytest.mark.parametrize("fill", ["live", "paper", "replay"])
def test_the_fill_that_is_asked_for_is_judged(abctl, fill):
    assert abctl("db", "upgrade").code == 0
    ran = abctl("report", "--json", "--fill", fill)
    assert ran.code == 0
    assert json.loads(ran.out)["fill"] == fill


def test_a_fill_that_does_not_exist_is_wrong_usage(abctl):
    ran = abctl("report", "--fill", "dreamt")
    assert ran.code == 2
    assert "replay" in ran.err
