"""`abctl model attention`: where a transformer looked, and what each tick was worth to what it chose."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arms.attention import attention_of, occlusion
from arms.onnx_runtime import window_of
from arms.schema import MARKET_V1
from cli.exam import Candidate, candidate
from cli.failures import Refused
from cli.settings import Settings
from cli.terminal import Table, paragraph, percent, points, print_json, say, show

SCHEMA = "abctl.attention/1"
ACTIONS = ("hold", "buy", "sell")
TOP_TICKS, TOP_FEATURES = 3, 4
Shape = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Subject:
    """What is looked at: float32[k,F], newest last, and where it comes from in words."""

    states: NDArray[np.float32]
    source: str


def simulated(world: str, market: int, tick: int) -> Subject:
    """The states of a simulated market up to a tick, nobody holding anything."""
    from cli.lab import WORLDS
    from market.session import Session

    if world not in WORLDS:
        raise Refused(f"--world must be one of {', '.join(WORLDS)}, not {world!r}")
    session = Session(WORLDS[world].tape(market))
    ticks = len(session.tape.tick_us)
    if not 0 <= tick < ticks:
        raise Refused(f"--tick {tick} is not in market {session.tape.market}: give one of 0 to {ticks - 1}")
    while session.tick < tick:
        session.step(0)
    return Subject(session.history(tick + 1), f"market {session.tape.market}, tick {tick}")


@contextmanager
def logged(settings: Settings, decision_id: str, model: str | None) -> Generator[tuple[Candidate, Subject]]:
    """A decision of the log and the model that it was answered by, unless another is named."""
    from arms.logged_histories import UNKNOWN, lengths_of
    from cli.database import reading
    from store.asked_states import asked_states

    with reading(settings) as connection:
        asked = asked_states(connection, settings.experiment, decision_id)
    if asked.schema_hash != MARKET_V1.hash:
        raise Refused(f"decision {decision_id} was sent states of another schema: they cannot be read here")
    states = np.array([np.frombuffer(state, dtype="<f4") for state in asked.states], dtype=np.float32)
    length = int(lengths_of(states, asked.digests)[-1])
    if length == UNKNOWN:
        raise Refused(
            f"what decision {decision_id} was sent cannot be made again from the log: its bot did not ask at"
            " every tick"
        )
    with candidate(model or asked.model, settings) as who:
        yield who, Subject(states[len(states) - length :], f"decision {decision_id} of unit {asked.unit}")


def attended(
    who: Candidate, subject: Subject, outputs: tuple[Path | None, Path | None], as_json: bool
) -> None:
    """Prints, and draws where files are named. outputs: HTML, PNG."""
    found = shape_of(who, subject)
    html, png = outputs
    if html is not None or png is not None:
        from cli.attention_page import write_html, write_png

        if html is not None:
            write_html(found, html)
        if png is not None:
            write_png(found, png)
    if as_json:
        print_json(found)
    else:
        show_attention(found)


def shape_of(who: Candidate, subject: Subject) -> Shape:
    """The JSON shape. ticks: the real ones, the newest first; ago counts back from it."""
    histories, lengths = window_of(subject.states, who.arm.window)
    length = int(lengths[0])
    looked = attention_of(who.artefact, histories[0], length).newest
    lost = occlusion(who.arm, histories[0], length)
    probs = who.arm.act(histories, lengths).probs[0].astype(float).tolist()
    newest = who.arm.window - 1
    return {
        "schema": SCHEMA,
        "source": subject.source,
        "model": {"name": who.name, "id": who.artefact.id},
        "probs": dict(zip(ACTIONS, probs, strict=True)),
        "chosen": ACTIONS[int(np.argmax(probs))],
        "layers": looked.shape[0],
        "heads": looked.shape[1],
        "ticks": [
            {
                "ago": ago,
                "weights": looked[:, :, newest - ago].tolist(),
                "occlusion": float(lost[newest - ago]),
                "features": _features(histories[0, newest - ago]),
            }
            for ago in range(length)
        ],
        "top": _top(histories[0], looked, length),
    }


def _features(state: NDArray[np.float32]) -> dict[str, float]:
    return {name: float(value) for name, value in zip(MARKET_V1.names, state, strict=True)}


def _top(history: NDArray[np.float32], looked: NDArray[np.float64], length: int) -> list[Shape]:
    """The most attended ticks by the mean over heads of any layer, and what sets each apart from the rest."""
    mean = looked.mean(axis=1).max(axis=0)
    real = history[len(history) - length :]
    spread = np.maximum(real.std(axis=0), 1e-6)
    found = []
    for tick in np.argsort(-mean, kind="stable")[: min(TOP_TICKS, length)].tolist():
        apart = (history[tick] - real.mean(axis=0)) / spread
        names = np.argsort(-np.abs(apart), kind="stable")[:TOP_FEATURES]
        features = {MARKET_V1.names[i]: float(history[tick, i]) for i in names.tolist()}
        found.append({"ago": len(history) - 1 - tick, "weight": float(mean[tick]), "features": features})
    return found


def show_attention(found: Shape) -> None:
    """The choice, a row a tick, and what was on the ticks that were looked at most."""
    model, chosen = found["model"], found["chosen"]
    said = ", ".join(f"{action} {percent(p)}" for action, p in found["probs"].items())
    paragraph(f"Model {model['name']} ({model['id'][:12]}) on {found['source']}: {chosen} ({said})", "bold")
    say("")
    layers = [f"layer {layer + 1}" for layer in range(found["layers"])]
    rows = [
        [f"{t['ago']} ago", *(percent(float(np.mean(w))) for w in t["weights"]), points(-t["occlusion"])]
        for t in found["ticks"]
    ]
    title = (
        f"What the newest tick reads (mean of {found['heads']} heads), and how {chosen} changes without it"
    )
    show(Table(title, ("tick", *layers, f"{chosen} without it"), rows))
    say("")
    for top in found["top"]:
        facts = ", ".join(f"{name} {value:+.2f}" for name, value in top["features"].items())
        paragraph(f"{top['ago']} ago, {percent(top['weight'])}: {facts}")
    paragraph("Weights say where a layer reads; what a tick is worth is what is lost without it.", "dim")
