"""A table with other shares, all arms at once, in which no more buckets change hands than must. Pure."""

from collections.abc import Mapping

from router.assignment import BUCKETS, Range, Ranges, Table, millionths
from router.errors import BadTable
from router.splits import parted, repainted, size


def retiled(table: Table, wanted: Mapping[str, int], control: str) -> Ranges:
    """The ranges that give every arm its wanted buckets, of which there are 1,000,000.

    The control gives its lowest buckets and any other arm its highest; those who need them take them in the
    order of `wanted`, the lowest first. So with two arms an arm at share x has the buckets [0, x).
    """
    if sum(wanted.values()) != BUCKETS or min(wanted.values()) < 0:
        rule = f"must be whole buckets that add up to {BUCKETS}, not {sum(wanted.values())}"
        raise BadTable("wanted", rule, "make them with stats.bandit.gridded")
    owned = millionths(table.ranges)
    offered = sorted(
        (r for arm in owned for r in _given(table, arm, owned[arm] - wanted.get(arm, 0), control)),
        key=lambda r: r.start,
    )
    moves: list[Range] = []
    rest: Ranges = tuple(offered)
    for arm, count in wanted.items():
        first, rest = parted(rest, max(0, count - owned.get(arm, 0)))
        moves += [Range(arm, r.start, r.stop) for r in first]
    return repainted(table, tuple(moves))


def _given(table: Table, arm: str, count: int, control: str) -> Ranges:
    """The buckets that an arm has too many."""
    if count <= 0:
        return ()
    own = tuple(r for r in table.ranges if r.arm == arm)
    return parted(own, count)[0] if arm == control else parted(own, size(own) - count)[1]
