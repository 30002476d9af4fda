"""Which agent learns here: on a GPU where there is one, else on the CPU."""

import logging

import torch

from common.config import LearnerConfig, SACConfig
from common.errors import ConfigError
from common.specs import EnvSpec
from learner.sac.agent import SACAgent
from learner.sac.cuda.agent import GraphSACAgent
from learner.sac.cuda.device import Cuda
from learner.sac.numba.agent import make_agent, uses_bf16

log = logging.getLogger(__name__)

GPU_UPDATES_N = 16
"""Updates in one go on a GPU unless the user says otherwise: calls are rare then, and weights still fresh."""


def on_gpu(config: LearnerConfig) -> bool:
    """Whether updates run on a GPU.

    Raises:
        ConfigError: one was asked for and there is none.
    """
    found = config.device != "cpu" and torch.cuda.is_available()
    if config.device == "cuda" and not found:
        raise ConfigError("--device cuda: torch finds no CUDA device here; allowed: auto, cpu")
    return found


def updates_per_dispatch(config: LearnerConfig) -> int:
    """Return how many updates are taken in one go.

    Raises:
        ConfigError: as of `on_gpu`.
    """
    default = GPU_UPDATES_N if on_gpu(config) else 1
    return config.updates_per_dispatch or default


def require_possible(sac: SACConfig, learner: LearnerConfig) -> None:
    """Raise ConfigError for a device or a precision that is not to be had here."""
    if not on_gpu(learner):
        uses_bf16(sac)
    elif sac.precision == "bf16":
        raise ConfigError("--precision bf16: on a GPU allowed are fp32, auto (or --device cpu)")


def choose_agent(spec: EnvSpec, sac: SACConfig, learner: LearnerConfig, *, seed: int) -> SACAgent:
    """Return the fastest agent for this machine, and say in the log where it runs.

    Raises:
        ConfigError: the device or the precision that was asked for is not to be had, or the GPU fails.
    """
    require_possible(sac, learner)
    if not on_gpu(learner):
        if learner.device == "auto":
            log.info("no CUDA device found: updates run on the CPU")
        return make_agent(spec, sac, seed=seed, threads=learner.learner_threads)
    num_updates, name = updates_per_dispatch(learner), torch.cuda.get_device_name()
    try:
        agent = GraphSACAgent(spec, sac, seed=seed, device=Cuda(), num_updates=num_updates)
    except (torch.OutOfMemoryError, torch.AcceleratorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"--device {learner.device}: {name} fails ({reason}); allowed: cpu") from None
    log.info("updates run on %s, %d in one go", name, num_updates)
    return agent
