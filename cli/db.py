"""`abctl db ...`."""

import typer

from cli.options import DataDirOption, JsonOption

app = typer.Typer(no_args_is_help=True, help="The SQL database.")


@app.callback()
def root() -> None:
    """The SQL database."""


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
