"""`abctl model evaluate`: one model on markets that it never saw, beside rules that need no learning."""

from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

import numpy as np

from cli.exam import (
    Candidate,
    Exam,
    baselines,
    candidate,
    check_unseen,
    latency_ms,
    lessons_of,
    shape_of_exam,
)
from cli.settings import Settings
from cli.terminal import Table, paragraph, percent, print_json, say, show, signed_usd, usd
from market.agreement import agreement
from market.scoring import difference, score
from market.session import MarketResult
from stats.words import many

SCHEMA = "abctl.evaluation/1"
Shape = dict[str, Any]


def evaluated(settings: Settings, model: str, other: str | None, exam: Exam, as_json: bool) -> None:
    """Plays, judges, prints."""
    with ExitStack() as stack:
        who = stack.enter_context(candidate(model, settings))
        rivals = [stack.enter_context(candidate(other, settings))] if other is not None else []
        found = shape_of(who, rivals, exam)
    if as_json:
        print_json(found)
    else:
        show_evaluation(found)


def shape_of(who: Candidate, rivals: list[Candidate], exam: Exam) -> Shape:
    """The JSON shape."""
    doubts = [doubt for each in (who, *rivals) if (doubt := check_unseen(each, exam)) is not None]
    ours = who.played(exam)
    others = {rival.name: rival.played(exam) for rival in rivals} | baselines(exam)
    agreed = agreement(who.prober, lessons_of(exam), who.arm.window)
    took_ms = latency_ms(who)
    return {
        "schema": SCHEMA,
        "exam": shape_of_exam(exam),
        "model": {"name": who.name, "id": who.artefact.id, "arm": who.artefact.arm},
        "score": asdict(score(ours, exam.tapes)),
        "agreement": None if agreed is None else asdict(agreed),
        "latency_ms": {f"p{p}": float(np.percentile(took_ms, p)) for p in (50, 99)},
        "beside": {name: _beside(ours, theirs, exam) for name, theirs in others.items()},
        "warnings": doubts,
    }


def _beside(ours: tuple[MarketResult, ...], theirs: tuple[MarketResult, ...], exam: Exam) -> Shape:
    gap = difference(ours, theirs, exam.tapes)
    return {"score": asdict(score(theirs, exam.tapes)), "difference_usd": asdict(gap)}


def sentence_of(name: str, gap: Shape, markets: int) -> str:
    """What a difference in net USD a market says."""
    if gap["low"] is None:
        return f"Against {name} nothing can be said: {gap['reason']}."
    rough = f" ({gap['reason']})" if gap["status"] == "not_ready" else ""
    if gap["low"] > 0.0:
        return f"Earns at least {usd(gap['low'])} a market more than {name}{rough}."
    if gap["high"] < 0.0:
        return f"Earns at least {usd(-gap['high'])} a market less than {name}{rough}."
    between = f"{signed_usd(gap['low'])} and {signed_usd(gap['high'])}"
    return f"Not to be told from {name} on {markets:,} markets: between {between} a market{rough}."


def show_evaluation(found: Shape) -> None:
    """The sentences first, then the table."""
    exam, model = found["exam"], found["model"]
    windows, days = many(exam["windows"], "window"), many(exam["days"], "day")
    name = f"{model['name']} ({model['arm']}, {model['id'][:12]})"
    paragraph(
        f"Model {name} on {exam['name']}: {many(exam['markets'], 'market')} in {windows} of {days}", "bold"
    )
    for name, beside in found["beside"].items():
        paragraph(sentence_of(name, beside["difference_usd"], exam["markets"]))
    say("")
    scores = {model["name"]: found["score"]} | {n: b["score"] for n, b in found["beside"].items()}
    show(Table("Net of fees, per market, traded or not; intervals of 95% by window", COLUMNS,
               [score_row(name, each) for name, each in scores.items()]))  # fmt: skip
    say("")
    _show_agreement(found)
    for warning in found["warnings"]:
        paragraph(f"! {warning}", "yellow")


COLUMNS = (
    "", "low $", "PnL $", "high $", "fees $", "traded", "profit", "trades", "won", "edge $", "drawdown $",
    "held",
)  # fmt: skip


def score_row(name: str, each: Shape) -> list[object]:
    """One line of the table of scores."""
    pnl = each["pnl_usd"]
    return [
        name,
        *(None if pnl[n] is None else f"{pnl[n]:+.3f}" for n in ("low", "estimate", "high")),
        f"{each['fee_usd']:.3f}",
        percent(each["traded_share"]),
        percent(each["profit_share"]),
        f"{each['trades']:,}",
        percent(each["trade_win_rate"]),
        None if each["edge_usd"] is None else f"{each['edge_usd']:+.4f}",
        f"{each['drawdown_usd']:,.2f}",
        percent(each["exposure"]),
    ]


def _show_agreement(found: Shape) -> None:
    agreed, took = found["agreement"], found["latency_ms"]
    if agreed is not None:
        paragraph(
            f"Chooses the best action at {percent(agreed['accuracy'])} of {agreed['ticks']:,} ticks"
            f" ({percent(agreed['balanced_accuracy'])} over the actions alike); its probabilities are"
            f" {percent(agreed['calibration_error'])} off in the mean."
        )
    unfilled = ", ".join(f"{n} {count:,}" for n, count in found["score"]["unfilled"].items())
    paragraph(f"Orders that met nothing: {unfilled or 'none'}.")
    paragraph(f"A decision takes {took['p50']:.2f} ms, at p99 {took['p99']:.2f} ms, on this machine.", "dim")
