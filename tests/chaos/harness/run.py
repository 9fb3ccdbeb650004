"""One run: bots, faults, and afterwards the books."""

import logging
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.books import Findings, reconcile
from harness.diary import Diary, read_diaries
from harness.faults import Fault, summary
from harness.injector import Injector, splitting
from harness.servers import wait_until
from harness.site import Site
from harness.sql_rows import read_sql

BOTS = 24
SPLIT_EVERY_S = 3.0
SETTLED_TIMEOUT_S = 60.0
_HERE = Path(__file__).resolve().parent.parent
_LOG = logging.getLogger("chaos")


@dataclass(frozen=True, slots=True)
class Result:
    """What a run found. settled_s: from the last fault's end until SQL held everything."""

    findings: Findings
    faults: Sequence[Fault]
    took_s: float
    settled_s: float
    worst_wait_s: float
    slowest_s: dict[str, float]
    splits: int
    refused: dict[str, int]

    def text(self) -> str:
        """The summary that `make chaos` prints."""
        counts = self.findings.counts
        slow = sorted(self.slowest_s.items(), key=lambda item: -item[1])[:5]
        lines = [
            f"in {self.took_s:.0f} s {summary(self.faults)}",
            f"split changed {self.splits} times; given up by bots: {self.refused or 'nothing'}",
            ", ".join(f"{name} {value:,}" for name, value in counts.items()),
            f"worst wait of a bot {self.worst_wait_s:.1f} s",
            f"all in SQL {self.settled_s:.1f} s after the last fault",
            "slowest to answer again: " + ", ".join(f"{kind} {s:.1f} s" for kind, s in slow),
            self.findings.text(),
        ]
        return "\n".join(lines)


@contextmanager
def trading(site: Site, folder: Path, seed: int) -> Iterator[None]:
    """Bots in a process of their own, for as long as this lasts."""
    words = [sys.executable, "-P", "-m", "harness.bots", str(folder), site.url, str(BOTS), str(seed)]
    environment = os.environ | {"PYTHONPATH": str(_HERE)}
    with (folder / "bots.log").open("wb") as log:
        bots = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment)
        try:
            yield
            assert bots.stdin is not None
            bots.stdin.close()
            code = bots.wait(60)
        finally:
            bots.kill()
            bots.wait()
    assert code == 0, f"the bots failed: {(folder / 'bots.log').read_text()[-2000:]}"


def chaos(site: Site, folder: Path, faults: Sequence[Fault], seed: int) -> Result:
    """Runs the plan against a started site and compares the books. folder: for the diaries, empty."""
    assert site.send("PUT", "/v1/experiments/main/split", {"arm": "transformer", "share": "0.5"})[0] == 200
    began_s = time.monotonic()
    with (
        closing(Diary(folder / "injector.diary")) as diary,
        splitting(site, random.Random(f"splits {seed}"), SPLIT_EVERY_S) as statuses,
    ):
        injector = Injector(site, diary, random.Random(f"injector {seed}"))
        with trading(site, folder, seed):
            injector.run(list(faults))
            ended_s = time.monotonic()
        behind = still_behind(site)
    settled_s = time.monotonic() - ended_s
    diaries = read_diaries(folder)
    findings = reconcile(diaries, read_sql(site.sql_url))
    findings.wrong.update(behind)
    took_s = ended_s - began_s
    splits = sum(status == 200 for status in statuses)
    return Result(
        findings, faults, took_s, settled_s, diaries.worst_wait_s, injector.slowest_s, splits, diaries.refused
    )


def still_behind(site: Site) -> dict[str, list[str]]:
    """Empty once `abctl status` says that everything is in SQL; what is wrong where that takes too long."""
    try:
        wait_until(lambda: site.lag_bytes() == 0, SETTLED_TIMEOUT_S, "everything in SQL", 0.2)
    except TimeoutError as error:
        return {"SQL is behind": [f"{error}; {site.lag_bytes():,} bytes are missing"]}
    return {}
