"""How fast training is, beside torch's own modules in a plain loop, on the same rows and one thread.

    python bench/training_speed.py [--windows 100000] [--epochs 40] [--quick] [--write]

Our training runs as `abctl model train` runs it, but nobody plays its epochs; where it would be judged, the
plain loop takes its turn at the same rows, so that a busy machine slows both alike. A third run, ours with
other dropout, shows how far apart the losses of one method are. --quick is a tiny run without judging.
"""

import argparse
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from speed.found import Finding, Section, at_least, text_of
from stock import course, page
from stock.course import Sizes
from stock.loop import Loop, Passed
from stock.nets import AGREE, same
from torch import nn

from arms.cloning import material_of
from arms.epochs import Watch
from arms.presets import Preset, preset_of
from arms.schema import MARKET_V1
from arms.torch_nets import DecisionNet
from arms.torch_training import train
from arms.training import Epoch, TrainingConfig

OF_STOCK, LOSS_GAPS = 2.0, 2.0
GUIDE_S = {"base": 600.0, "transformer": 900.0}
PARTS = 10


@dataclass(frozen=True, slots=True)
class Raced:
    """Epoch by epoch: ours, the plain loop with the stock net, and the plain loop with our net and other
    dropout."""

    ours: tuple[Epoch, ...]
    stock: tuple[Passed, ...]
    again: tuple[Passed, ...]

    @property
    def ratio(self) -> float:
        """Median over epochs of our samples/s per stock's."""
        pairs = zip(self.ours, self.stock, strict=True)
        return statistics.median(mine.samples_per_s / theirs.samples_per_s for mine, theirs in pairs)


def raced(preset: Preset, sizes: Sizes) -> Raced:
    """All three over the same rows, an epoch each in turn."""
    episodes, config = course.episodes_of(sizes.markets), course.config_of(sizes)
    material = material_of(episodes, preset.window)
    net, twin = first_net(preset, config), first_net(preset, config)
    stock, again = Loop(same(net, preset), material, config), Loop(twin, material, config)
    apart = apart_by(net, preset)
    if not apart <= AGREE:
        raise SystemExit(f"{preset.kind}: stock answers differ from ours by {apart:g}: nothing to compare")
    ours, theirs, others = list[Epoch](), list[Passed](), list[Passed]()

    def take_turns(_policy: object) -> list[float]:
        theirs.append(stock.epoch())
        others.append(again.epoch())
        return [0.0]

    train(episodes, preset, config, take_turns, Watch(ours.append))
    return Raced(tuple(ours), tuple(theirs), tuple(others))


def first_net(preset: Preset, config: TrainingConfig) -> DecisionNet:
    """The weights that `arms.torch_training.train` begins with."""
    torch.manual_seed(config.seed)
    return DecisionNet(preset, MARKET_V1.width)


def apart_by(net: DecisionNet, preset: Preset) -> float:
    """The largest difference of logits and values of both nets, over histories of all lengths."""
    stock = same(net, preset).eval()
    shape = (64, preset.window, MARKET_V1.width)
    history = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32))
    length = torch.arange(64) % preset.window + 1
    with torch.inference_mode():
        pairs = zip(net.eval()(history, length), stock(history, length), strict=True)
        return max(float((mine - theirs).abs().max()) for mine, theirs in pairs)


def by_part(losses: Sequence[float], parts: int) -> NDArray[np.float64]:
    """Mean loss of each part of a run."""
    return np.array([part.mean() for part in np.array_split(np.array(losses), parts)])


def compared(sizes: Sizes) -> Section:
    """Both arms, preset default."""
    rows, findings = [], tuple[Finding, ...]()
    for kind in ("transformer", "base"):
        run = raced(preset_of(kind, "default"), sizes)
        rates = [
            statistics.median(each.samples_per_s for each in way) for way in (run.ours, run.stock, run.again)
        ]
        gap, noise = gaps(run)
        rows.append(
            (
                f"{kind}, {sizes.windows:,} windows",
                *(f"{rate:,.0f}" for rate in rates),
                f"{run.ratio:.2f}x",
                f"{run.ours[-1].loss:.4f}",
                f"{run.stock[-1].loss:.4f}",
                f"{gap:.4f}",
                f"{noise:.4f}",
            )
        )
        if kind == "transformer":
            findings = _promises(run.ratio, gap, noise)
    header = ("", "abctl samples/s", "stock, plain loop", "our net, plain loop", "of stock")
    more = ("last loss", "stock's", "curve from stock's", "from other dropout's")
    note = (
        f"One thread, batches of 192; {sizes.epochs} turns, the median of their ratios. All three begin with "
        "the same weights and see the same rows in the same order. *curve*: root mean square of the "
        f"differences of mean losses, over {PARTS} parts of the run; base has no dropout."
    )
    title = "Training beside torch's own modules, preset default"
    return Section("training", title, (*header, *more), tuple(rows), findings, (note,))


def _promises(ratio: float, gap: float, noise: float) -> tuple[Finding, ...]:
    target = f"at most {LOSS_GAPS:g}x other dropout's"
    return (
        at_least("samples/s of stock, transformer", ratio, OF_STOCK),
        Finding(
            "loss curve from stock's, transformer", target, f"{gap / noise:.2f}x", gap <= LOSS_GAPS * noise
        ),
    )


def gaps(run: Raced) -> tuple[float, float]:
    """Root mean square distance of our loss curve from stock's, and from our net's with other dropout."""
    parts = min(PARTS, len(run.ours))
    ours, stock, again = (by_part([e.loss for e in way], parts) for way in (run.ours, run.stock, run.again))
    return float(np.sqrt(((ours - stock) ** 2).mean())), float(np.sqrt(((ours - again) ** 2).mean()))


def alone(sizes: Sizes, fewer: Sizes) -> Section:
    """Time and memory of a fresh process in both frameworks, beside the guide's minutes. fewer: for MLX,
    which is slow on a processor."""
    rows, findings = [], list[Finding]()
    for kind, guide_s in GUIDE_S.items():
        for backend, size in (("torch", sizes), ("mlx", fewer)):
            if page.installed(backend) is None:
                continue
            said = course.trained_alone(backend, kind, "default", size)
            seconds, rate = said["seconds"], said["samples_per_s"]
            cells = (f"{said['rows']:,.0f}", f"{seconds:.1f}", f"{rate:,.0f}", f"{said['peak_mib']:,.0f}")
            rows.append((f"{kind}, {backend}", *cells, f"{guide_s / 60:g}"))
            if backend == "torch":
                claim = f"{size.windows:,} windows, {kind}"
                target = f"under the guide's {guide_s / 60:g} min"
                findings.append(Finding(claim, target, f"{seconds:.1f} s", seconds < guide_s))
    header = ("arm, framework", "windows", "seconds", "samples/s", "peak MiB", "guide's min for 100,000")
    note = (
        "A fresh process on one thread, preset default, without judging. Seconds are of training alone, the "
        f"gathering of its rows included; the peak is of the process, with its {sizes.markets:,} simulated "
        "markets. MLX runs on this processor here; it is made for Apple's GPUs."
    )
    title = "Training alone: time and memory"
    return Section("training-alone", title, header, tuple(rows), tuple(findings), (note,))


def threads(sizes: Sizes) -> Section:
    """The plain loop with either net on 1 and 2 threads, in turns."""
    preset = preset_of("transformer", "default")
    episodes, config = course.episodes_of(sizes.markets), course.config_of(sizes)
    material = material_of(episodes, preset.window)
    net = first_net(preset, config)
    nets: dict[str, Callable[[], nn.Module]] = {
        "stock": lambda: same(net, preset),
        "our": lambda: first_net(preset, config),
    }
    loops = {(name, n): Loop(make(), material, config) for name, make in nets.items() for n in (1, 2)}
    rates: dict[tuple[str, int], list[float]] = {key: [] for key in loops}
    for _ in range(sizes.epochs):
        for key, loop in loops.items():
            torch.set_num_threads(key[1])
            rates[key].append(loop.epoch().samples_per_s)
    torch.set_num_threads(1)
    rows = []
    for name in nets:
        one, two = np.array(rates[name, 1]), np.array(rates[name, 2])
        cells = (f"{np.median(one):,.0f}", f"{np.median(two):,.0f}", f"{np.median(two / one):.2f}x")
        rows.append((f"{name} net, plain loop", *cells))
    note = (
        "Transformer, preset default. Training uses one thread: a second one loses where anything else runs, "
        "and one thread gives the same weights again."
    )
    header = ("", "1 thread samples/s", "2 threads", "of 1 thread")
    return Section("threads", "Threads", header, tuple(rows), (), (note,))


QUICK = Sizes(windows=800, epochs=4, markets=40)


def main(words: Sequence[str] | None = None) -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--windows", type=int, default=100_000)
    parser.add_argument("--epochs", type=int, default=40, help="turns that the windows are trained in")
    parser.add_argument("--quick", action="store_true", help="a tiny run, nothing judged")
    parser.add_argument("--write", action="store_true", help="put the results into docs/arm-tables.md")
    asked = parser.parse_args(words)
    torch.set_num_threads(1)
    print(f"{page.measured_on()}\n", flush=True)
    whole = QUICK if asked.quick else Sizes(asked.windows, asked.epochs, course.MARKETS)
    few = QUICK if asked.quick else Sizes(whole.windows // 50, 5, course.MARKETS)
    parts: tuple[Callable[[], Section], ...] = (
        lambda: compared(whole),
        lambda: threads(few),
        lambda: alone(whole, few),
    )
    sections = []
    for part in parts:
        sections.append(part())
        print(text_of(sections[-1]) + "\n", flush=True)
    if asked.write:
        page.write(sections)
    if not asked.quick:
        page.judge(sections)


if __name__ == "__main__":
    main()
