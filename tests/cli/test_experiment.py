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


def test_upgrade_can_be_repeated(abctl):
    first = json.loads(abctl("db", "upgrade", "--json").out)
    assert first["changed"]
    assert not json.loads(abctl("db", "upgrade", "--json").out)["changed"]
    assert abctl("db", "upgrade").out.endswith("already\n")
