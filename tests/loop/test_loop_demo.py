"""`abctl demo` as typed: with its defaults, again with few markets and one epoch, and on recorded markets."""

import json
import re
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from cli.demo_course import closing_sentence

ABCTL = [sys.executable, "-P", "-c", "from cli.main import main; main()"]
FULL_TIMEOUT_S = 480
QUICK = ("--epochs", 1)
EARLY_TO_LATE = "$ abctl split set transformer 0.5"

# arm -> units, decisions, traded, wins, trades, micro-USD; from the rows as they came, never from totals.
BY_HAND = """
SELECT asked.arm, count(*), sum(asked.decisions), sum(coalesce(closed.trades, 0) > 0),
       sum(ended.pnl_micro > 0), sum(coalesce(closed.trades, 0)), sum(ended.pnl_micro)
FROM (SELECT unit, arm, count(*) AS decisions FROM decision
      WHERE experiment = 'main' GROUP BY unit, arm) asked
JOIN (SELECT unit, sum(pnl_micro) AS pnl_micro FROM outcome
      WHERE experiment = 'main' AND kind = 'market' GROUP BY unit) ended ON ended.unit = asked.unit
LEFT JOIN (SELECT unit, count(*) AS trades FROM outcome
           WHERE experiment = 'main' AND kind = 'trade' GROUP BY unit) closed ON closed.unit = asked.unit
GROUP BY asked.arm
"""


@pytest.fixture
def folder():
    """With a short name, for the socket in it."""
    with tempfile.TemporaryDirectory(prefix="abctl-demo-") as name:
        yield Path(name)


def abctl(*words, timeout_s=170):
    done = subprocess.run([*ABCTL, *map(str, words)], capture_output=True, text=True, timeout=timeout_s)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def demo(folder, *words, timeout_s=170):
    return abctl("demo", "--directory", folder, *words, timeout_s=timeout_s)


def unwrapped(said):
    return " ".join(said.split())


def check_transcript(said):
    """The books balance; the real commands and their answers stand there."""
    (books,) = re.findall(r"decisions: ([\d,]+) sent = ([\d,]+) answered = ([\d,]+) in SQL", said)
    assert len(set(books)) == 1
    assert "every market kept one and the same arm" in said
    for command in ("split set transformer 0.1", "split set transformer 0.5", "report --days 7", "status"):
        assert f"$ abctl {command}" in said
    assert "decisions/s" in said
    return int(books[0].replace(",", ""))


def verdicts(said):
    return re.findall(r"^main: transformer against base: (.*)$", said, re.MULTILINE)


def check_report(data_dir):
    """The report's counts are those of SQL written by hand."""
    with sqlite3.connect(f"file:{data_dir / 'abctl.db'}?mode=ro", uri=True) as connection:
        by_hand = {arm: tuple(counts) for arm, *counts in connection.execute(BY_HAND)}
    report = json.loads(abctl("report", "--json", "--data-dir", data_dir))
    names = ("mature", "decisions", "traded", "wins", "trades")
    found = {
        arm: (*(row[name] for name in names), round(row["pnl_usd"] * 1e6))
        for arm, row in report["arms"].items()
    }
    assert found == by_hand
    assert all(row["units"] == row["mature"] for row in report["arms"].values())
    return sum(counts[0] for counts in by_hand.values())


@pytest.mark.timeout(600)
def test_with_its_defaults_and_then_again(folder, tools):
    """One early "cannot say yet", one late "better"; a second run has a directory and evidence of its own."""
    said = demo(folder, timeout_s=FULL_TIMEOUT_S)
    assert check_transcript(said) == 400 * 150
    early, late = said.split(EARLY_TO_LATE)
    assert (verdicts(early), verdicts(late)) == (["cannot say yet"], ["better"])
    assert "After 400 markets the verdict is: better." in unwrapped(late)
    assert "cannot settle this" not in said
    (points,) = re.findall(r"planted: .* makes a profit in ([+-]\d+) points more", unwrapped(said))
    assert int(points) >= 30
    (own,) = folder.glob("simulated-*")
    assert unwrapped(said).count(f"--data-dir {own}") == 3
    assert check_report(own) == 400

    again = demo(folder, *QUICK, "--markets", 20)
    assert check_transcript(again) == 20 * 150
    (second,) = set(folder.iterdir()) - {own}
    assert check_report(second) == 20
    assert check_report(own) == 400
    assert tools.processes_of(folder) == {}


@pytest.mark.timeout(200)
def test_for_programs_stdout_is_one_object(folder, monkeypatch):
    monkeypatch.setenv("ABCTL_SPLIT_LEAD_S", "1.1")
    facts = json.loads(demo(folder, *QUICK, "--markets", 20, "--json"))
    assert (facts["markets"], facts["decisions_answered"]) == (20, 20 * 150)
    assert facts["decisions_sent"] == facts["decisions_answered"]
    assert facts["verdict"]["verdict"] == "cannot say yet"
    assert check_report(Path(facts["data_dir"])) == 20


@pytest.mark.timeout(200)
def test_on_recorded_markets(folder, tools, shared_part, monkeypatch):
    """34 of the 36 markets of the second day; the demo says which are left out, and what teaches."""
    monkeypatch.setenv("ABCTL_SPLIT_LEAD_S", "1.1")
    said = demo(folder, *QUICK, "--data", shared_part("data", "polymarket_btc15m_1s"))
    text = unwrapped(said)
    assert check_transcript(said) > 20_000
    assert "32 of 32 recorded markets of 2025-12-26 teach; excluded: none" in text
    left_out = "excluded: 1 ends_early, 1 outcome_ambiguous"
    assert f"34 of 36 recorded markets of 2025-12-29 are traded; {left_out}" in text
    assert "of those 32, 25 are learned from, 6 judge, 1 between is left out" in text
    last = verdicts(said)[-1]
    assert ("34 markets cannot settle this" in text) == (last == "cannot say yet")
    assert check_report(*folder.glob("recorded-*-*")) == 34
    assert tools.processes_of(folder) == {}


@pytest.mark.parametrize(
    ("verdict", "more_units", "said"),
    [
        ("cannot say yet", 1234, "3 markets cannot settle this: about 1,234 more would. No trades."),
        ("cannot say yet", None, "3 markets cannot settle this: the verdict above says why. No trades."),
        ("worse", None, "After 3 markets the verdict is: worse. No trades."),
    ],
)
def test_the_last_sentence_is_the_verdicts(verdict, more_units, said):
    course = SimpleNamespace(early=(1,), late=(2, 3), lacks="No trades.")
    assert closing_sentence(course, verdict, more_units) == said
