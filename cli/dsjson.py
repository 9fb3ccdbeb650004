"""`abctl db export --dsjson`: what leaves the database for VW, and how that is said."""

from pathlib import Path

from cli.settings import Settings


def dsjson_exported(settings: Settings, file: Path, as_json: bool) -> None:
    """The decisions of one moment."""
    from arms.schema import MARKET_V1
    from cli.database import reading
    from cli.long_work import Progress
    from cli.terminal import print_json, say
    from router.dsjson_log import Features, dsjson_lines
    from store.clock import wall_clock_us
    from store.dsjson import write_lines
    from store.snapshot import snapshot

    progress, features = Progress(), Features(MARKET_V1.hash, MARKET_V1.names)
    with reading(settings) as connection, snapshot(connection):
        lines = dsjson_lines(
            connection,
            settings.experiment,
            wall_clock_us(),
            features,
            lambda count: progress.say(f"{count:,} decisions"),
        )
        count = write_lines(file, lines)
    if as_json:
        print_json({"file": str(file.resolve()), "experiment": settings.experiment, "decisions": count})
    else:
        say(f"{file}: {count:,} decisions; read it: vw --dsjson --cb_explore_adf -d {file}")
