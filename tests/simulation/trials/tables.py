"""Outcomes as tables of a Markdown page, each with what it was held to and what failed."""

from collections.abc import Callable, Sequence

from trials.cells import DESIGN_POINT, published
from trials.outcomes import ALPHA, Cell, Outcome, allowed, rollback_level

Rows = Sequence[tuple[Cell, Outcome]]
SHARE = 0.1
"""How far power and days may be from the design's."""
A_THIRD = 1.0 / 3.0
"""Of the power that the sequence lacks, what named looks have to bring back."""
HEAD = (
    "cell", "up", "down", "either", "covered", "days",
    "gate: up", "down", "named: up", "down", "days", "fixed: up",
)  # fmt: skip


def without_more(rows: Rows) -> str:
    """Cells without an effect: error rates."""
    body = [(cell.name, *figures(found)) for cell, found in rows]
    return f"{markdown(HEAD, body)}\n\n{_rates_held(rows)}"


def with_published(rows: Rows) -> str:
    """Cells with an effect, beside the design's."""
    body = [(cell.name, *figures(found), *_beside(cell)) for cell, found in rows]
    held = [beyond for cell, found in rows for beyond in power_missed(cell, found)]
    back = " ".join(_told_back(found) for cell, found in rows if is_design_point(cell))
    return f"{markdown((*HEAD, 'design: up', 'days'), body)}\n\n{_sentence(rows, held)} {back}".rstrip()


def is_design_point(cell: Cell) -> bool:
    """Where a fixed test finds about 80% of decisions' effects."""
    return cell.metric == "decisions" and (cell.world.icc, cell.world.effect) == DESIGN_POINT


def share_back(found: Outcome) -> float:
    """Of the power that the sequence lacks against a fixed test, what named looks bring back."""
    return (found.named_up - found.up) / (found.fixed_up - found.up)


def _told_back(found: Outcome) -> str:
    return (
        f"At the design point the sequence finds {100.0 * found.up:.1f}%, a fixed test"
        f" {100.0 * found.fixed_up:.1f}%, named looks {100.0 * found.named_up:.1f}%:"
        f" {100.0 * share_back(found):.0f}% of what is lacking is back; at least a third is asked."
    )


def with_forecast(rows: Rows) -> str:
    """Cells in which something is known beforehand."""
    head = (HEAD[0], "R²", *HEAD[1:])
    body = [(cell.name, f"{found.explained:.2f}", *figures(found)) for cell, found in rows]
    return f"{markdown(head, body)}\n\n{_rates_held(rows)}"


def figures(found: Outcome) -> tuple[str, ...]:
    """Of one cell, as in HEAD."""
    shares = (found.up, found.down, found.alarms, found.covered)
    more = (found.gate_up, found.gate_down, found.named_up, found.named_down)
    return (
        *(f"{share:.3f}" for share in shares),
        f"{found.days:.1f}",
        *(f"{share:.3f}" for share in more),
        f"{found.named_days:.1f}",
        f"{found.fixed_up:.3f}",
    )


def grid(rows: Sequence[Rows]) -> str:
    """A row of cells a line: alarms of the sequence on either side, and of the hybrid."""
    head = ("cells", *_own(rows[0]))
    body = [(_common(row), *(f"{one.alarms:.3f} {one.named_alarms:.3f}" for _, one in row)) for row in rows]
    cells = [one for row in rows for one in row]
    most = [_largest(cells, of, said) for said, of in _MEASURES.items()]
    return f"{markdown(head, body)}\n\n{_rates_held(cells)} Most of all: {'; '.join(most)}."


_MEASURES: dict[str, Callable[[Outcome], float]] = {
    "either": lambda found: found.alarms,
    "gate: up": lambda found: found.gate_up,
    "gate: down": lambda found: found.gate_down,
    "named": lambda found: found.named_alarms,
    "not covered": lambda found: 1.0 - found.covered,
}


def rates_missed(cell: Cell, found: Outcome) -> list[str]:
    """Where more than 5%, of a rollback its part, and two Monte Carlo errors are wrong; under an effect only
    what is wrong there.
    """
    levels = {"gate: down": rollback_level(cell.metric)}
    return [
        f"{cell.name}: {said} {share:.3f}"
        for said, share in _wrong(cell, found)
        if share > allowed(found.runs, levels.get(said, ALPHA))
    ]


def _wrong(cell: Cell, found: Outcome) -> list[tuple[str, float]]:
    effect = cell.world.effect
    if effect == 0.0:
        return [(said, of(found)) for said, of in _MEASURES.items()]
    uncovered = ("not covered", 1.0 - found.covered)
    if effect > 0.0:
        rolled_back = ("gate: down", found.gate_down)
        return [uncovered, ("down", found.down), rolled_back, ("named: down", found.named_down)]
    promoted = [("gate: up", found.gate_up)] if cell.margin <= -effect else []
    return [uncovered, ("up", found.up), *promoted, ("named: up", found.named_up)]


def power_missed(cell: Cell, found: Outcome) -> list[str]:
    """Where power or days are more than a tenth worse than the design's."""
    theirs, missed = published(cell), rates_missed(cell, found)
    if theirs is None:
        return missed
    power, days = theirs
    if found.up < (1.0 - SHARE) * power:
        missed.append(f"{cell.name}: up {found.up:.3f}, the design's {power:.2f}")
    if found.days > (1.0 + SHARE) * days:
        missed.append(f"{cell.name}: {found.days:.1f} days, the design's {days:.1f}")
    if is_design_point(cell) and share_back(found) < A_THIRD:
        missed.append(f"{cell.name}: named looks bring {share_back(found):.2f} back")
    return missed


def markdown(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [head, ("---", *(["---:"] * (len(head) - 1))), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _beside(cell: Cell) -> tuple[str, str]:
    theirs = published(cell)
    return ("", "") if theirs is None else (f"{theirs[0]:.2f}", f"{theirs[1]:.1f}")


def _rates_held(rows: Rows) -> str:
    return _sentence(rows, [beyond for cell, found in rows for beyond in rates_missed(cell, found)])


def _sentence(rows: Rows, missed: Sequence[str]) -> str:
    runs, least = rows[0][1].runs, min(rollback_level(cell.metric) for cell, _ in rows)
    part = f" ({allowed(runs, least):.4f} of a rollback beside money's)" if least < ALPHA else ""
    verdict = f"Failed: {'; '.join(missed)}." if missed else "Every cell holds."
    return f"{runs:,} runs of each of {len(rows)} cells, at most {allowed(runs):.4f} allowed{part}. {verdict}"


def _largest(cells: Rows, of: Callable[[Outcome], float], said: str) -> str:
    cell, found = max(cells, key=lambda one: of(one[1]))
    return f"{said} {of(found):.3f} ({cell.name})"


def _common(row: Rows) -> str:
    """What the names of a row share, word by word."""
    parts = [cell.name.split(", ") for cell, _ in row]
    return ", ".join(part for part in parts[0] if all(part in other for other in parts))


def _own(row: Rows) -> list[str]:
    """What each name of a row has that the others do not."""
    shared = _common(row).split(", ")
    return [", ".join(part for part in cell.name.split(", ") if part not in shared) for cell, _ in row]
