"""Where the model that answered a decision looked: beside the reply, in a thread of its own, and bounded.

The decision is made, journaled and remembered as any other; what goes wrong here is said in the explanation.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from urllib.parse import parse_qs

import msgspec
import numpy as np
from numpy.typing import NDArray

from arms.artefact import Artefact, read_artefact
from arms.attention import attention_of
from arms.errors import ArmError
from arms.onnx_runtime import window_of
from router.problems import invalid
from router.wire import DecideReply, Explanation

WAITING_MAX = 8
_ARTEFACTS_KEPT = 8
_REPLY = msgspec.json.Decoder(DecideReply)
_ENCODE = msgspec.json.Encoder().encode
_OTHER = "this decision was answered before, to another history; abctl model attention --decision {} shows it"
_LOG = logging.getLogger("abctl.router")
_TRUTH = {"true": True, "1": True, "false": False, "0": False}


@dataclass(slots=True)
class Explainer:
    """One worker's. folder: where its models lie, by id. is_answer_to: whether the decision of an
    (experiment, id) was made of a history: a repeated id is answered as at first, whatever comes with it."""

    folder: Path
    is_answer_to: Callable[[tuple[str, str], NDArray[np.float32]], bool]
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "explain"))
    _waiting: int = 0
    _read: Callable[[Path], Artefact] = field(
        default_factory=lambda: lru_cache(_ARTEFACTS_KEPT)(read_artefact)
    )

    async def explained(self, reply: bytes, history: NDArray[np.float32]) -> bytes:
        """A decision's reply with its explanation. history: float32[k,F], what it was asked with."""
        decided = _REPLY.decode(reply)
        if self.is_answer_to((decided.experiment, decided.decision_id), history):
            found = await self._explanation(decided.model, history)
        else:
            found = Explanation(why_not=_OTHER.format(decided.decision_id))
        return _ENCODE(msgspec.structs.replace(decided, explain=found))

    async def _explanation(self, model: str, history: NDArray[np.float32]) -> Explanation:
        if self._waiting >= WAITING_MAX:
            return Explanation(why_not=f"{WAITING_MAX} explanations are waiting already: ask for fewer")
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, self._looked, model, history)
        finally:
            self._waiting -= 1

    def _looked(self, model: str, history: NDArray[np.float32]) -> Explanation:
        try:
            artefact = self._read(self.folder / model)
            if artefact.id != model:
                return Explanation(why_not=f"the files of model {model} are not its own any more")
            return explanation_of(artefact, history)
        except ArmError as error:
            return Explanation(why_not=str(error).replace(f"{self.folder}/", ""))
        except Exception:  # noqa: BLE001 - the decision is made: what fails here must not take its answer
            _LOG.exception("model %s could not be explained", model)
            return Explanation(why_not=f"model {model} could not be looked into; the service's log says why")


def explanation_of(artefact: Artefact, history: NDArray[np.float32]) -> Explanation:
    """ArtefactError for a model without attention, or without weights."""
    histories, lengths = window_of(history, artefact.window)
    length = int(lengths[0])
    newest = attention_of(artefact, histories[0], length).newest[:, :, ::-1]  # [layers, heads, ticks ago]
    return Explanation(weights=newest[:, :, :length].tolist())


def wants_explanation(query: bytes) -> bool:
    """`?explain=true` of a decision's address; 422 for anything else that says explain."""
    said = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("explain", ["false"])
    if said[-1].lower() not in _TRUTH:
        raise invalid("explain", "must be true or false: send ?explain=true, or leave it out")
    return _TRUTH[said[-1].lower()]
