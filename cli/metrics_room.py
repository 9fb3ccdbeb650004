"""Takes the room of a process' metrics before it counts: a mapped file takes its blocks where they are first
touched, and on a full disk that ends the process by a signal, in the middle of its work.
"""

import logging
import os
from pathlib import Path

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
KINDS = ("counter", "histogram", "gauge_mostrecent")
ROOM_BYTES = 1 << 18
"""Of each kind: some 2,000 values, more than there are; beyond, prometheus_client doubles it unasked."""
_LOG = logging.getLogger("abctl.metrics")


def share_metrics(folder: Path) -> bool:
    """Lets this process count where every worker's `/metrics` finds it: before `router.metrics` is imported.
    Where there is no room it counts for itself alone, and says so.
    """
    paths = [folder / f"{kind}_{os.getpid()}.db" for kind in KINDS]
    try:
        for path in paths:
            with path.open("wb") as file:
                file.write(bytes(ROOM_BYTES))
    except OSError as error:
        for path in paths:
            path.unlink(missing_ok=True)
        said = "%s has no room for metrics (%s): this process' are in its own /metrics alone"
        _LOG.warning(said, folder, error)
        return False
    os.environ[VARIABLE] = str(folder)
    return True
