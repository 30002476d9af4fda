"""The policies of a run directory: which there are, and how a new best one is brought to the disk.

`selection.json` says it all and is replaced in one step. Frames of finalists are there before it names them,
`policy-best.gfp` follows it: whatever moment a process is killed in, another `commit` puts the rest right.
"""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import ValidationError

from common.errors import ProtocolError
from common.evaluation.candidates import Candidate, Key, Selected, key_of
from common.messages import Weights
from common.protocol import OLDEST_POLICY, decode
from common.runtime.files import read_limited, write_atomically
from common.runtime.run_directory import RunDirectory

log = logging.getLogger(__name__)

MAX_POLICY_BYTES = 4 << 30
"""Twice the policy of the widest settings; a larger file is none."""
MAX_SELECTION_BYTES = 16 << 20
"""A larger file says nothing of finalists."""

Frames = Mapping[Key, bytes]


def candidate_path(run: RunDirectory, key: Key) -> Path:
    """Return the file of a finalist's frame."""
    return run.candidates / f"step-{key.env_steps:012d}-version-{key.version:09d}.gfp"


def read_weights(path: Path) -> tuple[Weights, bytes]:
    """Return the policy in a file, and the frame that it came in.

    Raises:
        OSError: it cannot be read.
        ProtocolError: it is damaged, or no policy.
    """
    frame = read_limited(path, MAX_POLICY_BYTES)
    weights = decode(frame, oldest=OLDEST_POLICY)
    if not isinstance(weights, Weights):
        raise ProtocolError("kind", weights.kind)
    return weights, frame


def read_selected(run: RunDirectory) -> Selected:
    """Return what `selection.json` says; nothing at all when it is damaged, which is logged, or not there."""
    try:
        return Selected.model_validate_json(read_limited(run.selection, MAX_SELECTION_BYTES))
    except FileNotFoundError:
        return Selected()
    except (OSError, ValidationError) as error:
        reason = getattr(error, "strerror", None) or "no record of finalists"
        log.warning("%s is damaged (%s): evaluations so far are forgotten", run.selection, reason)
        return Selected()


def read_finalists(run: RunDirectory, selected: Selected) -> tuple[Selected, dict[Key, bytes]]:
    """Return the finalists whose frames can be read, with these frames.

    A finalist without a frame is left out and logged; the best's own frame is also that in `policy-best.gfp`.
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
    """Bring finalists, `selection.json` and `policy-best.gfp` to the disk, and sweep what they do not name.

    Args:
        run: claimed by this process.
        selected: with at least one finalist.
        frames: of every finalist.

    Raises:
        OSError: the disk refuses; calling again completes it.
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
    """Remove the finalists' files that are not `named`, and what an interrupted write left beside them."""
    kept = set(named)
    if run.candidates.is_dir():
        for path in run.candidates.iterdir():
            if path not in kept:
                path.unlink()


def _stored(path: Path) -> bytes | None:
    """Return a policy file's content; None when there is none that can be read."""
    try:
        return read_limited(path, MAX_POLICY_BYTES)
    except OSError:
        return None
