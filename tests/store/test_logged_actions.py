"""Decisions come unit by unit with the result of their own trades, and go out as lines that VW reads."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.dsjson import line_of, write_lines
from store.errors import TargetExists
from store.ingest import ingest
from store.logged_actions import LoggedAction, Wanted, units_in
from store.records import ACTIONS
from store.snapshot import snapshot


@pytest.fixture
def filled(engine, make):
    made = [
        make.decision(decision_id="late", unit="u2", received_at_us=9_000),
        make.decision(decision_id="b-2", unit="u1", bot="b", received_at_us=3_000),
        make.decision(decision_id="a-1", unit="u1", bot="a", received_at_us=5_000),
        make.decision(decision_id="b-1", unit="u1", bot="b", action="buy", action_propensity=0.1),
        make.trade(decision_id="b-1", pnl_micro=-7, won=False),
        make.trade(decision_id="b-2", pnl_micro=9, fill="live"),
        make.trade(decision_id="nobody's"),
        make.market(unit="u1", pnl_micro=5),
    ]
    ingest(engine, "main", [make.shipment("j1", made)], 9_000)
    ingest(engine, "other", [make.shipment("j2", [make.decision("other", decision_id="x")])], 9_000)
    return engine


def read(engine, **fields):
    with engine.connect() as connection, snapshot(connection):
        return list(units_in(connection, Wanted(**{"experiment": "main", "fill": "paper"} | fields)))


def test_units_come_whole_bot_by_bot_and_in_time(filled):
    found = read(filled)
    assert [(unit, [a.decision_id for a in each]) for unit, each in found] == [
        ("u1", ["a-1", "b-1", "b-2"]),
        ("u2", ["late"]),
    ]
    first, traded, other_fill = found[0][1]
    assert (first.pnl_micro, first.won) == (None, None)
    assert (traded.pnl_micro, traded.won) == (-7, False)
    assert other_fill.pnl_micro is None
    assert (traded.action, traded.propensity, traded.probs) == ("buy", 0.1, (0.8, 0.1, 0.1))
    assert (traded.state, traded.history_digest, traded.schema_hash) == (b"\x00\x01\xff", b"12345678", "s1")


def test_only_what_is_asked_for(filled):
    assert [unit for unit, _ in read(filled, since_us=4_000)] == ["u1", "u2"]
    assert [unit for unit, _ in read(filled, since_us=6_000)] == ["u2"]
    assert read(filled, fill="live")[0][1][2].pnl_micro == 9
    assert read(filled, experiment="nobody") == []


SHARES = st.floats(0.001, 1.0)


def action_of(action="sell", probs=(0.2, 0.3, 0.5), propensity=0.5, pnl_micro=None):
    state = np.array([0.5, -1.0], dtype="<f4").tobytes()
    return LoggedAction(
        "d1", 'u"1', "b", "base", 1_767_225_600_000_001, action, probs, propensity, "m1", "s", state, b"",
        pnl_micro, None,
    )  # fmt: skip


@given(st.sampled_from(ACTIONS), st.tuples(SHARES, SHARES, SHARES), st.booleans())
def test_what_was_possible_is_a_distribution(action, shares, drawn):
    probs = tuple(share / sum(shares) for share in shares)
    propensity = probs[ACTIONS.index(action)] if drawn else 1.0
    found = action_of(action, probs, propensity).possible
    assert sum(found) == pytest.approx(1.0)
    assert found[ACTIONS.index(action)] == pytest.approx(propensity, rel=1e-6)
    assert drawn or propensity == 1.0 == max(found)


def test_a_line_says_what_vw_reads():
    line = json.loads(line_of(action_of(pnl_micro=-1_500_000), ["up", "down"]))
    assert line["_label_cost"] == 1.5
    assert (line["_label_Action"], line["_labelIndex"], line["_label_probability"]) == (3, 2, 0.5)
    assert (line["a"], line["p"]) == ([3, 1, 2], [0.5, 0.2, 0.3])
    assert line["c"]["s"] == {"up": 0.5, "down": -1.0}
    assert [row["a"]["action"] for row in line["c"]["_multi"]] == list(ACTIONS)
    assert (line["EventId"], line["Timestamp"]) == ("d1", "2026-01-01T00:00:00.000001Z")
    assert line["abctl"] == {"unit": 'u"1', "bot": "b", "served_arm": "base"}
    assert json.loads(line_of(action_of(), ["up", "down"]))["_label_cost"] == 0.0


def test_a_file_is_whole_and_new_or_not_there(tmp_path):
    path = tmp_path / "log.json"

    def broken():
        yield b"{}"
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk is full"):
        write_lines(path, broken())
    assert list(tmp_path.iterdir()) == []
    assert write_lines(path, [b"{}", b"[]"]) == 2
    assert path.read_bytes() == b"{}\n[]\n"
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(TargetExists):
        write_lines(path, [])

    def overtaken():
        (tmp_path / "other").write_bytes(b"theirs")
        yield b"{}"

    with pytest.raises(TargetExists):
        write_lines(tmp_path / "other", overtaken())
    assert (tmp_path / "other").read_bytes() == b"theirs"
    assert {p.name for p in tmp_path.iterdir()} == {"log.json", "other"}
