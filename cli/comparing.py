"""`abctl model compare`: two models on the same markets, paired, and where they disagree."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from arms.episodes import joined, windows
from cli.evaluating import COLUMNS, score_row
from cli.exam import Candidate, Exam, candidate, check_unseen, lessons_of, shape_of_exam
from cli.settings import Settings
from cli.terminal import Table, paragraph, percent, print_json, say, show, signed_usd, usd
from market.scoring import difference, pnl_of, score
from market.session import MarketResult
from stats.words import many

SCHEMA = "abctl.comparison/1"
ACTIONS = ("hold", "buy", "sell")
SHOWN = 5
_BATCH = 4096
Shape = dict[str, Any]


def compared(
    settings: Settings, models: tuple[str, str], exam: Exam, page: Path | None, as_json: bool
) -> None:
    """Plays both, prints, and writes the page where one is asked for. models: base, transformer."""
    with ExitStack() as stack:
        both = tuple(stack.enter_context(candidate(model, settings)) for model in models)
        found = shape_of(both, exam)
    if page is not None:
        from cli.comparing_page import html_of

        page.write_text(html_of(found), encoding="utf-8")
    if as_json:
        print_json(found)
    else:
        show_comparison(found)
        if page is not None:
            paragraph(f"Page: {page}", "dim")


def shape_of(both: Sequence[Candidate], exam: Exam) -> Shape:
    """The JSON shape: transformer less base."""
    base, transformer = both
    doubts = [doubt for each in both if (doubt := check_unseen(each, exam)) is not None]
    theirs, ours = base.played(exam), transformer.played(exam)
    return {
        "schema": SCHEMA,
        "exam": shape_of_exam(exam),
        "base": _model(base, theirs, exam),
        "transformer": _model(transformer, ours, exam),
        "difference_usd": asdict(difference(ours, theirs, exam.tapes)),
        "correlation": _correlation(pnl_of(ours), pnl_of(theirs)),
        "disagreement": _disagreement(base, transformer, exam),
        "markets": [
            {"market": tape.market, "end_us": tape.end_us, "base_usd": b, "transformer_usd": t}
            for tape, b, t in zip(exam.tapes, pnl_of(theirs).tolist(), pnl_of(ours).tolist(), strict=True)
        ],
        "warnings": doubts,
    }


def _model(who: Candidate, results: tuple[MarketResult, ...], exam: Exam) -> Shape:
    facts = {"name": who.name, "id": who.artefact.id, "arm": who.artefact.arm}
    return facts | {"score": asdict(score(results, exam.tapes))}


def _correlation(ours: Any, theirs: Any) -> float | None:
    """Of results in the same markets; the more, the sooner a pair tells. None where one never varies."""
    if len(ours) < 2 or np.ptp(ours) == 0.0 or np.ptp(theirs) == 0.0:
        return None
    return float(np.corrcoef(ours, theirs)[0, 1])


def _disagreement(base: Candidate, transformer: Candidate, exam: Exam) -> Shape:
    """On the very same states: how often each pair of actions is chosen. [base's action][transformer's]."""
    ticks = joined(lessons_of(exam))
    counts = np.zeros((3, 3), dtype=np.int64)
    for start in range(0, len(ticks.usable), _BATCH):
        rows = ticks.usable[start : start + _BATCH]
        chosen = [who.policy(*windows(ticks, rows, who.arm.window)) for who in (base, transformer)]
        np.add.at(counts, tuple(chosen), 1)
    total = int(counts.sum())
    apart = total - int(np.trace(counts))
    return {"ticks": total, "share": apart / total if total else None, "actions": counts.tolist()}


def verdict_of(found: Shape) -> str:
    """One sentence."""
    gap, exam = found["difference_usd"], found["exam"]
    of = f"on {many(exam['markets'], 'market')} of {many(exam['days'], 'day')}"
    if gap["low"] is None:
        return f"Nothing can be said of the difference {of}: {gap['reason']}."
    rough = f" ({gap['reason']})" if gap["status"] == "not_ready" else ""
    if gap["low"] > 0.0:
        return f"The transformer earns at least {usd(gap['low'])} a market more {of}{rough}."
    if gap["high"] < 0.0:
        return f"The transformer earns at least {usd(-gap['high'])} a market less {of}{rough}."
    between = f"{signed_usd(gap['low'])} and {signed_usd(gap['high'])}"
    return f"The difference is not distinguishable {of}: between {between} a market{rough}."


def show_comparison(found: Shape) -> None:
    """Verdict, scores, disagreement, and the markets that decided."""
    paragraph(verdict_of(found), "bold")
    linked = found["correlation"]
    if linked is not None:
        paragraph(f"Results of the same market are correlated by {linked:+.2f}.", "dim")
    say("")
    names = {"base": found["base"], "transformer": found["transformer"]}
    rows = [score_row(f"{name}: {each['name']}", each["score"]) for name, each in names.items()]
    show(Table("Net of fees, per market, traded or not; intervals of 95% by window", COLUMNS, rows))
    say("")
    _show_disagreement(found["disagreement"])
    say("")
    show(
        Table(
            "Markets that differ most", ("market", "base $", "transformer $", "difference $"), _apart(found)
        )
    )
    for warning in found["warnings"]:
        paragraph(f"! {warning}", "yellow")


def _show_disagreement(found: Shape) -> None:
    if not found["ticks"]:
        paragraph("No tick is worth comparing actions at.")
        return
    head = f"Actions on the same {found['ticks']:,} states: {percent(found['share'])} differ"
    rows = [
        [f"base: {action}", *(f"{n:,}" for n in row)]
        for action, row in zip(ACTIONS, found["actions"], strict=True)
    ]
    show(Table(head, ("", *(f"transformer: {action}" for action in ACTIONS)), rows))


def _apart(found: Shape) -> list[list[object]]:
    gaps = [(m["transformer_usd"] - m["base_usd"], m) for m in found["markets"]]
    most = sorted(gaps, key=lambda pair: (-abs(pair[0]), pair[1]["end_us"]))[:SHOWN]
    return [
        [m["market"], f"{m['base_usd']:+.2f}", f"{m['transformer_usd']:+.2f}", f"{gap:+.2f}"]
        for gap, m in most
    ]
