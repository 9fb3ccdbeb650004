"""The names of Redis keys. Each carries the experiment as a hash tag, so one experiment lives in one slot."""


def stream(experiment: str) -> str:
    """Shipments on their way to SQL."""
    return f"abctl:{{{experiment}}}:shipments"


def binding(experiment: str, unit: str) -> str:
    """The start at which a unit without `started_at` was first seen."""
    return f"abctl:{{{experiment}}}:start:{unit}"


def live(experiment: str) -> str:
    """Counters of what reached SQL."""
    return f"abctl:{{{experiment}}}:live"


def changed(experiment: str) -> str:
    """The channel that hints at a changed split."""
    return f"abctl:{{{experiment}}}:changed"


def leader(experiment: str, role: str) -> str:
    """The lock of the one process that plays a role for an experiment."""
    return f"abctl:{{{experiment}}}:leader:{role}"
