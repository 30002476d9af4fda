"""Choice of the implementation of SAC: a GPU if requested and available, else the CPU."""

import logging

import torch
from threadpoolctl import threadpool_limits

from graspfleet.common.errors import ConfigError
from graspfleet.common.settings.processes import LearnerConfig
from graspfleet.common.specs import EnvSpec
from graspfleet.learner.numerics.device import on_gpu
from graspfleet.learner.sac.agent import SAC
from graspfleet.learner.sac.cuda.agent import CudaSAC
from graspfleet.learner.sac.cuda.device import Cuda
from graspfleet.learner.sac.numba.agent import NumbaSAC
from graspfleet.learner.sac.numba.matmul import BF16, FP32, FP32_THREADED, Products
from graspfleet.learner.sac.settings import SACConfig

log = logging.getLogger(__name__)

Agent = SAC | NumbaSAC | CudaSAC
"""Any implementation of SAC."""

GPU_UPDATES = 16
"""Default number of updates per call on a GPU: few calls, while published weights stay recent."""
BF16_FROM = 1 << 24
"""Number of multiplications in a middle layer (batch x units x units) above which bfloat16 is faster."""


def updates_per_dispatch(config: LearnerConfig) -> int:
    """Return the number of updates per call.

    Raises:
        ConfigError: see `on_gpu`.
    """
    default = GPU_UPDATES if on_gpu(config) else 1
    return config.updates_per_dispatch or default


def require_possible(settings: SACConfig, learner: LearnerConfig) -> None:
    """Check that the requested device and precision are available.

    Raises:
        ConfigError: they are not.
    """
    if on_gpu(learner):
        if settings.precision == "bf16":
            raise ConfigError("--precision bf16: not on a GPU; allowed: fp32, auto (or --device cpu)")
    elif settings.precision == "bf16" and not _has_bf16():
        raise ConfigError("--precision bf16: this CPU has no bfloat16 instructions; allowed: fp32, auto")


def uses_bf16(settings: SACConfig, batch_size: int) -> bool:
    """Return whether these settings use bfloat16 products on this CPU."""
    gains = _has_bf16() and batch_size * settings.hidden_dim**2 >= BF16_FROM
    return settings.precision == "bf16" or (settings.precision == "auto" and gains)


def _has_bf16() -> bool:
    return any(torch.cpu.get_capabilities().get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def choose_backend(
    settings: SACConfig, spec: EnvSpec, learner: LearnerConfig, *, batch_size: int, seed: int
) -> Agent:
    """Return the fastest implementation for this machine, and log its device.

    Args:
        settings: hyperparameters and precision.
        spec: shapes and dtypes of a transition.
        learner: device and threads; sets the number of threads of the whole process.
        batch_size: transitions per batch.
        seed: seed of the initial weights and of every action sampled while learning.

    Raises:
        ConfigError: the requested device or precision is not available, or the GPU fails.
    """
    require_possible(settings, learner)
    if not on_gpu(learner) and learner.device == "auto":
        log.info("no CUDA device found: updates run on the CPU")
    if not on_gpu(learner):
        products = choose_products(settings, batch_size, threads=learner.learner_threads)
        return NumbaSAC(spec, settings, batch_size=batch_size, seed=seed, products=products)
    if spec.images or spec.policy_dim < spec.obs_dim:  # captured graphs know flat vectors alone
        return _plain(settings, spec, learner, seed=seed)
    num_updates, name = updates_per_dispatch(learner), torch.cuda.get_device_name()
    try:
        device = Cuda()
        plain = SAC(spec, settings, seed=seed, device=device.name)
        agent: Agent = CudaSAC(plain, spec, (num_updates, batch_size), device)
    except (torch.OutOfMemoryError, torch.AcceleratorError) as error:
        raise _gpu_fails(learner, error) from None
    log.info("updates run on %s, %d per call", name, num_updates)
    return agent


def _plain(settings: SACConfig, spec: EnvSpec, learner: LearnerConfig, *, seed: int) -> Agent:
    """Return the plain update on a GPU, the only one there with an encoder or privileged fields.

    Raises:
        ConfigError: the GPU fails.
    """
    try:
        agent = SAC(spec, settings, seed=seed, device="cuda")
    except (torch.OutOfMemoryError, torch.AcceleratorError) as error:
        raise _gpu_fails(learner, error) from None
    log.info("updates run on %s", torch.cuda.get_device_name())
    return agent


def _gpu_fails(learner: LearnerConfig, error: Exception) -> ConfigError:
    reason, name = " ".join(str(error).split())[:200], torch.cuda.get_device_name()
    return ConfigError(f"--device {learner.device}: {name} fails ({reason}); allowed: cpu")


def choose_products(settings: SACConfig, batch_size: int, *, threads: int) -> Products:
    """Return the matrix products to use on this CPU, and set the number of threads of the whole process."""
    threadpool_limits(1, user_api="blas")  # for NumPy; products worth parallelizing go through torch
    torch.set_num_threads(threads)
    fp32 = FP32 if threads == 1 else FP32_THREADED
    return Products(fp32, BF16 if uses_bf16(settings, batch_size) else fp32)
