"""RFC 9457 problems: what a caller did wrong, which field, which rule, and the remedy."""

import re
from dataclasses import dataclass

import msgspec

_PATH = re.compile(r" - at `(?P<path>[^`]*)`$")


@dataclass(frozen=True)
class Problem(Exception):
    """A refusal. detail: one sentence that names the rule and the remedy. field: JSON path, or ""."""

    status: int
    code: str
    detail: str
    field: str = ""
    retry_after_s: int | None = None

    def body(self) -> dict[str, object]:
        """The application/problem+json members."""
        members: dict[str, object] = {
            "type": f"urn:abctl:problem:{self.code}",
            "title": self.code.replace("_", " "),
            "status": self.status,
            "detail": self.detail,
        }
        return members | ({"field": self.field} if self.field else {})


def invalid(field: str, detail: str) -> Problem:
    """422: the field breaks a rule."""
    return Problem(422, "invalid_field", f"{field}: {detail}", field)


def from_msgspec(error: msgspec.DecodeError) -> Problem:
    """What msgspec found wrong, by field."""
    text = str(error)
    if not isinstance(error, msgspec.ValidationError):
        return Problem(
            400, "broken_json", f"the body is not valid JSON: {text}; send one JSON document in UTF-8"
        )
    found = _PATH.search(text)
    field = found["path"].removeprefix("$").removeprefix(".") if found else ""
    rule = _PATH.sub("", text)
    return Problem(422, "invalid_field", f"{field or 'body'}: {rule[0].lower()}{rule[1:]}", field or "body")
