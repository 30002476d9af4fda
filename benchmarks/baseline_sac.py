"""Stable-Baselines3's SAC on the cube, recording its policies: one run of `benchmarks.baseline_cube`.

    python -m benchmarks.baseline_sac --setting tuned --seed 0 --seconds 180 --began-s 12.3 --into FOLDER

A policy is recorded as the `Weights` frame that our learner would have published, so that the same code
evaluates both sides: the networks agree layer by layer.
"""

import argparse
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import gymnasium
import numpy as np

from benchmarks.snapshots import Snapshot
from graspfleet.actor.spaces import read_spec
from graspfleet.common.messages import Weights
from graspfleet.common.observations.fields import Floats
from graspfleet.common.observations.space import ObservationSpace
from graspfleet.common.protocol import encode
from graspfleet.common.settings.config import EnvConfig, ReturnConfig

ENV = "graspfleet.actor.grasp:Grasp-v0"
ENDLESS = 10**9
"""Env steps; the clock ends a run."""

NUM_ENVS = "num_envs"
_TUNED: dict[str, Any] = {
    "gamma": 0.95,
    "learning_rate": 5e-4,
    "tau": 0.01,
    "ent_coef": "auto_0.1",
    "learning_starts": 3000,
}
SETTINGS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "defaults": {NUM_ENVS: 2},
        "tuned": {
            **_TUNED,
            NUM_ENVS: 2,
            "batch_size": 256,
            "policy_kwargs": {"net_arch": [256, 256]},
            "train_freq": 10,
            "gradient_steps": 10,
        },
        "cube-fast": {
            **_TUNED,
            NUM_ENVS: 4,
            "gamma": 0.9,
            "batch_size": 128,
            "policy_kwargs": {"net_arch": [128, 128]},
            "n_steps": 2,
            "train_freq": 10,
            "gradient_steps": 13,
        },
    }
)
"""Changes of each setting to SB3's defaults, and its number of parallel environments.

`defaults`: nothing. `tuned`: discount, learning rate, target rate and first temperature for the task.
`cube-fast`: our preset of that name as far as SB3 has it (not the LayerNorm of the critics, the random
actions, the average), and one update for three env steps, which is what our free-running learner comes to on
two cores.
"""


def policy_arrays(actor: Any) -> dict[str, Floats]:
    """Return an SB3 actor with two hidden ReLU layers as the arrays of `common.policy.NumpyPolicy`.

    Args:
        actor: `stable_baselines3.sac.policies.Actor`; `latent_pi`, then `mu` and `log_std`, then tanh.

    Returns:
        `w0 b0 w1 b1 w2 b2`; torch keeps a layer's weights as [out, in].
    """
    import torch

    first, second = (layer for layer in actor.latent_pi if isinstance(layer, torch.nn.Linear))
    layers = [
        (first.weight, first.bias),
        (second.weight, second.bias),
        (torch.cat((actor.mu.weight, actor.log_std.weight)), torch.cat((actor.mu.bias, actor.log_std.bias))),
    ]
    arrays: dict[str, Floats] = {}
    for i, (weight, bias) in enumerate(layers):
        arrays[f"w{i}"] = np.ascontiguousarray(weight.detach().cpu().numpy().T)
        arrays[f"b{i}"] = bias.detach().cpu().numpy()
    return arrays


def train(setting: str, seed: int, seconds: float, began_s: float, every_s: float, folder: Path) -> None:
    """Learn until `seconds` after `began_s` (of the monotonic clock); keep a policy every `every_s`."""
    from stable_baselines3 import SAC
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.vec_env import SubprocVecEnv

    arguments = dict(SETTINGS[setting])
    make = partial(gymnasium.make, ENV, physics="fast", disable_env_checker=True)
    # Forked workers need not import torch once more each, which SB3's own choice makes them do.
    envs = SubprocVecEnv([make] * arguments.pop(NUM_ENVS), start_method="fork")
    model = SAC("MlpPolicy", envs, seed=seed, device="cpu", **arguments)
    config, returns = EnvConfig(), ReturnConfig(discount=model.gamma, n_step=arguments.get("n_steps", 1))
    spec = read_spec(envs, config, returns, ObservationSpace(envs.observation_space, config.env))

    class Keep(BaseCallback):
        """Writes the policy now and then, and ends the run at its time."""

        kept_s = 0.0
        version = 0

        def _on_step(self) -> bool:
            wall_s = time.monotonic() - began_s
            if wall_s >= self.kept_s + every_s:
                self.kept_s = wall_s
                self.version += 1
                message = Weights(
                    version=self.version,
                    env_steps=model.num_timesteps,
                    updates=model._n_updates,
                    spec=spec,
                    policy=policy_arrays(model.actor),
                )
                (folder / f"{wall_s:.2f}.gfp").write_bytes(encode(message))
            return wall_s < seconds

    model.learn(ENDLESS, callback=Keep())
    envs.close()


def kept(folder: Path) -> list[Snapshot]:
    """Return the policies of a run, oldest first."""
    return sorted(
        (Snapshot(float(path.stem), path.read_bytes()) for path in folder.glob("*.gfp")),
        key=lambda snapshot: snapshot.wall_s,
    )


def main() -> int:
    """Train once."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--setting", choices=SETTINGS, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=180.0, help="since --began-s")
    parser.add_argument("--began-s", type=float, default=time.monotonic(), help="of the monotonic clock")
    parser.add_argument("--every-s", type=float, default=4.0, help="seconds between two policies")
    parser.add_argument("--threads", type=int, help="of torch; its own choice otherwise")
    parser.add_argument("--into", type=Path, required=True, help="folder that exists")
    options = parser.parse_args()
    if options.threads is not None:
        import torch

        torch.set_num_threads(options.threads)
    train(options.setting, options.seed, options.seconds, options.began_s, options.every_s, options.into)
    return 0


if __name__ == "__main__":
    sys.exit(main())
