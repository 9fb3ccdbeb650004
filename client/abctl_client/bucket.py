"""The bucket rule, as every client in any language has it: the specification is `docs/assignment.md`."""

from hashlib import blake2b

BUCKETS = 1_000_000


def bucket(salt: str, unit: str) -> int:
    """A unit's bucket in [0, 1_000_000) under the salt of an experiment's coin."""
    digest = blake2b(f"{salt}:{unit}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") * BUCKETS) >> 64


def block_coin(family: str, started_at_us: int, block_s: int) -> str:
    """What a switchback experiment hashes in place of the unit: its family's block (empty: everybody's)."""
    return f"{family}@{started_at_us // 1_000_000 // block_s * block_s}"
