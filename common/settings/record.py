"""The stored settings of a run: written before it begins, changed only by settings known to work."""

from pathlib import Path

from graspfleet.common.errors import StorageError
from graspfleet.common.runtime.files import write_atomically
from graspfleet.common.runtime.run_directory import RunDirectory
from graspfleet.common.settings.files import dump_yaml, load_yaml
from graspfleet.common.settings.plain_yaml import format_yaml
from graspfleet.common.settings.section import Section


def begin_settings(run: RunDirectory, settings: Section) -> None:
    """Write the settings of a run that has not begun, replacing those of a failed start.

    Raises:
        StorageError: the settings cannot be written.
    """
    write_settings(run.config, dump_yaml(settings))


def change_settings(run: RunDirectory, settings: Section, unproven: frozenset[str] = frozenset()) -> None:
    """Write the settings with which a run has been resumed.

    Args:
        run: the run; sections that `settings` does not have are kept.
        settings: of the process that resumed the run.
        unproven: sections that are kept as well.

    Raises:
        StorageError: the settings cannot be written.
        ConfigError: the previous settings cannot be read.
    """
    kept = load_yaml(run.config, "--resume") if run.config.exists() else {}
    proven = settings.model_dump(mode="json", exclude={"run", *unproven})
    write_settings(run.config, format_yaml({**kept, **proven}))


def write_settings(path: Path, text: str) -> None:
    """Write a settings file.

    Raises:
        StorageError: the file cannot be written.
    """
    try:
        write_atomically(path, text.encode())
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from None
