"""Who changes things, wherever a command runs."""

import json
import os
import pwd

import pytest

from cli.finding import actor


@pytest.fixture
def nobody_says(monkeypatch):
    for name in ("ABCTL_ACTOR", "USER"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def nameless_uid(monkeypatch):
    """This process as a container runs one: under a number that no account has."""
    taken = {entry.pw_uid for entry in pwd.getpwall()}
    uid = next(uid for uid in range(10_001, 60_000) if uid not in taken)
    monkeypatch.setattr(os, "getuid", lambda: uid)
    return uid


def test_what_was_set_comes_first(monkeypatch):
    monkeypatch.setenv("USER", "ben")
    assert actor() == "ben"
    monkeypatch.setenv("ABCTL_ACTOR", "ada")
    assert actor() == "ada"


def test_without_user_it_is_the_account(nobody_says):
    """As under cron."""
    assert actor() == pwd.getpwuid(os.getuid()).pw_name


@pytest.mark.parametrize("name", ["", "  ", "дядя", "\n\t"])
def test_a_name_that_no_header_can_hold_is_none(monkeypatch, nameless_uid, name):
    for variable in ("ABCTL_ACTOR", "USER"):
        monkeypatch.setenv(variable, name)
    assert actor() == f"uid {nameless_uid}"


def test_an_account_without_a_name_is_its_number_in_the_history(abctl, nobody_says, nameless_uid):
    abctl("split", "set", "transformer", "0.1", "--no-wait")
    told = json.loads(abctl("split", "history", "--json").out)
    assert told[1]["actor"] == f"uid {nameless_uid}"
