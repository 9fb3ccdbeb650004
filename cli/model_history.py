"""`abctl model promote`, `history` and `rollback`: which model an alias of an arm named when."""

from cli.failures import Refused
from cli.settings import Settings
from store.models import CHALLENGER, CHAMPION, AliasChange


def promoted(
    settings: Settings, model: str, alias: tuple[str | None, str], reason: str, as_json: bool
) -> None:
    """Checks a model as a service would, then names it. alias: of which arm the model must be, and which."""
    from cli.database import existing
    from cli.registry import check_servable, name_model
    from cli.terminal import print_json, say
    from store import models

    arm, name = alias
    if name not in {CHAMPION, CHALLENGER}:
        raise Refused(f"--alias must be {CHAMPION} or {CHALLENGER}, not {name!r}")
    with existing(settings) as engine:
        with engine.connect() as connection:
            entry = models.find(connection, model)
        if arm is not None and arm != entry.arm:
            raise Refused(f"model {entry.id} is one of arm {entry.arm!r}, not {arm!r}; import it for {arm!r}")
        check_servable(engine, entry.id)
        name_model(engine, entry.id, (entry.arm, name), reason)
    if as_json:
        print_json({"id": entry.id, "arm": entry.arm, "alias": name})
    elif name == CHAMPION:
        say(f"arm {entry.arm} serves model {entry.id} from now on")
    else:
        say(
            f"model {entry.id} is the challenger of arm {entry.arm}; promote it: "
            f"abctl model promote {entry.arm}@{name}"
        )


def history_shown(settings: Settings, arm: str | None, at: str | None, as_json: bool) -> None:
    """Every change, or what stood at a time."""
    from cli.database import looking
    from cli.terminal import Table, minute_text, note, print_json, show
    from router.splits import rfc3339
    from store.models import alias_history

    with looking(settings) as connection:
        changes = [] if connection is None else alias_history(connection)
    found = [c for c in changes if arm in {None, c.arm}]
    if at is not None:
        found = serving(found, _instant_us(at))
    if as_json:
        names = ("arm", "alias", "model_id", "actor", "reason")
        print_json([{n: getattr(c, n) for n in names} | {"since": rfc3339(c.at_us)} for c in found])
        return
    if not found:
        note("no model served" if at else "no model yet: the first `abctl serve` registers those that ship")
    rows = [(c.arm, c.alias, c.model_id[:12], minute_text(c.at_us), c.actor, c.reason or None) for c in found]
    show(Table("", ("arm", "alias", "model", "since", "by", "why"), rows, left=6))


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
        print_json({"id": before.model_id, "arm": arm, "alias": CHAMPION})
    else:
        say(f"arm {arm} serves model {before.model_id} again from now on")


def serving(changes: list[AliasChange], at_us: int) -> list[AliasChange]:
    """The last change of each arm's aliases up to a moment, by arm and alias. changes: the oldest first."""
    last = {(change.arm, change.alias): change for change in changes if change.at_us <= at_us}
    return [last[key] for key in sorted(last)]


def previous(changes: list[AliasChange], arm: str) -> AliasChange:
    """The last change to another model than the present one."""
    own = [change for change in changes if change.arm == arm and change.alias == CHAMPION]
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
