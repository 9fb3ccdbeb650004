"""A user's own ONNX file becomes an artefact, without the training extra and without touching our code."""

from pathlib import Path

import numpy as np

from arms.artefact import (
    MAX_FILE_BYTES,
    Artefact,
    Config,
    Output,
    Trained,
    check_arm_name,
    write_artefact,
)
from arms.errors import ActError, ArtefactError
from arms.golden import golden_inputs, golden_of
from arms.onnx_runtime import IMPORTED, ImportedArm, check_imported, session_of
from arms.schema import StateSchema

_REMEDY: dict[Output, str] = {
    "probs": "a model that answers logits needs output=logits",
    "logits": "logits must be finite for all states that the schema allows; mend the model",
}


def import_onnx(
    file: Path, folder: Path, arm: str, window: int, schema: StateSchema, output: Output
) -> Artefact:
    """Wrap a user's ONNX file [n,window,F] float32 -> probs or logits [n,3] as an artefact folder.

    The golden answers are the model's own, so later loads notice any change of file or runtime.
    """
    check_arm_name(arm)
    size = file.stat().st_size if file.is_file() else 0
    if not 0 < size <= MAX_FILE_BYTES:
        raise ArtefactError(f"{file} must be an ONNX file of 1 to {MAX_FILE_BYTES:,} bytes")
    onnx = file.read_bytes()
    session = session_of(onnx, file.name)
    shape = (window, schema.width)
    check_imported(session, shape)
    histories, lengths = golden_inputs(schema, window)
    try:
        with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is refused in words
            acted = ImportedArm(session, file.name, shape, output).act(histories, lengths)
    except ActError as error:
        raise ArtefactError(f"{file} with output={output}: {error}; {_REMEDY[output]}") from error
    config = Config(
        arm=arm, kind=IMPORTED, window=window, schema=schema.name, schema_hash=schema.hash, output=output,
        trained=Trained(origin=file.name),
    )  # fmt: skip
    return write_artefact(folder, config, golden_of(histories, lengths, acted.probs, acted.value), onnx, None)
