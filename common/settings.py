"""The settings of a run: written before it begins, changed only by such as have proven themselves."""

from collections.abc import Mapping
from pathlib import Path

from common.errors import StorageError
from common.flags import TrainFlags
from common.messages import Status
from common.plain_yaml import format_yaml
from common.runtime.files import write_atomically
from common.runtime.run_directory import RunDirectory
from common.section import Section
from common.settings_file import dump_yaml, load_yaml


def begin_settings(run: RunDirectory, settings: Section) -> None:
    """Write the settings of a run that has not begun, in place of those of a start that failed.

    Raises:
        StorageError: they cannot be written.
    """
    _write(run.config, dump_yaml(settings))


def change_settings(run: RunDirectory, settings: Section, unproven: frozenset[str] = frozenset()) -> None:
    """Write the settings that a run has been gone on with.

    Args:
        run: the run; sections that `settings` lacks stay as they are.
        settings: of the process that went on with it.
        unproven: sections that stay as they are as well.

    Raises:
        StorageError: they cannot be written.
        ConfigError: those of before cannot be read.
    """
    kept = load_yaml(run.config, "--resume") if run.config.exists() else {}
    proven = settings.model_dump(mode="json", exclude={"run", *unproven})
    _write(run.config, format_yaml({**kept, **proven}))


class PendingSettings:
    """Settings of one start of `graspfleet train`, which become the run's own as its processes prove them.

    The learner and the actors have accepted theirs once transitions are inserted; the evaluator has
    accepted its own once it has reported. A new run has no other settings, so it takes these at once.

    Args:
        run: the run, claimed by this process.
        flags: the settings.

    Raises:
        StorageError: they cannot be written.
    """

    def __init__(self, run: RunDirectory, flags: TrainFlags) -> None:
        self.path = run.logs / "settings.yaml"
        self._run = run
        self._flags = flags
        self._before: Mapping[str, float] | None = None
        self._unproven = frozenset(("rest", "evaluator")) if flags.run.resume else frozenset()
        _write(self.path, dump_yaml(flags))
        if not self._unproven:
            begin_settings(run, flags)

    def heard(self, status: Status) -> None:
        """Write down what the learner's status proves.

        Raises:
            StorageError: it cannot be written.
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


def _write(path: Path, text: str) -> None:
    try:
        write_atomically(path, text.encode())
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from None
