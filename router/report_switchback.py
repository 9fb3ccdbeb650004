"""The report of a switchback: judged by blocks, and without anything that takes its units for independent."""

from dataclasses import asdict, replace
from typing import Any

import numpy as np

from router.before import known_before
from router.blocks import block_stages, block_table
from router.cohort import burning, counts_of
from router.report_rows import Rows
from router.report_shape import design_of
from stats.headline import headline
from stats.shape import as_dict
from stats.switchback import Blocks, Switchback, switchback
from stats.words import signed
from store.records import Experiment

Shape = dict[str, Any]
WITHHELD = "units of a block share a coin, so intervals that take them for independent are withheld"
_JUDGED = ("effect", "pnl_effect", "srm", "verdict", "gates", "stages")
_ENDS = {
    *("low", "high", "p", "e_value", "win_rate_low", "win_rate_high", "profit_rate_low", "profit_rate_high"),
    *("pnl_low_usd", "pnl_high_usd"),
}


def with_switchback(shape: Shape, rows: Rows) -> Shape:
    """The report of a switchback; any other as it is, with `switchback` null."""
    if rows.found.experiment.assignment != "switchback":
        return {**shape, "switchback": None}
    told, burned = judged_blocks(rows), _burned(rows)
    whole = as_dict(told.report)
    first = headline(design_of(rows.found), told.report, None, rows.judged.now_us)
    return {
        **_withheld(shape),
        **{name: whole[name] for name in _JUDGED},
        "headline": asdict(first),
        "excluded": shape["excluded"] | {"burn_in": burned},
        "switchback": switchback_shape(rows.found.experiment, told),
    }


def judged_blocks(rows: Rows) -> Switchback:
    """By complete blocks only: a block of which units are still open is no row yet."""
    found, judged = rows.found, rows.judged
    experiment, design = found.experiment, replace(design_of(found), row_name="block")
    table = block_table(experiment, found.columns, () if found.named is None else found.named.names)
    span_us = (experiment.unit_duration_s + experiment.attribution_s) * 1_000_000
    kept = table.complete(span_us, judged.now_us)[judged.rows]
    return switchback(
        design,
        judged.units.take(kept),
        Blocks(table.blocks.of[judged.rows][kept], table.blocks.before),
        counts_of(experiment, found.columns, judged.cohort),
        block_stages(experiment, found.columns, table.blocks.of, found.stages),
        known_before(design, found, judged),
    )


def switchback_shape(experiment: Experiment, told: Switchback) -> Shape:
    """carry_over: as `effect`, of the arm of the block before."""
    carried = as_dict(replace(told.report, effect=told.carry_over))["effect"]
    return {
        "block_s": experiment.block_s,
        "block_by": experiment.block_by,
        "burn_in_s": experiment.burn_in_s,
        "blocks": dict(told.blocks),
        "divided": told.divided,
        "carry_over": carried,
        "sentence": _sentence(experiment, told),
    }


def _sentence(experiment: Experiment, told: Switchback) -> str:
    blocks = ", ".join(f"{arm} {count:,}" for arm, count in told.blocks.items())
    before = told.carry_over
    if before.p is None or before.low is None or before.high is None:
        said = f"cannot be said yet: {before.reason}"
    else:
        shown = "shown" if before.p <= experiment.alpha else "not shown"
        low, high = (signed(before.metric, end) for end in (before.low, before.high))
        said = f"{shown} (the arm of the block before makes {low} to {high}, at any look)"
    return f"Switchback: complete blocks are the rows ({blocks}). Carry-over beyond the burn-in: {said}."


def _withheld(shape: Shape) -> Shape:
    """Everything else describes."""
    arrived = {**_without(shape["resolution"]), "later": None, "sentence": ""}
    asked = [_without(row) | {"status": "cannot say", "reason": WITHHELD} for row in shape["guardrails"]]
    warnings = [said for said in shape["warnings"] if said != shape["resolution"]["sentence"]]
    return {
        **shape,
        "arms": _without(shape["arms"]),
        "naive": {**shape["naive"], "z": None, "p": None, "label": WITHHELD},
        "curves": _without(shape["curves"]),
        "guardrails": asked,
        "resolution": arrived,
        "slices": None,
        "warnings": [*warnings, f"switchback: {WITHHELD}, and so are slices"],
    }


def _without(value: Any) -> Any:
    """The same with every end of an interval and every p as null; a curve keeps its length."""
    if isinstance(value, dict):
        return {name: _nothing(own) if name in _ENDS else _without(own) for name, own in value.items()}
    return [_without(own) for own in value] if isinstance(value, list | tuple) else value


def _nothing(value: Any) -> Any:
    return [None] * len(value) if isinstance(value, list | tuple) else None


def _burned(rows: Rows) -> int:
    """Units left out for the time of their start alone."""
    columns = rows.found.columns
    free = columns.excluded == None  # noqa: E711 - element by element
    return int(np.count_nonzero(burning(rows.found.experiment, columns.started_at_us) & free))
