"""Demonstrations: a Minari dataset on disk -> transitions in memory.

The dataset's actions are scaled to [-1, 1] by its own action bounds, just as actors scale by the
environment's.
"""

import logging
from typing import Any

import gymnasium
import numpy as np

from graspfleet.common.errors import ConfigError
from graspfleet.common.nstep import NStepAdder
from graspfleet.common.observations import Observation
from graspfleet.common.specs import MAX_MAGNITUDE, EnvSpec, Records
from graspfleet.common.transition import Transition
from graspfleet.learner.experience.demonstrations.episodes import Bounds, DemoEpisode, check_episode
from graspfleet.learner.experience.demonstrations.files import MAX_DEMOS_BYTES, open_dataset, read_episodes

log = logging.getLogger(__name__)

MAX_DEMO_TRANSITIONS = 10_000_000
"""Largest number of demonstration transitions; all of them are kept in memory."""


class Demos:
    """A fixed set of transitions to sample from.

    Args:
        records: [n] transitions, n at least 1.
        rng: source of the sampled indices.
    """

    def __init__(self, records: Records, rng: np.random.Generator) -> None:
        self._records = records
        self._rng = rng

    def __len__(self) -> int:
        return len(self._records)

    def sample(self, *shape: int) -> Records:
        """Return uniformly drawn transitions (with replacement); see `learner.experience.replay.Sampler`."""
        batch: Records = self._records[self._rng.integers(len(self._records), size=shape)]
        return batch

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
    if spec.images:
        raise ConfigError(f"--demos {where}: allowed: only for environments without images")
    dataset = open_dataset(where)
    bounds = _bounds(where, dataset, spec)
    limit = min(MAX_DEMO_TRANSITIONS, MAX_DEMOS_BYTES // spec.record.itemsize)
    parts: list[Records] = []
    total = outside = empty = 0
    for episode in read_episodes(where, dataset):
        who = f"--demos {where}: episode {episode.id}"
        checked = check_episode(who, episode, spec, bounds)
        total += len(checked)
        outside += int(checked.outside.sum())
        empty += not len(checked)
        if total > limit:
            raise ConfigError(f"--demos {where}: too many transitions; allowed: at most {limit:,}")
        parts.append(_transitions(who, checked, spec))
    if not total:
        raise ConfigError(f"--demos {where}: holds no transitions")
    if outside:
        raise ConfigError(
            f"--demos {where}: {outside / total:.1%} of its actions ({outside:,} of {total:,}) lie outside"
            f" its own bounds {bounds[0].tolist()} to {bounds[1].tolist()}; allowed: none"
        )
    left_out = f" (empty episodes skipped: {empty:,})" if empty else ""
    _say(where, dataset, spec, f"{total:,} transitions of {len(parts) - empty:,} episodes{left_out}")
    return Demos(np.concatenate(parts), rng)


def _transitions(who: str, episode: DemoEpisode, spec: EnvSpec) -> Records:
    """Return an episode's transitions; an episode without an end in the dataset counts as truncated."""
    rows: list[bytes] = []

    def keep(transition: Transition) -> None:
        rows.append(transition.pack(spec.numbers_bytes))

    adder = NStepAdder(spec.n_step, spec.discount, keep)
    for t in range(len(episode)):
        adder.add(
            Observation(episode.obs[t]),
            episode.action[t],
            float(episode.reward[t]),
            Observation(episode.obs[t + 1]),
            terminated=bool(episode.terminated[t]),
            truncated=bool(episode.truncated[t]),
        )
    adder.flush()
    records: Records = np.frombuffer(b"".join(rows), spec.record)
    if not (np.abs(records["reward"]) <= MAX_MAGNITUDE).all():
        raise ConfigError(f"{who}: rewards of {spec.n_step} steps sum to more than {MAX_MAGNITUDE:g}")
    return records


def _bounds(where: str, dataset: Any, spec: EnvSpec) -> Bounds:
    """Return the dataset's action bounds, after checking its spaces against the environment's."""
    obs, action = dataset.observation_space, dataset.action_space
    for space, size, role in ((obs, spec.obs_dim, "observation"), (action, spec.action_dim, "action")):
        if not isinstance(space, gymnasium.spaces.Box) or space.shape != (size,):
            raise ConfigError(
                f"--demos {where}: its {role} space is {space}; allowed: {size} numbers, as in {spec.env}"
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
