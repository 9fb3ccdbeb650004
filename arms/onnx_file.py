"""A model as one ONNX file, the graph as it is served; needs no training extra."""

from dataclasses import replace
from pathlib import Path
from typing import Final

from arms.artefact import ONNX, Artefact
from arms.exported_folder import Written, answers_of, in_parts
from arms.onnx_runtime import load
from arms.schema import StateSchema

GRAPH: Final = ONNX


def written(artefact: Artefact, schema: StateSchema, folder: Path) -> Written:
    """Write the file; what it answers once it has been read again."""
    (folder / GRAPH).write_bytes(artefact.onnx)
    arm = load(replace(artefact, onnx=(folder / GRAPH).read_bytes()), schema)
    return Written((GRAPH,), {GRAPH: in_parts(answers_of(arm))})
