"""Demonstrations: a Minari dataset on disk -> transitions in memory.

The dataset's actions are scaled to [-1, 1] by its own action bounds, just as actors scale by the
environment's.
"""

import logging
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from graspfleet.common.errors import ConfigError
from graspfleet.common.nstep import NStepAdder
from graspfleet.common.observations.fields import Pixels
from graspfleet.common.observations.space import ObservationSpace
from graspfleet.common.specs import MAX_MAGNITUDE, EnvSpec, Records
from graspfleet.common.transition import REFERENCES, Transition
from graspfleet.learner.experience.demonstrations.episodes import Bounds, DemoEpisode, check_episode
from graspfleet.learner.experience.demonstrations.files import MAX_DEMOS_BYTES, open_dataset, read_episodes
from graspfleet.learner.experience.replay import join_frames

log = logging.getLogger(__name__)

MAX_DEMO_TRANSITIONS = 10_000_000
"""Largest number of demonstration transitions; all of them are kept in memory."""


class Demos:
    """A fixed set of transitions to sample from.

    Args:
        records: [n] transitions, n at least 1.
        rng: source of the sampled indices.
        spec: layout of a transition.
        frames: [m, frame_bytes] the frames that the records refer to; None without images.
    """

    def __init__(
        self,
        records: Records,
        rng: np.random.Generator,
        spec: EnvSpec | None = None,
        frames: Pixels | None = None,
    ) -> None:
        self._records, self._rng = records, rng
        self._spec, self._frames = spec, frames

    def __len__(self) -> int:
        return len(self._records)

    def sample(self, *shape: int) -> Records:
        """Return uniformly drawn transitions (with replacement); see `learner.experience.replay.Sampler`."""
        batch: Records = self._records[self._rng.integers(len(self._records), size=shape)]
        if self._spec is None or self._frames is None:
            return batch
        samples: Records = np.empty(shape, self._spec.sample)
        join_frames(batch, self._take, samples)
        return samples

    def _take(self, numbers: NDArray[np.intp], out: Pixels) -> None:
        assert self._frames is not None
        np.take(self._frames, numbers, axis=0, out=out, mode="clip")

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the random number generator."""
        return {"rng": self._rng.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state from `state_dict()`."""
        self._rng.bit_generator.state = state["rng"]


def load_demos(where: str, spec: EnvSpec, rng: np.random.Generator) -> Demos:
    """Load the demonstrations of a Minari dataset, and log a summary.

    Args:
        where: the dataset's folder, or its name in Minari's own folder.
        spec: layout of a transition, and the n of its n-step returns.
        rng: source of the sampled indices.

    Raises:
        ConfigError: no such dataset, its spaces differ from the environment's, or an episode is invalid.
    """
    dataset = open_dataset(where)
    bounds, reader = _bounds(where, dataset, spec), _reader(where, dataset, spec)
    limit = min(MAX_DEMO_TRANSITIONS, MAX_DEMOS_BYTES // (spec.record.itemsize + spec.frame_bytes))
    parts: list[Records] = []
    frames: list[Pixels] = []
    total = outside = empty = 0
    for episode in read_episodes(where, dataset):
        who = f"--demos {where}: episode {episode.id}"
        checked = check_episode(who, episode, spec, bounds, reader)
        total += len(checked)
        outside += int(checked.outside.sum())
        empty += not len(checked)
        if total > limit:
            raise ConfigError(f"--demos {where}: too many transitions; allowed: at most {limit:,}")
        parts.append(_transitions(who, checked, spec, len(frames)))
        frames += [obs.frame.pixels for obs in checked.obs if obs.frame is not None]
    if not total:
        raise ConfigError(f"--demos {where}: holds no transitions")
    if outside:
        raise ConfigError(
            f"--demos {where}: {outside / total:.1%} of its actions ({outside:,} of {total:,}) lie outside"
            f" its own bounds {bounds[0].tolist()} to {bounds[1].tolist()}; allowed: none"
        )
    left_out = f" (empty episodes skipped: {empty:,})" if empty else ""
    _say(where, dataset, spec, f"{total:,} transitions of {len(parts) - empty:,} episodes{left_out}")
    return Demos(np.concatenate(parts), rng, spec, np.stack(frames) if frames else None)


def _transitions(who: str, episode: DemoEpisode, spec: EnvSpec, first_frame: int) -> Records:
    """Return an episode's transitions; an episode without an end in the dataset counts as truncated.

    Args:
        who: prefix of each error message.
        episode: the episode.
        spec: layout of a transition.
        first_frame: number of the episode's first frame.

    Raises:
        ConfigError: a reward is too large.
    """
    rows: list[bytes] = []
    for number, obs in enumerate(episode.obs, first_frame):
        if obs.frame is not None:
            obs.frame.number = number

    def keep(transition: Transition) -> None:
        row = transition.pack(spec.numbers_bytes)
        frame, next_frame = transition.obs.frame, transition.next_obs.frame
        if frame is not None and next_frame is not None:
            row += REFERENCES.pack(frame.number, next_frame.number)
        rows.append(row)

    adder = NStepAdder(spec.n_step, spec.discount, keep)
    for t in range(len(episode)):
        adder.add(
            episode.obs[t],
            episode.action[t],
            float(episode.reward[t]),
            episode.obs[t + 1],
            terminated=bool(episode.terminated[t]),
            truncated=bool(episode.truncated[t]),
        )
    adder.flush()
    records: Records = np.frombuffer(b"".join(rows), spec.record)
    if not (np.abs(records["reward"]) <= MAX_MAGNITUDE).all():
        raise ConfigError(f"{who}: rewards of {spec.n_step} steps sum to more than {MAX_MAGNITUDE:g}")
    return records


def _bounds(where: str, dataset: Any, spec: EnvSpec) -> Bounds:
    """Return the dataset's action bounds, after checking its action space against the environment's."""
    action = dataset.action_space
    if not isinstance(action, gymnasium.spaces.Box) or action.shape != (spec.action_dim,):
        raise ConfigError(
            f"--demos {where}: its action space is {action};"
            f" allowed: {spec.action_dim} numbers, as in {spec.env}"
        )
    if not action.is_bounded():
        raise ConfigError(f"--demos {where}: its action space {action} is unbounded")
    if action.dtype.kind != "f":
        raise ConfigError(f"--demos {where}: its action space {action} holds {action.dtype}; allowed: floats")
    for bound, wanted, role in (
        (action.low, spec.action_low, "low"),
        (action.high, spec.action_high, "high"),
    ):
        if wanted is not None and not np.allclose(bound, wanted):
            raise ConfigError(
                f"--demos {where}: its actions' {role} bounds are {bound.tolist()};"
                f" allowed: {list(wanted)}, as in {spec.env}"
            )
    low, high = action.low.astype(np.float64), action.high.astype(np.float64)
    if not (low <= high).all():
        raise ConfigError(f"--demos {where}: its action space {action} is empty")
    return low, high


def _reader(where: str, dataset: Any, spec: EnvSpec) -> ObservationSpace:
    """Return the reader of the dataset's observations.

    Raises:
        ConfigError: they have other fields than the environment's.
    """
    space = dataset.observation_space
    privileged = [field.name for field in spec.fields if field.privileged]
    try:
        reader = ObservationSpace(space, spec.env, privileged)
    except ConfigError:
        reader = None
    if reader is None or (reader.fields, reader.obs_dim) != (spec.obs_fields, spec.obs_dim):
        raise ConfigError(
            f"--demos {where}: its observation space is {' '.join(str(space).split())};"
            f" allowed: {spec.layout}, as in {spec.env}"
        )
    return reader


def _say(where: str, dataset: Any, spec: EnvSpec, amount: str) -> None:
    """Log a summary, and warn if the environment differs: equal shapes may have different meanings."""
    recorded = None if dataset.env_spec is None else dataset.env_spec.id
    log.info("--demos %s: %s, recorded in %s", where, amount, recorded or "an environment without a name")
    if recorded is not None and _name(recorded) != _name(spec.env):
        log.warning(
            "--demos %s: recorded in %s, but this run uses %s; the same shapes may have different meanings",
            where,
            recorded,
            spec.env,
        )


def _name(env: str) -> str:
    """Return an environment's id without the module that registers it."""
    return env.rpartition(":")[2]
