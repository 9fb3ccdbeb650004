"""`abctl db ...`: works on SQL itself, beside a running service or without one."""

from pathlib import Path
from typing import Annotated

import typer

from cli.options import DataDirOption, JsonOption

app = typer.Typer(no_args_is_help=True, help="The SQL database: check it, keep it small, back it up.")
OneExperiment = Annotated[str | None, typer.Option("--experiment", "-e", help="Experiment. [default: all]")]


@app.callback()
def root() -> None:
    """The SQL database: check it, keep it small, back it up."""


@app.command()
def upgrade(data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Bring the database to this release's schema; safe to repeat, and safe beside a running service.

    Example: abctl db upgrade
    """
    from cli.database import migrated
    from cli.masking import masked
    from cli.settings import read_settings
    from cli.terminal import print_json, say
    from store import schema

    engine, changed = migrated(read_settings(data_dir=data_dir))
    shown = masked(engine.url.render_as_string(hide_password=True))
    engine.dispose()
    if as_json:
        print_json({"database": shown, "revision": schema.HEAD, "changed": changed})
    else:
        say(f"{shown} is at revision {schema.HEAD}{'' if changed else ' already'}")


@app.command()
def verify(
    experiment: OneExperiment = None, data_dir: DataDirOption = None, as_json: JsonOption = False
) -> None:
    """Derive all totals anew from decisions and outcomes, and name every difference; changes nothing.

    Also: whether SQL holds what this data directory's journals hold before its marks. Shows one moment,
    however long it takes, and keeps no writer waiting.

    Exit codes: 0 no difference, 3 differences, 4 no database or no such experiment.

    Example: abctl db verify
    """
    from cli.db_checking import verified
    from cli.settings import read_settings

    verified(read_settings(data_dir=data_dir), experiment, as_json)


@app.command()
def rebuild(
    experiment: OneExperiment = None, data_dir: DataDirOption = None, as_json: JsonOption = False
) -> None:
    """Make totals again what decisions and outcomes say; look first, with `abctl db verify`.

    Decisions and outcomes stay as they are: what they no longer say is gone from the totals too. What is
    repaired is printed and in the audit. May be killed and repeated; writers go on in between.

    Exit codes: 0 everything follows now, 4 no database or no such experiment.

    Example: abctl db rebuild
    """
    from cli.db_checking import rebuilt
    from cli.settings import read_settings

    rebuilt(read_settings(data_dir=data_dir), experiment, as_json)


@app.command()
def export(
    parquet: Annotated[
        Path | None, typer.Option(help="Directory to make; one that exists is never written to.")
    ] = None,
    dsjson: Annotated[
        Path | None, typer.Option(help="Or a file to make: decisions of mature units, as VW reads them.")
    ] = None,
    experiment: OneExperiment = None,
    since: Annotated[str | None, typer.Option(help="Rows received from this time on (RFC 3339).")] = None,
    until: Annotated[str | None, typer.Option(help="Rows received before this time (RFC 3339).")] = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write decisions, outcomes, units and splits of one moment to Parquet files, with a manifest.

    Money stays in whole micro-dollars and times in whole microseconds: 64-bit integers, exact. Keeps no
    writer waiting. The directory is there when it is whole.

    --dsjson writes the decisions of one experiment (by default that of ABCTL_EXPERIMENT, else main) for `vw
    --dsjson --cb_explore_adf`, with the probabilities under which they were made and the net USD of their
    trades: docs/off-policy.md.

    Exit codes: 0 done, 3 the target exists or a time is wrong, 4 no database or no such experiment.

    Example: abctl db export --parquet exports/2026-01
    """
    from cli.settings import read_settings

    if dsjson is not None and parquet is None:
        if since or until:
            raise typer.BadParameter("--since and --until are Parquet's: --dsjson writes whole mature units")
        from cli.dsjson import dsjson_exported

        dsjson_exported(read_settings(data_dir=data_dir, experiment=experiment), dsjson, as_json)
        return
    if parquet is None or dsjson is not None:
        raise typer.BadParameter("say where to: --parquet DIRECTORY or --dsjson FILE, one of them")
    from cli.db_room import exported

    exported(read_settings(data_dir=data_dir), parquet, (experiment, since, until), as_json)


@app.command()
def moments(
    experiment: Annotated[
        str | None, typer.Option("--experiment", "-e", help="Experiment. [default: ABCTL_EXPERIMENT or main]")
    ] = None,
    cap_usd: Annotated[
        float | None,
        typer.Option(min=0.000001, max=1e9, help="Also sum PnL with each unit's kept within +-this."),
    ] = None,
    sql_for: Annotated[
        str | None, typer.Option("--sql-for", help="Print the SQL instead, for a table of this name.")
    ] = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Count and sum the units by stratum: arm, shares, version of the split, fill and day.

    Counts and money are whole numbers; second moments are about the stratum's own ratio and merge exactly
    (docs/moments.md). The table joins the days; --json has every stratum. --sql-for units prints the SQL that
    DuckDB and polars run on units.parquet of `abctl db export`, with the same result.

    Exit codes: 0 done, 4 no database or no such experiment.

    Example: abctl db moments --json
    """
    from cli.moments import moments_shown, moments_sql_shown
    from cli.settings import read_settings

    settings = read_settings(data_dir=data_dir, experiment=experiment)
    if sql_for is None:
        moments_shown(settings, cap_usd, as_json)
    elif as_json:
        raise typer.BadParameter("--sql-for prints SQL, not JSON: give one of them")
    else:
        moments_sql_shown(settings, sql_for, cap_usd)


@app.command()
def prune(
    older_than: Annotated[str, typer.Option(help="Age of a unit's last decision: 90d, 36h.")],
    exported: Annotated[
        list[Path] | None, typer.Option(help="An export that holds what goes; repeat it.")
    ] = None,
    without_export: Annotated[
        bool, typer.Option("--without-export", help="Remove what is in no export, too.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go; remove nothing.")] = False,
    vacuum: Annotated[bool, typer.Option("--vacuum", help="Give the room back afterwards.")] = False,
    experiment: OneExperiment = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove the decision rows of long mature units; totals, outcomes and reports stay as they are.

    Each decision must be in an export that is named, unless you say otherwise. A unit whose totals do not
    follow from its rows is left alone. What comes afterwards: another market outcome counts as ever; a
    decision is kept and not counted; a trade of a decision that is gone stays parked.

    May be killed and repeated: units go whole, a few at a time, and writers go on in between. --vacuum
    makes SQLite's file smaller, needs as much disk again and keeps writers (not bots) waiting; on
    PostgreSQL it frees the room for later rows.

    Exit codes: 0 done, 3 something is in no export, an age is too short or an export is damaged, 4 no
    database or no such experiment.

    Example: abctl db prune --older-than 90d --exported exports/2026-01
    """
    from cli.db_room import Wish, pruned
    from cli.settings import read_settings

    wish = Wish(experiment, older_than, tuple(exported or ()), without_export, dry_run, vacuum)
    pruned(read_settings(data_dir=data_dir), wish, as_json)


@app.command()
def backup(
    folder: Annotated[Path, typer.Argument(help="Directory to make; one that exists is never written to.")],
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy the database, the journals and the keys' pepper to a directory; the service may go on.

    Holds secrets: it is for its owner alone. PostgreSQL is dumped by pg_dump, which must be installed.
    How to restore it: docs/backup.md.

    Exit codes: 0 done, 3 the directory exists, 4 no database, 6 pg_dump is missing or failed.

    Example: abctl db backup backups/2026-01-31
    """
    from cli.db_room import backed_up
    from cli.settings import read_settings

    backed_up(read_settings(data_dir=data_dir), folder, as_json)
