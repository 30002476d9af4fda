"""The settings of a run: written before it begins, changed only by such as have proven themselves."""

from pathlib import Path

from graspfleet.common.errors import StorageError
from graspfleet.common.runtime.files import write_atomically
from graspfleet.common.runtime.run_directory import RunDirectory
from graspfleet.common.settings.files import dump_yaml, load_yaml
from graspfleet.common.settings.plain_yaml import format_yaml
from graspfleet.common.settings.section import Section


def begin_settings(run: RunDirectory, settings: Section) -> None:
    """Write the settings of a run that has not begun, in place of those of a start that failed.

    Raises:
        StorageError: they cannot be written.
    """
    write_settings(run.config, dump_yaml(settings))


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
    write_settings(run.config, format_yaml({**kept, **proven}))


def write_settings(path: Path, text: str) -> None:
    """Write a file of settings.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        write_atomically(path, text.encode())
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from None
