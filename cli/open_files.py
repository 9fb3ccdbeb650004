"""How many connections this process may hold: as many as asked for, or as the limit of open files leaves."""

import resource

CONNECTIONS = 4096
_OTHER_FILES = 512  # journals, SQL, Redis, models


def room_for_connections(wanted: int) -> int:
    """Raises the soft limit of open files as far as needed and allowed; returns how many connections fit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else max(1, min(wanted, soft - _OTHER_FILES))
