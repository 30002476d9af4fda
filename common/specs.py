"""What one transition looks like: the contract between actors, the wire and the replay.

In: a Gymnasium environment (actor side) or the mapping a `hello` carries (learner side).
Out: shapes, dtypes and the packed record of one transition. Must not know: any environment's meaning.
"""

import hashlib
import math
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import gymnasium
import msgpack
import numpy as np
from numpy.typing import NDArray

from common.errors import ConfigError, ProtocolError

MAX_DIM = 65_536
"""Largest observation or action that a spec may declare (a peer declares it)."""

MAX_MAGNITUDE = float(1 << 24)
"""Largest observation or n-step reward; beyond it float32 does not even tell integers apart. What a network
makes of it stays far from where float32 ends, whereas one batch of 3e38 would turn every weight into NaN."""

MAX_ACTION_BOUND = 1e9
"""Largest bound of an action, in the environment's own units; ± the largest float means: no bound."""

RANGES = {
    "obs": (-MAX_MAGNITUDE, MAX_MAGNITUDE),
    "next_obs": (-MAX_MAGNITUDE, MAX_MAGNITUDE),
    "action": (-1.0, 1.0),
    "reward": (-MAX_MAGNITUDE, MAX_MAGNITUDE),
    "discount": (0.0, 1.0),
}
"""Least and most of a record's numbers."""

RECORD_END = struct.Struct("<ff??2x")
"""The last fields of a record: reward, discount, terminated, truncated, padding."""

Floats = NDArray[np.float32]
Records = NDArray[np.void]
"""Structured array [n] of transitions, dtype `EnvSpec.record`."""


@dataclass(frozen=True)
class EnvSpec:
    """Shapes of a transition and the settings that give its numbers their meaning.

    Two processes whose specs differ cannot share a replay; the digest makes that cheap to see.

    Attributes:
        env: Gymnasium id.
        obs_dim: length of the flat float32 observation.
        action_dim: length of the flat float32 action, always within [-1, 1] here and on the wire.
        discount: per environment step, already folded into `reward` and `discount` of a record.
        n_step: env steps that a record's reward sums over.
        action_low: [action_dim] the environment's own bounds, which -1 stands for; None when not known.
        action_high: [action_dim] what 1 stands for.
    """

    env: str
    obs_dim: int
    action_dim: int
    discount: float
    n_step: int
    action_low: tuple[float, ...] | None = None
    action_high: tuple[float, ...] | None = None

    @classmethod
    def of(cls, env: "gymnasium.Env[Any, Any]", name: str, *, discount: float, n_step: int) -> "EnvSpec":
        """Read the spec off an environment.

        Raises:
            ConfigError: a space is not a flat Box, or the action Box is unbounded or not one of floats.
        """
        obs, action = (_flat_box(env, name, role) for role in ("observation", "action"))
        if action.dtype.kind != "f":
            raise ConfigError(
                f"--env {name}: its action space {action} holds {action.dtype}, which would cut off"
                " fractions; allowed: a Box of floats"
            )
        low, high = action.low.astype(np.float64), action.high.astype(np.float64)
        bounded = (np.abs(low) <= MAX_ACTION_BOUND) & (np.abs(high) <= MAX_ACTION_BOUND)  # false for NaN
        if not (bounded & (low <= high)).all():
            raise ConfigError(
                f"--env {name}: its action space {action} is unbounded or empty;"
                f" allowed: bounds within ± {MAX_ACTION_BOUND:g}, low <= high"
            )
        return cls(name, obs.shape[0], len(low), discount, n_step, tuple(low.tolist()), tuple(high.tolist()))

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> "EnvSpec":
        """Rebuild a spec that a peer or a file declares.

        Raises:
            ProtocolError: fields missing, of a wrong type, or out of range.
        """
        kinds: dict[str, type] = {
            "env": str,
            "obs_dim": int,
            "action_dim": int,
            "discount": float,
            "n_step": int,
        }
        bounds = {"action_low", "action_high"}
        if not isinstance(data, Mapping) or set(data) - bounds != set(kinds):
            raise ProtocolError("spec", "wrong fields")
        if any(type(data[key]) is not kind for key, kind in kinds.items()):
            raise ProtocolError("spec", "wrong types")
        low, high = _bound(data, "action_low"), _bound(data, "action_high")
        spec = cls(**{key: data[key] for key in kinds}, action_low=low, action_high=high)
        dims_fit = 1 <= spec.obs_dim <= MAX_DIM and 1 <= spec.action_dim <= MAX_DIM
        bounds_fit = all(bound is None or len(bound) == spec.action_dim for bound in (low, high))
        if not (dims_fit and bounds_fit and 0.0 <= spec.discount <= 1.0 and 1 <= spec.n_step <= MAX_DIM):
            raise ProtocolError("spec", "out of range")
        return spec

    def to_mapping(self) -> dict[str, Any]:
        """Return the plain values that `from_mapping` takes."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    @cached_property
    def digest(self) -> bytes:
        """8 bytes that differ when anything about the spec does."""
        return hashlib.blake2b(msgpack.packb(self.to_mapping()), digest_size=8).digest()

    @cached_property
    def record(self) -> np.dtype[np.void]:
        """Packed little-endian record of one transition; its size is a multiple of 4 bytes.

        `reward` is the n-step sum of discounted rewards, `next_obs` the observation n steps on and
        `discount` the factor of the bootstrap there (discount**n; n is shorter at an episode's end).
        """
        return np.dtype(
            [
                ("obs", "<f4", (self.obs_dim,)),
                ("next_obs", "<f4", (self.obs_dim,)),
                ("action", "<f4", (self.action_dim,)),
                ("reward", "<f4"),
                ("discount", "<f4"),
                ("terminated", "?"),
                ("truncated", "?"),
                ("padding", "u1", (2,)),
            ]
        )

    @cached_property
    def limits(self) -> NDArray[np.float32]:
        """[2, F] least and most of each of the F floats that a record begins with, see `RANGES`."""
        ends = np.zeros(2, self.record)
        for name, (least, most) in RANGES.items():
            ends[name][0], ends[name][1] = least, most
        return ends.view("<f4").reshape(2, -1)[:, :-1].copy()

    def pack(
        self,
        obs: Floats,
        next_obs: Floats,
        action: Floats,
        reward: float,
        discount: float,
        terminated: bool,
        truncated: bool,
    ) -> bytes:
        """Return one transition as the bytes of a `record`: a quarter of the time that NumPy takes for it.

        Args:
            obs: [obs_dim] float32.
            next_obs: [obs_dim] float32.
            action: [action_dim] float32.
            reward: within float32.
            discount: of the bootstrap.
            terminated: whether next_obs is terminal.
            truncated: whether the episode was cut off there.

        Raises:
            ValueError: the arrays hold more or fewer bytes than the record: another shape or dtype.
        """
        end = RECORD_END.pack(reward, discount, terminated, truncated)
        row = obs.tobytes() + next_obs.tobytes() + action.tobytes() + end
        if len(row) != self.record.itemsize:
            raise ValueError(f"a transition of {len(row)} bytes, allowed {self.record.itemsize}")
        return row


def _flat_box(env: "gymnasium.Env[Any, Any]", name: str, role: str) -> gymnasium.spaces.Box:
    """Return a space of an environment: `role` is observation or action.

    Raises:
        ConfigError: it is not a flat Box of 1 to `MAX_DIM` numbers.
    """
    space = getattr(env, f"{role}_space", None)
    if not (
        isinstance(space, gymnasium.spaces.Box)
        and len(space.shape) == 1
        and 1 <= space.shape[0] <= MAX_DIM
        and space.dtype.kind in "fiub"
    ):
        raise ConfigError(
            f"--env {name}: its {role} space is {' '.join(str(space).split())};"
            f" allowed: a flat Box of 1 to {MAX_DIM} numbers"
        )
    return space


def differences(given: Mapping[str, Any], allowed: Mapping[str, Any]) -> str:
    """Return where two mappings of specs differ, for people: flags by their names."""
    flags = {"env": "--env", "discount": "--discount", "n_step": "--n-step"}
    return "; ".join(
        f"{flags.get(name, name)} {given.get(name)}, allowed {allowed.get(name)}"
        for name in {**allowed, **given}
        if given.get(name) != allowed.get(name)
    )


def _bound(data: Mapping[str, Any], key: str) -> tuple[float, ...] | None:
    """Return the numbers of one bound that a peer declares, None when it declares none."""
    values = data.get(key)
    if values is None:
        return None
    if not isinstance(values, list | tuple) or not all(
        type(value) is float and math.isfinite(value) for value in values
    ):
        raise ProtocolError("spec", "wrong types")
    return tuple(values)
