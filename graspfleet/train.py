"""`graspfleet train`: one learner, N actors and one evaluator on this machine, supervised to the end."""

import importlib
import os
import sys
import time
from functools import partial

from graspfleet.children import POLL_S, Child, end
from graspfleet.common.errors import ConfigError, DivergedError, StorageError
from graspfleet.common.messages import Status
from graspfleet.common.net.control import ControlSubscriber
from graspfleet.common.net.security import actor_keys
from graspfleet.common.runtime.claim import claim_run, unless_refused
from graspfleet.common.runtime.run_directory import Endpoints
from graspfleet.common.runtime.signals import StopSignal
from graspfleet.common.settings.flags import TrainFlags, parse
from graspfleet.common.settings.section import flag
from graspfleet.conclusion import conclude
from graspfleet.live import Panel
from graspfleet.pending_settings import PendingSettings
from graspfleet.status import audit, read_status
from graspfleet.supervisor import MAX_FRUITLESS, Supervisor

LEAVE_S = 5.0
"""Seconds beyond `--linger-s` that a process has to exit before it is killed."""
SAVE_S = 30.0
"""Seconds that the learner has to save and exit."""
NOTHING_TO_SAVE_S = 0.3
"""The same before learning has begun: there is nothing new to save, and torch's import is slow."""
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
        self.run = claim_run(flags.run, flags.env.env_id)  # until this process ends; shared with the learner
        with unless_refused(self.run):
            self._settings = PendingSettings(self.run, flags)
        self._panel = Panel(flags.learner.total_env_steps, self.run.path)
        self._children = Supervisor(flags.launch.max_restarts, self._panel.say)
        self._actors: list[str] = []
        self._hinted: set[str] = set()
        self._first: Status | None = None  # the first one whose state is not "waiting"
        self._newest: Status | None = None
        self._started_s = time.monotonic()

    def train(self, stop: StopSignal) -> int:
        """Run until the learner is done or `stop` is set; return the exit status.

        Raises:
            ConfigError: the user's settings are wrong; a run that has not begun leaves no files.
        """
        with unless_refused(self.run):
            try:
                self._train(stop)
                return self._status(stop)
            except ConfigError:
                self._say_how_to_go_on()  # does nothing if the run has not begun
                raise

    def _train(self, stop: StopSignal) -> None:
        try:
            with self._panel:
                endpoints = self._start_learner(stop)
                if endpoints is not None:
                    self._start_actors(endpoints)
                    self._watch(endpoints, stop)
        finally:
            children = self._children.children()
            end([child for child in children if child.name != LEARNER], self._linger_s + LEAVE_S)
            save_s = NOTHING_TO_SAVE_S if self._first is None else SAVE_S
            end([child for child in children if child.name == LEARNER], save_s)

    @property
    def _linger_s(self) -> float:
        return self._flags.transport.linger_s

    def _status(self, stop: StopSignal) -> int:
        """Return the exit status after all processes have ended; after an error, say how to resume."""
        learner = self._children.child(LEARNER)
        # A learner that is stopped before it has installed its signal handlers is ended by the signal and has
        # nothing to save; one that was waiting for a restart has already saved.
        failed = learner.status in (StorageError.status, DivergedError.status)
        if learner.status == 0 or (stop.is_set() and not failed):
            if not stop.is_set() and self._actors and all(map(self._children.has_given_up, self._actors)):
                print("all actors have died too often; the run is saved", file=sys.stderr)
                self._say_how_to_go_on()
                return 1
            return self._done(stop)
        if learner.status == ConfigError.status:
            raise ConfigError(learner.reason() if learner.error is None else learner.error)
        if not self._children.has_given_up(LEARNER):
            print(learner.reason(), file=sys.stderr)
        if learner.status == DivergedError.status:
            return learner.status
        self._say_how_to_go_on()
        return 1

    def _say_how_to_go_on(self) -> None:
        if self.run.has_begun():
            print(f"resume with: graspfleet train --resume {self.run.path}", file=sys.stderr)

    def _start_learner(self, stop: StopSignal) -> Endpoints | None:
        """Start the learner; return its endpoints, or None if it ended before it listened."""
        self.run.endpoints.unlink(missing_ok=True)
        where = "--resume" if self._flags.run.resume else "--run-dir"
        command = ["graspfleet.learner", "--config", str(self._settings.path), where, str(self.run.path)]
        again = [*command[:-2], "--run-dir", str(self.run.path), "--auto-resume"]
        self._children.start(LEARNER, partial(self._learner, command), again=partial(self._learner, again))
        while not (stop.is_set() or self.run.endpoints.exists()):
            if self._children.is_over(LEARNER):
                return None
            self._children.tend()
            time.sleep(POLL_S)
        return None if stop.is_set() else self.run.read_endpoints()

    def _learner(self, command: list[str]) -> Child:
        """Start a learner, on the ports of its predecessor if there was one: actors reconnect to these."""
        ports = self._ports(self.run.read_endpoints()) if self.run.endpoints.exists() else []
        return Child(LEARNER, [*command, *ports], self.run.logs, shares=self.run)

    def _start_actors(self, endpoints: Endpoints) -> None:
        count = self._flags.launch.actors or max(1, (os.cpu_count() or 1) - 1)
        for index in range(count):
            words = [
                "graspfleet.actor",
                *self._words(endpoints),
                "--actor-id",
                f"{self._prefix() or 'actor-'}{index}",
            ]
            self._actors.append(f"actor-{index}")
            self._start(self._actors[-1], words)

    def _start_evaluator(self, endpoints: Endpoints) -> None:
        words = ["graspfleet", "evaluator", *self._words(endpoints)]
        self._start(EVALUATOR, [*words, "--actor-id", f"{self._prefix()}evaluator"])

    def _start(self, name: str, command: list[str]) -> None:
        self._children.start(name, partial(Child, name, command, self.run.logs))

    def _words(self, endpoints: Endpoints) -> list[str]:
        """Return the arguments that tell a child its settings and the learner's address."""
        where = ["--learner", endpoints.local_host, *self._ports(endpoints)]
        return ["--config", str(self._settings.path), *where]

    def _ports(self, endpoints: Endpoints) -> list[str]:
        names = [f"{name}_port" for name in ("experience", "weights", "control")]
        return [word for name in names for word in (flag(name), str(getattr(endpoints, name)))]

    def _prefix(self) -> str:
        """Return the prefix of ids: a key may only use ids that begin with its name."""
        keys = actor_keys(self._flags.transport)
        return "" if keys is None else f"{keys.name}-"

    def _watch(self, endpoints: Endpoints, stop: StopSignal) -> None:
        """Show the learner's status and restart dead processes until the learner ends."""
        with ControlSubscriber(self._flags.transport) as control:
            control.connect(endpoints.local_host, endpoints.control_port)
            while not stop.is_set() and not self._children.is_over(LEARNER):
                if control.wait(0.2) and (news := read_status(control)) is not None:
                    self._newest = news
                    self._heard(news, endpoints)
                self._panel.show(self._newest, self._children.restarts)
                self._show_hints()
                self._children.tend([LEARNER])
                if self._newest is None or self._newest.state in ("waiting", "running"):
                    self._children.tend()
                    self._require_progress()
                    if all(map(self._children.is_over, self._actors)):
                        return  # all actors have finished (--max-episodes) or died too often

    def _show_hints(self) -> None:
        """Show the hints of all processes, one for each flag."""
        for child in self._children.children():
            for text in child.hints:
                flag_name, _, sentence = text.partition(" ")
                if flag_name not in self._hinted:
                    self._hinted.add(flag_name)
                    self._panel.say(f"hint: {sentence}")

    def _require_progress(self) -> None:
        """Fail if an actor has died repeatedly and no transition has been inserted since the start.

        Raises:
            ConfigError: the environment ends every process of an actor.
        """
        for name in filter(self._children.is_fruitless, () if self._grown("inserted") else self._actors):
            reason = self._children.child(name).reason()
            raise ConfigError(
                f"--env {self._flags.env.env}: {reason}; {MAX_FRUITLESS} times in a row before any transition"
            )

    def _grown(self, name: str) -> bool:
        """Return whether a metric of the learner has grown since the start."""
        if self._first is None or self._newest is None:
            return False
        return self._newest.metrics.get(name, 0) > self._first.metrics.get(name, 0)

    def _heard(self, status: Status, endpoints: Endpoints) -> None:
        """Process a status: note progress, store settings, start the evaluator once the learner runs."""
        if self._first is None and status.state != "waiting":
            self._first = status
        if self._grown("inserted"):
            self._children.progressed([LEARNER, *self._actors])
        if self._grown("eval_env_steps"):
            self._children.progressed([EVALUATOR])
        try:
            self._settings.heard(status)
        except StorageError as error:
            self._panel.say(f"the new settings were not stored in the run: {error}")
        if EVALUATOR not in self._children and status.state == "running":
            self._start_evaluator(endpoints)  # not earlier: the other processes start faster without it

    def _done(self, stop: StopSignal) -> int:
        """Print the outcome of the run, and evaluate it unless `stop` is set."""
        wall_s = time.monotonic() - self._started_s
        if not self.run.has_begun():
            print("stopped before the first transition")
            self.run.discard()
            return 0
        print(f"audit: {audit(self.run)}")
        if stop.is_set():
            print(f"stopped and saved; resume with: graspfleet train --resume {self.run.path}")
            return 0
        print(f"trained in {wall_s:.0f} s", flush=True)
        return conclude(self.run, self._flags.launch.final_episodes, stop, self._hinted)


def main(argv: list[str]) -> int:
    """Run the command; return its exit status."""
    algorithms = importlib.import_module("graspfleet.learner.algorithm").all_settings()
    flags = parse(TrainFlags, argv, prog="graspfleet train", algorithms=algorithms)
    stop = StopSignal().install()
    return Launch(flags).train(stop)
