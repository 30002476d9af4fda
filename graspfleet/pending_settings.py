"""Settings of one start of `graspfleet train`, stored as those of its run once they have proven valid."""

from collections.abc import Mapping

from graspfleet.common.messages import Status
from graspfleet.common.runtime.run_directory import RunDirectory
from graspfleet.common.settings.files import dump_yaml
from graspfleet.common.settings.flags import TrainFlags
from graspfleet.common.settings.record import begin_settings, change_settings, write_settings


class PendingSettings:
    """Settings of one start of `graspfleet train`, stored in the run once its processes have accepted them.

    The learner and the actors have accepted their settings once transitions are inserted; the evaluator has
    accepted its own once it has reported. A new run stores them at once, because it has no others.

    Args:
        run: the run, claimed by this process.
        flags: the settings.

    Raises:
        StorageError: the settings cannot be written.
    """

    def __init__(self, run: RunDirectory, flags: TrainFlags) -> None:
        self.path = run.logs / "settings.yaml"
        self._run = run
        self._flags = flags
        self._before: Mapping[str, float] | None = None
        self._unproven = frozenset(("rest", "evaluator")) if flags.run.resume else frozenset()
        write_settings(self.path, dump_yaml(flags))
        if not self._unproven:
            begin_settings(run, flags)

    def heard(self, status: Status) -> None:
        """Store the settings whose acceptance follows from a status of the learner.

        Raises:
            StorageError: the settings cannot be written.
        """
        if not self._unproven or status.state == "waiting":
            return
        metrics = status.metrics
        if self._before is None:
            self._before = dict(metrics)
        before, unproven = self._before, set(self._unproven)
        if metrics.get("inserted", 0) > before.get("inserted", 0):
            unproven.discard("rest")
        if metrics.get("eval_env_steps") not in (None, before.get("eval_env_steps")):
            unproven.discard("evaluator")
        if "rest" not in unproven and unproven != self._unproven:
            self._unproven = frozenset(unproven)
            change_settings(self._run, self._flags, self._unproven)
