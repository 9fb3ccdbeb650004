"""API keys as text, `abctl_ID_SECRET`, and the keyed digest that is kept instead of the secret.

The secret has 256 random bits, so nothing is gained by a slow hash: nobody can try them all. The digest is
keyed by a pepper that SQL does not hold: who reads SQL can check no guess, and who writes it can make no key.
"""

from hashlib import blake2b

ID_BYTES = 8
SECRET_BYTES = 32
_PREFIX = "abctl_"
_ID = slice(len(_PREFIX), len(_PREFIX) + 2 * ID_BYTES)
TOKEN_CHARACTERS = len(_PREFIX) + 2 * ID_BYTES + 1 + 2 * SECRET_BYTES


def token_of(random: bytes) -> str:
    """The key made of 40 random bytes: 8 name it in lists, 32 are the secret."""
    if len(random) != ID_BYTES + SECRET_BYTES:
        raise ValueError(f"{len(random)} random bytes cannot make a key: give {ID_BYTES + SECRET_BYTES}")
    return f"{_PREFIX}{random[:ID_BYTES].hex()}_{random[ID_BYTES:].hex()}"


def id_of(token: bytes) -> bytes:
    """The public part of a key; some other bytes where it is none."""
    return token[_ID]


def digest_of(pepper: bytes, token: bytes) -> bytes:
    """32 bytes that only who has the pepper (at most 64 bytes) can make of a key."""
    return blake2b(token, key=pepper, digest_size=32, person=b"abctl api key").digest()


def pepper_id(pepper: bytes) -> str:
    """Tells peppers apart, and nothing of what they are."""
    return blake2b(key=pepper, digest_size=8, person=b"abctl pepper id").hexdigest()
