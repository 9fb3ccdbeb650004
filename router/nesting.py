"""How deep JSON may be nested. What is deeper is meant to exhaust a stack, here or in whoever reads it."""

from typing import Any

import msgspec

from router.problems import Problem

DEPTH_MAX = 32
_ANY = msgspec.json.Decoder()


def is_too_deep(value: object) -> bool:
    """Whether a decoded value has more than DEPTH_MAX levels of lists and objects. Needs no stack itself."""
    level: list[Any] = [value]
    for _ in range(DEPTH_MAX + 1):
        level = [inner for outer in level for inner in _within(outer)]
        if not level:
            return False
    return True


def _within(value: object) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def check_nesting(body: bytes) -> None:
    """400 where a body is JSON that is nested too deeply; what is not JSON is for the parser to refuse."""
    try:
        too_deep = is_too_deep(_ANY.decode(body))
    except RecursionError:
        too_deep = True
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    if too_deep:
        raise Problem(
            400, "broken_json", f"the body is nested deeper than {DEPTH_MAX} levels: send it flatter"
        )
