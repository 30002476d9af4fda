"""`graspfleet train`: one learner, N actors and one evaluator on this machine, watched until the end."""

import importlib
import json
import os
import sys
import time
from functools import partial

from common.children import POLL_S, Child, end
from common.config import flag
from common.errors import ConfigError, DivergedError, StorageError
from common.evaluation.statistics import describe
from common.flags import TrainFlags, parse
from common.messages import Status
from common.net.control import ControlSubscriber
from common.net.security import actor_keys
from common.panel import Panel
from common.runtime.files import write_atomically
from common.runtime.run_directory import Endpoints, claim_run
from common.runtime.signals import StopSignal
from common.settings import PendingSettings
from common.status import audit, read_status
from common.supervisor import Supervisor

LEAVE_S = 5.0
"""Beyond `--linger-s`, a leaving process gets so long before it is killed."""
SAVE_S = 30.0
"""A leaving learner gets so long to save."""
LEARNER, EVALUATOR = "learner", "evaluator"


class Launch:
    """One training run on this machine.

    Args:
        flags: settings of all its processes.

    Raises:
        ConfigError: the run directory cannot be used.
        StorageError: the settings cannot be written there.
    """

    def __init__(self, flags: TrainFlags) -> None:
        self._flags = flags
        self.run = claim_run(flags.run, flags.env.env_id)  # until this process ends; the learner shares it
        self._settings = PendingSettings(self.run, flags)
        self._panel = Panel(flags.learner.total_env_steps, self.run.path)
        self._children = Supervisor(flags.launch.max_restarts, self._panel.say)
        self._actors: list[str] = []
        self._started_s = time.monotonic()

    def train(self, stop: StopSignal) -> int:
        """Run until the learner is done or until told to stop; return the exit status."""
        try:
            with self._panel:
                endpoints = self._start_learner(stop)
                if endpoints is not None:
                    self._start_actors(endpoints)
                    self._watch(endpoints, stop)
        except ConfigError:
            if self._children.restarts:  # it was no mistake in the beginning
                self._say_how_to_go_on()
            raise
        finally:
            children = self._children.children()
            end([child for child in children if child.name != LEARNER], self._linger_s + LEAVE_S)
            end([child for child in children if child.name == LEARNER], SAVE_S)
        return self._status(stop)

    @property
    def _linger_s(self) -> float:
        return self._flags.transport.linger_s

    def _status(self, stop: StopSignal) -> int:
        """Return the exit status after all have left; say how to go on after an error."""
        learner = self._children.child(LEARNER)
        # A learner told to leave before it has taken over the signals ends by them, with nothing to save; and
        # one that was about to be started again has saved already.
        failed = learner.status in (StorageError.status, DivergedError.status)
        if learner.status == 0 or (stop.is_set() and not failed):
            if not stop.is_set() and self._actors and all(map(self._children.has_given_up, self._actors)):
                print("every actor died too often; the run is saved", file=sys.stderr)
                self._say_how_to_go_on()
                return 1
            return self._conclude(stop)
        if learner.status == ConfigError.status:
            raise ConfigError(learner.last_words())
        if not self._children.has_given_up(LEARNER):
            print(learner.reason(), file=sys.stderr)
        if learner.status == DivergedError.status:
            return learner.status
        self._say_how_to_go_on()
        return 1

    def _say_how_to_go_on(self) -> None:
        if self.run.has_begun():
            print(f"go on with: graspfleet train --resume {self.run.path}", file=sys.stderr)

    def _start_learner(self, stop: StopSignal) -> Endpoints | None:
        """Start the learner; return where it listens, or None if it ended before it did."""
        self.run.endpoints.unlink(missing_ok=True)
        where = "--resume" if self._flags.run.resume else "--run-dir"
        command = ["learner", "--config", str(self._settings.path), where, str(self.run.path)]
        again = [*command[:-2], "--run-dir", str(self.run.path), "--auto-resume"]
        self._children.start(LEARNER, partial(self._learner, command), again=partial(self._learner, again))
        while not (stop.is_set() or self.run.endpoints.exists()):
            if self._children.is_over(LEARNER):
                return None
            self._children.tend()
            time.sleep(POLL_S)
        return None if stop.is_set() else self.run.read_endpoints()

    def _learner(self, command: list[str]) -> Child:
        """Start a learner; where one listened before it, that is where its actors look for it."""
        ports = self._ports(self.run.read_endpoints()) if self.run.endpoints.exists() else []
        return Child(LEARNER, [*command, *ports], self.run.logs, shares=self.run)

    def _start_actors(self, endpoints: Endpoints) -> None:
        count = self._flags.launch.actors or max(1, (os.cpu_count() or 1) - 1)
        for index in range(count):
            words = ["actor", *self._words(endpoints), "--actor-id", f"{self._prefix() or 'actor-'}{index}"]
            self._actors.append(f"actor-{index}")
            self._start(self._actors[-1], words)

    def _start_evaluator(self, endpoints: Endpoints) -> None:
        words = ["common.cli", "evaluator", *self._words(endpoints)]
        self._start(EVALUATOR, [*words, "--actor-id", f"{self._prefix()}evaluator"])

    def _start(self, name: str, command: list[str]) -> None:
        self._children.start(name, partial(Child, name, command, self.run.logs))

    def _words(self, endpoints: Endpoints) -> list[str]:
        """Return what tells a child where the learner is."""
        where = ["--learner", endpoints.local_host, *self._ports(endpoints)]
        return ["--config", str(self._settings.path), *where]

    def _ports(self, endpoints: Endpoints) -> list[str]:
        names = [f"{name}_port" for name in ("experience", "weights", "control")]
        return [word for name in names for word in (flag(name), str(getattr(endpoints, name)))]

    def _prefix(self) -> str:
        """Return how ids begin here: a key may only use those that begin with its name."""
        keys = actor_keys(self._flags.transport)
        return "" if keys is None else f"{keys.name}-"

    def _watch(self, endpoints: Endpoints, stop: StopSignal) -> None:
        """Show the learner's status and replace the dead until the learner ends."""
        with ControlSubscriber(self._flags.transport) as control:
            control.connect(endpoints.local_host, endpoints.control_port)
            status: Status | None = None
            while not stop.is_set() and not self._children.is_over(LEARNER):
                if control.wait(0.2) and (news := read_status(control)) is not None:
                    status = news
                    self._heard(status, endpoints)
                self._panel.show(status, self._children.restarts)
                self._children.tend([LEARNER])
                if status is None or status.state in ("waiting", "running"):
                    self._children.tend()
                    if all(map(self._children.is_over, self._actors)):
                        return  # every actor has left (--max-episodes) or died too often

    def _heard(self, status: Status, endpoints: Endpoints) -> None:
        """Do what waits for the learner to run."""
        try:
            self._settings.heard(status)
        except StorageError as error:
            self._panel.say(f"the run's settings stay as they were: {error}")
        if EVALUATOR not in self._children and status.state == "running":
            self._start_evaluator(endpoints)  # not before, for the others start faster without it

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
        episodes, status = self._flags.launch.final_episodes, 0
        if episodes and self.run.policy("last").exists():
            print(
                f"trained in {wall_s:.0f} s; now the best policy, {episodes} episodes on fresh seeds",
                flush=True,
            )
            command = ["common.cli", "evaluate", str(self.run.path), "--episodes", str(episodes), "--json"]
            summary = self._run_aside("evaluation", command, stop)
            if summary is not None:
                write_atomically(self.run.evaluation, summary.encode())
                told = json.loads(summary)
                print(f"policy of env step {told['policy_env_steps']:,}: {told['chosen_by']}")
                print(describe(told))
                if key := told.get("likely_success_key"):
                    print(f"success is unknown, but an info has {key!r}: --success-key {key} counts it")
            elif not stop.is_set():
                status = 1
        self._run_aside("curve", ["learner.reporting.curve", str(self.run.path)], stop)
        print(f"done after {time.monotonic() - self._started_s:.0f} s; written:")
        for path in sorted(self.run.path.iterdir()):
            print(f"  {path}")
        return status

    def _run_aside(self, name: str, command: list[str], stop: StopSignal) -> str | None:
        """Run a child to its end and return its last line; None when it failed or was stopped."""
        child = Child(name, command, self.run.logs, shares=self.run)
        while child.status is None and not stop.is_set():
            time.sleep(POLL_S)
        end([child], LEAVE_S)
        if child.status == 0 and not stop.is_set():
            return child.result()
        if not stop.is_set():
            print(child.reason())
        return None


def main(argv: list[str]) -> int:
    """Run the command; return its exit status."""
    algorithms = importlib.import_module("learner.algorithm").settings_of
    flags = parse(TrainFlags, argv, prog="graspfleet train", algorithms=algorithms)
    stop = StopSignal().install()
    return Launch(flags).train(stop)
