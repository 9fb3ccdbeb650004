"""Which slice each unit belongs to: known before its coin fell, so that slices compare like with like."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from router.errors import BadStartedAt
from router.question import SliceBy
from router.starts import compile_pattern, read_unit
from store.models import AliasChange
from store.named_units import NamedUnits
from store.records import Experiment

_SPECIAL = re.compile(r"@|[0-9]{6,}")
_SHOWN_ID = 12
NOBODY = "no model registered"


def slice_names(
    by: SliceBy,
    experiment: Experiment,
    units: NamedUnits,
    bots: dict[str, str],
    promotions: Sequence[AliasChange],
) -> list[str]:
    """The part of every unit.

    market: its family, by `unit_pattern` or else by its name. bot: the bots that asked in it. day: of its
    start, UTC. model: the models that the compared arms served when it was first asked about.
    """
    if by == "market":
        return [*map(_family(experiment), units.names)]
    if by == "bot":
        return [bots.get(name, "no bot") for name in units.names]
    if by == "day":
        return [_day(at_us) for at_us in units.columns.started_at_us.tolist()]
    return _models(experiment, units.columns.first_at_us.tolist(), promotions)


def _family(experiment: Experiment) -> Callable[[str], str]:
    pattern = None if experiment.unit_pattern is None else compile_pattern(experiment.unit_pattern)

    def family(unit: str) -> str:
        try:
            named = None if pattern is None else read_unit(pattern, unit)
        except BadStartedAt:  # a name that the pattern reads wrongly still has a beginning
            named = None
        return (named.family if named is not None else None) or beginning(unit)

    return family


def beginning(unit: str) -> str:
    """What stands before the time in a unit's name, or before its run: btc-updown-15m of
    btc-updown-15m-1767225600@r1."""
    return _SPECIAL.split(unit, maxsplit=1)[0].rstrip("-_:. ") or unit


def _day(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%Y-%m-%d")


def _models(
    experiment: Experiment, first_at_us: Sequence[int], promotions: Sequence[AliasChange]
) -> list[str]:
    """Both arms' models of the moment, so that a part holds units of both arms."""
    arms = (experiment.control, experiment.treatment)
    changes = sorted(
        (p for p in promotions if p.alias == "champion" and p.arm in arms), key=lambda p: p.at_us
    )
    served = dict.fromkeys(arms, NOBODY)
    names, position = [""] * len(first_at_us), 0
    for row in sorted(range(len(first_at_us)), key=first_at_us.__getitem__):
        while position < len(changes) and changes[position].at_us <= first_at_us[row]:
            served[changes[position].arm] = changes[position].model_id[:_SHOWN_ID]
            position += 1
        names[row] = ", ".join(f"{arm} {model}" for arm, model in served.items())
    return names
