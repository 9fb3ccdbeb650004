"""`abctl model history` and `rollback`: which model served an arm when, and the one before."""

from cli.failures import Refused
from cli.settings import Settings
from store.models import AliasChange

_CHAMPION = "champion"


def history_shown(settings: Settings, arm: str | None, at: str | None, as_json: bool) -> None:
    """Every change, or what stood at a time."""
    from cli.database import looking
    from cli.terminal import Table, minute_text, note, print_json, show
    from router.splits import rfc3339
    from store.models import alias_history

    with looking(settings) as connection:
        changes = [] if connection is None else alias_history(connection)
    found = [c for c in changes if c.alias == _CHAMPION and arm in {None, c.arm}]
    if at is not None:
        found = serving(found, _instant_us(at))
    if as_json:
        names = ("arm", "model_id", "actor", "reason")
        print_json([{n: getattr(c, n) for n in names} | {"since": rfc3339(c.at_us)} for c in found])
        return
    if not found:
        note("no model served" if at else "no model yet: the first `abctl serve` registers those that ship")
    rows = [(c.arm, c.model_id[:12], minute_text(c.at_us), c.actor, c.reason or None) for c in found]
    show(Table("", ("arm", "model", "since", "by", "why"), rows, left=5))


def rolled_back(settings: Settings, arm: str, reason: str, as_json: bool) -> None:
    """Checks the model before as a service would, then promotes it."""
    from cli.database import existing
    from cli.registry import check_servable, make_champion
    from cli.terminal import print_json, say
    from store.models import alias_history

    with existing(settings) as engine:
        with engine.connect() as connection:
            changes = alias_history(connection)
        before = previous(changes, arm)
        check_servable(engine, before.model_id)
        make_champion(engine, before.model_id, arm, reason or "rollback")
    if as_json:
        print_json({"id": before.model_id, "arm": arm, "alias": _CHAMPION})
    else:
        say(f"arm {arm} serves model {before.model_id} again from now on")


def serving(changes: list[AliasChange], at_us: int) -> list[AliasChange]:
    """The last change of each arm up to a moment, in the order of arms. changes: the oldest first."""
    last = {change.arm: change for change in changes if change.at_us <= at_us}
    return [last[arm] for arm in sorted(last)]


def previous(changes: list[AliasChange], arm: str) -> AliasChange:
    """The last change to another model than the present one."""
    own = [change for change in changes if change.arm == arm and change.alias == _CHAMPION]
    others = [change for change in own if change.model_id != own[-1].model_id]
    if not others:
        said = "has served one model only" if own else "has never served a model"
        raise Refused(f"arm {arm!r} {said}: there is none before it; `abctl model history` shows all")
    return others[-1]


def _instant_us(text: str) -> int:
    from router.instants import instant_us
    from router.problems import Problem

    try:
        return instant_us(text, "--at")
    except Problem as problem:
        raise Refused(problem.detail) from problem
