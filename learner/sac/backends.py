"""Which implementation of SAC learns here: on a GPU where there is one, else on the CPU."""

import logging

import torch
from threadpoolctl import threadpool_limits

from graspfleet.common.errors import ConfigError
from graspfleet.common.settings.processes import LearnerConfig
from graspfleet.common.specs import EnvSpec
from graspfleet.learner.algorithm import Algorithm
from graspfleet.learner.numerics.device import on_gpu
from graspfleet.learner.sac.agent import SAC
from graspfleet.learner.sac.cuda.agent import CudaSAC
from graspfleet.learner.sac.cuda.device import Cuda
from graspfleet.learner.sac.numba.agent import NumbaSAC
from graspfleet.learner.sac.numba.matmul import BF16, FP32, FP32_THREADED, Products
from graspfleet.learner.sac.settings import SACConfig

log = logging.getLogger(__name__)

GPU_UPDATES = 16
"""Updates in one go on a GPU unless the user says otherwise: calls are rare then, and weights still fresh."""
BF16_FROM = 1 << 24
"""Multiplications of one middle layer, batch x units x units, from which the conversion to bfloat16 pays."""


def updates_per_dispatch(config: LearnerConfig) -> int:
    """Return how many updates are taken in one go.

    Raises:
        ConfigError: as of `on_gpu`.
    """
    default = GPU_UPDATES if on_gpu(config) else 1
    return config.updates_per_dispatch or default


def require_possible(settings: SACConfig, learner: LearnerConfig) -> None:
    """Raise ConfigError for a device or a precision that is not to be had here."""
    if on_gpu(learner):
        if settings.precision == "bf16":
            raise ConfigError("--precision bf16: on a GPU allowed are fp32, auto (or --device cpu)")
    elif settings.precision == "bf16" and not _has_bf16():
        raise ConfigError("--precision bf16: this CPU has no bfloat16 instructions; allowed: fp32, auto")


def uses_bf16(settings: SACConfig, batch_size: int) -> bool:
    """Return whether the settings come to bfloat16 products on this CPU."""
    gains = _has_bf16() and batch_size * settings.hidden_dim**2 >= BF16_FROM
    return settings.precision == "bf16" or (settings.precision == "auto" and gains)


def _has_bf16() -> bool:
    return any(torch.cpu.get_capabilities().get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def choose_backend(
    settings: SACConfig, spec: EnvSpec, learner: LearnerConfig, *, batch_size: int, seed: int
) -> Algorithm:
    """Return the fastest implementation for this machine, and say in the log where it runs.

    Args:
        settings: hyperparameters and precision.
        spec: shapes and dtypes of a transition.
        learner: device and threads; those of the whole process are set.
        batch_size: transitions of every batch.
        seed: of the initial weights and of every action sampled by it.

    Raises:
        ConfigError: the device or the precision that was asked for is not to be had, or the GPU fails.
    """
    require_possible(settings, learner)
    if not on_gpu(learner):
        if learner.device == "auto":
            log.info("no CUDA device found: updates run on the CPU")
        products = choose_products(settings, batch_size, threads=learner.learner_threads)
        return NumbaSAC(spec, settings, batch_size=batch_size, seed=seed, products=products)
    num_updates, name = updates_per_dispatch(learner), torch.cuda.get_device_name()
    try:
        device = Cuda()
        plain = SAC(spec, settings, seed=seed, device=device.name)
        agent = CudaSAC(plain, spec, (num_updates, batch_size), device)
    except (torch.OutOfMemoryError, torch.AcceleratorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"--device {learner.device}: {name} fails ({reason}); allowed: cpu") from None
    log.info("updates run on %s, %d in one go", name, num_updates)
    return agent


def choose_products(settings: SACConfig, batch_size: int, *, threads: int) -> Products:
    """Return how matrices are multiplied on this CPU, and set the threads of the whole process."""
    threadpool_limits(1, user_api="blas")  # NumPy's; what is worth sharing goes through torch
    torch.set_num_threads(threads)
    fp32 = FP32 if threads == 1 else FP32_THREADED
    return Products(fp32, BF16 if uses_bf16(settings, batch_size) else fp32)
