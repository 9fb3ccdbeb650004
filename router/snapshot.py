"""What a worker knows of the experiments: read from SQL at once, replaced as a whole, never changed."""

import re
from dataclasses import dataclass, replace

from sqlalchemy import Engine

from router import splits
from router.assignment import BUCKETS, Gate, History
from router.split_log import history_of, record_of
from router.starts import Tolerance, compile_pattern
from store import experiments, models, shadow_settings
from store.records import Experiment, ShadowSetting, Split


@dataclass(frozen=True, slots=True)
class View:
    """One experiment, ready to assign. shadow: what is shadowed; None where nothing is."""

    experiment: Experiment
    history: History
    gate: Gate
    pattern: re.Pattern[str] | None
    tolerance: Tolerance
    shadow: ShadowSetting | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All experiments and champions as SQL said at `confirmed_at_us`."""

    views: dict[str, View]
    champions: dict[str, str]
    confirmed_at_us: int


def view_of(experiment: Experiment, stored: tuple[Split, ...]) -> View:
    """An experiment with its history, checked."""
    gate = Gate(
        control=experiment.control,
        salt=experiment.gate_salt,
        open_millionths=round(experiment.eligible_share * BUCKETS),
    )
    pattern = compile_pattern(experiment.unit_pattern) if experiment.unit_pattern else None
    tolerance = Tolerance(lifetime_s=experiment.lifetime_s)
    return View(experiment, history_of(experiment, stored), gate, pattern, tolerance)


def read(engine: Engine, now_us: int) -> Snapshot:
    """The snapshot of this moment; `now_us` is taken before reading, so it never claims too much.

    While a version is being stored nobody can say which are in force soon: it confirms nothing.
    """
    is_whole = experiments.no_split_on_its_way(engine)
    views = {e.key: view_of(e, s) for e, s in experiments.snapshot(engine)}
    with engine.connect() as connection:
        champions = models.champions(connection)
        shadows = shadow_settings.in_force(connection)
    for key in shadows.keys() & views.keys():
        if shadows[key].arm is not None:
            views[key] = replace(views[key], shadow=shadows[key])
    return Snapshot(views, champions, now_us if is_whole else 0)


def after(fresh: Snapshot, last: Snapshot) -> Snapshot:
    """What was read last; what an earlier one confirmed stays confirmed. A view that is as it was stays the
    same object: what is remembered with it holds on."""
    views = {key: _kept(view, last.views.get(key)) for key, view in fresh.views.items()}
    return replace(fresh, views=views, confirmed_at_us=max(fresh.confirmed_at_us, last.confirmed_at_us))


def _kept(fresh: View, last: View | None) -> View:
    is_same = last is not None and _facts(last) == _facts(fresh)
    return last if last is not None and is_same else fresh


def _facts(view: View) -> tuple[Experiment, History, ShadowSetting | None]:
    return view.experiment, view.history, view.shadow


def first_split(experiment: Experiment, actor: str) -> Split:
    """Version 1: everything to the control, in force from the experiment's creation."""
    at_us = experiment.created_at_us
    change = splits.Change(actor=actor, reason="created", now_us=at_us, lead_us=0)
    return record_of(splits.first(experiment.key, experiment.arms, experiment.control, change))
