"""RFC 9457 problems: what a caller did wrong, which field, which rule, and the remedy."""

import json
import math
import re
from typing import TypeVar

import msgspec

T = TypeVar("T")
_PATH = re.compile(r" - at `(?P<path>[^`]*)`$")
_NAMED = re.compile(r"(?:missing required|contains unknown) field `(?P<name>[^`]*)`")
_SHOWN = 80


class Problem(Exception):
    """A refusal. detail: one sentence that names the rule and the remedy. field: JSON path, or "".

    allow: the methods of a 405. Not frozen: leaving a context manager sets `__traceback__`.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        field: str = "",
        retry_after_s: int | None = None,
        allow: str = "",
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.field = field
        self.retry_after_s = retry_after_s
        self.allow = allow

    def body(self) -> dict[str, object]:
        """The application/problem+json members."""
        members: dict[str, object] = {
            "type": f"urn:abctl:problem:{self.code}",
            "title": self.code.replace("_", " "),
            "status": self.status,
            "detail": self.detail,
        }
        return members | ({"field": self.field} if self.field else {})

    def headers(self) -> dict[str, str]:
        """Retry-After and Allow, where they apply."""
        found = {} if self.retry_after_s is None else {"retry-after": str(self.retry_after_s)}
        return found | ({"allow": self.allow} if self.allow else {})


def invalid(field: str, detail: str) -> Problem:
    """422: the field breaks a rule."""
    return Problem(422, "invalid_field", f"{field}: {detail}", field)


def shown(value: object) -> str:
    """What a caller sent, short enough for a sentence, whatever it was."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def decoded(decoder: "msgspec.json.Decoder[T]", body: bytes | msgspec.Raw) -> T:
    """A parsed body, or the problem that names the field."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise from_msgspec(error) from error
    except msgspec.DecodeError as error:
        raise _not_json(bytes(body), str(error)) from error
    except UnicodeDecodeError as error:
        raise _broken("it holds bytes that are not UTF-8") from error
    except RecursionError as error:
        raise _broken("it is nested too deeply") from error


def from_msgspec(error: msgspec.ValidationError, remedy: str = "/openapi.json has the schema") -> Problem:
    """The field that msgspec found wrong, and its rule. remedy: where all fields are told."""
    text = str(error)
    found = _PATH.search(text)
    path = found["path"].removeprefix("$").removeprefix(".") if found else ""
    rule = _PATH.sub("", text)
    named = _NAMED.search(rule)
    field = ".".join(part for part in (path, named["name"] if named else "") if part) or "body"
    return invalid(field, f"{rule[0].lower()}{rule[1:]}; {remedy}")


def _not_json(body: bytes, why: str) -> Problem:
    """Python's parser takes NaN and Infinity, so it can say where they stand."""
    if b"NaN" in body or b"Infinity" in body:
        try:
            field = _not_finite(json.loads(body))
        except (ValueError, RecursionError):
            field = None
        if field is not None:
            rule = "is NaN or infinite: send a finite number, and 0 where the source is silent"
            return invalid(field, rule)
    return _broken(why)


def _not_finite(value: object, path: str = "") -> str | None:
    if isinstance(value, float):
        return None if math.isfinite(value) else path.removeprefix(".") or "body"
    if isinstance(value, dict):
        found = (_not_finite(v, f"{path}.{k}") for k, v in value.items())
    elif isinstance(value, list):
        found = (_not_finite(v, f"{path}[{i}]") for i, v in enumerate(value))
    else:
        return None
    return next((f for f in found if f is not None), None)


def _broken(why: str) -> Problem:
    return Problem(400, "broken_json", f"the body is not valid JSON: {why}; send one JSON document in UTF-8")
