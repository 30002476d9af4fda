"""A process that holds one side of a comparison ready and measures it when it is asked to.

The parent writes a line, the child answers with one JSON object of figures. Idle workers sleep, so sides that
take turns do not disturb each other, and no library's threads outlive its own process.
"""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from benchmarks.workload import UnavailableError

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class WorkerProcess:
    """The parent's end of a worker.

    Args:
        factory: "module:function", see `benchmarks.comparison.Worker`.
        arguments: of the factory.
        environment: more variables for the process.
        cores: it and its children are pinned to these; libraries get a thread for each.
    """

    def __init__(
        self, factory: str, arguments: Mapping[str, Any], environment: Mapping[str, str], cores: Sequence[int]
    ) -> None:
        self._factory = factory
        threads = dict.fromkeys(ONE_THREAD, str(len(cores)))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", factory, json.dumps(arguments), json.dumps(cores)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **threads, **environment},
        )

    def wait_until_ready(self) -> str | None:
        """Wait for the first answer; return why this side cannot be measured, None when it can."""
        return self._answer().get("unavailable")

    def measure(self) -> dict[str, float]:
        """Measure once and return the figures."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End the process in peace."""
        self._process.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._factory} ended with status {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def main(factory: str, arguments: str, cores: str) -> None:
    """Be the child: make the side ready, then measure at every line until there are no more."""
    os.sched_setaffinity(0, json.loads(cores))  # before anything counts the cores
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no answer
    module, name = factory.split(":")
    with ExitStack() as stack:
        try:
            measure = stack.enter_context(
                getattr(importlib.import_module(module), name)(**json.loads(arguments))
            )
        except (ModuleNotFoundError, UnavailableError) as error:
            print(json.dumps({"unavailable": str(error)}), file=answers)
            return
        print("{}", file=answers)
        for _ in sys.stdin:
            print(json.dumps(measure()), file=answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
