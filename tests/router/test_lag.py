"""How far SQL is behind: one process writes it, all others tell it."""

import os
import subprocess
import sys

WRITE = "import sys; from router import lag; [lag.note(int(each)) for each in sys.argv[1:]]"
READ = "import sys; from router import metrics; sys.stdout.write(metrics.exposition().decode())"


def python(script, folder, *words):
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", script, *words], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_the_newest_word_counts_whoever_said_it(tmp_path):
    """A shipper that died said something, too."""
    python(WRITE, tmp_path, "7000", "5000")
    python(WRITE, tmp_path, "12")
    said = python(READ, tmp_path).splitlines()
    assert [line for line in said if line.startswith("abctl_journal_bytes_not_in_sql")] == [
        "abctl_journal_bytes_not_in_sql 12.0"
    ]
