"""Profiles of a learner and an actor during training, as a table of functions.

    python -m benchmarks.profiles --out docs/results

Starts a learner and an actor on Grasp-v0 with its own preset, each on a core of its own, lets both get warm
and samples their Python stacks with py-spy (extra `bench`). Writes `profile-learner.txt` and
`profile-actor.txt`: the share of the samples in each function itself, and with all that it calls.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from benchmarks.learner import DEADLINE_S, LearnerProcess
from graspfleet.children import Child, end
from graspfleet.common.settings.section import flag

WARM_UPDATES = 2000
RATE_HZ = 200
MAX_SHOWN = 25


def sample(pid: int, seconds: int, raw: Path) -> "subprocess.Popen[bytes]":
    """Start sampling the stacks of a process; one line a stack, outermost function first."""
    py_spy = shutil.which("py-spy", path=Path(sys.executable).parent) or "py-spy"
    words = ["record", "--pid", str(pid), "--duration", str(seconds), "--rate", str(RATE_HZ)]
    how = ["--function", "--format", "raw", "--output", str(raw)]
    return subprocess.Popen([py_spy, *words, *how], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def table(stacks: Iterable[str]) -> str:
    """Return the functions with the most samples of a process's main thread."""
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for line in stacks:
        stack, count = line.rsplit(" ", 1)
        functions = stack.split(";")
        if not functions[0].startswith("_run_module_as_main"):
            continue  # a library's thread
        own[functions[-1]] += int(count)
        for function in set(functions):
            whole[function] += int(count)
    total = max(1, own.total())
    rows = [f"{'itself':>7} {'in all':>7}  function ({total} samples at {RATE_HZ} Hz)"]
    for function, count in sorted(whole.items(), key=lambda item: (-own[item[0]], -item[1]))[:MAX_SHOWN]:
        rows.append(f"{own[function] / total:7.1%} {count / total:7.1%}  {function}")
    return "\n".join(rows) + "\n"


def main() -> None:
    """Train, sample, write both tables."""
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--seconds", type=int, default=20, help="of sampling")
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    options = parser.parse_args()
    learner_core, *_, actor_core = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        learner = LearnerProcess(Path(folder))
        os.sched_setaffinity(learner.pid, {learner_core})
        where = [word for name, port in learner.ports.items() for word in (flag(name), str(port))]
        actor = Child("actor", ["graspfleet.actor", "--actor-id", "profiled", *where], learner.run.logs)
        os.sched_setaffinity(actor.pid, {actor_core})
        try:
            deadline_s = time.monotonic() + DEADLINE_S
            while learner.newest_row().get("updates", 0) < WARM_UPDATES and time.monotonic() < deadline_s:
                time.sleep(0.1)
            sampled = {"learner": learner.pid, "actor": actor.pid}
            raw = {name: Path(folder) / f"{name}.raw" for name in sampled}
            for spy in [sample(pid, options.seconds, raw[name]) for name, pid in sampled.items()]:
                spy.wait()
        finally:
            end([actor], DEADLINE_S)
            learner.close()
        for name, path in raw.items():
            text = table(path.read_text().splitlines())
            (options.out / f"profile-{name}.txt").write_text(text)
            print(f"{name}\n{text}")


if __name__ == "__main__":
    main()
