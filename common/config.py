"""Every setting of every process: the single source of flags, defaults, ranges, units and help.

One section per subject; a command is a model made of the sections it needs, so a flag means the same
wherever it appears. `common.flags` turns these models into command lines and reads YAML into them.
"""

import re
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from common.errors import ConfigError
from common.fields import MAX_EPISODES
from common.net.addresses import host_of
from common.runtime.files import expand_home

Port = Annotated[int, Field(ge=0, le=65_535)]
Host = Annotated[str, AfterValidator(host_of)]
BoundHost = Annotated[str, AfterValidator(partial(host_of, wildcard=True))]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]

ENV_ARGS = (
    "KEY=VALUE, the value in YAML 1.2: 2, -0.5, 1e-3 and .inf are numbers, true and false booleans, null is"
    " None, [1, 2] is a list; all else is a string (yes, on, 1:30, 2026-01-31), as is what stands in quotes."
)
"""How `--env-args` are read."""


def flag(name: str) -> str:
    """Return the command-line spelling of a field's name."""
    return "--" + name.replace("_", "-")


def explain(error: ValidationError, name: str = "") -> str:
    """Return one line that names the first offending flag, its value and what is allowed.

    Args:
        error: what pydantic found.
        name: of the setting, where the error does not say it.
    """
    first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        return f"{'.'.join(map(str, first['loc']))}: no such setting"
    if first["type"] == "string_pattern_mismatch":
        message = f"allowed is a text that matches {first['ctx']['pattern']}"
    if first["type"] == "string_too_short":
        message = "allowed is a text that is not empty"
    message = re.sub(r"^Input should be (?=an? )", "allowed is ", message)
    message = message.replace("Input should be", "allowed is a value")
    names = [part for part in first["loc"] if isinstance(part, str)]  # others are places in a list
    if not (names or name):
        return message
    return f"{flag(str(names[-1] if names else name))} {first['input']!r}: {message}"


class Section(BaseModel):
    """Immutable group of flags that refuses unknown names."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    def __init__(self, **values: Any) -> None:
        """Validate `values`.

        Raises:
            ConfigError: a value is out of range, in the user's words.
        """
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError(explain(error)) from None


class EnvConfig(Section):
    """Which environment, and how long an episode is."""

    env: str = Field(
        "Grasp-v0",
        description="Gymnasium id with flat Box spaces, or module:Id-v0, or path/to/file.py:Id-v0.",
    )
    env_args: tuple[str, ...] = Field((), description=f"Arguments of the environment: {ENV_ARGS}")
    max_episode_steps: int | None = Field(
        None, ge=1, description="Episode length, env steps; default: its own."
    )
    headless: bool = Field(True, description="Without a window; --no-headless shows the first environment.")
    render_mode: str | None = Field(
        None, min_length=1, description="Gymnasium's render_mode, for environments that ask for one."
    )
    success_key: str = Field(
        "is_success",
        min_length=1,
        description="Key of an episode's last info that says if it succeeded.",
    )
    seed: int = Field(
        0,
        ge=0,
        description="Of networks and of what is sampled; actors mix it with their start, so none repeats.",
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
    """What a transition's reward sums over; actors and learner must agree on it."""

    discount: Fraction = Field(0.99, description="Discount per env step.")
    n_step: int = Field(1, ge=1, le=1000, description="Env steps that one transition's reward sums over.")


ALGORITHM = "Name of the algorithm; each has settings of its own, and --help shows those of the one named."


class AlgorithmConfig(Section):
    """Which algorithm learns; each has settings of its own, in a model derived from this one."""

    algorithm: str = Field("sac", description=ALGORITHM)

    @property
    def divergence_hint(self) -> str:
        """Flags that may be too large where training has diverged, with their values; "" for none."""
        return ""


class ReplayConfig(Section):
    """Transitions that are stored, and how a batch of them is mixed."""

    batch_size: int = Field(256, ge=1, le=65_536, description="Transitions an update.")
    replay_capacity: int = Field(1_000_000, ge=1, description="Transitions kept; the oldest are overwritten.")
    demos: str | None = Field(None, description="Demonstrations: folder of a Minari dataset, or its name.")
    demo_fraction: Fraction = Field(0.5, description="Share of each batch drawn from the demonstrations.")


class RateConfig(Section):
    """Who waits for whom: updates per env step, or samples per inserted transition."""

    updates_per_step: float | None = Field(1.0, gt=0, description="Updates an env step; none: free-running.")
    samples_per_insert: float | None = Field(None, gt=0, description="Instead of it: samples a transition.")
    rate_tolerance: int | None = Field(
        None,
        ge=1,
        description="Transitions by which actors may be ahead or behind; default: 4 at --updates-per-step,"
        " 100 at --samples-per-insert.",
    )

    @model_validator(mode="after")
    def _one_ratio(self) -> "RateConfig":
        if self.samples_per_insert is not None and self.updates_per_step is not None:
            raise ValueError(
                f"--samples-per-insert {self.samples_per_insert}: allowed only with --updates-per-step None"
            )
        return self


class KeysConfig(Section):
    """How the learner and its actors know each other; without keys, plaintext on loopback."""

    keys: str | None = Field(None, description="Folder made by `graspfleet keys init`: encrypts everything.")
    key_name: str | None = Field(
        None, description="Which actor key of --keys; default: the only one, or `actor`."
    )
    learner_secret: str | None = Field(None, description="Instead of --keys, learner: its private key.")
    allowed: str | None = Field(None, description="Instead of --keys, learner: folder of keys let in.")
    learner_public: str | None = Field(None, description="Instead of --keys, actor: the learner's key.")
    actor_secret: str | None = Field(None, description="Instead of --keys, actor: its own private key.")
    insecure: bool = Field(False, description="Speak plaintext beyond this machine.")

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

    experience_port: Port = Field(5555, description="Transitions, actors to learner; 0 takes a free port.")
    weights_port: Port = Field(5556, description="Policy weights, learner to actors; 0 takes a free port.")
    control_port: Port = Field(5557, description="Acknowledgements and status; 0 takes a free port.")
    experience_hwm: int = Field(64, ge=1, description="Experience messages queued per connection.")
    control_hwm: int = Field(1000, ge=1, description="Control messages queued per connection.")
    max_message_bytes: int = Field(16 << 20, ge=1024, description="A longer message ends its connection.")
    handshake_timeout_s: float = Field(
        10.0, gt=0, description="A connection that has not shown its key by then is closed."
    )
    linger_s: float = Field(5.0, ge=0, description="A leaving actor waits so long for acknowledgements.")
    resend_after_s: float = Field(2.0, gt=0, description="Unacknowledged batches are sent again after this.")
    reconnect_max_s: float = Field(2.0, gt=0, description="Longest pause between attempts to reconnect.")
    connect_timeout_s: float = Field(
        60.0, gt=0, description="An actor that heard no learner so long gives up."
    )
    max_connections: int = Field(
        12_288, ge=3, description="Open connections of the learner at the most; each actor takes three."
    )
    max_handshakes: int = Field(
        512, ge=3, description="Connections that have not shown their keys yet at the most, at a time."
    )
    max_unread_bytes: int = Field(
        1 << 30,
        ge=1 << 20,
        description="Bytes of all actors together that have arrived and wait for the learner at the most.",
    )
    max_actors_per_key: int = Field(
        4096, ge=1, description="Actors alive at a time that one key may stand for at the most."
    )
    max_actor_batches_per_s: float = Field(
        50_000.0,
        gt=0,
        description="Messages a second that one actor may send; more are dropped and sent again.",
    )
    max_actor_bytes_per_s: float = Field(
        float(512 << 20), gt=0, description="Bytes a second that one actor may send, likewise."
    )
    silent_after_s: float = Field(5.0, gt=0, description="An actor silent for so long is listed as late.")
    gone_after_s: float = Field(30.0, gt=0, description="An actor silent for so long is listed as gone.")


class RunConfig(Section):
    """Where a run is kept, and where its settings come from."""

    run_dir: str | None = Field(
        None, min_length=1, description="Everything of this run goes here; default: runs/ENV-TIME."
    )
    resume: str | None = Field(
        None, min_length=1, description="Go on with this run directory and its settings."
    )
    auto_resume: bool = Field(
        False, description="Go on with --run-dir if a run has begun there, as a restarted process must."
    )
    preset: str | None = Field(
        None, description="Named settings; default: those made for --env, if any; or: plain."
    )
    config: str | None = Field(None, description="YAML file of settings, by section; flags go before it.")

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
        description="Bytes of replay and networks at the most; whoever needs more is refused.",
    )
    total_env_steps: int = Field(1_000_000, ge=1, description="Stop after so many env steps.")
    explore_steps: int = Field(1000, ge=0, description="Uniform random env steps before the first update.")
    learner_threads: int = Field(1, ge=1, le=1024, description="Threads of one update.")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "cpu", description="Where updates run; auto: on a GPU where there is one."
    )
    updates_per_dispatch: int | None = Field(
        None, ge=1, le=256, description="Updates in one go; default: 1, on a GPU 16."
    )
    publish_interval_s: float | None = Field(
        None,
        gt=0,
        description="Seconds between weight broadcasts; default: 0.2, or with --updates-per-step every second"
        " env step, more rarely with more than five actors.",
    )
    checkpoint_interval_s: float = Field(30.0, gt=0, description="A checkpoint is written so often.")
    keep_checkpoints: int = Field(3, ge=1, description="Newest checkpoints kept, besides the best.")
    log_interval_s: float = Field(2.0, gt=0, description="A row of metrics is written so often.")
    drain_timeout_s: float = Field(
        10.0, ge=0, description="The end waits so long for the actors' last batches."
    )


class ActorConfig(Section):
    """One actor process."""

    learner: Host = Field("127.0.0.1", description="Host name or address of the learner.")
    actor_id: str = Field(
        "",
        pattern=r"^[A-Za-z0-9._-]{0,64}$",
        description="Name, unique among the actors; default: HOST-RANDOM.",
    )
    envs_per_actor: int = Field(1, ge=1, le=1024, description="Environments stepped in turn by one process.")
    max_episodes: int | None = Field(None, ge=1, description="Leave after so many episodes.")
    reinit_episodes: int = Field(20, ge=1, description="Rebuild an environment after so many episodes.")
    deterministic: bool = Field(False, description="Take the policy's mean action, without exploring.")
    random_action_prob: Fraction = Field(
        0.0, description="Share of env steps that take a uniform random action, not the policy's."
    )
    max_batch_transitions: int = Field(32, ge=1, le=4096, description="Transitions a message at the most.")
    max_batch_delay_s: float = Field(
        0.05, ge=0, description="A transition waits so long for its batch to fill."
    )
    max_unacked_transitions: int | None = Field(
        None,
        ge=1,
        le=1 << 24,
        description="Transitions not yet acknowledged at the most; the learner may allow fewer. Default: 256,"
        " and one batch before it has answered.",
    )
    max_unacked_bytes: int = Field(
        64 << 20,
        ge=1 << 16,
        description="Bytes of transitions kept until acknowledged at the most; an environment whose env steps"
        " take 10 ms or more (a robot) goes on up to here while its learner is silent.",
    )


class EvaluatorConfig(Section):
    """Deterministic episodes, beside the training and after it."""

    eval_episodes: int = Field(20, ge=1, le=MAX_EPISODES, description="Episodes an evaluation.")
    compare_episodes: int = Field(
        100,
        ge=0,
        le=MAX_EPISODES,
        description="Episodes of each finalist and of the last policy, after training, to choose the best by;"
        " fewer than 20: none.",
    )
    eval_interval_s: float = Field(10.0, gt=0, description="Pause between the starts of two evaluations.")
    eval_env_args: tuple[str, ...] = Field(
        (), description="Added to --env-args for evaluation; later words win."
    )


class LaunchConfig(Section):
    """What `graspfleet train` starts on one machine."""

    actors: int | None = Field(None, ge=1, description="Actor processes; default: cores - 1, at least 1.")
    max_restarts: int = Field(10, ge=0, description="Dead actors started again during the run, in all.")
    final_episodes: int = Field(200, ge=0, description="Deterministic episodes at the end, on fresh seeds.")
