"""The names of Redis keys. Each carries the experiment as a hash tag, so one experiment lives in one slot."""


def stream(experiment: str) -> str:
    """Shipments on their way to SQL."""
    return f"abctl:{{{experiment}}}:shipments"


def binding(experiment: str, unit: str) -> str:
    """The start at which a unit without `started_at` was first seen."""
    return f"abctl:{{{experiment}}}:start:{unit}"


def leader(experiment: str, role: str) -> str:
    """The lock of the one process that plays a role for an experiment."""
    return f"abctl:{{{experiment}}}:leader:{role}"
