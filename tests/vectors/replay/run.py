"""A folder of vectors, method by method."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from replay import decisions, means, policies, proportions, published, sequences
from replay.compare import Verdict, judge
from stats.errors import StatsError

METHODS = {
    **proportions.METHODS,
    **means.METHODS,
    **sequences.METHODS,
    **decisions.METHODS,
    **policies.METHODS,
}
KINDS = ("passed", "failed", "fault", "contract", "limit", "not offered")
LEGEND = (
    "fault: a peer's, listed in the README of the vectors",
    "limit: of a peer's arithmetic, found here and proven case by case",
    "contract: docs/statistics.md says what is said instead, or why nothing is",
    "not offered: a figure that no function of stats/ gives",
)
SHOWN = 12
BROKEN = (StatsError, ArithmeticError, ValueError, TypeError, LookupError, AttributeError)


@dataclass(frozen=True)
class Row:
    """One method. trouble: why it could not be replayed at all."""

    method: str
    cases: int
    verdicts: tuple[Verdict, ...]
    trouble: str = ""

    @property
    def counts(self):
        return Counter(verdict.kind for verdict in self.verdicts)

    @property
    def failed(self):
        return bool(self.trouble) or self.counts["failed"] > 0


def replayed(folder: Path) -> list[Row]:
    """Every *.json of the folder, in order of its name. An unknown one is a failure, and so is none."""
    rows = [row_of(path) for path in sorted(folder.glob("*.json"))]
    if (folder / "datasets" / "published.json").is_file():
        rows.append(row_of_published(folder / "datasets"))
    return rows or [Row(str(folder), 0, (), "the folder holds no vectors (*.json)")]


def row_of_published(folder: Path) -> Row:
    try:
        datasets, found = published.verdicts(folder)
    except (*BROKEN, OSError) as error:
        return Row("datasets/published", 0, (), f"{folder} cannot be read: {error!r}")
    return Row("datasets/published", datasets, tuple(found))


def row_of(path: Path) -> Row:
    try:
        content = json.loads(path.read_text())
        name, cases = content["method"], content["cases"]
    except (ValueError, TypeError, KeyError) as error:
        return Row(path.stem, 0, (), f"{path.name} is not a file of vectors: {error!r}")
    if name not in METHODS:
        return Row(name, len(cases), (), f"no function of stats/ is known for the method {name}")
    verdicts = [verdict for case in cases for verdict in judged(METHODS[name], case)]
    return Row(name, len(cases), tuple(verdicts))


def judged(method, case):
    try:
        return list(judge(method, case))
    except BROKEN as error:
        said = f"{type(error).__name__}: {error}"
        return [Verdict(case.get("id", "?"), "", "failed", "a result", said)]


def table(rows: list[Row]) -> str:
    head = f"{'method':<24}{'cases':>7}" + "".join(f"{kind:>13}" for kind in KINDS)
    lines = [head, "-" * len(head)]
    for row in rows:
        counts = row.counts
        numbers = "".join(f"{counts[kind]:>13,}" for kind in KINDS)
        lines.append(f"{row.method:<24}{row.cases:>7}{numbers}{'  FAILED' if row.failed else ''}")
    totals = Counter(verdict.kind for row in rows for verdict in row.verdicts)
    lines += [
        "-" * len(head),
        f"{'all':<24}{sum(row.cases for row in rows):>7}" + "".join(f"{totals[kind]:>13,}" for kind in KINDS),
    ]
    return "\n".join(lines)


def explanations(rows: list[Row]) -> str:
    """Why what did not pass is no failure, and how often."""
    found = Counter(
        (row.method, verdict.kind, verdict.why) for row in rows for verdict in row.verdicts if verdict.why
    )
    lines = [f"{method}: {count:,} x {kind}: {why}" for (method, kind, why), count in sorted(found.items())]
    return "\n".join(["", *LEGEND, "", *lines])


def failures(rows: list[Row]) -> str:
    """The first of each method, or nothing."""
    lines = []
    for row in rows:
        if row.trouble:
            lines.append(f"FAILED {row.method}: {row.trouble}")
        wrong = [verdict for verdict in row.verdicts if verdict.kind == "failed"]
        lines += [
            f"FAILED {row.method} {bad.case} {bad.path}: theirs {bad.theirs!r}, ours {bad.ours!r}"
            for bad in wrong[:SHOWN]
        ]
        if len(wrong) > SHOWN:
            lines.append(f"FAILED {row.method}: and {len(wrong) - SHOWN} more")
    return "\n".join(lines)
