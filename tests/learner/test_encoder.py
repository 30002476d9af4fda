"""The encoder of images: NumPy and torch agree, shifts move pixels, and only the critics' loss trains it."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from graspfleet.common.errors import ConfigError, ProtocolError
from graspfleet.common.messages import Weights
from graspfleet.common.observations.encoder import (
    MAX_OUTPUTS,
    ImageEncoder,
    Layer,
    default_layers,
    encoder_shapes,
)
from graspfleet.common.policy import NumpyPolicy, policy_bytes
from graspfleet.common.protocol import decode, encode
from graspfleet.common.specs import EnvSpec
from graspfleet.learner.crossq import Settings as CrossQSettings
from graspfleet.learner.crossq import memory as memory_of_crossq
from graspfleet.learner.numerics.encoder import Encoder, shifted
from graspfleet.learner.sac import memory
from graspfleet.learner.sac.agent import SAC
from graspfleet.learner.sac.settings import SACConfig
from tests.fakes import IMAGE_SPEC, ONE_LINE, SPEC

SMALL = SACConfig(hidden_dim=16, latent_dim=8, num_critics=2)


def spec_of(*shapes: tuple[int, ...], privileged: bool = False) -> EnvSpec:
    fields: list[dict[str, Any]] = [
        {"name": f"i{i}", "shape": s, "dtype": "u1"} for i, s in enumerate(shapes)
    ]
    fields += [{"name": "state", "shape": (2,)}, {"name": "mass", "shape": (1,), "privileged": privileged}]
    return EnvSpec(env="Fake-v0", obs_dim=3, action_dim=2, discount=0.5, n_step=1, obs_fields=tuple(fields))


def batch_of(spec: EnvSpec, count: int = 16, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    batch = np.zeros((1, count), spec.sample)
    for name in ("obs", "next_obs", "action"):
        batch[name] = rng.uniform(-1, 1, batch[name].shape)
    for name in ("pixels", "next_pixels") if spec.images else ():
        batch[name] = rng.integers(0, 256, batch[name].shape)
    batch["reward"], batch["discount"] = rng.normal(size=batch["reward"].shape), 0.9
    return batch


LAYOUTS: list[tuple[EnvSpec, tuple[Layer, ...]]] = [
    (spec_of((8, 8)), ()),
    (spec_of((32, 32, 1)), ()),
    (spec_of((3, 20, 33)), ()),
    (spec_of((17, 9, 2), (12, 12)), ((4, 3), (5, 2))),
    (spec_of((64, 48, 3)), ((8, 8),)),
]


@pytest.mark.parametrize(("spec", "layers"), LAYOUTS)
def test_numpy_and_torch_compute_the_same(spec: EnvSpec, layers: tuple[Layer, ...]) -> None:
    encoder = Encoder(spec, layers, 8, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    arrays = {name: value.detach().numpy() for name, value in encoder.named().items()}
    assert {name: array.shape for name, array in arrays.items()} == encoder_shapes(spec, layers, 8)
    pixels = batch_of(spec)["pixels"][0]
    wanted = encoder(torch.from_numpy(np.ascontiguousarray(pixels))).detach().numpy()
    np.testing.assert_allclose(ImageEncoder(arrays, spec).encode(pixels), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("first", [(3, 20, 33), (20, 33, 3)])
def test_channels_may_come_first_or_last(first: tuple[int, ...]) -> None:
    spec = spec_of(first)
    picture = np.random.default_rng(0).integers(0, 256, (20, 33, 3), np.uint8)
    own = picture.transpose(2, 0, 1) if first[0] == 3 else picture
    encoder = Encoder(spec, (), 8, torch.Generator().manual_seed(0))
    arrays = {name: value.detach().numpy() for name, value in encoder.named().items()}
    got = ImageEncoder(arrays, spec).encode(np.ascontiguousarray(own).reshape(1, -1))
    other = spec_of((20, 33, 3))
    wanted = ImageEncoder(arrays, other).encode(picture.reshape(1, -1))
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize(("side", "grid"), [(8, 1), (32, 4), (64, 8), (128, 8), (480, 8)])
def test_default_layers_end_at_a_small_grid(side: int, grid: int) -> None:
    left = side
    for _, patch in default_layers((side, side, 3)):
        left = math.ceil(left / patch)
    assert left == grid


def test_a_shift_moves_each_image_by_its_own_number_of_pixels() -> None:
    images = torch.arange(2 * 4 * 5 * 1, dtype=torch.uint8).reshape(2, 4, 5, 1)
    moved = shifted(images, torch.tensor([[1, 0], [0, -2]]))
    assert torch.equal(moved[0, :3], images[0, 1:])
    assert torch.equal(moved[0, 3], images[0, 3])  # the border is repeated
    assert torch.equal(moved[1, :, 2:], images[1, :, :3])
    assert torch.equal(moved[1, :, 0], images[1, :, 0])


@pytest.mark.parametrize("shape", [(2048, 2048), (1, 2048, 2048), (65_536, 8, 8), (8, 65_536, 8)])
def test_default_layers_fit_every_image_that_is_allowed(shape: tuple[int, ...]) -> None:
    assert memory(SACConfig(), spec_of(shape), 8).held > 0


def test_only_the_critics_loss_trains_the_encoder() -> None:
    agent = SAC(IMAGE_SPEC, SMALL, seed=0)
    encoder = agent.state.encoder
    assert encoder is not None
    obs = agent._inputs(torch.zeros(4, 3), torch.zeros(4, 64, dtype=torch.uint8))
    assert obs.requires_grad
    before = {name: value.detach().clone() for name, value in encoder.named().items()}
    policy = agent.state.flat["policy"].values.clone()
    agent.update(batch_of(IMAGE_SPEC))
    assert all(not torch.equal(value, before[name]) for name, value in encoder.named().items())
    assert not torch.equal(agent.state.flat["policy"].values, policy)
    frozen = SAC(IMAGE_SPEC, SMALL, seed=0)
    frozen._step = lambda loss, *names: SAC._step(frozen, loss, *names) if names == ("policy",) else None  # type: ignore[method-assign]
    frozen.update(batch_of(IMAGE_SPEC))
    assert frozen.state.encoder is not None
    assert all(torch.equal(value, before[name]) for name, value in frozen.state.encoder.named().items())


def test_the_published_policy_acts_as_the_learners() -> None:
    spec = spec_of((12, 10, 3), (8, 8), privileged=True)
    agent = SAC(spec, SACConfig(hidden_dim=16, latent_dim=8, ema_tau=0.5), seed=0)
    for seed in range(3):
        agent.update(batch_of(spec, seed=seed))
    snapshot = agent.policy()
    frame = encode(
        Weights(version=1, env_steps=1, updates=3, spec=spec, policy=snapshot.arrays(), ema=snapshot.ema())
    )
    message = decode(frame)
    assert isinstance(message, Weights)
    batch = batch_of(spec)[0]
    with torch.no_grad():
        obs = torch.from_numpy(np.ascontiguousarray(batch["obs"]))
        assert agent.state.encoder is not None
        latent = agent.state.encoder(torch.from_numpy(np.ascontiguousarray(batch["pixels"])))
        mean, _ = agent.state.policy(torch.cat((obs[:, :2], latent), dim=1))
    policy = NumpyPolicy(message.policy, spec, np.random.default_rng(0))
    got, _ = policy.mean_and_log_std(batch["obs"], batch["pixels"])
    np.testing.assert_allclose(got, mean.numpy(), rtol=1e-4, atol=1e-5)
    averaged = NumpyPolicy(message.eval_policy, spec, np.random.default_rng(0))
    assert not np.allclose(averaged.mean_and_log_std(batch["obs"], batch["pixels"])[0], got)
    blind = batch["obs"].copy()
    blind[:, 2] += 100  # privileged
    np.testing.assert_array_equal(policy.mean_and_log_std(blind, batch["pixels"])[0], got)
    size = sum(array.nbytes for array in message.policy.values())
    assert size < policy_bytes(spec, 16, encoder_shapes(spec, (), 8)) < size + 400


def test_privileged_numbers_reach_the_critics() -> None:
    spec = EnvSpec(
        env="a",
        obs_dim=3,
        action_dim=2,
        discount=0.9,
        n_step=1,
        obs_fields=({"name": "a", "shape": (2,)}, {"name": "b", "shape": (1,), "privileged": True}),
    )
    agent = SAC(spec, SMALL, seed=0)
    assert agent.state.policy.w0.shape == (16, 2)
    assert agent.state.critic.w0.shape == (2, 5, 16)
    agent.update(batch_of(spec))


def test_a_resumed_run_continues_bit_by_bit() -> None:
    one, two = SAC(IMAGE_SPEC, SMALL, seed=0), SAC(IMAGE_SPEC, SMALL, seed=1)
    one.update(batch_of(IMAGE_SPEC))
    two.load_state_dict(one.state_dict())
    for agent in (one, two):
        agent.update(batch_of(IMAGE_SPEC, seed=1))
    for name, array in one.policy().arrays().items():
        np.testing.assert_array_equal(array, two.policy().arrays()[name])


def arrays_of(spec: EnvSpec) -> dict[str, Any]:
    return SAC(spec, SMALL, seed=0).policy().arrays()


@pytest.mark.parametrize("name", ["latent.b", "latent.w", "image0.w0", "image0.b1", "w0"])
@pytest.mark.parametrize("change", ["missing", "nan", "float64", "wider", "scalar"])
def test_arrays_that_are_no_policy_are_refused(name: str, change: str) -> None:
    arrays = arrays_of(IMAGE_SPEC)
    array = arrays.pop(name)
    changed = {
        "nan": np.full_like(array, np.nan),
        "float64": array.astype(np.float64),
        "wider": np.concatenate([array, array], axis=-1),
        "scalar": np.float32(0).reshape(()),
    }
    if change != "missing":
        arrays[name] = changed[change]
    with pytest.raises(ProtocolError):
        NumpyPolicy(arrays, IMAGE_SPEC, np.random.default_rng(0))


def test_an_encoder_is_refused_without_images_and_images_without_an_encoder() -> None:
    unhidden = spec_of((8, 8))  # a policy without images may see everything where a field is privileged
    for spec, other in ((SPEC, IMAGE_SPEC), (unhidden, SPEC)):
        with pytest.raises(ProtocolError):
            NumpyPolicy(arrays_of(other), spec, np.random.default_rng(0))


def test_outputs_beyond_the_limit_are_refused_before_memory_is_taken() -> None:
    spec = spec_of((1024, 1024, 1))
    with pytest.raises(ConfigError, match="--encoder-layers 16x1: layer 0 has 1024 x 1024 x 16 outputs"):
        memory(SACConfig(encoder_layers=("16x1",)), spec, 8)
    with pytest.raises(ValueError, match=f"allowed {MAX_OUTPUTS}"):
        encoder_shapes(spec, ((16, 1),), 8)
    arrays = {f"{kind}{i}": np.zeros((1, 1), np.float32) for i in range(3) for kind in "wb"}
    arrays |= {"image0.w0": np.zeros((1, 16), np.float32), "latent.b": np.zeros(8, np.float32)}
    with pytest.raises(ProtocolError, match="outputs"):
        NumpyPolicy(arrays, spec, np.random.default_rng(0))


@pytest.mark.parametrize("layers", [["32"], ["32x"], ["0x4"], ["2000x4"], ["32x65"], ["1x1"] * 9])
def test_layers_are_checked_with_the_flags(layers: list[str]) -> None:
    with pytest.raises(ConfigError, match=ONE_LINE) as caught:
        SACConfig(encoder_layers=tuple(layers))
    assert "--encoder-layers" in str(caught.value)
    assert "such as 32x4" in str(caught.value)


def test_crossq_says_what_it_cannot_do() -> None:
    with pytest.raises(ConfigError, match="--algorithm crossq: no images"):
        memory_of_crossq(CrossQSettings(), IMAGE_SPEC, 8)
