"""Loads a registered model as a worker serves it; for a thread."""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from arms.artefact import contents_of, read_artefact
from arms.aside import hello_of
from arms.errors import ArmError
from arms.onnx_runtime import INLINE_KINDS, load
from arms.protocol import Arm
from arms.schema import StateSchema
from router.aside import AsideArm, started
from store import models

LIMIT_S = 0.1


@dataclass(frozen=True, slots=True)
class Terms:
    """Under what an arm serves: the states it gets, and how long a run of somebody else's code may take."""

    schema: StateSchema
    limit_s: float = LIMIT_S


def loaded(engine: Engine, folder: Path, model_id: str, terms: Terms) -> Arm | AsideArm:
    """Verified by its content hash and self-test. Raises ArmError, StoreError, SQLAlchemyError, OSError."""
    path = models.materialise(engine, model_id, folder)
    artefact = read_artefact(path)
    if artefact.id != model_id:
        raise ArmError(f"the files of model {model_id} hash to {artefact.id}: remove {path} and start again")
    if artefact.kind in INLINE_KINDS:
        return load(artefact, terms.schema)
    hello = hello_of(contents_of(path), terms.schema, terms.limit_s)
    return AsideArm(hello, started(hello))


def check(engine: Engine, folder: Path, model_id: str, terms: Terms) -> None:
    """Whether a worker would serve the model; raises as `loaded` does."""
    found = loaded(engine, folder, model_id, terms)
    if isinstance(found, AsideArm):
        found.process.kill()
