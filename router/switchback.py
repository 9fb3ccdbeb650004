"""Switchback assignment: the unit of the coin is a family's block of time, not a market. Pure.

For bots that move the market: what one arm buys changes what the other sees, so a whole family, or all of
them, gets one arm for a block, and the next block has a coin of its own. The coins are hashes, independent of
each other: no block of a balanced plan is the last one, whose arm its neighbours give away. The published
rule, with vectors, is `docs/assignment.md`, section 7.
"""

from router.assignment import Assigned, History, arm_at, bucket, in_force

US = 1_000_000


def block_start_us(at_us: int, block_s: int) -> int:
    """When the block of a time began: blocks are counted from the epoch, UTC, and their starts are even."""
    return at_us - at_us % (block_s * US)


def in_burn_in(at_us: int, block_s: int, burn_in_s: int) -> bool:
    """Whether a unit that starts then is left out, by its time alone: the block before may still act."""
    return at_us - block_start_us(at_us, block_s) < burn_in_s * US


def coin_of(family: str, start_us: int) -> str:
    """What is hashed in place of a unit: the family, and the block's start in seconds since the epoch."""
    return f"{family}@{start_us // US}"


def assign_block(history: History, family: str, at_us: int, block_s: int) -> Assigned:
    """The arm of all units of a family that start in the block of `at_us`.

    The version in force when the block began binds it, so no change of the split divides a block.
    """
    start_us = block_start_us(at_us, block_s)
    split = in_force(history, start_us)
    arm = arm_at(split.table, bucket(split.salt, coin_of(family, start_us)))
    return Assigned(arm=arm, split_version=split.version, weights=split.weights, eligible=True)
