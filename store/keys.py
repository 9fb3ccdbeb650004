"""The names of Redis keys. Each carries the experiment as a hash tag, so one experiment lives in one slot."""


def stream(experiment: str) -> str:
    """Shipments on their way to SQL."""
    return f"abctl:{{{experiment}}}:shipments"


def binding(experiment: str, unit: str) -> str:
    """The start of a unit that binds: the first that any process was sent, or when one first saw it."""
    return f"abctl:{{{experiment}}}:start:{unit}"


def leader(experiment: str, role: str) -> str:
    """The lock of the one process that plays a role for an experiment."""
    return f"abctl:{{{experiment}}}:leader:{role}"


def vouched(experiment: str) -> str:
    """The run of the server of which somebody vouches that it remembers every start; it expires soon."""
    return f"abctl:{{{experiment}}}:vouched"


def remembering(experiment: str) -> str:
    """The run of the Redis server that got every start back from SQL."""
    return f"abctl:{{{experiment}}}:remembering"


def life(experiment: str, unit: str, bot: str, setting: int) -> str:
    """A shadow arm's paper life under a setting. Lengths tell apart what names alone might not."""
    return f"abctl:{{{experiment}}}:life:{setting}:{len(unit)}:{unit}:{bot}"
