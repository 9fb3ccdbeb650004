"""`abctl demo`: the whole loop on this machine, with real parts and real commands."""

import contextlib
import json
import shlex
import shutil
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options import JsonOption
from cli.terminal import WIDTH, note, say

if TYPE_CHECKING:
    from cli.demo_course import DemoCourse
    from cli.own_service import OwnService
    from market.bot import Ledger
    from market.tape import Tape

DEMO_DIR = Path(".demo")
EXPERIMENT_FILE = """\
# The demo's experiment: as main is from the start, but judged by P(profit | assigned).
# The base arm learns here that it cannot see the direction and does not trade, so it has no win rate.
key = "main"
arms = ["base", "transformer"]
control = "base"
metric = "profit_rate"
"""

DataOption = Annotated[
    Path | None,
    typer.Option(exists=True, file_okay=False, help="Recorded markets to learn from and trade instead."),
]
MarketsOption = Annotated[int, typer.Option(min=20, max=100_000, help="Simulated markets to trade.")]
DirectoryOption = Annotated[Path, typer.Option(help="Where each run makes a directory of its own.")]
SeedOption = Annotated[int, typer.Option(min=0, max=1000, help="Seed of training and markets.")]
EpochsOption = Annotated[int, typer.Option(min=1, max=1000, hidden=True, help="Fewer than 24: learns less.")]


def demo(
    data: DataOption = None,
    markets: MarketsOption = 400,
    directory: DirectoryOption = DEMO_DIR,
    seed: SeedOption = 0,
    epochs: EpochsOption = 24,
    as_json: JsonOption = False,
) -> None:
    """Train both arms, serve them, let bots trade, ramp the split, and report which arm is better.

    Every run has a directory of its own: it never pools evidence or models with an earlier one.

    Example: abctl demo
    """
    from cli.starting import need_training

    need_training()
    from cli.demo_course import recorded_demo, simulated_demo
    from cli.terminal import print_json

    began = time.monotonic()
    try:
        with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
            course = simulated_demo(markets, seed) if data is None else recorded_demo(data, directory, seed)
            facts = _played(course, directory, epochs)
            seconds = time.monotonic() - began
            _heading(f"Done in {seconds:.0f} s. Type next:")
            _say_next(f"--data-dir {facts['data_dir']}")
    except KeyboardInterrupt:
        note(f"\nabctl: interrupted: nothing of the demo runs any more; what it made stays in {directory}")
        raise
    if as_json:
        print_json({**facts, "seconds": round(seconds, 3)})


def _played(course: "DemoCourse", directory: Path, epochs: int) -> dict[str, object]:
    """The whole course against a service of its own; what came of it."""
    from cli.own_service import OwnService

    run = f"{time.time_ns() // 1_000_000:x}"
    service = OwnService(directory / f"{course.name}-{run}")
    _heading("The demo")
    for line in (*course.title, f"data in {service.data_dir}"):
        _say(line)
    try:
        service.start()
        _say(f"service ready at {service.url} with its own Valkey and SQLite")
        _define_experiment(service)
        _train_and_promote(service, course, epochs)
        ledger = _trade_in_two_stages(service, course, run)
        _balance(service, ledger, run)
        report = _show_end(service, course)
    finally:
        service.stop()
    return {
        "data_dir": str(service.data_dir),
        "run": run,
        "markets": len(ledger.played),
        "decisions_sent": len(ledger.sent),
        "decisions_answered": len(ledger.answered),
        "planted": course.planted or None,
        "verdict": report["verdict"],
        "effect": report["effect"],
        "pnl_effect": report["pnl_effect"],
    }


def _say_next(where: str) -> None:
    """Three lines; the command as this environment has it, since its bin directory may not be on the PATH."""
    program = abctl_program()
    say(f"  {program} report --days 7 {where}  # without a service")
    say(f"  {program} serve {where}            # for your own bots")
    say(f"  {program} split history {where}    # who, when, why")


def abctl_program() -> str:
    """`abctl` where the shell finds it, else the path to it from here."""
    beside = Path(sys.executable).parent / "abctl"
    found = shutil.which("abctl")
    if found and Path(found).resolve() == beside.resolve():
        return "abctl"
    here = Path.cwd()
    return str(beside.relative_to(here) if beside.is_relative_to(here) else beside)


def _heading(text: str) -> None:
    say(f"\n== {text}")


def _say(text: str) -> None:
    for line in textwrap.wrap(text, WIDTH - 3):
        say(f"   {line}")


def _run(service: "OwnService", *words: str) -> None:
    """A command as a user types it, with what it prints."""
    say(f"\n$ abctl {shlex.join(words)}")
    say(service.command(*words).rstrip())


def _define_experiment(service: "OwnService") -> None:
    """Judges `main` by P(profit | assigned), before it has a unit."""
    file = service.data_dir / "experiment.toml"
    file.write_text(EXPERIMENT_FILE, encoding="utf-8")
    _run(service, "experiment", "create", str(file))


def _train_and_promote(service: "OwnService", course: "DemoCourse", epochs: int) -> None:
    from cli.demo_course import train_both

    _heading("Training both arms (preset fast, behaviour cloning, one core)")
    for arm, folder in train_both(course, service.data_dir / "trained", epochs).items():
        imported = json.loads(service.command("model", "import", str(folder), "--arm", arm, "--json"))
        reason = f"demo on {course.name}"
        _run(service, "model", "promote", imported["id"][:12], "--arm", arm, "--reason", reason)
    if course.planted:
        _say(course.planted)


def _trade_in_two_stages(service: "OwnService", course: "DemoCourse", run: str) -> "Ledger":
    from market.bot import Ledger

    ledger = Ledger()
    _heading("10%: a small share of markets goes to the transformer")
    _run(service, "split", "set", "transformer", "0.1", "--reason", "demo: start small")
    _trade(service, course.early, run, ledger)
    _run(service, "report", "--days", "7")
    _heading("50%: a real change of the split; no market that has its arm already is moved")
    _run(service, "split", "set", "transformer", "0.5", "--reason", "demo: learn faster")
    _trade(service, course.late, run, ledger)
    return ledger


def _trade(service: "OwnService", tapes: "tuple[Tape, ...]", run: str, ledger: "Ledger") -> None:
    from cli.demo_course import trade

    before = len(ledger.answered)
    began = time.monotonic()
    trade(service.url, service.data_dir, tapes, run, ledger)
    decisions, seconds = len(ledger.answered) - before, time.monotonic() - began
    speed = f"{decisions:,} decisions in {seconds:.1f} s, {decisions / seconds:,.0f} decisions/s"
    _say(f"{len(tapes)} markets traded: {speed}")


def _balance(service: "OwnService", ledger: "Ledger", run: str) -> None:
    """Compares what bots sent and were answered with what SQL holds, by SQL written by hand."""
    from cli.demo_course import balance

    _heading("The books")
    for line in balance(service.data_dir, ledger, run):
        _say(line)


def _show_end(service: "OwnService", course: "DemoCourse") -> dict[str, Any]:
    """The last report, also as data."""
    from cli.demo_course import closing_sentence

    _run(service, "report", "--days", "7")
    report: dict[str, Any] = json.loads(service.command("report", "--days", "7", "--json"))
    found = report["verdict"]
    _say(closing_sentence(course, found["verdict"], found["more_units"]))
    _run(service, "status")
    return report
