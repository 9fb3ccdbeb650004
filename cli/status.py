"""`abctl status`."""

from typing import TYPE_CHECKING, Any

from cli.failures import Unavailable
from cli.masking import masked
from cli.options import DataDirOption, JsonOption, UrlOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from cli.settings import Settings
    from store.api_keys import ApiKey
    from store.records import Experiment

COUNTS = ("units", "decisions", "fallbacks", "unserved", "reported", "trades")
ODD = ("parked_outcomes", "stranger_outcomes", "late_bots", "other_fill_trades", "conflicts", "dead_letters")


def status(data_dir: DataDirOption = None, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """Show whether the service runs, what is not yet in SQL, and each experiment's split and counts.

    Only looks: makes no directory and no database.

    Example: abctl status
    """
    from cli.settings import read_settings
    from cli.terminal import print_json

    found = facts_of(read_settings(data_dir=data_dir, url=url))
    if as_json:
        print_json(found)
    else:
        _show(found)
    if found["sql_silent"]:
        raise Unavailable(found["sql_silent"])


def facts_of(settings: "Settings") -> dict[str, Any]:
    """Everything that status shows. experiments is None where there is no database yet.

    journal_bytes_not_in_sql: None where the data directory has no journals, as on another machine than the
    service's. sql_silent: why SQL does not answer; then all that the journals hold counts as not in SQL.
    """
    from sqlalchemy.exc import OperationalError

    from cli.database import looking
    from cli.finding import readiness, service_url
    from router.kills import read_kills
    from router.trouble import told
    from store import api_keys, experiments
    from store.errors import StoreUnavailable
    from store.ingest import marks_of
    from store.shipper import held_bytes, lag_bytes

    url = service_url(settings)
    has_journals = settings.place.journals.is_dir()
    lag, rows, keys, silent = held_bytes(settings.place.journals), None, None, None
    try:
        with looking(settings) as connection:
            if connection is not None:
                lag = lag_bytes(settings.place.journals, lambda journals: marks_of(connection, journals))
                rows = [_experiment(connection, e) for e in experiments.every(connection)]
                keys = _keys(api_keys.every(connection))
    except StoreUnavailable as error:
        silent = str(error)
    except OperationalError as error:  # it answered, and then went away or was too slow
        silent = f"the database does not answer: {error.orig}"
    return {
        "service": url,
        "ready": None if url is None else readiness(settings, url),
        "keys": keys,
        "database": _shown(settings.sql_url),
        "data_dir": str(settings.data_dir.resolve()),
        "journal_bytes_not_in_sql": lag if has_journals else None,
        "sql_silent": silent,
        "trouble": told(settings.data_dir) if url or lag else None,  # else it is over, and nobody said so
        "killed": [f"{k.experiment}/{k.arm}" for k in read_kills(settings.data_dir)],
        "experiments": rows,
    }


def _keys(keys: "Sequence[ApiKey]") -> dict[str, Any]:
    from cli.entrance import told

    active = sum(key.revoked_at_us is None for key in keys)
    return {"open": not keys, "active": active, "revoked": len(keys) - active, "said": told(keys)}


def _shown(sql_url: str) -> str:
    from sqlalchemy.engine import make_url

    return masked(make_url(sql_url).render_as_string(hide_password=True))


def _experiment(connection: "Connection", experiment: "Experiment") -> dict[str, Any]:
    from store import experiments, totals
    from store.oddities import counted, odd_counts

    newest = experiments.splits(connection, experiment.key)[-1]
    weights = experiments.weights(newest)
    return {
        "key": experiment.key,
        "archived": experiment.archived_at_us is not None,
        "split": {arm: weights.get(arm, 0.0) for arm in experiment.arms},
        "split_version": newest.version,
        "warnings": [] if experiment.archived_at_us else _vacancies(connection, experiment, weights),
        "arms": totals.by_arm(connection, experiment.key),
        **odd_counts(connection, experiment.key, counted(connection, experiment.key)),
    }


def _vacancies(connection: "Connection", experiment: "Experiment", weights: dict[str, float]) -> list[str]:
    """Arms that get units and have no model; those that ship with one have it from the first start on."""
    from cli.starters import STARTERS
    from router.vacancy import vacancies, with_a_share
    from store import models

    served = {*models.champions(connection), *STARTERS}
    return [str(vacancy) for vacancy in with_a_share(vacancies(experiment, weights, served))]


def _show(found: dict[str, Any]) -> None:
    from cli.terminal import paragraph, say

    service = found["service"]
    said = f"{service} ({found['ready']})" if service else "not running; start it: abctl serve"
    silent = " (does not answer)" if found["sql_silent"] else " (nothing there yet)"
    say(f"service   {said}")
    say(f"database  {found['database']}{silent if found['experiments'] is None else ''}")
    say(f"journal   {_way_of(found)}")
    if found["keys"]:
        paragraph(f"keys      {found['keys']['said']}", "bold yellow" if found["keys"]["open"] else "")
    if found["trouble"]:
        paragraph(f"TROUBLE   {found['trouble']}", "bold red")
    if found["killed"]:
        paragraph(f"KILLED    {', '.join(found['killed'])}", "bold red")
    for experiment in found["experiments"] or ():
        _show_experiment(experiment)


def _way_of(found: dict[str, Any]) -> str:
    """How far the journal is."""
    lag_bytes = found["journal_bytes_not_in_sql"]
    if lag_bytes is None:
        return f"none in {found['data_dir']}: what a service elsewhere still holds is said there"
    if found["sql_silent"]:
        return f"at most {lag_bytes:,} bytes are not in SQL"
    if lag_bytes and not found["service"]:
        return f"{lag_bytes:,} bytes are not in SQL: a service here carries them on; start it: abctl serve"
    return f"{lag_bytes:,} bytes on their way to SQL" if lag_bytes else "everything is in SQL"


def _show_experiment(experiment: dict[str, Any]) -> None:
    from cli.terminal import Table, paragraph, say, share_text, show, words_of

    rows = [
        [arm, share_text(share), *(f"{experiment['arms'].get(arm, {}).get(n, 0):,}" for n in COUNTS)]
        for arm, share in experiment["split"].items()
    ]
    state = ", archived" if experiment["archived"] else ""
    title = f"{experiment['key']}, split version {experiment['split_version']}{state}"
    say("")
    show(Table(title, ["arm", "share", *COUNTS], rows))
    for warning in experiment["warnings"]:
        paragraph(f"! {warning}", "yellow")
    odd = {name: experiment[name] for name in ODD}
    if any(odd.values()):
        paragraph(f"! {words_of(odd)}", "yellow")
