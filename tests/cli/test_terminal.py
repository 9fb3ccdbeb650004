"""How values read."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress

from cli import terminal
from cli.demo_course import progress_columns


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        (0.0, "$0.00"),
        (0.0385, "$0.0385"),
        (-0.0385, "-$0.0385"),
        (0.9377, "$0.94"),
        (6.366, "$6.37"),
        (-1234567.891, "-$1,234,567.89"),
    ],
)
def test_money(value, text):
    assert terminal.usd(value) == text


def test_differences_have_a_sign():
    assert terminal.signed_usd(1.5419) == "+$1.54"
    assert terminal.signed_usd(-3.0) == "-$3.00"
    assert terminal.points(0.277) == "+27.7 pp"


@pytest.mark.parametrize(("share", "text"), [(0.1, "10%"), (1.0, "100%"), (0.0, "0%"), (0.000001, "0.0001%")])
def test_shares_keep_their_digits(share, text):
    assert terminal.share_text(share) == text


def test_counts_in_words():
    assert terminal.words_of({"parked_outcomes": 3, "dead_letters": 0}) == "3 parked outcomes"
    assert terminal.words_of({"forced": 0}) == "nothing"


def test_a_long_reason_folds_and_a_name_does_not(capsys):
    terminal.show(terminal.Table("", ["who", "why"], [["ada", "word " * 40]], left=2, wraps=(1,)))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= terminal.WIDTH
    assert len(lines) > 3


def test_a_table_with_too_little_room_stands_closer_and_breaks_no_number(capsys):
    names = [f"column-{i}" for i in range(8)]
    terminal.show(terminal.Table("", names, [[10**7] * 8], left=0))
    heads, rule, row = capsys.readouterr().out.splitlines()
    assert len(heads) == len(rule) == len(row) == 8 * 8 + 2 * 7
    terminal.show(terminal.Table("", [*names, "column-8"], [[10**7] * 9], left=0))
    heads, _, row = capsys.readouterr().out.splitlines()
    assert len(heads) == len(row) == 9 * 8 + 8
    terminal.show(terminal.Table("", [*names, "column-8"], [[10**8] * 9], left=0))
    assert capsys.readouterr().out.splitlines()[2].split() == ["100000000"] * 9


def test_at_last_columns_of_words_fold_between_words(capsys):
    name, words = "n" * 40, "base 54.3211% transformer 33.3333% ghost 12.3456%"
    terminal.show(terminal.Table("", ["name", "split"], [[name, words]], left=2))
    _, _, *rows = capsys.readouterr().out.splitlines()
    assert max(map(len, rows)) <= terminal.WIDTH
    assert rows[0].split()[0] == name
    assert " ".join(" ".join(rows).replace(name, "").split()) == words


OUTSIDE = "[red]see [/x] [link=http://x]:warning: \x1b[2J\x1b[31m"


def test_no_text_from_outside_is_markup_or_moves_the_cursor(capsys):
    terminal.show(terminal.Table(OUTSIDE, [OUTSIDE, "b"], [[OUTSIDE, 1]], wraps=(0,)))
    terminal.show(terminal.Table("", ["a", "b"], [[OUTSIDE, 1]]))
    terminal.paragraph(OUTSIDE, "bold")
    told = capsys.readouterr().out
    assert "\x1b" not in told
    assert told.count("[red]see [/x] [link=http://x]:warning:") == 5
    assert told.count("[31m") == 5


def test_nobody_else_prints_through_rich():
    """Whoever does has to keep outsiders' brackets from it."""
    printing = re.compile(r"^\s*(?:from rich|import rich)", re.MULTILINE)
    files = Path(terminal.__file__).parent.glob("*.py")
    assert {file.name for file in files if printing.search(file.read_text())} == {
        "terminal.py",
        "demo_course.py",
        "training_view.py",
    }


def test_what_a_progress_bar_says_is_no_markup():
    page = io.StringIO()
    with Progress(*progress_columns(), console=Console(file=page, width=200)) as bar:
        bar.add_task("[red]who[/x]", total=1, said="[b]what[/y]")
    assert "[red]who[/x]" in page.getvalue()
    assert "[b]what[/y]" in page.getvalue()
