"""docs/arm-tables.md: every section stands between marks and replaces its older self."""

import datetime as dt
import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from speed.found import Section, text_of
from speed.machine import cpu_model, load_average
from speed.page import placed

PAGE = Path(__file__).resolve().parents[2] / "docs" / "arm-tables.md"
PACKAGES = ("numpy", "onnxruntime", "torch", "mlx")
HEAD = """# Arms: size and speed

What the two [arms](arms.md) cost in memory and time, beside torch's own modules on the same core in the same
minutes; the ratios are what travels to other machines. Tables between marks are written by
`python bench/arm_latency.py --write` and `python bench/training_speed.py --write`; nobody edits them by hand.
*Stock* is the same network as torch's tutorials build it, `nn.TransformerEncoder` over all positions, with
the same weights; before anything is measured its answers are compared with ours (at most 0.0001 apart).
"""


def write(sections: Sequence[Section]) -> None:
    """Puts the sections into the page."""
    page = PAGE.read_text() if PAGE.exists() else HEAD
    note = f"Measured on {measured_on()}."
    for section in sections:
        page = placed(page, section.part, f"{text_of(section)}\n\n{note}")
    PAGE.write_text(page)


def measured_on() -> str:
    """The machine, what runs on it, and how busy it was."""
    packages = ", ".join(f"{name} {found}" for name in PACKAGES if (found := installed(name)))
    today = dt.datetime.now(dt.UTC).date()
    return (
        f"{cpu_model()}, {os.cpu_count()} cores, Python {platform.python_version()}, {packages}; {today}; "
        f"load average {load_average():.1f}"
    )


def installed(package: str) -> str | None:
    """Its version, if it is there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def judge(sections: Sequence[Section]) -> None:
    """Ends with 1 where a promise is not kept."""
    missed = [found.claim for section in sections for found in section.findings if not found.holds]
    if missed:
        sys.exit(f"not kept: {'; '.join(missed)}")
