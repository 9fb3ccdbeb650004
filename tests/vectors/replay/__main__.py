"""Prints a row per method, why differences are no failures, and exits 1 on one that is."""

import sys
from pathlib import Path

from replay.run import explanations, failures, replayed, table

if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit("give a folder of vectors that exists: make vectors DIR=../shared/vectors/stats")
    rows = replayed(Path(sys.argv[1]))
    print(table(rows))
    print(explanations(rows))
    wrong = failures(rows)
    if wrong:
        print(f"\n{wrong}")
        sys.exit(1)
