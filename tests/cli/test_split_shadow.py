"""`abctl split shadow` as typed, on SQL and beside a service."""

import json

import pytest


@pytest.fixture
def at_service(abctl, service, monkeypatch):
    """The command in a directory whose data directory belongs to the running service."""
    monkeypatch.setenv("ABCTL_DATA_DIR", str(service.data_dir))
    return abctl


def of(told):
    assert told.code == 0, told.err
    return json.loads(told.out)["shadow"]


def test_on_shown_and_off_again(abctl):
    on = of(abctl("split", "shadow", "transformer", "--stake-usd", "20", "--reason", "look first", "--json"))
    assert (on["arm"], on["stake_usd"], on["required"], on["setting"]) == ("transformer", 20.0, False, 1)
    assert of(abctl("split", "shadow", "--json")) == on
    assert of(abctl("split", "show", "--json")) == on
    assert "transformer decides on paper since" in abctl("split", "show").out
    assert of(abctl("split", "shadow", "--off", "--json")) is None
    assert abctl("split", "shadow").out.strip() == "no arm is shadowed"
    assert "on paper" not in abctl("split", "show").out


def test_saying_the_same_again_changes_nothing(abctl):
    first = of(abctl("split", "shadow", "transformer", "--json"))
    assert of(abctl("split", "shadow", "transformer", "--json")) == first
    assert of(abctl("split", "shadow", "transformer", "--require-quote", "--json"))["setting"] == 2


def test_through_a_service(at_service):
    on = at_service("split", "shadow", "transformer", "--require-quote", "--json")
    assert "through the service" in on.err
    assert of(on)["required"] is True
    assert "every decision must carry a quote" in at_service("split", "show").out
    assert of(at_service("split", "shadow", "--off", "--json")) is None


@pytest.mark.parametrize(
    ("words", "code", "hint"),
    [
        (["nobody"], 4, "must be one of base, transformer"),
        (["transformer", "--off"], 3, "both at once"),
        (["transformer", "--stake-usd", "0.5"], 3, "stake_usd"),
        (["transformer", "--stake-usd", "nan"], 3, "stake_usd"),
        (["transformer", "--fee-rate", "7"], 3, "write 7% as 0.07"),
        (["transformer", "--margin-usd", "0"], 3, "margin_usd"),
    ],
)
def test_what_breaks_a_rule_is_refused(abctl, words, code, hint):
    told = abctl("split", "shadow", *words)
    assert (told.code, hint in told.err) == (code, True), told.err
