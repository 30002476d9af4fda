"""The policy files of a run directory: reading them, and storing a new best policy.

`selection.json` is authoritative and replaced atomically. The frames of finalists are written before it and
`policy-best.gfp` after it, so that another `commit` completes an interrupted one.
"""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import ValidationError

from graspfleet.common.errors import ProtocolError
from graspfleet.common.evaluation.candidates import Candidate, Key, Selected, key_of
from graspfleet.common.messages import Weights
from graspfleet.common.protocol import OLDEST_POLICY, decode
from graspfleet.common.runtime.files import read_limited, write_atomically
from graspfleet.common.runtime.run_directory import RunDirectory

log = logging.getLogger(__name__)

MAX_POLICY_BYTES = 4 << 30
"""Largest policy file: twice the largest possible policy."""
MAX_SELECTION_BYTES = 16 << 20
"""Largest `selection.json`."""

Frames = Mapping[Key, bytes]


def candidate_path(run: RunDirectory, key: Key) -> Path:
    """Return the file of a finalist's frame."""
    return run.candidates / f"step-{key.env_steps:012d}-version-{key.version:09d}.gfp"


def read_weights(path: Path) -> tuple[Weights, bytes]:
    """Return the policy in a file, decoded and as a frame.

    Raises:
        OSError: the file cannot be read.
        ProtocolError: the file is damaged or contains no policy.
    """
    frame = read_limited(path, MAX_POLICY_BYTES)
    weights = decode(frame, oldest=OLDEST_POLICY)
    if not isinstance(weights, Weights):
        raise ProtocolError("kind", weights.kind)
    return weights, frame


def read_selected(run: RunDirectory) -> Selected:
    """Return the selection in `selection.json`; an empty one if the file is missing or damaged (logged)."""
    try:
        return Selected.model_validate_json(read_limited(run.selection, MAX_SELECTION_BYTES))
    except FileNotFoundError:
        return Selected()
    except (OSError, ValidationError) as error:
        reason = getattr(error, "strerror", None) or "not a valid selection"
        log.warning("%s is damaged (%s): earlier evaluations are lost", run.selection, reason)
        return Selected()


def read_finalists(run: RunDirectory, selected: Selected) -> tuple[Selected, dict[Key, bytes]]:
    """Return the selection of the finalists whose frames are readable, and the frames.

    A finalist without a readable frame is logged and omitted; the best one's frame is also in
    `policy-best.gfp`.
    """
    frames: dict[Key, bytes] = {}
    whole: list[Candidate] = []
    for candidate in selected.finalists:
        places = [candidate_path(run, candidate.key)]
        if candidate.key == selected.best:
            places.append(run.policy("best"))
        for path in places:
            try:
                weights, frame = read_weights(path)
            except (OSError, ProtocolError) as error:
                log.warning("%s: %s", path, getattr(error, "strerror", None) or error)
                continue
            if key_of(weights) == candidate.key:
                frames[candidate.key] = frame
                whole.append(candidate)
                break
    if len(whole) == len(selected.finalists):
        return selected, frames
    remaining = Selected()
    for candidate in whole:
        remaining = remaining.with_candidate(candidate)
    return remaining, frames


def commit(run: RunDirectory, selected: Selected, frames: Frames) -> None:
    """Store finalists, `selection.json` and `policy-best.gfp`, and remove the files of former finalists.

    Args:
        run: claimed by this process.
        selected: selection with at least one finalist.
        frames: of every finalist.

    Raises:
        OSError: a write failed; another call completes the work.
    """
    assert selected.best is not None
    run.candidates.mkdir(exist_ok=True)
    named = {candidate_path(run, candidate.key): candidate.key for candidate in selected.finalists}
    for path, key in named.items():
        if not path.exists():
            write_atomically(path, frames[key])
    write_atomically(run.selection, selected.model_dump_json(indent=1).encode())
    if _stored(run.policy("best")) != frames[selected.best]:
        write_atomically(run.policy("best"), frames[selected.best])
    sweep(run, named)


def sweep(run: RunDirectory, named: Iterable[Path]) -> None:
    """Remove finalists' files that are not `named`, and temporary files of interrupted writes."""
    kept = set(named)
    if run.candidates.is_dir():
        for path in run.candidates.iterdir():
            if path not in kept:
                path.unlink()


def _stored(path: Path) -> bytes | None:
    """Return the content of a policy file; None if it is missing or unreadable."""
    try:
        return read_limited(path, MAX_POLICY_BYTES)
    except OSError:
        return None
