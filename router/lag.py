"""How far SQL is behind a node's journals, for `/metrics`: the shipper writes it, any worker reads it."""

from prometheus_client import Gauge

_BYTES = Gauge(
    "abctl_journal_bytes_not_in_sql",
    "Bytes in the journals that SQL does not hold yet; all that they hold while SQL does not answer.",
    multiprocess_mode="mostrecent",
)


def note(lag_bytes: int) -> None:
    """What it is now."""
    _BYTES.set(lag_bytes)
