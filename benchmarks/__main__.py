"""`python -m benchmarks`: speed of every part beside its baselines, in one run.

docs/benchmarks.md explains each row.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import actor, backends, fairness, gpu, replay, sac, traffic, transport, weights
from benchmarks.comparison import run
from benchmarks.report import print_table, write_json

COMPARISONS = {
    comparison.name: comparison
    for module in (sac, backends, gpu, transport, fairness, replay, traffic, actor, weights)
    for comparison in module.COMPARISONS
}


def main(argv: Sequence[str]) -> None:
    """Run the comparisons and print the table; a missed target is a finding, not a failure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--rows", nargs="+", choices=COMPARISONS, default=list(COMPARISONS), help="only these"
    )
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each side")
    parser.add_argument("--json", type=Path, help="file to write every figure into")
    options = parser.parse_args(argv)
    outcomes = []
    for name in options.rows:
        outcomes.append(run(COMPARISONS[name], options.rounds, lambda line: print(line, file=sys.stderr)))
    print_table(outcomes)
    if options.json is not None:
        write_json(options.json, outcomes, options.rounds)


if __name__ == "__main__":
    main(sys.argv[1:])
