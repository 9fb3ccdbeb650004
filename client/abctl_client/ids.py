"""Decision ids: made by the client, so that a decision sent twice is one decision."""

RANDOM_BYTES = 10


def decision_id(now_ms: int, random: bytes) -> str:
    """32 hex digits that sort by time: 48 bits of milliseconds since the epoch, then 80 random bits."""
    return f"{now_ms & 0xFFFF_FFFF_FFFF:012x}{random[:RANDOM_BYTES].hex()}"
