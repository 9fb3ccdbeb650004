"""What a reader must know before believing the table."""

from collections.abc import Mapping

from stats.arm_report import ArmReport, share
from stats.design import Design
from stats.srm import Srm
from stats.verdict import Judged
from stats.words import NAMES, many, signed


def caveats(design: Design, arms: Mapping[str, ArmReport], primary: Judged, srm: Srm) -> tuple[str, ...]:
    found = [
        *_missing(design, arms, primary),
        *_opposite_signs(design, arms, primary),
        *_contaminated(design, arms),
        *_unserved(design, arms),
    ]
    if primary.effect.unlogged and primary.effect.status != "invalid_design":
        count = many(primary.effect.unlogged, design.unit_name)
        found.append(f"{count} without a usable propensity left out of the effect.")
    if srm.impossible:
        count = many(srm.impossible, design.unit_name)
        found.append(f"{count} assigned to an arm whose share was 0 at the time.")
    return tuple(found)


def _missing(design: Design, arms: Mapping[str, ArmReport], judged: Judged) -> list[str]:
    """Counts where there is no estimate: of units of another fill a share would say nothing true."""
    bounds, effect = judged.missing, judged.effect
    if not bounds.shown:
        return []
    if effect.estimate is None:
        rows = {arm: arms[arm] for arm in (design.treatment, design.control)}
        said = " and ".join(f"{row.missing:,} of {arm}'s {row.units:,}" for arm, row in rows.items())
        return [f"No outcome came in time for {said} {design.unit_name}s."]
    shares = (
        f"Outcomes are missing for {100 * bounds.share_treatment:.1f}% of {design.treatment}'s and"
        f" {100 * bounds.share_control:.1f}% of {design.control}'s {design.unit_name}s"
    )
    worst, best = (signed(effect.metric, effect.estimate + shift) for shift in (bounds.worst, bounds.best))
    what = f"the estimate could be anything from {worst} (all of them against {design.treatment})"
    return [f"{shares}: {what} to {best} (all for it)."]


def _opposite_signs(design: Design, arms: Mapping[str, ArmReport], judged: Judged) -> list[str]:
    raw = _raw_difference(design, arms)
    estimate = judged.effect.estimate
    if raw is None or estimate is None or raw * estimate >= 0.0:
        return []
    text = (
        f"Raw {NAMES[design.metric]} differs by {signed(design.metric, raw)}, the adjusted one by"
        f" {signed(design.metric, estimate)}: the raw one mixes times at which the split was different."
    )
    return [text]


def _raw_difference(design: Design, arms: Mapping[str, ArmReport]) -> float | None:
    field = {"win_rate": "win_rate", "profit_rate": "profit_rate", "pnl": "pnl_per_unit_usd"}[design.metric]
    treated, control = (getattr(arms[arm], field) for arm in (design.treatment, design.control))
    return None if treated is None or control is None else float(treated - control)


def _contaminated(design: Design, arms: Mapping[str, ArmReport]) -> list[str]:
    count = sum(arm.contaminated for arm in arms.values())
    said = f"{many(count, design.unit_name)} assigned to two arms (contaminated), counted under the first"
    return [f"{said}: look for bots with changing started_at."] if count else []


def _unserved(design: Design, arms: Mapping[str, ArmReport]) -> list[str]:
    """Refusals weigh on both arms alike, unless one of them has a larger share of its units refused."""
    rows = {arm: arms[arm] for arm in (design.treatment, design.control)}
    if len({share(row.unserved, row.units) or 0.0 for row in rows.values()}) == 1:
        return []
    said = " and ".join(f"{row.unserved:,} of {arm}'s {row.units:,}" for arm, row in rows.items())
    return [f"Decisions were refused in {said} {design.unit_name}s: all stay with their arm (unserved)."]
