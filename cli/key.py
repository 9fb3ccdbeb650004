"""`abctl key ...`: works on SQL itself, never through the service, so that no key can make another one."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import DataDirOption, JsonOption, ReasonOption

if TYPE_CHECKING:
    from store.api_keys import ApiKey

app = typer.Typer(no_args_is_help=True, help="API keys: who may call the service, and what for.")
NameArgument = Annotated[str, typer.Argument(help="Name: a-z, 0-9, _ and -. It stands in the audit.")]


@app.command()
def create(
    name: NameArgument,
    scope: Annotated[list[str], typer.Option(help="decide, record, report or admin (all); repeat it.")],
    experiment: Annotated[
        str | None, typer.Option("--experiment", "-e", help="Only experiment it is good for. [default: all]")
    ] = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an API key and print it, this once: only a digest is kept.

    From the first key on, every caller of the service needs one.

    Example: abctl key create bot-1 --scope decide --scope record
    """
    from cli.key_making import made
    from cli.settings import read_settings
    from cli.terminal import note, print_json, say

    settings = read_settings(data_dir=data_dir)
    key, token, is_first = made(settings, name, scope, experiment)
    if as_json:
        print_json({**_shape(key), "key": token})
    else:
        say(token)
    note("(this is shown once; give it to the caller as ABCTL_API_KEY)")
    if is_first:
        note("(the first key: within a second every caller of the service needs one)")
    if settings.database_url and not settings.key_pepper:
        where = settings.data_dir / "pepper"
        note(f"(a service with another data directory knows this key only with the pepper in {where})")


@app.command(name="list")
def list_(data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """List all API keys, the oldest first; revoked ones stay, for the audit names them.

    Example: abctl key list
    """
    from cli.database import reading
    from cli.settings import read_settings
    from cli.terminal import Table, note, print_json, show
    from store import api_keys

    with reading(read_settings(data_dir=data_dir)) as connection:
        keys = api_keys.every(connection)
    if as_json:
        print_json([_shape(key) for key in keys])
        return
    if not keys:
        note("no key yet: the service is open to this machine alone")
    columns = ["name", "scopes", "experiment", "made", "by", "revoked"]
    show(Table("", columns, [_row(key) for key in keys], left=6, wraps=(1, 4)))


@app.command()
def revoke(
    name: NameArgument,
    reason: ReasonOption = "",
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """End an API key for good: no service takes it within a second.

    Where SQL does not answer, the service of this data directory refuses the key all the same and tells SQL
    later; exit code 6 says that other services do not know of it yet.

    Example: abctl key revoke bot-1 --reason "left on a shared machine"
    """
    from cli.key_making import revoked
    from cli.settings import read_settings
    from cli.terminal import print_json, say

    is_new = revoked(read_settings(data_dir=data_dir), name, reason)
    if as_json:
        print_json({"name": name, "state": "revoked", "changed": is_new})
    else:
        say(f"key {name} is revoked{'' if is_new else ' already'}; no service takes it within a second")


def _shape(key: "ApiKey") -> dict[str, object]:
    return {
        "name": key.name,
        "id": key.id,
        "scopes": list(key.scopes),
        "experiment": key.experiment,
        "created_at_us": key.created_at_us,
        "created_by": key.created_by,
        "revoked_at_us": key.revoked_at_us,
        "revoked_by": key.revoked_by,
    }


def _row(key: "ApiKey") -> list[object]:
    from cli.terminal import minute_text

    ended = None if key.revoked_at_us is None else minute_text(key.revoked_at_us)
    made = minute_text(key.created_at_us)
    return [key.name, " ".join(key.scopes), key.experiment or "all", made, key.created_by, ended]
