"""`graspfleet train`: one learner, N actors and one evaluator on this machine, watched until the end."""

import json
import os
import signal
import sys
import time

from common.children import POLL_S, Child, end
from common.errors import ConfigError
from common.flags import TrainFlags, dump_yaml, parse
from common.messages import Status
from common.panel import Panel
from common.run_directory import Endpoints, claim_run, write_atomically
from common.security import actor_keys
from common.statistics import describe
from common.status import audit, read_status
from common.stopping import StopSignal
from common.transport import ControlSubscriber

LEAVE_S = 5.0
"""Beyond `--linger-s`, a leaving process gets so long before it is killed."""
SAVE_S = 30.0
"""A leaving learner gets so long to save."""


class Launch:
    """One training run on this machine.

    Args:
        flags: settings of all its processes.

    Raises:
        ConfigError: the run directory cannot be used.
    """

    def __init__(self, flags: TrainFlags) -> None:
        self._flags = flags
        self.run = claim_run(flags.run, flags.env.env_id)
        # A run's own settings are replaced only once they have proven themselves; see `_watch`.
        self._settings = self.run.logs / "settings.yaml"
        for path in (self._settings, *([] if flags.run.resume else [self.run.config])):
            write_atomically(path, dump_yaml(flags).encode())
        self.run.unlock()  # the learner claims it from here on
        self._actors: list[Child] = []
        self._learner: Child | None = None
        self._evaluator: Child | None = None
        self._restarts = 0
        self._given_up: set[str] = set()
        self._started_s = time.monotonic()

    def train(self, stop: StopSignal) -> int:
        """Run until the learner is done or until told to stop; return the exit status."""
        panel = Panel(self._flags.learner.total_env_steps, self.run.path)
        try:
            with panel:
                endpoints = self._start_learner(stop)
                if endpoints is not None:
                    self._start_actors(endpoints)
                    self._watch(endpoints, panel, stop)
        finally:
            end([*self._actors, *filter(None, [self._evaluator])], self._flags.transport.linger_s + LEAVE_S)
            end(filter(None, [self._learner]), SAVE_S)
        status = None if self._learner is None else self._learner.status
        if self._given_up and not stop.is_set() and self._given_up >= {actor.name for actor in self._actors}:
            print("every actor died too often; the run is saved", file=sys.stderr)
            return 1
        # A learner told to leave before it has taken over the signals ends by them, with nothing to save.
        if status in (None, 0) or (stop.is_set() and status == -signal.SIGTERM):
            return self._conclude(stop)
        assert self._learner is not None
        if status == 2:
            raise ConfigError(self._learner.last_words())
        print(self._learner.reason(), file=sys.stderr)
        return 1

    def _start_learner(self, stop: StopSignal) -> Endpoints | None:
        """Start the learner; return where it listens, or None if it ended before it did."""
        self.run.endpoints.unlink(missing_ok=True)
        where = "--resume" if self._flags.run.resume else "--run-dir"
        command = ["learner", "--config", str(self._settings), where, str(self.run.path)]
        self._learner = Child("learner", command, self.run.logs)
        while not (stop.is_set() or self.run.endpoints.exists()):
            if self._learner.status is not None:
                return None
            time.sleep(POLL_S)
        return None if stop.is_set() else self.run.read_endpoints()

    def _start_actors(self, endpoints: Endpoints) -> None:
        count = self._flags.launch.actors or max(1, (os.cpu_count() or 1) - 1)
        for index in range(count):
            words = ["actor", *self._words(endpoints), "--actor-id", f"{self._prefix() or 'actor-'}{index}"]
            self._actors.append(Child(f"actor-{index}", words, self.run.logs))

    def _start_evaluator(self, endpoints: Endpoints) -> None:
        words = ["common.cli", "evaluator", *self._words(endpoints)]
        words += ["--actor-id", f"{self._prefix()}evaluator"]
        self._evaluator = Child("evaluator", words, self.run.logs)

    def _words(self, endpoints: Endpoints) -> list[str]:
        """Return what tells a child where the learner is."""
        words = ["--config", str(self._settings), "--learner", endpoints.local_host]
        for name in ("experience", "weights", "control"):
            words += [f"--{name}-port", str(getattr(endpoints, f"{name}_port"))]
        return words

    def _prefix(self) -> str:
        """Return how ids begin here: a key may only use those that begin with its name."""
        keys = actor_keys(self._flags.transport)
        return "" if keys is None else f"{keys.name}-"

    def _watch(self, endpoints: Endpoints, panel: Panel, stop: StopSignal) -> None:
        """Show the learner's status and replace the dead until the learner ends."""
        assert self._learner is not None
        with ControlSubscriber(self._flags.transport) as control:
            control.connect(endpoints.local_host, endpoints.control_port)
            status: Status | None = None
            while not stop.is_set() and self._learner.status is None:
                if control.wait(0.2) and (news := read_status(control)) is not None:
                    if status is None:
                        write_atomically(self.run.config, self._settings.read_bytes())
                    status = news
                    if self._evaluator is None and status.state == "running":
                        self._start_evaluator(endpoints)  # not before, for the others start faster without it
                panel.show(status, self._restarts)
                if status is None or status.state in ("waiting", "running"):
                    self._replace_the_dead(panel)
                    if all(actor.status is not None for actor in self._actors):
                        return  # every actor has left (--max-episodes) or died too often

    def _replace_the_dead(self, panel: Panel) -> None:
        """Start dead actors and evaluators again, up to `--max-restarts` in all.

        Raises:
            ConfigError: one says that the user's settings are wrong.
        """
        for child in [*self._actors, *filter(None, [self._evaluator])]:
            if child.status in (None, 0):
                continue
            if child.status == 2:
                raise ConfigError(child.last_words())
            if self._restarts >= self._flags.launch.max_restarts:
                if child.name not in self._given_up:
                    self._given_up.add(child.name)
                    panel.say(f"not started again (--max-restarts {self._restarts}): {child.reason()}")
                continue
            self._restarts += 1
            panel.say(f"restart {self._restarts} of {self._flags.launch.max_restarts}: {child.reason()}")
            successor = Child(child.name, child.command, self.run.logs)
            if child is self._evaluator:
                self._evaluator = successor
            else:
                self._actors[self._actors.index(child)] = successor

    def _conclude(self, stop: StopSignal) -> int:
        """Evaluate the best policy, draw the curve, and say where everything lies."""
        wall_s = time.monotonic() - self._started_s
        if not self.run.journal.exists():
            print("stopped before the first transition")
            return 0
        print(f"audit: {audit(self.run)}")
        if stop.is_set():
            print(f"stopped and saved; go on with: graspfleet train --resume {self.run.path}")
            return 0
        episodes = self._flags.launch.final_episodes
        if episodes and self.run.policy("last").exists():
            print(f"trained in {wall_s:.0f} s; now {episodes} episodes on fresh seeds", flush=True)
            command = ["common.cli", "evaluate", str(self.run.path), "--episodes", str(episodes), "--json"]
            summary = self._run_aside("evaluation", command, stop)
            if summary is not None:
                write_atomically(self.run.evaluation, summary.encode())
                print(describe(json.loads(summary)))
        self._run_aside("curve", ["learner.curve", str(self.run.path)], stop)
        print(f"done after {time.monotonic() - self._started_s:.0f} s; written:")
        for path in sorted(self.run.path.iterdir()):
            print(f"  {path}")
        return 0

    def _run_aside(self, name: str, command: list[str], stop: StopSignal) -> str | None:
        """Run a child to its end and return its last line; None when it failed or was stopped."""
        child = Child(name, command, self.run.logs)
        while child.status is None and not stop.is_set():
            time.sleep(POLL_S)
        end([child], LEAVE_S)
        if child.status == 0 and not stop.is_set():
            return child.last_words()
        if not stop.is_set():
            print(child.reason())
        return None


def main(argv: list[str]) -> int:
    """Run the command; return its exit status."""
    flags = parse(TrainFlags, argv, prog="graspfleet train")
    stop = StopSignal().install()
    return Launch(flags).train(stop)
