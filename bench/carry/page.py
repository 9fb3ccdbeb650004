"""docs/benchmarks.md: the headings and sections that are not about decisions."""

from collections.abc import Sequence

from speed import machine, page
from speed.found import Section, text_of


def write(name: str, heading: str, sections: Sequence[Section]) -> None:
    """Puts a heading and the sections under it into the page, each in the place of its older self."""
    if not page.PAGE.exists():
        page.write((), "")  # its head
    text = page.placed(page.PAGE.read_text(), name, heading.rstrip())
    for section in sections:
        text = page.placed(text, section.part, f"{text_of(section)}\n\nMeasured on {measured_on()}.")
    page.PAGE.write_text(text)


def measured_on() -> str:
    """The machine, and how busy it was."""
    return f"{machine.facts()}; load average {machine.load_average():.1f}"
