"""What stands in for the world in the unit tests: an environment, transitions, an unreliable channel."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import msgpack
import numpy as np
from numpy.typing import NDArray

from graspfleet.actor.writer import Writer
from graspfleet.common.messages import Batch
from graspfleet.common.net.experience import Received
from graspfleet.common.observations.fields import Frame, Observation, ObsField, Pixels
from graspfleet.common.protocol import MAGIC, PREFIX, VERSION
from graspfleet.common.specs import MAX_FRAME_REFERENCE, EnvSpec, Records
from graspfleet.common.transition import Transition
from graspfleet.learner.experience.ingest import Ingest
from graspfleet.learner.experience.journal import Journal
from graspfleet.learner.experience.peers.sessions import Sessions
from graspfleet.learner.experience.rate_limiter import RateLimiter
from graspfleet.learner.experience.replay import Replay

SPEC = EnvSpec(env="Fake-v0", obs_dim=3, action_dim=2, discount=0.5, n_step=1)
IMAGE_SPEC = EnvSpec(
    env="Fake-v0",
    obs_dim=3,
    action_dim=2,
    discount=0.5,
    n_step=1,
    obs_fields=(
        ObsField(name="image", shape=(8, 8), dtype="u1"),
        ObsField(name="state", shape=(2,)),
        ObsField(name="mass", shape=(1,), privileged=True),
    ),
)
"""An image, and a number that only the critics see."""
SESSION = "0123456789abcdef"
OTHER_SESSION = "fedcba9876543210"
ONE_LINE = r"\A[^\n]+\Z"


def make_records(count: int, *, start: int = 0, spec: EnvSpec = SPEC) -> Records:
    """Return valid transitions whose rewards are start, start + 1, ..."""
    records = np.zeros(count, spec.record)
    records["reward"] = np.arange(start, start + count)
    records["obs"] = records["reward"][:, None]
    records["discount"] = spec.discount
    return records


def make_batch(records: Records, *, spec: EnvSpec = SPEC, **fields: Any) -> Batch:
    """Return a batch of these transitions."""
    rows = records.view(np.uint8).reshape(len(records), spec.record.itemsize)
    defaults: dict[str, Any] = {
        "actor_id": "a",
        "session_id": SESSION,
        "seq": 0,
        "digest": spec.digest,
        "weights_version": 0,
        "produced": len(records),
        "discarded": 0,
        "resent": 0,
        "episodes": (),
        "rows": rows,
    }
    return Batch(**{**defaults, **fields})


def make_image_batch(**fields: Any) -> Batch:
    """Return a batch of one transition and its two frames."""
    records = make_records(1, spec=IMAGE_SPEC)
    records["frame"], records["next_frame"] = MAX_FRAME_REFERENCE, MAX_FRAME_REFERENCE + 1
    frames = np.zeros((2, IMAGE_SPEC.frame_bytes), np.uint8)
    return make_batch(records, spec=IMAGE_SPEC, frames=frames, **fields)


def make_ingest(
    folder: Path, replay: Replay, limiter: RateLimiter | None = None, spec: EnvSpec = SPEC
) -> Ingest:
    """Return an ingest with a new journal."""
    journal = Journal(folder / "journal.bin")
    sessions = Sessions(silent_after_s=5.0, gone_after_s=30.0)
    ingest = Ingest(spec, replay, journal, sessions, limiter=limiter)
    ingest.ledger.checkpoint()
    return ingest


def recover_ingest(
    folder: Path, capacity: int, limiter: RateLimiter | None = None, spec: EnvSpec = SPEC
) -> tuple[Ingest, Replay]:
    """Return what a learner finds that starts in the folder of one that was killed."""
    replay = Replay(folder / "replay.bin", spec, capacity, np.random.default_rng(0))
    journal = Journal(folder / "journal.bin")
    sessions = Sessions(silent_after_s=5.0, gone_after_s=30.0)
    ingest = Ingest(spec, replay, journal, sessions, limiter=limiter)
    ingest.ledger.restore(journal.recover())
    return ingest, replay


def receive_from(frames: list[bytes | None], key: str | None = None) -> Callable[[], Received | None]:
    """Return what a receiver's `receive` would be if these frames arrived; None is a pause."""
    return iter([None if frame is None else Received(frame, key) for frame in frames]).__next__


def make_frame(header: object, raw: bytes = b"") -> bytes:
    """Return a frame with a right checksum around any header (bytes are taken as they are)."""
    packed = header if isinstance(header, bytes) else msgpack.packb(header)
    return seal(PREFIX.pack(MAGIC, VERSION, 0, len(packed), 0) + packed + raw)


def seal(frame: bytes) -> bytes:
    """Return the frame with its checksum made right."""
    crc = zlib.crc32(frame[16:], zlib.crc32(frame[:12]))
    return frame[:12] + struct.pack("<I", crc) + frame[16:]


def make_writer(
    spec: EnvSpec = SPEC, actor_id: str = "a", session_id: str = SESSION, **limits: Any
) -> Writer:
    defaults = {
        "max_batch_transitions": 2,
        "max_batch_delay_s": 1.0,
        "max_unacked_transitions": 6,
        "max_unanswered_transitions": 1 << 24,
        "max_unacked_bytes": 1 << 20,
        "resend_after_s": 5.0,
    }
    return Writer(spec, actor_id, session_id, **{**defaults, **limits})


def add_transition(writer: Writer, number: int) -> None:
    """Add a transition that is recognized by its reward."""
    obs = np.full(writer.spec.obs_dim, number, np.float32)
    action = np.zeros(writer.spec.action_dim, np.float32)
    writer.add(Transition(Observation(obs), Observation(obs), action, float(number), 0.5, False, False))


def observe(number: int, spec: EnvSpec = IMAGE_SPEC) -> Observation:
    """Return an observation that is recognized by its first eight pixels, and by its vector."""
    pixels = np.zeros(spec.frame_bytes, np.uint8)
    pixels[:8] = np.array([number], "<u8").view(np.uint8)
    return Observation(np.full(spec.obs_dim, number, np.float32), Frame(pixels))


def numbers_of(frames: Pixels) -> list[int]:
    """Return the numbers of `observe` in frames [n, frame_bytes]."""
    return np.ascontiguousarray(frames[:, :8]).view("<u8").ravel().tolist()


class FakeEnv(gymnasium.Env[NDArray[np.float32], NDArray[np.float32]]):
    """Counts: obs is [episode, t, seed mod 1000], reward is t, and the action is only looked at.

    Args:
        length: env steps an episode.
        ends: "terminated" or "truncated".
        broken: numbers of the env steps (from 1, over all episodes) that return NaN.
        error: raise it at the broken steps instead.
        success: what `is_success` says; None leaves it out.
        reward: of every step, instead of t.
        unlucky: an argument that is refused.

    Attributes:
        calls: everything that was called, in order: "reset SEED", "reinit", "step".
    """

    def __init__(
        self,
        length: int = 3,
        ends: str = "truncated",
        broken: tuple[int, ...] = (),
        error: Exception | None = None,
        success: bool | None = None,
        reward: float | None = None,
        observation_space: gymnasium.Space[Any] | None = None,
        action_space: gymnasium.Space[Any] | None = None,
        unlucky: bool = False,
        render_mode: str | None = None,
    ) -> None:
        if unlucky:
            raise ValueError("this\nnever works")
        box = gymnasium.spaces.Box
        self.observation_space = observation_space or box(-np.inf, np.inf, (3,), np.float32)
        low, high = np.array([-1.0, 0.0], np.float32), np.array([3.0, 10.0], np.float32)
        self.action_space = action_space or box(low, high)
        self.render_mode = render_mode
        self.calls: list[str] = []
        self.actions: list[NDArray[np.float32]] = []
        self._length, self._ends, self._broken, self._error = length, ends, tuple(broken), error
        self._success, self._reward = success, reward
        self._episode = self._t = self._seed = self._steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        self.calls.append(f"reset {seed}")
        self._episode, self._t, self._seed = self._episode + 1, 0, seed or 0
        return self._obs(), {}

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self.calls.append("step")
        self.actions.append(np.array(action))
        self._t, self._steps = self._t + 1, self._steps + 1
        obs = self._obs()
        if self._steps in self._broken:
            if self._error is not None:
                raise self._error
            obs[0] = np.nan
        end = self._t >= self._length
        info = {} if self._success is None else {"is_success": np.bool_(self._success)}
        reward = float(self._t) if self._reward is None else self._reward
        return obs, reward, end and self._ends == "terminated", end and self._ends == "truncated", info

    def reinit(self) -> None:
        self.calls.append("reinit")

    def _obs(self) -> NDArray[np.float32]:
        return np.array([self._episode, self._t, self._seed % 1000], np.float32)


gymnasium.register("Fake-v0", entry_point=FakeEnv)
