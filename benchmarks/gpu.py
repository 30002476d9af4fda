"""SAC updates/s on a GPU, in the sizes of the row `sac`: K in one CUDA graph beside one by one.

All sides sample from their own replay on the host. Where torch finds no CUDA device, none can be measured.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from benchmarks.comparison import Comparison, Threshold, Worker
from benchmarks.sac import NUM_ROWS, SECONDS, SETTINGS, WARM_S, Blank, training
from benchmarks.workload import BATCH_SIZE, SPEC, Measure, UnavailableError, filled_replay, rate
from graspfleet.common.settings.processes import LearnerConfig


def require_gpu() -> None:
    """Bow out where there is no GPU.

    Raises:
        UnavailableError: there is none.
    """
    import torch

    if not torch.cuda.is_available():
        raise UnavailableError("torch finds no CUDA device here")


@contextmanager
def captured(num_updates: int) -> Iterator[Measure]:
    """Yield the measure of what the learner runs: `num_updates` updates in one graph."""
    import torch

    from graspfleet.learner.sac.backends import choose_backend
    from graspfleet.learner.sac.settings import SACConfig

    require_gpu()
    flags = LearnerConfig(device="cuda", updates_per_dispatch=num_updates)
    agent = choose_backend(SACConfig(), SPEC, flags, batch_size=BATCH_SIZE, seed=0)
    with filled_replay(NUM_ROWS) as replay:

        def update() -> int:
            agent.update(replay.sample(num_updates, BATCH_SIZE))
            return num_updates

        measure = partial(rate, update, finish=torch.cuda.synchronize)
        measure(WARM_S)
        yield lambda: {f"graph of {num_updates}": measure(SECONDS)}


@contextmanager
def eager() -> Iterator[Measure]:
    """Yield the measure of the plain update, whose operations are issued one by one."""
    import torch

    from graspfleet.learner.sac.agent import SAC
    from graspfleet.learner.sac.settings import SACConfig

    require_gpu()
    agent = SAC(SPEC, SACConfig(), seed=0, device="cuda")
    with filled_replay(NUM_ROWS) as replay:

        def update() -> int:
            agent.update(replay.sample(1, BATCH_SIZE))
            return 1

        measure = partial(rate, update, finish=torch.cuda.synchronize)
        measure(WARM_S)
        yield lambda: {"eager": measure(SECONDS)}


@contextmanager
def stable_baselines3() -> Iterator[Measure]:
    """Yield the measure of Stable-Baselines3's own `train` on the GPU."""
    import stable_baselines3 as sb3
    import torch

    require_gpu()
    model = sb3.SAC("MlpPolicy", Blank(), device="cuda", **SETTINGS)
    yield from training("Stable-Baselines3", model, torch.cuda.synchronize)


COMPARISONS = (
    Comparison(
        "sac-gpu",
        "SAC updates of the row sac on a GPU, one core of the host",
        "updates/s",
        1,
        (
            Worker("benchmarks.gpu:captured", {"num_updates": 16}),
            Worker("benchmarks.gpu:captured", {"num_updates": 1}),
            Worker("benchmarks.gpu:eager"),
            Worker("benchmarks.gpu:stable_baselines3"),
        ),
        (
            Threshold("graph of 16", "eager"),
            Threshold("graph of 1", "eager"),
            Threshold("graph of 16", "Stable-Baselines3"),
        ),
    ),
)
