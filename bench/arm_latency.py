"""What every preset costs, and how fast its answers are beside torch's own modules: one thread throughout.

    python bench/arm_latency.py [--parts decision] [--rounds 30] [--quick] [--write]

Answers of the stock modules are compared with ours first. Then all take turns in short blocks in one process,
and a ratio is the median over the rounds: on a busy machine look at ratios, not at microseconds, and let p99
alone, which measures the neighbours. --quick runs everything once, without judging.
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from speed.found import Finding, Section, at_most, text_of
from stock import page
from stock.costs import CostSizes, costs
from stock.course import MARKETS, Sizes
from stock.decision import decisions
from stock.duel import Pace, Times
from stock.subject import Subject, raced, subject_of

from arms.presets import PRESETS, Preset

PARTS = ("inference", "decision", "costs")
BATCH = 256
OF_EXPORT, OF_EAGER, OF_EXPORT_BATCH, OF_EAGER_BASE = 0.65, 0.25, 0.65, 0.2
QUICK_PACE, QUICK_COSTS = Pace(rounds=2, block_s=0.0, warm_up=1), CostSizes(20, Sizes(400, 2, 40))
COSTS = CostSizes(3_000, Sizes(10_000, 4, MARKETS))


def inference(subjects: Sequence[Subject], pace: Pace) -> Section:
    """Ours beside stock; the promises are for preset default."""
    rows, findings = [], list[Finding]()
    for subject in subjects:
        for count in (1, BATCH) if subject.preset.name == "default" else (1,):
            times = raced(subject, count, pace)
            rows.append(_inference_row(subject.preset, count, times))
            if subject.preset.name == "default":
                findings += _promises(subject.preset.kind, count, times)
    note = (
        f"Medians of {pace.rounds} rounds in turns, one thread. *abctl*: the arm as the service "
        "calls it, its checks of input and answer included. *stock export*: `torch.onnx.export` "
        "of the stock net, in ONNX Runtime with the same options, without any check. *graphs "
        "alone*: both graphs by `session.run`. *stock eager*: torch's `inference_mode`, its fused "
        "kernels on. Base has no layer that could do less, so as a graph it is what torch "
        "exports."
    )
    header = ("arm", "preset", "histories", "abctl us", "stock export us", "stock eager us")
    return Section(
        "inference",
        "Answers beside torch's own modules",
        (*header, "of export", "graphs alone", "of eager"),
        tuple(rows),
        tuple(findings),
        (note,),
    )


def _inference_row(preset: Preset, count: int, times: Times) -> tuple[str, ...]:
    us = (f"{times.median(name):,.0f}" for name in ("abctl", "export", "eager"))
    pairs = (("abctl", "export"), ("graph", "export"), ("abctl", "eager"))
    return (preset.kind, preset.name, str(count), *us, *(f"{times.ratio(*pair):.2f}x" for pair in pairs))


def _promises(kind: str, count: int, times: Times) -> list[Finding]:
    of_export, of_eager = times.ratio("abctl", "export"), times.ratio("abctl", "eager")
    if kind == "base":
        return [at_most("one answer of stock eager, base", of_eager, OF_EAGER_BASE)] if count == 1 else []
    if count > 1:
        return [at_most(f"{count} answers of stock export, transformer", of_export, OF_EXPORT_BATCH)]
    return [
        at_most("one answer of stock export, transformer", of_export, OF_EXPORT),
        at_most("one answer of stock eager, transformer", of_eager, OF_EAGER),
    ]


def sections_of(names: Sequence[str], folder: Path, pace: Pace, sizes: CostSizes) -> list[Section]:
    """The parts of these names, printed as they come."""
    subjects = [subject_of(preset, folder) for preset in PRESETS.values()]
    parts: dict[str, Callable[[], Section]] = {
        "inference": lambda: inference(subjects, pace),
        "decision": lambda: decisions(subjects, pace),
        "costs": lambda: costs(subjects, sizes),
    }
    sections = []
    for name in names:
        sections.append(parts[name]())
        print(text_of(sections[-1]) + "\n", flush=True)
    return sections


def main(words: Sequence[str] | None = None) -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--quick", action="store_true", help="everything once, nothing judged")
    parser.add_argument("--write", action="store_true", help="put the results into docs/arm-tables.md")
    asked = parser.parse_args(words)
    torch.set_num_threads(1)
    print(f"{page.measured_on()}\n", flush=True)
    pace, sizes = (QUICK_PACE, QUICK_COSTS) if asked.quick else (Pace(asked.rounds, 0.03), COSTS)
    with tempfile.TemporaryDirectory() as name:
        sections = sections_of(asked.parts, Path(name), pace, sizes)
    if asked.write:
        page.write(sections)
    if not asked.quick:
        page.judge(sections)


if __name__ == "__main__":
    main()
