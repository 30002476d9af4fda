"""Demonstrations: a Minari dataset on disk -> transitions in memory.

The dataset's actions are scaled to [-1, 1] by its own action bounds, as actors do with the environment's.
"""

from typing import Any

import gymnasium
import numpy as np

from common.datasets import dataset_folder
from common.errors import ConfigError
from common.nstep import NStepAdder
from common.specs import MAX_MAGNITUDE, EnvSpec, Records

MAX_DEMOS_N = 10_000_000
"""Transitions of demonstrations, which are all kept in memory."""


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
        """Return uniformly drawn transitions (with replacement); see `learner.replay.Sampler`."""
        batch: Records = self._records[self._rng.integers(len(self._records), size=shape)]
        return batch

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the random numbers."""
        return {"rng": self._rng.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`."""
        self._rng.bit_generator.state = state["rng"]


def load_demos(where: str, spec: EnvSpec, rng: np.random.Generator) -> Demos:
    """Return the demonstrations of a Minari dataset.

    Args:
        where: the dataset's folder, or its name in Minari's own folder.
        spec: what a transition looks like; n-step returns are formed accordingly.
        rng: for sampling.

    Raises:
        ConfigError: no such dataset, or its spaces differ from the environment's.
    """
    try:
        import minari
    except ModuleNotFoundError:
        raise ConfigError(
            "--demos: needs minari; install it with: pip install 'graspfleet[learner]'"
        ) from None
    try:
        folder = dataset_folder(where)
        if not folder.is_dir():
            raise ConfigError(f"--demos {where}: no dataset at {folder}; allowed: a name or folder of one")
        dataset = minari.MinariDataset(folder / "data" if (folder / "data").is_dir() else folder)
        low, high = _bounds(where, dataset, spec)
        records: list[tuple[Any, ...]] = []
        adder = NStepAdder(spec.n_step, spec.discount, lambda *values: records.append((*values, 0)))
        for episode in dataset.iterate_episodes():
            if len(records) + len(episode.actions) > MAX_DEMOS_N:
                raise ConfigError(f"--demos {where}: allowed are {MAX_DEMOS_N:,} transitions at the most")
            actions = np.clip(2 * (episode.actions - low) / (high - low) - 1, -1, 1)
            for t, action in enumerate(actions):
                adder.add(
                    episode.observations[t],
                    action,
                    float(episode.rewards[t]),
                    episode.observations[t + 1],
                    terminated=bool(episode.terminations[t]),
                    truncated=bool(episode.truncations[t]),
                )
            adder.cut()
    except ConfigError:
        raise
    except Exception as error:  # there is no end to what a damaged dataset makes minari and h5py raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ConfigError(f"--demos {where}: no readable Minari dataset ({reason})") from None
    if not records:
        raise ConfigError(f"--demos {where}: holds no transition")
    table = np.array(records, spec.record)
    if not all(
        (np.abs(table[name]) <= MAX_MAGNITUDE).all() for name in ("obs", "next_obs", "action", "reward")
    ):
        raise ConfigError(f"--demos {where}: holds NaN, infinity or more than {MAX_MAGNITUDE:g}")
    return Demos(table, rng)


def _bounds(where: str, dataset: Any, spec: EnvSpec) -> tuple[Any, Any]:
    """Return the dataset's action bounds, after checking its shapes against the environment's."""
    obs, action = dataset.observation_space, dataset.action_space
    for space, size, role in ((obs, spec.obs_dim, "observation"), (action, spec.action_dim, "action")):
        if not isinstance(space, gymnasium.spaces.Box) or space.shape != (size,):
            raise ConfigError(
                f"--demos {where}: its {role} space is {space}; allowed: {size} numbers, as in {spec.env}"
            )
    if not action.is_bounded():
        raise ConfigError(f"--demos {where}: its action space {action} is unbounded")
    for bound, wanted, role in (
        (action.low, spec.action_low, "low"),
        (action.high, spec.action_high, "high"),
    ):
        if wanted is not None and not np.allclose(bound, wanted):
            raise ConfigError(
                f"--demos {where}: its actions' {role} bounds are {bound.tolist()};"
                f" allowed: {list(wanted)}, as in {spec.env}"
            )
    return action.low, action.high
