"""`abctl import`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args

import typer

from cli.options import DataDirOption, JsonOption

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.foreign import Foreign
    from router.foreign_rows import Gathered, Terms
    from store.records import Experiment

Shape = dict[str, Any]
SCHEMA = "abctl.import/1"
_SHOWN = 10
T = TypeVar("T")


def import_log(
    log: Annotated[Path, typer.Argument(help="A .csv, .csv.gz or .parquet file.")],
    experiment: Annotated[str, typer.Option("--experiment", "-e", help="Name of the new experiment.")],
    control: Annotated[str, typer.Option(help="The control, as the log's arm column has it.")],
    maps: Annotated[
        list[str],
        typer.Option(
            "--map",
            help="FIELD=COLUMN; repeat it. Fields: unit, arm (both needed), won or win, pnl_usd (one"
            " needed), stake_usd, fee_usd, market, bot, decision_id, action, started_at, decided_at,"
            " settled_at, propensity.",
        ),
    ],
    treatments: Annotated[
        list[str], typer.Option("--treatment", help="Another arm, as the log has it; repeat it.")
    ],
    shares: Annotated[
        list[str] | None,
        typer.Option(
            "--share", help="ARM=SHARE of every arm but the control, where no propensity is mapped."
        ),
    ] = None,
    renames: Annotated[
        list[str] | None, typer.Option("--name", help="ARM=NAME: our name of an arm, where it needs one.")
    ] = None,
    at: Annotated[str | None, typer.Option(help="Time of rows that have none (RFC 3339).")] = None,
    time_unit: Annotated[
        Literal["s", "ms", "us"] | None, typer.Option(help="Of times that are numbers since 1970.")
    ] = None,
    metric: Annotated[
        Literal["win_rate", "profit_rate", "pnl"] | None,
        typer.Option(help="What the report judges. [default: win_rate with won, else pnl]"),
    ] = None,
    unit_kind: Annotated[str, typer.Option(help="What a unit is called.")] = "unit",
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out rows that break a rule, and count them.")
    ] = False,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an experiment of somebody else's log, for report, power and aa to read.

    A row is a decision of a unit; won or pnl_usd is how it ended (empty: nobody knows). The same file
    imported again changes nothing. The experiment is archived: it takes no decisions.

    Exit codes: 0 done, 3 the log or an option breaks a rule.

    Example: abctl import games.csv -e games --map unit=userid --map arm=version --map won=retention_7
    --control gate_30 --treatment gate_40 --share gate_40=0.5 --at 2026-01-05T00:00:00Z
    """
    from cli.failures import Refused
    from router.foreign import foreign_of
    from router.foreign_rows import all_of, good_of
    from store.clock import wall_clock_us
    from store.errors import BadForeignLog
    from store.foreign_log import rows_of

    words = (control, *treatments)
    try:
        terms = _terms(experiment, maps, words, _pairs("--share", shares or []), renames or [], at, time_unit)
        rows = rows_of(log, set(terms.columns.values()))
        found = (good_of if skip_bad else all_of)(rows, terms, wall_clock_us())
        made = _experiment(terms, metric, unit_kind, found.rows[0].start_us)
        foreign = foreign_of(made, found.rows, _actor())
        is_new = _stored(log, terms, made, foreign, data_dir)
    except BadForeignLog as error:
        raise Refused(str(error)) from error
    _show(_told(made, foreign, found, is_new), as_json)


def _pairs(option: str, texts: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not (sign and name and value) or name in found:
            raise typer.BadParameter(f"{option} {text}: write NAME=VALUE, each name once")
        found[name] = value
    return found


def _terms(
    key: str,
    maps: list[str],
    words: tuple[str, ...],
    shares: dict[str, str],
    renames: list[str],
    at: str | None,
    time_unit: Literal["s", "ms", "us"] | None,
) -> "Terms":
    from router.foreign_cells import Field, Wanted
    from router.foreign_rows import Terms

    columns = _columns(maps)
    known = get_args(Field)
    if unknown := sorted(columns.keys() - set(known)):
        raise typer.BadParameter(f"--map {unknown[0]}: fields are {', '.join(known)}")
    if lacking := [name for name in ("unit", "arm") if name not in columns]:
        raise typer.BadParameter(f"--map {lacking[0]}=COLUMN is missing")
    if not columns.keys() & {"won", "pnl_usd"}:
        raise typer.BadParameter("map won or pnl_usd: without an outcome nothing can be judged")
    if not columns.keys() & {"decided_at", "started_at"} and at is None:
        raise typer.BadParameter("map decided_at or started_at, or give --at: the time of all rows")
    names = _pairs("--name", renames)
    arms = {word: names.get(word, word) for word in words}
    if len(arms) < len(words) or len(set(arms.values())) < len(words):
        raise typer.BadParameter("name every arm once: --control and --treatment")
    wanted: Wanted = {name: columns[name] for name in known if name in columns}
    return Terms(
        key=key,
        columns=wanted,
        arms=arms,
        shares=_shares(arms, shares, "propensity" in columns),
        at_us=None if at is None else _moment(at),
        time_unit=time_unit,
    )


def _columns(maps: list[str]) -> dict[str, str]:
    """Which column says what. win is another spelling of won."""
    columns = _pairs("--map", maps)
    if "win" in columns and "won" not in columns:
        columns["won"] = columns.pop("win")
    return columns


def _moment(at: str) -> int:
    from cli.failures import Refused
    from router.instants import instant_us
    from store.clock import wall_clock_us

    at_us = _checked(lambda: instant_us(at, "--at"))
    if at_us > wall_clock_us():
        raise Refused(f"--at {at} is yet to come: give the time of the log")
    return at_us


def _shares(arms: dict[str, str], given: dict[str, str], is_logged: bool) -> dict[str, float] | None:
    """Of every arm by our name, whole millionths; None where the log has its own."""
    control, *others = arms
    if is_logged:
        if given or len(others) > 1:
            raise typer.BadParameter("propensity is of two arms, and needs no --share")
        return None
    if given.keys() != set(others):
        raise typer.BadParameter(
            f"--share ARM=SHARE is needed of {', '.join(others)} and of no other arm: none is ever guessed"
        )
    millionths = {arms[word]: _millionths(word, text) for word, text in given.items()}
    rest = 1_000_000 - sum(millionths.values())
    if rest < 0:
        raise typer.BadParameter("--share: all of them together are above 1")
    return {arms[control]: rest / 1e6, **{arms[w]: millionths[arms[w]] / 1e6 for w in others}}


def _millionths(word: str, text: str) -> int:
    from decimal import Decimal, InvalidOperation

    try:
        scaled = Decimal(text) * 1_000_000
    except InvalidOperation:
        scaled = Decimal(-1)
    if not 0 <= scaled <= 1_000_000 or scaled != int(scaled):
        raise typer.BadParameter(f"--share {word}={text}: give 0 to 1, with six decimal places at most")
    return int(scaled)


def _checked(work: "Callable[[], T]") -> T:
    from cli.failures import Refused
    from router.problems import Problem

    try:
        return work()
    except Problem as problem:
        raise Refused(problem.detail) from problem


def _experiment(terms: "Terms", metric: str | None, unit_kind: str, first_us: int) -> "Experiment":
    import msgspec

    from router.definition import experiment_of

    by_money = "pnl_usd" in terms.columns
    fields = {
        "key": terms.key,
        "arms": list(terms.names),
        "control": terms.names[0],
        "unit_kind": unit_kind,
        "metric": metric or ("win_rate" if "won" in terms.columns else "pnl"),
        "win": "pnl" if by_money else "reported",
    }
    made = _checked(lambda: experiment_of(fields, first_us))
    return msgspec.structs.replace(made, imported=True)


def _actor() -> str:
    from cli.finding import actor

    return actor()


def _stored(log: Path, terms: "Terms", made: "Experiment", foreign: "Foreign", data_dir: Path | None) -> bool:
    from hashlib import blake2b

    import msgspec

    from cli.database import opened_engine
    from cli.long_work import Progress
    from cli.settings import read_settings
    from router.foreign import bytes_of
    from store.clock import wall_clock_us
    from store.foreign_log import digest_of
    from store.imported import Import, store_import

    facts = {"sha256": digest_of(log), "terms": terms, "experiment": made}
    read = msgspec.json.encode(facts)
    digest = blake2b(read, digest_size=16).hexdigest()
    detail = msgspec.json.encode({"file": log.name, "journal": f"import-{digest}", **facts}).decode()
    progress, engine = Progress(), opened_engine(read_settings(data_dir=data_dir))
    what = Import(
        experiment=made,
        splits=foreign.splits,
        payloads=bytes_of(foreign.records),
        digest=digest,
        actor=_actor(),
        detail=detail,
    )
    try:
        return store_import(engine, what, wall_clock_us, lambda at: progress.say(f"{at:,} bytes"))
    finally:
        engine.dispose()


def _told(made: "Experiment", foreign: "Foreign", found: "Gathered", is_new: bool) -> Shape:
    from router.splits import rfc3339

    return {
        "schema": SCHEMA,
        "experiment": made.key,
        "is_new": is_new,
        "rows": len(found.rows),
        "rows_left_out": len(found.bad),
        "left_out": found.bad[:_SHOWN],
        "rows_without_time": sum(not row.has_time for row in found.rows),
        "rows_without_outcome": len(found.rows) - foreign.outcomes,
        "started_at": rfc3339(made.created_at_us),
        "units": foreign.units,
        "outcomes": foreign.outcomes,
        "units_without_outcome": foreign.without_outcome,
        "units_of_two_arms": foreign.of_two_arms,
        "split_versions": len(foreign.splits),
        "metric": made.metric,
    }


def _show(told: Shape, as_json: bool) -> None:
    from cli.terminal import paragraph, print_json
    from stats.words import many

    if as_json:
        print_json(told)
        return
    units = ", ".join(f"{arm} {count:,}" for arm, count in sorted(told["units"].items()))
    done = "imported" if told["is_new"] else "was imported before; nothing changed"
    paragraph(
        f"Experiment {told['experiment']} {done}: {many(told['rows'], 'row')}, units {units};"
        f" {many(told['outcomes'], 'outcome')}, {many(told['units_without_outcome'], 'unit')} without one."
    )
    for warning in _warnings(told):
        paragraph(f"! {warning}", "yellow")
    paragraph(f"Read it: abctl report --experiment {told['experiment']}", "dim")


def _warnings(told: Shape) -> list[str]:
    """What a reader of the report must know of the log."""
    from stats.words import many

    found = list[str]()
    timeless = told["rows_without_time"]
    if timeless == told["rows"]:
        found.append(
            f"No row has a time: all are of one moment, {told['started_at']} (--at). Days, stages, curves,"
            " pace, --days and --as-of mean nothing for this experiment."
        )
    elif timeless:
        found.append(f"{many(timeless, 'row')} without a time: taken as of --at.")
    if told["units_of_two_arms"]:
        units = many(told["units_of_two_arms"], "unit")
        found.append(f"{units} of two arms: counted under the first; above 1% of them nothing is judged.")
    if told["rows_left_out"]:
        found += [f"{many(told['rows_left_out'], 'row')} left out, such as:", *told["left_out"]]
    return found
