"""What the check of an API key costs a decision: microseconds a request, for the headers that clients send.

python bench/key_check.py
"""

import secrets
import statistics
import time
from pathlib import Path

from router.door import Door
from router.keys import Keyring, keyring_of
from store.api_keys import ApiKey
from store.data_dir import DataDir
from store.sql import open_engine
from store.tokens import digest_of, id_of, pepper_id, token_of

KEYS = 1000
CHECKS, ROUNDS = 20_000, 7
LIMIT_US = 20.0
HEADERS = [
    (b"host", b"127.0.0.1:8711"),
    (b"accept", b"*/*"),
    (b"accept-encoding", b"gzip, deflate"),
    (b"user-agent", b"Python/3.11 aiohttp/3.14"),
    (b"content-length", b"3071"),
    (b"content-type", b"application/json"),
]


def main() -> None:
    """Prints one line a case; fails where the slowest takes more than LIMIT_US."""
    pepper = secrets.token_bytes(32)
    tokens = [token_of(secrets.token_bytes(40)) for _ in range(KEYS)]
    keyring = keyring_of([key_of(f"bot-{i}", token, pepper) for i, token in enumerate(tokens)], pepper)
    signed = [*HEADERS, (b"authorization", b"Bearer " + tokens[KEYS // 2].encode())]
    slowest = max(
        told("open, no keys", door_of(Keyring({}, 0), pepper), HEADERS),
        told(f"one of {KEYS:,} keys", door_of(keyring, pepper), signed),
    )
    if slowest > LIMIT_US:
        raise SystemExit(f"{slowest:.1f} us is more than {LIMIT_US:.0f} us")


def key_of(name: str, token: str, pepper: bytes) -> ApiKey:
    """A key as SQL holds it."""
    return ApiKey(
        id=id_of(token.encode()).decode(),
        name=name,
        scopes=("decide",),
        experiment=None,
        pepper=pepper_id(pepper),
        digest=digest_of(pepper, token.encode()),
        created_at_us=0,
        created_by="bench",
    )


def door_of(keyring: Keyring, pepper: bytes) -> Door:
    """A worker's door that nobody keeps current."""
    return Door(open_engine("sqlite://"), DataDir(Path()), pepper, lambda: 0, True, keyring, 0)


def told(case: str, door: Door, headers: list[tuple[bytes, bytes]]) -> float:
    """Prints and returns the median of the rounds, in microseconds."""
    rounds = [timed_us(door, headers) for _ in range(ROUNDS)]
    median = statistics.median(rounds)
    print(f"{case:20} {median:5.2f} us a check (best {min(rounds):.2f}, worst {max(rounds):.2f})")
    return median


def timed_us(door: Door, headers: list[tuple[bytes, bytes]]) -> float:
    """Microseconds a check."""
    began_ns = time.perf_counter_ns()
    for _ in range(CHECKS):
        door.admit(headers, "decide")
    return (time.perf_counter_ns() - began_ns) / CHECKS / 1000


if __name__ == "__main__":
    main()
