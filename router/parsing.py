"""A decision's body as a request and a checked history, in one pass where everything is as it must be."""

import struct
from typing import Annotated, Any, cast

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from arms.errors import HistoryError
from arms.schema import StateSchema
from router.problems import Problem, decoded, invalid
from router.wire import BriefRequest, DecideRequest

HISTORY_ROWS_MAX = 64
_PLAIN = msgspec.json.Decoder(DecideRequest)
_BRIEF = msgspec.json.Decoder(BriefRequest)


class DecisionParser:
    """Of one schema. The strict type lets the JSON parser itself check shape and ranges of a history.

    What it refuses is read again at leisure: that says what is wrong, or that it is right after all, for a
    value may be within its range only as float32.
    """

    def __init__(self, schema: StateSchema) -> None:
        self._schema = schema
        self._pack_row = struct.Struct(f"<{schema.width}f").pack
        self._strict = msgspec.json.Decoder(_strict_type(schema))

    def parsed(self, body: bytes | msgspec.Raw) -> tuple[DecideRequest, NDArray[np.float32]]:
        """The request, and its history as float32[k,F], 1 <= k <= 64, newest last. Raises Problem."""
        try:
            request: DecideRequest = self._strict.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            request = decoded(_PLAIN, body)
            return request, history_of(request.history, self._schema)
        rows = [self._pack_row(*row) for row in request.history]
        return request, np.frombuffer(b"".join(rows), dtype="<f4").reshape(len(rows), -1)


def _strict_type(schema: StateSchema) -> type[DecideRequest]:
    """DecideRequest whose rows are those of a schema."""
    numbers = tuple(Annotated[float, Meta(ge=f.low, le=f.high)] for f in schema.features)
    row: Any = tuple[numbers]  # type: ignore[valid-type]
    rows: Any = Annotated[list[row], Meta(min_length=1, max_length=HISTORY_ROWS_MAX)]
    strict = msgspec.defstruct(
        "StrictRequest", [("history", rows)], bases=(DecideRequest,), frozen=True, forbid_unknown_fields=True
    )
    return cast("type[DecideRequest]", strict)


def brief_of(body: bytes) -> BriefRequest:
    """The part of a decision that is read where it will be refused anyway."""
    return decoded(_BRIEF, body)


def history_of(rows: list[list[float]], schema: StateSchema) -> NDArray[np.float32]:
    """Rows within the schema, or the problem that names the row, the feature and its range."""
    if not 1 <= len(rows) <= HISTORY_ROWS_MAX:
        rule = f"has {len(rows)} rows: send 1 to {HISTORY_ROWS_MAX}, the newest last"
        raise invalid("history", rule)
    try:
        with np.errstate(over="ignore"):  # beyond float32 becomes infinite, which the schema refuses by name
            return schema.history_of(rows)
    except HistoryError as error:
        text = str(error)
        raise Problem(422, "invalid_field", text, text.split(" ", 1)[0]) from error
