"""`python -m benchmarks`: everything that is fast here beside what it is compared with, in one go.

docs/benchmarks.md explains each row.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import actor, fairness, gpu, replay, sac, traffic, transport, weights
from benchmarks.contest import hold
from benchmarks.report import print_table, write_json

CONTESTS = {
    contest.name: contest
    for module in (sac, gpu, transport, fairness, replay, traffic, actor, weights)
    for contest in module.CONTESTS
}


def main(argv: Sequence[str]) -> None:
    """Hold the contests and print the table; a missed target is a finding, not a failure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", choices=CONTESTS, default=list(CONTESTS), help="only these")
    parser.add_argument("--turns", type=int, default=5, help="turns of each side")
    parser.add_argument("--json", type=Path, help="file to write every figure into")
    options = parser.parse_args(argv)
    outcomes = []
    for name in options.rows:
        outcomes.append(hold(CONTESTS[name], options.turns, lambda line: print(line, file=sys.stderr)))
    print_table(outcomes)
    if options.json is not None:
        write_json(options.json, outcomes, options.turns)


if __name__ == "__main__":
    main(sys.argv[1:])
