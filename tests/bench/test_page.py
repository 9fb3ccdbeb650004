"""The results page: each part replaces itself and nothing else."""

import pytest
from speed.found import Finding, Section, at_least, at_most, missed, text_of
from speed.page import placed


def test_a_part_is_replaced_and_its_neighbours_stay() -> None:
    page = placed(placed("# Head\n", "one", "old"), "two", "other")
    page = placed(page, "one", "new")
    assert page.startswith("# Head\n")
    assert "old" not in page
    assert page.index("new") < page.index("other")
    assert placed(page, "one", "new") == page


def test_a_page_with_half_a_mark_is_refused() -> None:
    with pytest.raises(SystemExit, match="without"):
        placed("<!-- one: begin -->\ntext", "one", "new")


def test_a_target_that_is_missed_is_said() -> None:
    found = (at_least("speed", 1.19, 1.2), at_most("delay", 1.3, 1.3))
    section = Section("x", "Title", ("server", "rate"), (("abctl", "1"),), found)
    text = text_of(section)
    assert missed([section, section]) == 2
    assert found[0] == Finding("speed", "at least 1.2x", "1.19x", holds=False)
    assert found[1].holds
    assert text.count("**no**") == 1
