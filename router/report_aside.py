"""Lets a process of its own draw a report's page, so that no worker loads matplotlib or waits for it."""

import os
import subprocess
import sys
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec

from router.problems import Problem

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""The page's Content-Security-Policy: nothing is run, nothing is fetched."""
_PATIENCE_S = 60.0
_ONE_AT_A_TIME = Lock()


def page_aside(report: dict[str, Any], data_dir: Path) -> bytes:
    """The page. data_dir: keeps matplotlib's list of fonts. Raises Problem where it cannot be drawn."""
    command = [sys.executable, "-P", "-m", "router.report_html"]
    environment = os.environ | {"MPLCONFIGDIR": str(data_dir / "matplotlib")}
    with _ONE_AT_A_TIME:
        try:
            drawn = subprocess.run(  # noqa: S603 - ourselves
                command,
                input=msgspec.json.encode(report),
                env=environment,
                capture_output=True,
                timeout=_PATIENCE_S,
                check=True,
            )
        except subprocess.TimeoutExpired as error:
            detail = f"the page was not drawn within {_PATIENCE_S:.0f} s: ask again, or for format=json"
            raise Problem(503, "page_not_drawn", detail, retry_after_s=10) from error
    return drawn.stdout
