"""K updates in one go against as many by autograd; where there is no GPU, all but capture and streams."""

import io
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from graspfleet.common.errors import ConfigError
from graspfleet.common.settings.processes import LearnerConfig
from graspfleet.common.specs import Records
from graspfleet.learner.sac import backends
from graspfleet.learner.sac.agent import SAC
from graspfleet.learner.sac.backends import choose_backend, updates_per_dispatch
from graspfleet.learner.sac.cuda.agent import CudaSAC
from graspfleet.learner.sac.cuda.device import Cuda, Device, Host
from graspfleet.learner.sac.numba.agent import NumbaSAC
from graspfleet.learner.sac.settings import SACConfig
from tests.fakes import ONE_LINE
from tests.learner.test_sac import SPEC, Trained, make_batch
from tests.learner.test_sac_numba import SMALL, config

BATCH_SIZE, NUM_UPDATES = 33, 4
CFG = config()
DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device here"),
    ),
]
on_each_device = pytest.mark.parametrize("device", DEVICES)


def make_graph(device: str, cfg: SACConfig = CFG, *, seed: int = 1, n: int = NUM_UPDATES) -> CudaSAC:
    return captured(Cuda() if device == "cuda" else Host(), cfg, seed=seed, n=n)


def captured(place: Device, cfg: SACConfig = CFG, *, seed: int = 1, n: int = NUM_UPDATES) -> CudaSAC:
    plain = SAC(SPEC, cfg, seed=seed, device=place.name)
    return CudaSAC(plain, SPEC, (n, BATCH_SIZE), place)


def make_batches(seed: int, n: int = NUM_UPDATES) -> Records:
    return np.stack([make_batch(BATCH_SIZE, 100 * seed + i) for i in range(n)])


def leaves(state: Any) -> list[Any]:
    if isinstance(state, dict):
        return [leaf for key in sorted(state, key=str) for leaf in leaves(state[key])]
    return [leaf for item in state for leaf in leaves(item)] if isinstance(state, (list, tuple)) else [state]


def tensors(agent: Trained) -> list[torch.Tensor]:
    return [leaf for leaf in leaves(agent.state.state_dict()) if isinstance(leaf, torch.Tensor)]


def assert_same(one: Trained, other: Trained) -> None:
    for a, b in zip(tensors(one), tensors(other), strict=True):
        assert torch.equal(a, b)


@on_each_device
@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("auto_entropy", [False, True])
@pytest.mark.parametrize("n", [1, NUM_UPDATES])
def test_k_updates_in_one_go_are_k_plain_updates(
    device: str, layer_norm: bool, auto_entropy: bool, n: int
) -> None:
    cfg = config(critic_layer_norm=layer_norm, auto_entropy=auto_entropy)
    plain, quick = SAC(SPEC, cfg, seed=1, device=device), make_graph(device, cfg, n=n)
    for seed in range(3):
        batches = make_batches(seed, n)
        expected = plain.update(batches)
        got = quick.update(batches)
        assert got.keys() == expected.keys()
        for name, value in expected.items():
            assert float(got[name]) == pytest.approx(float(value), rel=1e-4, abs=1e-5), name
    if device == "cpu":  # the same operations in the same order
        assert_same(quick, plain)
    for name, flat in plain.state.flat.items():
        torch.testing.assert_close(quick.state.flat[name].values, flat.values, rtol=0, atol=1e-4)
    assert torch.equal(quick.state_dict()["generator"], plain.state_dict()["generator"])


class Rehearsing(Host):
    """Like a capture, it runs the work some times beforehand, and may keep the memory it saw."""

    def repeatable(self, work: Callable[[], None], generator: torch.Generator) -> Callable[[], None]:
        for _ in range(4):
            work()
        return work


def test_nothing_is_left_of_the_warm_up() -> None:
    rehearsed = captured(Rehearsing())
    straight = make_graph("cpu")
    assert_same(rehearsed, straight)
    for agent in (rehearsed, straight):
        agent.update(make_batches(0))
    assert_same(rehearsed, straight)


class NoNumberIsRead(TorchDispatchMode):
    """Refuses `.item()` and whatever else takes a number or a shape out of a tensor."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func not in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)
        return func(*args, **(kwargs or {}))


def test_updates_read_no_number() -> None:
    agent = make_graph("cpu", config(critic_layer_norm=True))
    with NoNumberIsRead():
        metrics = agent.update(make_batches(0))
        with pytest.raises(AssertionError):
            float(metrics["critic_loss"])


@on_each_device
def test_whatever_a_capture_holds_on_to_stays_where_it_is(device: str) -> None:
    agent = make_graph(device)
    places = []
    for seed in range(2):
        state = agent.state_dict()
        held = [
            agent._batches,
            *(leaf for leaf in leaves({**state, "generator": None}) if torch.is_tensor(leaf)),
        ]
        places.append([tensor.data_ptr() for tensor in held])
        agent.update(make_batches(seed))
        agent.load_state_dict(deepcopy(state))
    assert places[0] == places[1]


@on_each_device
def test_resuming_is_bit_exact(device: str) -> None:
    straight, first = make_graph(device), make_graph(device)
    for seed in range(2):
        straight.update(make_batches(seed))
        first.update(make_batches(seed))
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    resumed = make_graph(device, seed=99)
    resumed.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    for agent in (straight, resumed):
        for seed in range(2, 4):
            agent.update(make_batches(seed))
    assert_same(straight, resumed)


def test_a_state_of_another_kind_of_device_is_gone_on_with(caplog: pytest.LogCaptureFixture) -> None:
    state = make_graph("cpu").state_dict()
    agent = make_graph("cpu", seed=2)
    own = agent.state_dict()["generator"]
    agent.load_state_dict({**state, "generator": torch.zeros(16, dtype=torch.uint8)})
    assert torch.equal(agent.state.policy.w0, state["policy"]["w0"])
    assert torch.equal(agent.state_dict()["generator"], own)
    assert "random numbers start anew" in caplog.text


@on_each_device
def test_a_copy_of_the_policy_is_of_its_moment(device: str) -> None:
    agent = make_graph(device)
    agent.update(make_batches(0))
    wanted = {
        name: value.detach().cpu().numpy().T.copy() for name, value in agent.state.policy.named_parameters()
    }
    copy = agent.policy()
    agent.update(make_batches(1))
    arrays = copy.arrays()
    assert copy.ready()
    assert arrays.keys() == wanted.keys()
    for name, array in arrays.items():
        assert array.flags.c_contiguous
        np.testing.assert_array_equal(array, wanted[name])


def test_other_batches_are_refused() -> None:
    agent = make_graph("cpu")
    for bad in (make_batches(0, n=3), make_batches(0)[:, 1:], make_batches(0)["obs"]):
        with pytest.raises(ValueError, match="expected"):
            agent.update(bad)


def test_without_a_gpu_the_cpu_is_taken_and_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    caplog.set_level("INFO")
    assert isinstance(
        choose_backend(SMALL, SPEC, LearnerConfig(device="auto"), batch_size=BATCH_SIZE, seed=0), NumbaSAC
    )
    assert [record.message for record in caplog.records] == ["no CUDA device found: updates run on the CPU"]
    choose_backend(SMALL, SPEC, LearnerConfig(device="cpu"), batch_size=BATCH_SIZE, seed=0)
    assert len(caplog.records) == 1
    assert updates_per_dispatch(LearnerConfig(device="auto")) == 1
    assert updates_per_dispatch(LearnerConfig(updates_per_dispatch=8)) == 8
    with pytest.raises(ConfigError, match=ONE_LINE) as caught:
        updates_per_dispatch(LearnerConfig(device="cuda"))
    assert "--device cuda" in str(caught.value)


def test_a_gpu_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    monkeypatch.setattr(backends, "Cuda", Host)
    agent = choose_backend(CFG, SPEC, LearnerConfig(device="auto"), batch_size=BATCH_SIZE, seed=0)
    assert isinstance(agent, CudaSAC)
    agent.update(make_batches(0, n=backends.GPU_UPDATES))
    assert isinstance(
        choose_backend(CFG, SPEC, LearnerConfig(device="cpu"), batch_size=BATCH_SIZE, seed=0), NumbaSAC
    )
    with pytest.raises(ConfigError, match=r"--precision bf16: not on a GPU; allowed: fp32, auto"):
        choose_backend(
            config(precision="bf16"), SPEC, LearnerConfig(device="auto"), batch_size=BATCH_SIZE, seed=0
        )


def test_a_gpu_without_room_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> Host:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate much")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    monkeypatch.setattr(backends, "Cuda", full)
    with pytest.raises(ConfigError, match=ONE_LINE) as caught:
        choose_backend(CFG, SPEC, LearnerConfig(device="auto"), batch_size=BATCH_SIZE, seed=0)
    assert "--device auto: a GPU fails (CUDA out of memory. Tried" in str(caught.value)
