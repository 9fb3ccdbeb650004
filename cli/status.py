"""`abctl status`."""

from typing import TYPE_CHECKING, Any

from cli.options import DataDirOption, JsonOption, UrlOption

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from cli.settings import Settings
    from store.records import Experiment

COUNTS = ("units", "decisions", "fallbacks", "reported", "trades")
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


def facts_of(settings: "Settings") -> dict[str, Any]:
    """Everything that status shows. experiments is None where there is no database yet."""
    from cli.database import looking
    from cli.finding import readiness, service_url
    from router.kills import read_kills
    from router.trouble import told
    from store import experiments
    from store.ingest import marks_of
    from store.shipper import lag_bytes

    url = service_url(settings)
    lag, rows = 0, None
    with looking(settings) as connection:
        if connection is not None:
            lag = lag_bytes(settings.place.journals, lambda journals: marks_of(connection, journals))
            rows = [_experiment(connection, e) for e in experiments.every(connection)]
    return {
        "service": url,
        "ready": None if url is None else readiness(url),
        "database": _shown(settings.sql_url),
        "data_dir": str(settings.data_dir.resolve()),
        "journal_bytes_not_in_sql": lag,
        "trouble": told(settings.data_dir),
        "killed": [f"{k.experiment}/{k.arm}" for k in read_kills(settings.data_dir)],
        "experiments": rows,
    }


def _shown(sql_url: str) -> str:
    from sqlalchemy.engine import make_url

    return make_url(sql_url).render_as_string(hide_password=True)


def _experiment(connection: "Connection", experiment: "Experiment") -> dict[str, Any]:
    from store import experiments, totals
    from store.oddities import odd_counts

    newest = experiments.splits(connection, experiment.key)[-1]
    return {
        "key": experiment.key,
        "archived": experiment.archived_at_us is not None,
        "split": {arm: experiments.weights(newest).get(arm, 0.0) for arm in experiment.arms},
        "split_version": newest.version,
        "arms": totals.by_arm(connection, experiment.key),
        **odd_counts(connection, experiment.key),
    }


def _show(found: dict[str, Any]) -> None:
    from cli.terminal import paragraph, say

    service = found["service"]
    said = f"{service} ({found['ready']})" if service else "not running; start it: abctl serve"
    nothing = " (nothing there yet)" if found["experiments"] is None else ""
    lag = found["journal_bytes_not_in_sql"]
    say(f"service   {said}")
    say(f"database  {found['database']}{nothing}")
    say(f"journal   {f'{lag:,} bytes on their way to SQL' if lag else 'everything is in SQL'}")
    if found["trouble"]:
        paragraph(f"TROUBLE   {found['trouble']}", "bold red")
    if found["killed"]:
        paragraph(f"KILLED    {', '.join(found['killed'])}", "bold red")
    for experiment in found["experiments"] or ():
        _show_experiment(experiment)


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
    odd = {name: experiment[name] for name in ODD}
    if any(odd.values()):
        paragraph(f"! {words_of(odd)}", "yellow")
