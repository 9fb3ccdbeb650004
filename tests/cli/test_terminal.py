"""How values read."""

import pytest

from cli import terminal


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
    terminal.show(terminal.Table("", ["who", "why"], [["ada", "word " * 40]], left=2, wraps=1))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= terminal.WIDTH
    assert len(lines) > 3
