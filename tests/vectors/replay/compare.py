"""What another program said, against what we say: number by number."""

import fnmatch
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

CLOSED = 1e-9
ROOT = 1e-6
SAID_NOTHING = {"error", "err", "note"}


@dataclass(frozen=True)
class Tolerance:
    """rel: of their value. floor: absolute, where theirs is 0 or its digits end. why: whose limit it is."""

    pattern: str
    rel: float
    floor: float = 0.0
    why: str = ""


@dataclass(frozen=True)
class Listed:
    """A difference that is known. holds(inputs, theirs, ours) proves it case by case, where it can."""

    kind: str
    pattern: str
    why: str
    holds: Callable[[Mapping[str, Any], Any, Any], bool] = lambda _inputs, _theirs, _ours: True


@dataclass(frozen=True)
class Method:
    """ours(inputs) gives {peer: {...}} in the shape of a case's outputs; what is not in it must be listed.

    sees_outputs: ours(inputs, outputs), where a peer found a constant numerically that its other figures rest
    on.
    """

    ours: Callable[..., Mapping[str, Any]]
    tolerances: tuple[Tolerance, ...] = ()
    listed: tuple[Listed, ...] = ()
    sees_outputs: bool = False


@dataclass(frozen=True)
class Verdict:
    """kind: passed, failed, or the kind of the listed difference."""

    case: str
    path: str
    kind: str
    theirs: Any
    ours: Any
    why: str = ""


class Absent:
    def __repr__(self) -> str:
        return "nothing"


ABSENT = Absent()


def judge(method: Method, case: Mapping[str, Any]) -> Iterator[Verdict]:
    """One verdict per number (or null) that a peer gave."""
    given = (case["inputs"], case["outputs"]) if method.sees_outputs else (case["inputs"],)
    ours = method.ours(*given)
    for path, theirs in leaves(case["outputs"], ""):
        mine = found(ours, path)
        tolerance = next(
            (t for t in method.tolerances if fnmatch.fnmatch(path, t.pattern)), Tolerance("*", CLOSED)
        )
        if mine is not ABSENT and same(mine, theirs, tolerance):
            yield Verdict(case["id"], path, "passed", theirs, mine)
            continue
        known = next(
            (
                listed
                for listed in method.listed
                if fnmatch.fnmatch(path, listed.pattern) and proven(listed, case["inputs"], theirs, mine)
            ),
            None,
        )
        if known is None:
            yield Verdict(case["id"], path, "failed", theirs, mine)
        else:
            yield Verdict(case["id"], path, known.kind, theirs, mine, known.why)


def proven(listed: Listed, inputs: Mapping[str, Any], theirs: Any, ours: Any) -> bool:
    """A proof that needs numbers fails where there are none."""
    try:
        return listed.holds(inputs, theirs, ours)
    except (TypeError, ArithmeticError):
        return False


def leaves(tree: Any, path: str) -> Iterator[tuple[str, Any]]:
    """(path, value) of everything a peer said; its error messages are no values."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            if key not in SAID_NOTHING:
                yield from leaves(value, f"{path}/{key}" if path else key)
    elif isinstance(tree, list):
        for place, value in enumerate(tree):
            yield from leaves(value, f"{path}/{place}")
    elif not isinstance(tree, str) or tree.strip("-") == "Infinity":
        yield path, tree


def found(tree: Any, path: str) -> Any:
    """Ours at the same path; None where something above it is None, ABSENT where it was never given."""
    for key in path.split("/"):
        if tree is None:
            return None
        if isinstance(tree, Mapping):
            if key not in tree:
                return ABSENT
            tree = tree[key]
        elif isinstance(tree, list | tuple) and key.isdigit() and int(key) < len(tree):
            tree = tree[int(key)]
        else:
            return ABSENT
    return tree


def same(ours: Any, theirs: Any, tolerance: Tolerance) -> bool:
    """Null, NaN and infinity are one: no number. Booleans and numbers compare by value."""
    mine, his = as_number(ours), as_number(theirs)
    if mine is None or his is None:
        return mine is None and his is None and not isinstance(ours, str)
    return abs(mine - his) <= tolerance.rel * abs(his) + tolerance.floor


def as_number(value: Any) -> float | None:
    """A finite float, or None."""
    if value is None or isinstance(value, Absent):
        return None
    if isinstance(value, str):
        return None
    number = float(value)
    return number if math.isfinite(number) else None
