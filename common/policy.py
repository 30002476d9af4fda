"""The policy's forward pass in NumPy, so that an actor's machine needs no torch.

In: the named arrays of a weights message (checked, because they come from a peer) and observations. Out:
actions in [-1, 1]. Must not know: sockets, environments, how the policy is trained.
"""

import math
from collections.abc import Mapping
from itertools import pairwise

import msgpack
import numpy as np

from graspfleet.common.errors import ProtocolError
from graspfleet.common.observations.encoder import LATENT, ImageEncoder, encoder_shapes, read_layers
from graspfleet.common.observations.fields import MAX_DIM, Floats, Pixels
from graspfleet.common.specs import EnvSpec

LOG_STD_MIN, LOG_STD_MAX = -20.0, 2.0
"""Bounds of the log standard deviation before tanh (as in the SAC authors' code, softlearning)."""

NUM_LAYERS = 3
"""Two hidden layers with ReLU and the output layer [mean, log_std]; layer i is `x @ w{i} + b{i}`."""

NOISE_STEPS = 64
"""Env steps of exploration noise per draw: one draw per step would cost more than the rest of sampling."""

_ZERO, _LOW, _HIGH = np.float32(0), np.float32(LOG_STD_MIN), np.float32(LOG_STD_MAX)


def policy_bytes(spec: EnvSpec, hidden_dim: int, encoder: Mapping[str, tuple[int, ...]] | None = None) -> int:
    """Return the size of a policy with two hidden layers of this width, its spec included, in bytes.

    Args:
        spec: of the environment.
        hidden_dim: units of each hidden layer.
        encoder: shapes of the encoder's arrays; None without images.
    """
    latent_dim = encoder["latent.b"][0] if encoder else 0
    widths = [spec.policy_dim + latent_dim, hidden_dim, hidden_dim, 2 * spec.action_dim]
    floats = sum(n_in * n_out + n_out for n_in, n_out in pairwise(widths))
    floats += sum(math.prod(shape) for shape in (encoder or {}).values())
    return 4 * floats + len(msgpack.packb(spec.to_mapping()))


def sees_everything(arrays: Mapping[str, Floats], spec: EnvSpec) -> bool:
    """Return whether a policy's inputs are the whole vector, privileged numbers included, and no images.

    Such a policy teaches another one: it can act in the actors of a simulator, and is never evaluated.
    """
    weight = arrays.get("w0", np.empty(0, np.float32))
    hidden = spec.policy_dim < spec.obs_dim
    return hidden and weight.ndim == 2 and len(weight) == spec.obs_dim and LATENT[0] not in arrays


def _check(arrays: Mapping[str, Floats], spec: EnvSpec) -> None:
    """Raise ProtocolError if the arrays are not a policy for `spec`."""
    names = {f"{kind}{i}" for i in range(NUM_LAYERS) for kind in "wb"}
    if sees_everything(arrays, spec):
        encoder, n_in = dict[str, Floats](), spec.obs_dim
    else:
        encoder = {name: array for name, array in arrays.items() if name not in names} if spec.images else {}
        n_in = spec.policy_dim + (_check_encoder(encoder, spec) if spec.images else 0)
    if set(arrays) - set(encoder) != names:
        raise ProtocolError("policy", f"arrays {sorted(arrays)}, expected {sorted(names)}")
    for i in range(NUM_LAYERS):
        weight, bias = arrays[f"w{i}"], arrays[f"b{i}"]
        if weight.dtype != np.float32 or bias.dtype != np.float32:
            raise ProtocolError("policy", f"layer {i} is {weight.dtype}, {bias.dtype}; expected float32")
        if (
            weight.ndim != 2
            or weight.shape[0] != n_in
            or not weight.shape[1]
            or bias.shape != weight.shape[1:]
        ):
            raise ProtocolError("policy", f"layer {i} is {weight.shape}, {bias.shape} after width {n_in}")
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise ProtocolError("policy", f"layer {i} is not finite")
        n_in = weight.shape[1]
    if n_in != 2 * spec.action_dim:
        raise ProtocolError("policy", f"output width {n_in}, expected 2 x {spec.action_dim}")


def _check_encoder(arrays: Mapping[str, Floats], spec: EnvSpec) -> int:
    """Return the length of an encoder's latent vector.

    Raises:
        ProtocolError: the arrays are not an encoder of the spec's images.
    """
    bias = arrays.get("latent.b", np.empty(0, np.float32))
    if bias.ndim != 1 or not 0 < len(bias) <= MAX_DIM:
        raise ProtocolError("policy", "an encoder without latent.b")
    layers = read_layers(arrays, spec)
    try:
        own = [encoder_shapes(spec, each, len(bias)) for each in (layers, ())]  # chosen or default ones
    except ValueError as error:
        raise ProtocolError("policy", str(error)) from None
    found = {name: array.shape for name, array in arrays.items()}
    if found not in own:
        raise ProtocolError("policy", f"arrays {found}, expected {own[0]}")
    for name, array in arrays.items():
        if array.dtype != np.float32 or not np.isfinite(array).all():
            raise ProtocolError("policy", f"{name} is {array.dtype}, or not finite")
    return len(bias)


class NumpyPolicy:
    """The squashed-Gaussian policy of one weights version.

    One call acts for K environments. A change of K reallocates the buffers. On one core of an EPYC, with two
    hidden layers of 256 units, a call takes about 12 us for K = 1. The product [K, 256] @ [256, 256] takes
    2.9 us of it with weights [in, out] in C order and 3.6 us in Fortran order; for K = 8, 10 us and 42 us.

    Args:
        arrays: `w0 b0 w1 b1 w2 b2`, float32; w0 [I, H0], b0 [H0], w1 [H0, H1], b1 [H1],
            w2 [H1, 2 * action_dim], b2 [2 * action_dim], the mean's columns first. The I inputs are the
            policy_dim numbers that a policy sees, and the latent vector of an encoder if there are images;
            its arrays are those of `image_encoder`. See also `sees_everything`. All are copied.
        spec: gives shapes of observations and actions.
        rng: source of the exploration noise; shared with the caller, not copied.

    Raises:
        ProtocolError: names, dtypes or shapes do not fit the spec, or a value is not finite.
    """

    def __init__(self, arrays: Mapping[str, Floats], spec: EnvSpec, rng: np.random.Generator) -> None:
        _check(arrays, spec)
        # Arrays of a frame may be unaligned, in which case BLAS would copy them at every call.
        self._weights = [np.array(arrays[f"w{i}"], order="C") for i in range(NUM_LAYERS)]
        self._biases = [np.array(arrays[f"b{i}"], order="C") for i in range(NUM_LAYERS)]
        self._action_dim, self._rng = spec.action_dim, rng
        everything = sees_everything(arrays, spec)
        self._encoder = ImageEncoder(_encoder_of(arrays), spec) if spec.images and not everything else None
        self._hidden_from = spec.policy_dim if spec.policy_dim < spec.obs_dim and not everything else None
        self._allocate(1)

    def act(self, obs: Floats, pixels: Pixels | None = None, *, deterministic: bool) -> Floats:
        """Return an action for each observation.

        Args:
            obs: [K, obs_dim] float32, finite.
            pixels: [K, frame_bytes] uint8; not used without images.
            deterministic: return the mean action, tanh(mean), instead of a sample tanh(mean + std * noise).

        Returns:
            [K, action_dim] float32 in [-1, 1], a new array.

        Raises:
            ValueError: obs has another shape or dtype.
        """
        self._forward(obs, pixels)
        if deterministic:
            return np.tanh(self._mean)
        u = self._next_noise()
        u *= np.exp(self._log_std, out=self._log_std)
        u += self._mean
        return np.tanh(u)  # a new array: `u` is a view of a buffer

    def mean_and_log_std(self, obs: Floats, pixels: Pixels | None = None) -> tuple[Floats, Floats]:
        """Return the Gaussian before tanh.

        Args:
            obs: [K, obs_dim] float32.
            pixels: [K, frame_bytes] uint8; not used without images.

        Returns:
            mean and log_std (clipped to [LOG_STD_MIN, LOG_STD_MAX]), each [K, action_dim], new arrays.

        Raises:
            ValueError: obs has another shape or dtype.
        """
        self._forward(obs, pixels)
        return self._mean.copy(), self._log_std.copy()

    def _allocate(self, k: int) -> None:
        self._outputs = [np.empty((k, len(bias)), np.float32) for bias in self._biases]
        self._noise: Floats = np.empty((NOISE_STEPS, k, self._action_dim), np.float32)
        self._drawn = NOISE_STEPS
        self._mean = self._outputs[-1][:, : self._action_dim]
        self._log_std = self._outputs[-1][:, self._action_dim :]

    def _next_noise(self) -> Floats:
        """Return [K, action_dim] standard normal numbers; the caller may modify them."""
        if self._drawn == NOISE_STEPS:
            self._rng.standard_normal(dtype=np.float32, out=self._noise)
            self._drawn = 0
        noise: Floats = self._noise[self._drawn]
        self._drawn += 1
        return noise

    def _forward(self, obs: Floats, pixels: Pixels | None) -> None:
        """Compute the Gaussian into the buffers `_mean` and `_log_std`."""
        if self._hidden_from is not None:
            obs = obs[:, : self._hidden_from]
        if self._encoder is not None:
            if pixels is None:
                raise ValueError("no pixels for a policy that reads images")
            obs = np.concatenate((obs, self._encoder.encode(pixels)), axis=1)
        if len(obs) != len(self._mean):
            self._allocate(len(obs))
        first, second, output = self._outputs
        # With `out`, np.dot raises ValueError for an obs of another shape or dtype.
        np.dot(obs, self._weights[0], out=first)
        first += self._biases[0]
        np.maximum(first, _ZERO, out=first)
        np.dot(first, self._weights[1], out=second)
        second += self._biases[1]
        np.maximum(second, _ZERO, out=second)
        np.dot(second, self._weights[2], out=output)
        output += self._biases[2]
        np.maximum(self._log_std, _LOW, out=self._log_std)
        np.minimum(self._log_std, _HIGH, out=self._log_std)


def _encoder_of(arrays: Mapping[str, Floats]) -> dict[str, Floats]:
    return {name: array for name, array in arrays.items() if name.startswith(("image", "latent."))}
