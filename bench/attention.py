r"""Where transformers look in the decoy world: at the spike before each cue, beside windows without a spike.

    python bench/attention.py [--write]
    python bench/attention.py m1 [m2 ...] [--world decoy] [--markets 40]

Without a model it first trains three of preset default in world decoy, with seeds 1 to 3, as `abctl model
train` does with --markets 1500 --epochs 24 --batch-size 192.

A cue says that now is the time, the one spike before it says in which direction. For each cue with one spike
in the window: the share that the newest tick gives to the spike's tick, as the mean over heads of the layer
where it is largest, and how much of its probability the chosen action loses where that tick is put to 0.
Beside it the same share in windows without a spike, at the same ages. Medians, by what the model chose.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from speed import machine
from speed.found import table
from speed.page import placed

from arms.artefact import Artefact, read_artefact
from arms.attention import attention_of, occlusion
from arms.onnx_runtime import load
from arms.protocol import Arm
from arms.schema import MARKET_V1
from arms.training import TrainingConfig
from cli.lab import simulated_course, train_artefact
from market.worlds import CUED, DECOY, DECOY_FAST, SPIKED, World, tape_of

WORLDS = {world.name: world for world in (DECOY, DECOY_FAST)}
FIRST_MARKET = 900_000
VISIBLE = 0.7
READ, UNREAD, LOST = 0.15, 0.08, 0.3
HEADER = ("model", "chosen", "cues", "share of the spike", "without a spike", "probability lost")
ACTIONS = ("hold", "buy", "sell")
SEEDS = (1, 2, 3)
TRAIN_MARKETS = 1500
PAGE = Path(__file__).resolve().parents[1] / "docs" / "arms.md"
Row = tuple[str, ...]

Window = tuple[np.ndarray, int]
"""float32[w,F], newest last, and the place of what is asked about."""


def cues(world: World, window: int, markets: int) -> Iterator[Window]:
    """Windows that end at a cue, with one spike before it; the spike's place."""
    for states in _states(world, markets):
        spiked = np.flatnonzero(np.abs(states[:, SPIKED[0]]) > VISIBLE)
        for cue in np.flatnonzero((states[:, CUED] > VISIBLE).all(axis=1)).tolist():
            inside = spiked[(spiked > cue - window) & (spiked < cue)]
            if cue + 1 >= window and len(inside) == 1:
                yield _window(states, cue, window), int(inside[0]) - (cue + 1 - window)


def quiet(world: World, window: int, markets: int, places: list[int]) -> Iterator[Window]:
    """As many windows without a spike or a cue; the places are those of the cues' spikes."""
    rng = np.random.default_rng(0)
    for states in _states(world, markets):
        eventful = (np.abs(states[:, [*SPIKED, *CUED]]) > VISIBLE).any(axis=1)
        ends = [t for t in range(window - 1, len(states)) if not eventful[t + 1 - window : t + 1].any()]
        for tick in rng.permutation(ends)[:4].tolist():
            yield _window(states, tick, window), int(rng.choice(places))


def _states(world: World, markets: int) -> Iterator[np.ndarray]:
    for market in range(markets):
        yield tape_of(world, FIRST_MARKET + market).features


def _window(states: np.ndarray, tick: int, window: int) -> np.ndarray:
    return np.ascontiguousarray(states[tick + 1 - window : tick + 1])


def share_of(artefact: Artefact, window: Window) -> float:
    """What the newest tick gives to a place: mean over heads, of the layer that gives it most."""
    history, place = window
    return float(attention_of(artefact, history, len(history)).newest.mean(axis=1)[:, place].max())


def rows_of(name: str, artefact: Artefact, arm: Arm, world: World, markets: int) -> list[tuple[str, ...]]:
    """One line for each action that is chosen at cues, and one for all."""
    found = list(cues(world, arm.window, markets))
    unread = [share_of(artefact, w) for w in quiet(world, arm.window, markets, [place for _, place in found])]
    chosen = [_chosen(arm, history) for history, _ in found]
    read = np.array([share_of(artefact, window) for window in found])
    lost = np.array([occlusion(arm, history, arm.window)[place] for history, place in found])
    rows = []
    for what in (*sorted(set(chosen)), None):
        at = np.array([what is None or each == what for each in chosen])
        action = "all" if what is None else ACTIONS[what]
        medians = (np.median(read[at]), np.median(unread), np.median(lost[at]))
        rows.append((name, action, str(at.sum()), *(f"{value:.3f}" for value in medians)))
    return rows


def _chosen(arm: Arm, history: np.ndarray) -> int:
    return int(arm.act(history[None], np.array([arm.window])).probs[0].argmax())


def main() -> None:
    """Prints the table; 1 where a model misses a bar over all cues."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", type=Path, help="folders of trained transformers")
    parser.add_argument("--world", choices=list(WORLDS), default="decoy")
    parser.add_argument("--markets", type=int, default=40)
    parser.add_argument("--write", action="store_true", help="put the table into docs/arms.md")
    asked = parser.parse_args()
    if asked.models:
        rows = measured(asked.models, asked.world, asked.markets)
    else:
        with trained() as models:
            rows = measured(models, DECOY.name, asked.markets)
    said = told(rows)
    print(said)
    if asked.write:
        note = f"Measured on {machine.facts()}."
        PAGE.write_text(placed(PAGE.read_text(), "attention", f"{said}\n\n{note}"))
    sys.exit(not all(map(holds, rows)))


@contextmanager
def trained() -> Iterator[list[Path]]:
    """One for each of SEEDS, as long as they are looked at."""
    with tempfile.TemporaryDirectory(prefix="abctl-attention-") as name:
        models = []
        for seed in SEEDS:
            models.append(Path(name) / f"m{seed}")
            course = simulated_course(DECOY.name, TRAIN_MARKETS, seed)
            train_artefact("transformer", "default", course, TrainingConfig(seed=seed), models[-1])
            print(f"trained {models[-1].name}", flush=True)
        yield models


def measured(models: Sequence[Path], world: str, markets: int) -> list[Row]:
    """Rows of all models."""
    rows: list[Row] = []
    for folder in models:
        artefact = read_artefact(folder)
        rows += rows_of(folder.name, artefact, load(artefact, MARKET_V1), WORLDS[world], markets)
    return rows


def holds(row: Row) -> bool:
    """Over all cues a model must read the spike; of buys and sells alone it may read one by the other."""
    spike, without, lost = map(float, row[3:])
    return row[1] != "all" or (spike >= READ and without <= UNREAD and lost >= LOST)


def told(rows: Sequence[Row]) -> str:
    """The table, and how many models keep the bar."""
    totals = [row for row in rows if row[1] == "all"]
    kept = sum(map(holds, totals))
    bar = f"at least {READ:g} of the spike, at most {UNREAD:g} without one, at least {LOST:g} lost"
    return "\n".join((*table(HEADER, rows), "", f"Over all cues {bar}: {kept} of {len(totals)} models."))


if __name__ == "__main__":
    main()
