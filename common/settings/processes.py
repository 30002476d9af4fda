"""Sections of process settings: run directory, learner, actor, evaluator and launcher."""

from typing import Literal

from pydantic import Field, model_validator

from graspfleet.common.fields import MAX_EPISODES, MAX_HER_GOALS
from graspfleet.common.settings.config import Fraction
from graspfleet.common.settings.section import Section, flag
from graspfleet.common.settings.transport import BoundHost, Host


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
        None, description="Named settings; plain: none; default: the preset for --env, if any."
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
        description="Memory limit of replay and networks, bytes; an actor whose spec needs more is refused.",
    )
    total_env_steps: int = Field(1_000_000, ge=1, description="Length of the run, env steps.")
    explore_steps: int = Field(1000, ge=0, description="Random env steps before the first update.")
    learner_threads: int = Field(1, ge=1, le=1024, description="Threads per update.")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "cpu", description="Device of the updates; auto: a GPU if there is one."
    )
    updates_per_dispatch: int | None = Field(
        None, ge=1, le=256, description="Updates per dispatched call; default: 1, or 16 on a GPU."
    )
    publish_interval_s: float | None = Field(
        None,
        gt=0,
        description="Seconds between weight broadcasts; default: 0.2, and with --updates-per-step also after"
        " every 2 env steps, or more env steps with over five actors.",
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
    max_episodes: int | None = Field(None, ge=1, description="Episodes after which the actor exits.")
    reinit_episodes: int = Field(20, ge=1, description="Episodes between two rebuilds of an environment.")
    deterministic: bool = Field(False, description="Use the policy's mean action, without exploration.")
    random_action_prob: Fraction = Field(
        0.0, description="Probability of a uniform random action in each env step."
    )
    her: bool = Field(
        False,
        description="Send each transition again with goals that its episode achieved (hindsight experience"
        " replay); for observations with achieved_goal and desired_goal.",
    )
    her_goals: int = Field(
        4, ge=1, le=MAX_HER_GOALS, description="Relabeled transitions per env step with --her."
    )
    max_batch_transitions: int = Field(32, ge=1, le=4096, description="Transitions per message, upper limit.")
    max_batch_delay_s: float = Field(
        0.05, ge=0, description="Longest wait of a transition for its batch to fill, seconds."
    )
    max_unacked_transitions: int | None = Field(
        None,
        ge=1,
        le=1 << 24,
        description="Limit of unacknowledged transitions; the learner may lower it. Default: 256, or one"
        " batch until the learner has answered.",
    )
    max_unacked_bytes: int = Field(
        64 << 20,
        ge=1 << 16,
        description="Limit of unacknowledged transitions, bytes; an environment whose env steps"
        " take 10 ms or more (a robot) continues up to this limit while the learner does not answer.",
    )


class EvaluatorConfig(Section):
    """Deterministic episodes, during and after training."""

    eval_episodes: int = Field(20, ge=1, le=MAX_EPISODES, description="Episodes per evaluation.")
    compare_episodes: int = Field(
        100,
        ge=0,
        le=MAX_EPISODES,
        description="Episodes per policy when finalists and the last policy are compared after training;"
        " fewer than 20: no comparison.",
    )
    eval_interval_s: float = Field(10.0, gt=0, description="Seconds between the starts of two evaluations.")
    eval_env_args: tuple[str, ...] = Field(
        (), description="Additional --env-args for evaluation; they take precedence."
    )


class LaunchConfig(Section):
    """Processes of `graspfleet train` on one machine."""

    actors: int | None = Field(None, ge=1, description="Actor processes; default: cores - 1, at least 1.")
    max_restarts: int = Field(10, ge=0, description="Limit of restarts of dead processes during the run.")
    final_episodes: int = Field(
        200, ge=0, description="Deterministic episodes of the final evaluation, on fresh seeds."
    )
