"""The arms inside a bot: the guide's RLStrategy, TransformerRLStrategy and HybridStrategy.

They run the service's ONNX artefacts by the service's loader and answer the same. Needs neither the server
nor torch; what asks a service is handed in. Constructor arguments out of range raise ValueError.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import ClassVar, Final, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from arms.choosing import BASE, TRANSFORMER, ByService, Choice, Choose
from arms.claimed import Claim, claimed
from arms.errors import ActError, ArmUnknown, HistoryError
from arms.histories import Histories, Window
from arms.onnx_runtime import load
from arms.protocol import Acted, Arm
from arms.schema import MARKET_V1, StateSchema

MARKETS_MAX: Final = 1024

ActionName = Literal["hold", "buy", "sell"]
_NAMES: Final[tuple[ActionName, ...]] = ("hold", "buy", "sell")


class Probs(NamedTuple):
    """Probabilities of the three actions."""

    hold: float
    buy: float
    sell: float


@dataclass(frozen=True, slots=True)
class Action:
    """The most probable action, the first of equals. confidence: its probability. value: expected net USD of
    acting by `probs`, 0 without a critic. ticks: how many real states were read. model: the artefact's id."""

    name: ActionName
    probs: Probs
    value: float
    confidence: float
    ticks: int
    model: str


class _Playing:
    """What changes in a strategy: the model and the histories, for one caller at a time."""

    def __init__(self, histories: Histories) -> None:
        self.histories = histories
        self.arm: Arm | None = None
        self.lock = Lock()


@dataclass(frozen=True, kw_only=True, eq=False)
class Strategy:
    """What both strategies do. Their sizes are a claim about the artefact, which `load` checks.

    batch_size: of training; it changes no answer. markets_max: how many histories are held; the next market
    takes the place of the one that ticked longest ago. schema: what a state is. Safe for several threads.
    """

    seq_len: int
    batch_size: int = 64
    markets_max: int = MARKETS_MAX
    schema: StateSchema = field(default=MARKET_V1, repr=False)
    _playing: _Playing = field(init=False, repr=False)

    kind: ClassVar[str] = ""
    sizes: ClassVar[Mapping[str, str]] = {}
    """The guide's name of each size, and the preset's."""

    def __post_init__(self) -> None:
        for name in (*self.sizes, "batch_size", "markets_max"):
            given = getattr(self, name)
            if type(given) is not int or given < 1:
                raise ValueError(f"{name} is {given!r}: it must be a whole number of at least 1")
        histories = Histories((self.seq_len, self.schema.width), self.markets_max)
        object.__setattr__(self, "_playing", _Playing(histories))

    @property
    def loaded(self) -> bool:
        """Whether it has a model."""
        return self._playing.arm is not None

    @property
    def model(self) -> str:
        """Content id of the artefact that answers. Raises ActError before `load`."""
        return self._arm().model

    def load(self, path: str | Path, *, model: str = "") -> Self:
        """Takes the artefact of a folder, or of a URL such as s3://bucket/prefix, into use.

        It is read whole, must have the sizes of this strategy and pass its self-test. model: the id that is
        expected, or its first 12 or more digits. Histories stay. Raises ArtefactError; then nothing changes.
        """
        sizes = {name: getattr(self, name) for name in self.sizes}
        artefact = claimed(path, Claim(type(self).__name__, self.kind, sizes, self.sizes, model))
        self._playing.arm = load(artefact, self.schema)
        return self

    def act(self, state: ArrayLike, market: str) -> Action:
        """What the model would do now. state: float32[F] becomes the newest of its market's history; [k,F],
        newest last, becomes that whole history.

        Raises HistoryError on a state that the schema does not allow; it is then not remembered.
        """
        arm, given = self._arm(), self._given(state)
        with self._playing.lock:
            history, length = self._noted(given, market)
            return _action(arm.act(history, length), int(length[0]), arm.model)

    def observe(self, state: ArrayLike, market: str) -> None:
        """Remembers a tick as `act` does, without an answer; needs no model."""
        given = self._given(state)
        with self._playing.lock:
            self._noted(given, market)

    def reset(self, market: str) -> None:
        """Forgets a market's history: its next state is its first."""
        with self._playing.lock:
            self._playing.histories.reset(market)

    def _arm(self) -> Arm:
        if self._playing.arm is None:
            raise ActError(f"{type(self).__name__} has no model: call its load(folder) before act")
        return self._playing.arm

    def _given(self, state: ArrayLike) -> NDArray[np.float32]:
        """The state [F] or states [k,F] as validated float32."""
        given = state if isinstance(state, np.ndarray) and state.dtype == np.float32 else self._numbers(state)
        self.schema.validate(given[None] if given.ndim == 1 else given)
        return given

    def _numbers(self, state: ArrayLike) -> NDArray[np.float32]:
        try:
            given = np.asarray(state)
        except ValueError:  # rows of unequal lengths
            given = np.empty(0, dtype=object)
        if given.dtype.kind not in "fiu":
            width = self.schema.width
            raise HistoryError(f"state must be {width} plain numbers, or rows of {width} each")
        with np.errstate(over="ignore"):  # to infinity, which the schema refuses by name
            return given.astype(np.float32)

    def _noted(self, given: NDArray[np.float32], market: str) -> Window:
        histories = self._playing.histories
        return histories.added(market, given) if given.ndim == 1 else histories.replaced(market, given)


@dataclass(frozen=True, kw_only=True, eq=False)
class RLStrategy(Strategy):
    """The base arm: the last `seq_len` states side by side through a perceptron."""

    seq_len: int = 5
    hidden_dim: int = 64
    temporal_dim: int = 32

    kind: ClassVar[str] = "base"
    sizes: ClassVar[Mapping[str, str]] = {
        "seq_len": "window",
        "hidden_dim": "hidden",
        "temporal_dim": "output",
    }


@dataclass(frozen=True, kw_only=True, eq=False)
class TransformerRLStrategy(Strategy):
    """The transformer arm: self-attention over the last `seq_len` states. dropout: of training; it changes no
    answer."""

    seq_len: int = 20
    n_heads: int = 4
    n_layers: int = 2
    d_model: int = 64
    temporal_dim: int = 32
    dropout: float = 0.1

    kind: ClassVar[str] = "transformer"
    sizes: ClassVar[Mapping[str, str]] = {
        "seq_len": "window",
        "n_heads": "heads",
        "n_layers": "layers",
        "d_model": "hidden",
        "temporal_dim": "output",
    }

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout!r}: it must lie in [0, 1)")
        super().__post_init__()


class HybridStrategy:
    """Both arms behind one `act`: every market is given to one of them, once, and keeps it.

    choose: a chooser of `arms.choosing`, or a callable of yours from a market to "base" or "transformer".
    markets_max: so many choices are held, as `Strategy` holds histories.
    """

    def __init__(
        self,
        base: Strategy,
        transformer: Strategy,
        choose: Choose,
        *,
        markets_max: int = MARKETS_MAX,
    ) -> None:
        self._arms = {BASE: base, TRANSFORMER: transformer}
        for name, strategy in self._arms.items():
            if strategy.kind != name:
                raise ValueError(
                    f"{name} is a {type(strategy).__name__}: hand in base first, then transformer"
                )
            if not strategy.loaded:
                raise ActError(f"{name} has no model: call its load(folder) before HybridStrategy")
        self._choose = choose
        self._markets_max = markets_max
        self._choices: OrderedDict[str, Choice] = OrderedDict()
        self._lock = Lock()

    def act(self, state: ArrayLike, market: str) -> Action:
        """What the market's arm would do now; see `Strategy.act` and `choice`. Where no arm could be chosen
        both remember the tick, so that neither lacks it later."""
        try:
            arm = self._arms[self.choice(market).arm]
        except Exception:
            for strategy in self._arms.values():
                strategy.observe(state, market)
            raise
        return arm.act(state, market)

    def choice(self, market: str) -> Choice:
        """The market's arm and why, chosen at the first call. What the chooser raises passes through;
        ArmUnknown where it names another arm."""
        return self._held(market) or self._keep(market, self._choose(market))

    async def enter(self, market: str) -> Choice:
        """As `choice`, for a bot in an event loop: nothing waits for the service but this call."""
        if isinstance(self._choose, ByService):
            return self._held(market) or self._keep(market, await self._choose.asked(market))
        return self.choice(market)

    def reset(self, market: str) -> None:
        """Forgets a market, its choice and its histories."""
        with self._lock:
            self._choices.pop(market, None)
        for strategy in self._arms.values():
            strategy.reset(market)

    def _held(self, market: str) -> Choice | None:
        with self._lock:
            if market in self._choices:
                self._choices.move_to_end(market)
            return self._choices.get(market)

    def _keep(self, market: str, chosen: str | Choice) -> Choice:
        """Of two that chose at the same time the first stays."""
        choice = Choice(chosen) if isinstance(chosen, str) else chosen
        if choice.arm not in self._arms:
            raise ArmUnknown(
                f"market {market!r} was given arm {choice.arm!r} ({choice.by}), and HybridStrategy carries "
                f"{BASE} and {TRANSFORMER}: choose between these two"
            )
        with self._lock:
            kept = self._choices.setdefault(market, choice)
            if len(self._choices) > self._markets_max:
                self._choices.popitem(last=False)
        return kept


def _action(acted: Acted, ticks: int, model: str) -> Action:
    probs = acted.probs[0].tolist()
    confidence = max(probs)
    name = _NAMES[probs.index(confidence)]
    return Action(name, Probs(*probs), float(acted.value[0]), confidence, ticks, model)
