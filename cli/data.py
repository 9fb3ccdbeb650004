"""`abctl data ...`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import JsonOption

if TYPE_CHECKING:
    from market.recording import RecordingInfo

app = typer.Typer(no_args_is_help=True, help="Recordings of markets.")


@app.command(name="import")
def import_(
    source: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="Folder of polymarket_btc15m_1s CSV files.")
    ],
    output: Annotated[Path, typer.Argument(help="Folder for the recording.")],
    as_json: JsonOption = False,
) -> None:
    """Turn foreign files into a recording (see docs/recordings.md).

    Example: abctl data import ../shared/data/polymarket_btc15m_1s recordings/btc15m
    """
    from market.polymarket_1s import import_polymarket_1s

    import_polymarket_1s(source, output)
    info(output, as_json)


@app.command()
def info(
    recording: Annotated[Path, typer.Argument(help="Folder of a recording.")],
    as_json: JsonOption = False,
) -> None:
    """Say what a recording holds and what is wrong with it.

    Example: abctl data info recordings/btc15m
    """
    from dataclasses import asdict

    from cli.terminal import Table, print_json, show
    from market import recording as recordings

    found = recordings.info(recording)
    if as_json:
        print_json(asdict(found))
    else:
        show(Table(str(recording), ["", ""], _rows(found), left=2, wraps=(1,)))


def _rows(found: "RecordingInfo") -> list[list[str]]:
    from cli.terminal import time_text

    excluded = ", ".join(f"{n} {why}" for why, n in found.excluded) or "none"
    odd = f"{found.one_sided:,}, {found.crossed:,}, {found.duplicates:,}"
    return [
        ["markets", f"{found.markets:,} ({found.playable:,} playable, {found.up_won:,} ended UP)"],
        ["excluded", excluded],
        ["ticks", f"{found.ticks:,}"],
        ["gaps", f"{found.gaps:,} (longest {found.max_gap_us / 1e6:.0f} s)"],
        ["one-sided, crossed, duplicate", odd],
        ["from", time_text(found.first_us)],
        ["to", time_text(found.last_us)],
        ["source", ", ".join(found.sources)],
    ]
