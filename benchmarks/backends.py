"""SAC's back ends at the sizes of the presets: the one that the learner chooses, plain torch, compiled torch.

A back end written by hand stays if it is at least 1.25 times as fast as the better of plain and compiled;
for runs of a minute, the time before its first update counts too.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from benchmarks.comparison import Comparison, Threshold, Worker
from benchmarks.workload import SPEC, Measure, UnavailableError, filled_replay, rate
from graspfleet.common.settings.processes import LearnerConfig
from graspfleet.learner.sac.agent import SAC
from graspfleet.learner.sac.backends import choose_backend
from graspfleet.learner.sac.settings import SACConfig

NUM_ROWS = 100_000
SECONDS, WARM_S = 2.5, 1.0
CALLS = 20
RUN_S = 60.0
"""Length of a short run, for the updates that a back end has made by its end."""
SIZES: dict[str, tuple[int, int, bool]] = {"128": (128, 128, True), "256": (256, 256, False)}
"""Preset's size -> batch size, units of a hidden layer, LayerNorm: of `cube-fast` and of `plain`."""
Update = Callable[[Any], object]


def chosen(settings: SACConfig, batch_size: int) -> Update:
    """Return the update that the learner runs on this CPU."""
    return choose_backend(settings, SPEC, LearnerConfig(), batch_size=batch_size, seed=0).update


def plain(settings: SACConfig, batch_size: int) -> Update:
    """Return the update in plain torch."""
    torch.set_num_threads(1)
    return SAC(SPEC, settings, seed=0).update


def compiled(settings: SACConfig, batch_size: int) -> Update:
    """Return the update with its networks under `torch.compile`, in float32.

    The whole update cannot be compiled: its losses share a graph, which is released by the first of them.
    """
    torch.set_num_threads(1)
    agent = SAC(SPEC, settings, seed=0)
    for network in (agent.state.policy, agent.state.critic, agent.state.target):
        network.compile()
    return agent.update


def compiled_bf16(settings: SACConfig, batch_size: int) -> Update:
    """Return the update under `torch.compile`, with matrix products in bfloat16."""
    if not torch.cpu.get_capabilities().get("avx512_bf16", False):
        raise UnavailableError("this CPU has no bfloat16 instructions")
    update = compiled(settings, batch_size)

    def autocast(batches: Any) -> object:
        with torch.autocast("cpu", torch.bfloat16):
            return update(batches)

    return autocast


BACKENDS = {each.__name__: each for each in (chosen, plain, compiled, compiled_bf16)}


@contextmanager
def backend(name: str, size: str) -> Iterator[Measure]:
    """Yield the measure of a back end: updates/s, and updates within a run of `RUN_S`, its start counted.

    Args:
        name: a key of `BACKENDS`.
        size: a key of `SIZES`.
    """
    batch_size, hidden_dim, layer_norm = SIZES[size]
    settings = SACConfig(hidden_dim=hidden_dim, critic_layer_norm=layer_norm)
    with filled_replay(NUM_ROWS) as replay:
        began_s = time.monotonic()
        update = BACKENDS[name](settings, batch_size)
        update(replay.sample(1, batch_size))
        start_s = time.monotonic() - began_s

        def work() -> int:
            for _ in range(CALLS):
                update(replay.sample(1, batch_size))
            return CALLS

        rate(work, WARM_S)

        def measure() -> dict[str, float]:
            per_s = rate(work, SECONDS)
            in_run = max(RUN_S - start_s, 0.0) / RUN_S * per_s
            return {name: per_s, f"{name}, start counted": in_run, f"{name}, start (s)": start_s}

        yield measure


def comparison(size: str) -> Comparison:
    """Return the comparison at the size of one preset."""
    batch_size, hidden_dim, layer_norm = SIZES[size]
    return Comparison(
        f"backends-{size}",
        f"SAC updates by back end, batch {batch_size}, 2x{hidden_dim} units"
        f"{', LayerNorm' if layer_norm else ''}, one core",
        "updates/s",
        1,
        tuple(Worker("benchmarks.backends:backend", {"name": name, "size": size}) for name in BACKENDS),
        (
            Threshold("chosen", "plain", 1.25),
            Threshold("chosen", "compiled", 1.25),
            Threshold("chosen, start counted", "compiled, start counted", 1.25),
            Threshold("chosen", "compiled_bf16"),
        ),
    )


COMPARISONS = tuple(map(comparison, SIZES))
