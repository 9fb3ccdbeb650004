"""Makes and revokes API keys on SQL itself."""

import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cli.failures import Refused, Unavailable
from cli.finding import actor
from store.clock import wall_clock_us
from store.tokens import ID_BYTES, SECRET_BYTES, digest_of, id_of, pepper_id, token_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from cli.settings import Settings
    from store.api_keys import ApiKey


def made(
    settings: "Settings", name: str, scopes: Sequence[str], experiment: str | None
) -> "tuple[ApiKey, str, bool]":
    """A new key as stored, the key itself, and whether it is the first."""
    from cli.database import writing
    from store import api_keys, experiments
    from store.pepper import pepper_of

    named, wanted = api_keys.checked_name(name), api_keys.checked_scopes(scopes)
    with writing(settings) as engine:
        place = settings.place if settings.key_pepper else settings.place.prepare()
        pepper = pepper_of(settings.key_pepper, place)
        with engine.connect() as connection:
            if experiment is not None:
                experiments.get(connection, experiment)
            is_first = not _check_pepper(connection, pepper_id(pepper))
        token = token_of(secrets.token_bytes(ID_BYTES + SECRET_BYTES))
        key = api_keys.ApiKey(
            id=id_of(token.encode()).decode(),
            name=named,
            scopes=wanted,
            experiment=experiment,
            pepper=pepper_id(pepper),
            digest=digest_of(pepper, token.encode()),
            created_at_us=wall_clock_us(),
            created_by=actor(),
        )
        api_keys.create(engine, key)
    return key, token, is_first


def _check_pepper(connection: "Connection", mine: str) -> int:
    """How many keys there are; Refused where services take keys of another pepper than ours."""
    from store import api_keys

    keys = api_keys.every(connection)
    if any(key.pepper != mine for key in keys if key.revoked_at_us is None):
        raise Refused(
            "the keys of this database are of another pepper than this data directory's, and no service takes"
            " both: set ABCTL_KEY_PEPPER as where they were made, or revoke them first"
        )
    return len(keys)


def revoked(settings: "Settings", name: str, reason: str) -> bool:
    """Ends a key on this node at once and in SQL; False where it had ended before.

    Unavailable where SQL does not answer: then this node refuses the key, and its service tells SQL later.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from cli.database import writing
    from store import api_keys, revocations
    from store.errors import StoreUnavailable

    said = revocations.Revocation(name, wall_clock_us(), actor(), reason)
    place = settings.place.prepare()
    revocations.announce(place, said)
    try:
        with writing(settings) as engine:
            revocations.settle(place, engine)  # or a worker was quicker: the moment says whose it is
            return api_keys.revoke(engine, name, said.at_us, said.actor, reason) == said.at_us
    except (SQLAlchemyError, StoreUnavailable) as error:
        raise Unavailable(
            f"key {name} is revoked on this node alone: SQL does not answer ({error}); its service tells SQL"
            " when it can. Other services take the key until then: run this beside each of them too"
        ) from error
