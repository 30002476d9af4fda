"""Every setting of every process: the single source of flags, defaults, ranges, units and help.

One section per subject; a command is a model made of the sections it needs, so a flag means the same
wherever it appears. `common.settings.flags` reads command lines and YAML files into these models.
"""

from functools import partial
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from graspfleet.common.fields import MAX_EPISODES
from graspfleet.common.net.addresses import host_of
from graspfleet.common.runtime.files import expand_home
from graspfleet.common.settings.section import Section, flag

Port = Annotated[int, Field(ge=0, le=65_535)]
Host = Annotated[str, AfterValidator(host_of)]
BoundHost = Annotated[str, AfterValidator(partial(host_of, wildcard=True))]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]

ENV_ARGS = (
    "KEY=VALUE, the value in YAML 1.2: 2, -0.5, 1e-3 and .inf are numbers, true and false booleans, null is"
    " None, [1, 2] is a list; all else is a string (yes, on, 1:30, 2026-01-31), and so is quoted text."
)
"""Syntax of `--env-args`."""


class EnvConfig(Section):
    """The environment and its episodes."""

    env: str = Field(
        "Grasp-v0",
        description="Environment with flat Box spaces: Gymnasium id, module:Id-v0, or path/to/file.py:Id-v0.",
    )
    env_args: tuple[str, ...] = Field((), description=f"Arguments of the environment: {ENV_ARGS}")
    max_episode_steps: int | None = Field(
        None, ge=1, description="Episode length, env steps; default: the environment's own."
    )
    headless: bool = Field(True, description="No window; --no-headless shows the first environment.")
    render_mode: str | None = Field(
        None, min_length=1, description="Gymnasium's render_mode, for environments that require one."
    )
    success_key: str = Field(
        "is_success",
        min_length=1,
        description="Key of the success flag in an episode's last info.",
    )
    seed: int = Field(
        0,
        ge=0,
        description="Root of all random streams; actors combine it with their session, so none repeats.",
    )

    @field_validator("env")
    @classmethod
    def _absolute(cls, env: str) -> str:
        """Make the path of a file absolute, so that it is found from any working directory later."""
        place, _, name = env.rpartition(":")
        return f"{expand_home(place).absolute()}:{name}" if place.endswith(".py") else env

    @property
    def env_id(self) -> str:
        """Name of the environment for peers and files: a path on this machine is no part of it."""
        place, _, name = self.env.rpartition(":")
        return name if place.endswith(".py") else self.env


class ReturnConfig(Section):
    """Discount and n of the returns, the same for actors and learner."""

    discount: Fraction = Field(0.99, description="Discount per env step.")
    n_step: int = Field(1, ge=1, le=1000, description="Env steps per transition (n-step return).")


ALGORITHM = "Name of the algorithm; --help shows its settings."


class AlgorithmConfig(Section):
    """The algorithm. Each one adds its own settings in a model derived from this one."""

    algorithm: str = Field("sac", description=ALGORITHM)

    @property
    def divergence_hint(self) -> str:
        """Flags that may be too large where training has diverged, with their values; "" for none."""
        return ""


class ReplayConfig(Section):
    """Storage of transitions and composition of batches."""

    batch_size: int = Field(256, ge=1, le=65_536, description="Transitions per update.")
    replay_capacity: int = Field(
        1_000_000, ge=1, description="Transitions stored; the oldest are overwritten."
    )
    demos: str | None = Field(None, description="Demonstrations: folder or name of a Minari dataset.")
    demo_fraction: Fraction = Field(0.5, description="Fraction of each batch drawn from the demonstrations.")


class RateConfig(Section):
    """The rate limiter: updates per env step, or samples per inserted transition."""

    updates_per_step: float | None = Field(
        1.0, gt=0, description="Updates per env step; None: as many as possible."
    )
    samples_per_insert: float | None = Field(
        None, gt=0, description="Alternative to it: samples per transition."
    )
    rate_tolerance: int | None = Field(
        None,
        ge=1,
        description="Transitions that actors may be ahead or behind; default: 4 with --updates-per-step,"
        " 100 with --samples-per-insert.",
    )

    @model_validator(mode="after")
    def _one_ratio(self) -> "RateConfig":
        if self.samples_per_insert is not None and self.updates_per_step is not None:
            raise ValueError(
                f"--samples-per-insert {self.samples_per_insert}: allowed only with --updates-per-step None"
            )
        return self


class KeysConfig(Section):
    """Authentication of learner and actors; without keys, plaintext on loopback."""

    keys: str | None = Field(None, description="Folder made by `graspfleet keys init`; enables encryption.")
    key_name: str | None = Field(
        None, description="Name of the actor key in --keys; default: the only one, or `actor`."
    )
    learner_secret: str | None = Field(None, description="Learner, instead of --keys: its private key.")
    allowed: str | None = Field(
        None, description="Learner, instead of --keys: folder of allowed public keys."
    )
    learner_public: str | None = Field(
        None, description="Actor, instead of --keys: the learner's public key."
    )
    actor_secret: str | None = Field(None, description="Actor, instead of --keys: its private key.")
    insecure: bool = Field(False, description="Allow plaintext beyond this machine.")

    @model_validator(mode="after")
    def _whole_pairs(self) -> "KeysConfig":
        for one, other in (("learner_secret", "allowed"), ("learner_public", "actor_secret")):
            for name, partner in ((one, other), (other, one)):
                if getattr(self, name) is None:
                    continue
                if self.keys is not None:
                    raise ValueError(f"{flag(name)} {getattr(self, name)}: allowed only without --keys")
                if getattr(self, partner) is None:
                    raise ValueError(f"{flag(name)} {getattr(self, name)}: needs {flag(partner)} beside it")
        return self


class TransportConfig(KeysConfig):
    """Ports and every limit of the sockets."""

    experience_port: Port = Field(
        5555, description="Port for transitions, actors to learner; 0: any free port."
    )
    weights_port: Port = Field(
        5556, description="Port for policy weights, learner to actors; 0: any free port."
    )
    control_port: Port = Field(5557, description="Port for acknowledgements and status; 0: any free port.")
    experience_hwm: int = Field(64, ge=1, description="Experience messages queued per connection.")
    control_hwm: int = Field(1000, ge=1, description="Control messages queued per connection.")
    max_message_bytes: int = Field(
        16 << 20, ge=1024, description="Largest message, bytes; a larger one ends its connection."
    )
    handshake_timeout_s: float = Field(
        10.0, gt=0, description="Seconds that a new connection has for its handshake."
    )
    linger_s: float = Field(5.0, ge=0, description="Seconds that a leaving actor waits for acknowledgements.")
    resend_after_s: float = Field(
        2.0, gt=0, description="Seconds after which unacknowledged batches are resent."
    )
    reconnect_max_s: float = Field(
        2.0, gt=0, description="Longest pause between reconnection attempts, seconds."
    )
    connect_timeout_s: float = Field(
        60.0, gt=0, description="Seconds without an answer of a learner after which a new actor gives up."
    )
    max_connections: int = Field(
        12_288, ge=3, description="Limit of open connections of the learner; each actor takes three."
    )
    max_handshakes: int = Field(512, ge=3, description="Limit of simultaneous unfinished handshakes.")
    max_unread_bytes: int = Field(
        1 << 30,
        ge=1 << 20,
        description="Limit of received bytes of all actors together that the learner has not read yet.",
    )
    max_actors_per_key: int = Field(4096, ge=1, description="Limit of simultaneous actors per key.")
    max_actor_batches_per_s: float = Field(
        50_000.0,
        gt=0,
        description="Limit of messages per second of one actor; others are dropped and resent.",
    )
    max_actor_bytes_per_s: float = Field(
        float(512 << 20),
        gt=0,
        description="Limit of bytes per second of one actor; others are dropped and resent.",
    )
    silent_after_s: float = Field(
        5.0, gt=0, description="Seconds of silence after which an actor is listed as late."
    )
    gone_after_s: float = Field(
        30.0, gt=0, description="Seconds of silence after which an actor is listed as gone."
    )


class RunConfig(Section):
    """Directory of a run and sources of its settings."""

    run_dir: str | None = Field(
        None, min_length=1, description="Directory of this run; default: runs/ENV-TIME."
    )
    resume: str | None = Field(
        None, min_length=1, description="Run directory to continue, with its settings."
    )
    auto_resume: bool = Field(
        False, description="Continue the run in --run-dir if there is one, for restarted processes."
    )
    preset: str | None = Field(
        None, description="Named settings; plain: none; default: those made for --env, if any."
    )
    config: str | None = Field(None, description="YAML file of settings by section; flags override it.")

    @model_validator(mode="after")
    def _one_run(self) -> "RunConfig":
        for name in ("run_dir", "preset"):
            if self.resume is not None and getattr(self, name) is not None:
                raise ValueError(f"{flag(name)} {getattr(self, name)}: allowed only without --resume")
        return self


class LearnerConfig(Section):
    """The learner process."""

    bind: BoundHost = Field("127.0.0.1", description="Address that the learner's sockets listen on.")
    max_run_bytes: int = Field(
        4 << 30,
        ge=1 << 20,
        description="Limit of replay and networks, bytes; an actor whose spec needs more is refused.",
    )
    total_env_steps: int = Field(1_000_000, ge=1, description="Length of the run, env steps.")
    explore_steps: int = Field(1000, ge=0, description="Uniform random env steps before the first update.")
    learner_threads: int = Field(1, ge=1, le=1024, description="Threads of one update.")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "cpu", description="Device of the updates; auto: a GPU if there is one."
    )
    updates_per_dispatch: int | None = Field(
        None, ge=1, le=256, description="Updates per call; default: 1, on a GPU 16."
    )
    publish_interval_s: float | None = Field(
        None,
        gt=0,
        description="Seconds between weight broadcasts; default: 0.2, or with --updates-per-step every second"
        " env step, less often with more than five actors.",
    )
    checkpoint_interval_s: float = Field(30.0, gt=0, description="Seconds between checkpoints.")
    keep_checkpoints: int = Field(3, ge=1, description="Number of newest checkpoints kept, besides the best.")
    log_interval_s: float = Field(2.0, gt=0, description="Seconds between rows of metrics.")
    drain_timeout_s: float = Field(
        10.0, ge=0, description="Seconds that a finished run waits for the actors' last batches."
    )


class ActorConfig(Section):
    """One actor process."""

    learner: Host = Field("127.0.0.1", description="Host name or address of the learner.")
    actor_id: str = Field(
        "",
        pattern=r"^[A-Za-z0-9._-]{0,64}$",
        description="Unique id of the actor; default: HOST-RANDOM.",
    )
    envs_per_actor: int = Field(1, ge=1, le=1024, description="Environments per process, stepped in turn.")
    max_episodes: int | None = Field(None, ge=1, description="Episodes after which the actor leaves.")
    reinit_episodes: int = Field(20, ge=1, description="Episodes between two rebuilds of an environment.")
    deterministic: bool = Field(False, description="Take the policy's mean action, without exploration.")
    random_action_prob: Fraction = Field(
        0.0, description="Probability of a uniform random action in each env step."
    )
    max_batch_transitions: int = Field(32, ge=1, le=4096, description="Transitions per message, upper limit.")
    max_batch_delay_s: float = Field(
        0.05, ge=0, description="Longest wait of a transition for its batch to fill, seconds."
    )
    max_unacked_transitions: int | None = Field(
        None,
        ge=1,
        le=1 << 24,
        description="Limit of unacknowledged transitions; the learner may lower it. Default: 256,"
        " and one batch before the learner has answered.",
    )
    max_unacked_bytes: int = Field(
        64 << 20,
        ge=1 << 16,
        description="Limit of unacknowledged transitions, bytes; an environment whose env steps"
        " take 10 ms or more (a robot) continues up to this limit while its learner is silent.",
    )


class EvaluatorConfig(Section):
    """Deterministic episodes, during and after training."""

    eval_episodes: int = Field(20, ge=1, le=MAX_EPISODES, description="Episodes per evaluation.")
    compare_episodes: int = Field(
        100,
        ge=0,
        le=MAX_EPISODES,
        description="Episodes per policy when finalists and last policy are compared after training;"
        " fewer than 20: no comparison.",
    )
    eval_interval_s: float = Field(10.0, gt=0, description="Seconds between the starts of two evaluations.")
    eval_env_args: tuple[str, ...] = Field(
        (), description="Additional --env-args for evaluation; they override."
    )


class LaunchConfig(Section):
    """Processes of `graspfleet train` on one machine."""

    actors: int | None = Field(None, ge=1, description="Actor processes; default: cores - 1, at least 1.")
    max_restarts: int = Field(10, ge=0, description="Limit of restarts of dead actors during the run.")
    final_episodes: int = Field(
        200, ge=0, description="Deterministic episodes of the final evaluation, on fresh seeds."
    )
