"""The file of a given teacher; must not import torch.

In: a path from the user. Out: the policy message in it, or one line that says what is wrong.
"""

from pathlib import Path

from graspfleet.common.errors import ConfigError, ProtocolError
from graspfleet.common.evaluation.policy_files import read_weights
from graspfleet.common.messages import Weights
from graspfleet.common.runtime.run_directory import RunDirectory


def read_teacher(path: str) -> tuple[Weights, bytes]:
    """Return the policy in a file, or the best one of a run directory, decoded and as a frame.

    Raises:
        ConfigError: there is no readable policy.
    """
    file = Path(path)
    if file.is_dir():
        run = RunDirectory(file)
        file = run.policy("best") if run.policy("best").exists() else run.policy("last")
    try:
        return read_weights(file)
    except (OSError, ProtocolError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"--teacher {path}: no readable policy ({reason}); allowed: a run directory or a policy file"
        ) from None
