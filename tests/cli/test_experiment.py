"""`abctl experiment` from a file to the archive, and `abctl db upgrade`."""

import json


def test_create_list_show_archive(abctl, tmp_path):
    (tmp_path / "four-hours.toml").write_text(
        'key = "four-hours"\narms = ["base", "transformer"]\ncontrol = "base"\nunit_duration_s = 14400\n'
        'metric = "pnl"\n'
    )
    told = abctl("experiment", "create", "four-hours.toml")
    assert told.out == "experiment four-hours: base, transformer; control base has all units\n"
    assert json.loads(abctl("experiment", "show", "four-hours").out)["unit_duration_s"] == 14400
    assert [e["key"] for e in json.loads(abctl("experiment", "list", "--json").out)] == ["main", "four-hours"]
    archived = abctl("experiment", "archive", "four-hours", "--json")
    assert json.loads(archived.out) == {"experiment": "four-hours", "archived": True}
    assert "archived" in abctl("experiment", "list").out
    assert "four-hours, split version 1, archived" in abctl("status").out
    assert "net PnL" in abctl("report", "--experiment", "four-hours").out


def test_a_plan_is_said_back_and_shown(abctl, tmp_path):
    (tmp_path / "planned.toml").write_text(
        'key = "planned"\narms = ["base", "transformer"]\ncontrol = "base"\ngate = "planned"\n'
        'looks = [0.5, 0.75, 1.0]\nplan_units = 1500\nuntil = "2099-01-01T00:00:00Z"\n'
    )
    told = abctl("experiment", "create", "planned.toml")
    assert told.out.splitlines()[1] == (
        "promotion is judged at named looks: 50%, 75%, 100% of 1,500 units,"
        " the last one by 2099-01-01T00:00:00Z"
    )
    shown = json.loads(abctl("experiment", "show", "planned").out)
    assert (shown["gate"], shown["looks"], shown["plan_units"]) == ("planned", [0.5, 0.75, 1.0], 1500)
    report = abctl("report", "--experiment", "planned").out
    assert "Promote transformer? (asked at named looks only) Cannot say" in report
    assert "Roll transformer back? (asked at any look) Cannot say" in report
    gates = json.loads(abctl("report", "--experiment", "planned", "--json").out)["gates"]
    assert gates["kind"] == "planned" and gates["looks"] == []


def test_a_margin_of_money_is_said_back_and_shown(abctl, tmp_path):
    text = 'key = "cheap"\narms = ["base", "transformer"]\ncontrol = "base"\npnl_margin_usd = 0.05\n'
    (tmp_path / "cheap.toml").write_text(text)
    told = abctl("experiment", "create", "cheap.toml").out.splitlines()
    assert told[1] == "net PnL may be up to 0.05 USD a market worse and still count as not worse"
    assert json.loads(abctl("experiment", "show", "cheap").out)["pnl_margin_usd"] == 0.05
    gates = json.loads(abctl("report", "--experiment", "cheap", "--json").out)["gates"]
    assert [bound["limit"] for bound in gates["promote"]["bounds"]] == [0.0, -0.05]
    (tmp_path / "cheap.toml").write_text(text.replace("0.05", "-0.05"))
    refused = abctl("experiment", "create", "cheap.toml")
    assert refused.code == 3
    assert "pnl_margin_usd" in refused.err and "say 0.05" in refused.err


def test_looks_that_are_no_plan_are_refused(abctl, tmp_path):
    (tmp_path / "wrong.toml").write_text(
        'key = "wrong"\narms = ["base", "transformer"]\ncontrol = "base"\ngate = "planned"\nlooks = [0.5]\n'
    )
    told = abctl("experiment", "create", "wrong.toml")
    assert told.code == 3
    assert "looks" in told.err and "the last one 1" in told.err


def test_upgrade_can_be_repeated(abctl):
    first = json.loads(abctl("db", "upgrade", "--json").out)
    assert first["changed"]
    assert not json.loads(abctl("db", "upgrade", "--json").out)["changed"]
    assert abctl("db", "upgrade").out.endswith("already\n")


def test_a_switchback_says_what_has_a_coin(abctl, tmp_path):
    options = 'assignment = "switchback"\nblock_by = "all"\nburn_in_s = 900\n'
    (tmp_path / "blocks.toml").write_text('key = "blocks"\narms = ["a", "b"]\ncontrol = "a"\n' + options)
    told = abctl("experiment", "create", "blocks.toml")
    assert told.code == 0, told.err
    assert (
        "one coin for a block of all of 14,400 s; units that start in its first 900 s are left out"
        in told.out
    )
