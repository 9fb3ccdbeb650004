"""Many bots, real processes, and something that breaks all the time: afterwards the books agree.

The short version does what fits into a minute. `make chaos` runs 200 faults by a seed that it prints
(ABCTL_TEST_CHAOS=long, ABCTL_TEST_CHAOS_FAULTS, ABCTL_TEST_CHAOS_SEED).
"""

import os
import sys
import time

import pytest
from harness.faults import LONG, ON_POSTGRES, ON_SQLITE, SHORT, plan
from harness.run import chaos
from harness.site import last_lines, postgres_site, sqlite_site

IS_LONG = os.environ.get("ABCTL_TEST_CHAOS") == "long"
SEED = int(os.environ.get("ABCTL_TEST_CHAOS_SEED", str(int(time.time())) if IS_LONG else "1"))
FAULTS = int(os.environ.get("ABCTL_TEST_CHAOS_FAULTS", "200"))
pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are looked up in /proc"),
    pytest.mark.timeout(60 * 60 if IS_LONG else 180),
]


def check(site, folder, kinds, share):
    """Runs the plan; what it found is printed, and nothing of it may be wrong."""
    count, spans = (round(FAULTS * share), LONG) if IS_LONG else (len(kinds) + 4, SHORT)
    faults = plan(kinds, count, SEED, spans)
    try:
        result = chaos(site, folder, faults, SEED)
    except BaseException:
        print(last_lines(site))
        raise
    print(f"\nseed {SEED}\n{result.text()}")
    assert result.findings.wrong == {}, result.findings.text()
    counts = result.findings.counts
    assert counts["decisions_answered"] > 5 * len(faults)
    assert counts["outcomes_taken"] > len(faults)
    assert counts["conflicts_in_sql"] > 0


def test_sqlite_and_the_private_valkey(tmp_path):
    with sqlite_site() as site:
        check(site, tmp_path, ON_SQLITE, 0.4)


def test_postgresql_and_redis_behind_a_bad_network(tmp_path):
    with postgres_site(SEED) as site:
        check(site, tmp_path, ON_POSTGRES, 0.6)
