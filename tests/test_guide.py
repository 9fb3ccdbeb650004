"""Every command of the guide to the arms has its line in docs/guide.md, whose blocks test_docs.py runs."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parent.parent / "docs" / "guide.md"
BLOCK = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands_of(text):
    """The lines of the shell blocks, a continued one as one, without comments."""
    for block in BLOCK.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            command = " ".join(line.split("  #")[0].split())
            if command and not command.startswith("#"):
                yield command


@pytest.fixture
def guide(shared_part):
    return (shared_part("reference") / "transformer-rl-guide.md").read_text()


def test_no_command_of_the_guide_is_left_out(guide):
    page = PAGE.read_text()
    commands = list(commands_of(guide))
    assert len(commands) > 12
    assert [command for command in commands if f"`{command}`" not in page] == []


@pytest.mark.parametrize("name", ["RLStrategy", "TransformerRLStrategy", "HybridStrategy"])
def test_its_objects_are_here(guide, name):
    assert name in guide
    assert f"{name}(" in PAGE.read_text()


def test_what_is_not_here_yet_says_so():
    rows = [line.split("|")[1:3] for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    later = [ours for theirs, ours in rows if re.search(r"observer|--live", theirs)]
    assert len(later) == 5
    assert [ours for ours in later if "not yet" not in ours] == []
