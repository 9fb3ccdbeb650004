"""`abctl status`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.options import DataDirOption, JsonOption, UrlOption

if TYPE_CHECKING:
    from cli.settings import Settings


def status(data_dir: DataDirOption = None, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """Show whether the service runs, what is not yet in SQL, and each experiment's split and counts.

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
    """Everything that status shows."""
    from cli.database import reading
    from cli.finding import service_url
    from router.kills import read_kills
    from store.ingest import marks_of
    from store.shipper import lag_bytes

    url = service_url(settings)
    with reading(settings) as connection:
        lag = lag_bytes(settings.place.journals, lambda journals: marks_of(connection, journals))
        experiments = [_experiment(connection, row) for row in _experiments(connection)]
    kills = [f"{k.experiment}/{k.arm}" for k in read_kills(settings.data_dir)]
    return {
        "service": url,
        "ready": None if url is None else _ready(url),
        "database": _shown(settings.sql_url),
        "data_dir": str(Path(settings.data_dir).resolve()),
        "journal_bytes_not_in_sql": lag,
        "killed": kills,
        "experiments": experiments,
    }


def _shown(sql_url: str) -> str:
    from sqlalchemy.engine import make_url

    return make_url(sql_url).render_as_string(hide_password=True)


def _ready(url: str) -> str:
    import json
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as reply:  # noqa: S310
            return str(json.load(reply)["status"])
    except urllib.error.HTTPError as error:
        return "; ".join(json.load(error).get("missing", ["not ready"]))
    except (urllib.error.URLError, OSError, ValueError) as error:
        return f"does not answer: {getattr(error, 'reason', error)}"


def _experiments(connection: Any) -> Any:
    from store import experiments

    return experiments.every(connection)


def _experiment(connection: Any, experiment: Any) -> dict[str, Any]:
    from store import experiments, totals
    from store.unit_columns import dead_letters, parked_outcomes

    newest = experiments.splits(connection, experiment.key)[-1]
    return {
        "key": experiment.key,
        "archived": experiment.archived_at_us is not None,
        "split": {arm: experiments.weights(newest).get(arm, 0.0) for arm in experiment.arms},
        "split_version": newest.version,
        "arms": totals.by_arm(connection, experiment.key),
        "parked_outcomes": parked_outcomes(connection, experiment.key),
        "dead_letters": dead_letters(connection, experiment.key),
    }


def _show(found: dict[str, Any]) -> None:
    from cli.terminal import paragraph, share_text, table

    service = found["service"]
    paragraph(
        f"service   {service} ({found['ready']})"
        if service
        else "service   not running (start it: abctl serve)"
    )
    paragraph(f"database  {found['database']}")
    lag = found["journal_bytes_not_in_sql"]
    paragraph(f"journal   {f'{lag:,} bytes on their way to SQL' if lag else 'everything is in SQL'}")
    if found["killed"]:
        paragraph(f"KILLED    {', '.join(found['killed'])}", "bold red")
    for experiment in found["experiments"]:
        rows = [
            [arm, share_text(share), *(f"{experiment['arms'].get(arm, {}).get(n, 0):,}" for n in _COUNTS)]
            for arm, share in experiment["split"].items()
        ]
        state = " (archived)" if experiment["archived"] else ""
        table(
            f"{experiment['key']}{state}, split version {experiment['split_version']}",
            ["arm", "share", *_COUNTS],
            rows,
        )
        odd = {n: experiment[n] for n in ("parked_outcomes", "dead_letters") if experiment[n]}
        if odd:
            paragraph(
                "! " + ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in odd.items()), "yellow"
            )


_COUNTS = ("units", "decisions", "fallbacks", "reported", "trades")
