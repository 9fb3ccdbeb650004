"""Who may call a service: this machine alone while there are no API keys, else who has one."""

import ipaddress
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cli.failures import Refused

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from store.api_keys import ApiKey

MAKE_ONE = "abctl key create ops --scope admin"


def is_local(listener: socket.socket) -> bool:
    """Whether only this machine can reach a listener."""
    return ipaddress.ip_address(str(listener.getsockname()[0]).partition("%")[0]).is_loopback


def checked(listener: socket.socket, engine: "Engine", pepper: bytes) -> str:
    """What to say of the keys at a start; Refused where strangers could call and nobody has a key."""
    from router.door import read_keyring

    keyring = read_keyring(engine, pepper)
    if keyring.strangers:
        other = f"{keyring.strangers} API keys are of another pepper and open nothing here"
        remedy = "set ABCTL_KEY_PEPPER as where they were made"
    else:
        other, remedy = "there is no API key", f"make one first ({MAKE_ONE})"
    if not is_local(listener) and not keyring.active:
        address = listener.getsockname()[0]
        raise Refused(
            f"host {address} can be reached from elsewhere, and {other}: {remedy}, or use 127.0.0.1"
        )
    if keyring.is_empty:
        return OPEN
    return f"{other}: {remedy}" if keyring.strangers else ""


OPEN = (
    "OPEN: there are no API keys. Every program on this machine may decide, record, and change splits;"
    f" close it: {MAKE_ONE}"
)


def told(keys: Sequence["ApiKey"]) -> str:
    """The keys in one line."""
    active = sum(key.revoked_at_us is None for key in keys)
    return f"{active} in force, {len(keys) - active} revoked" if keys else OPEN
