"""Sections of learning settings: environment, returns, algorithm, replay, rate.

Sections are the single source of flags, defaults, ranges, units and help. A command is a model made of the
sections that it needs, so that a flag means the same in every command.
"""

import re
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from graspfleet.common.runtime.files import expand_home
from graspfleet.common.settings.section import Section

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]

ENV_ARGS = (
    "KEY=VALUE with a YAML 1.2 value: 2, -0.5, 1e-3 and .inf are numbers, true and false are booleans, null"
    " is None, [1, 2] is a list; quoted text and anything else (yes, on, 1:30, 2026-01-31) are strings."
)
"""Syntax of `--env-args`."""


class EnvConfig(Section):
    """The environment and its episodes."""

    env: str = Field(
        "Grasp-v0",
        description="Gymnasium environment: Id-v0, module:Id-v0, or path/to/file.py:Id-v0.",
    )
    env_args: tuple[str, ...] = Field((), description=f"Arguments of the environment: {ENV_ARGS}")
    max_episode_steps: int | None = Field(
        None, ge=1, description="Episode length, env steps; default: the environment's own."
    )
    headless: bool = Field(
        True, description="Run without a window; --no-headless shows the first environment."
    )
    render_mode: str | None = Field(
        None, min_length=1, description="Gymnasium's render_mode, for environments that require one."
    )
    privileged_obs: tuple[str, ...] = Field(
        (), description="Fields of the observation that only the critics see; for a Dict's fields, its key."
    )
    success_key: str = Field(
        "is_success",
        min_length=1,
        description="Key of the success flag in an episode's last info.",
    )
    seed: int = Field(
        0,
        ge=0,
        description="Root of all random streams; actors combine it with their session, so that none repeats.",
    )

    @field_validator("env")
    @classmethod
    def _absolute(cls, env: str) -> str:
        """Make the path of a file absolute, so that it is valid in any working directory later."""
        place, _, name = env.rpartition(":")
        return f"{expand_home(place).absolute()}:{name}" if place.endswith(".py") else env

    @property
    def env_id(self) -> str:
        """Name of the environment for peers and files, without a path on this machine."""
        place, _, name = self.env.rpartition(":")
        return name if place.endswith(".py") else self.env


class ReturnConfig(Section):
    """Discount and n of the returns, the same for actors and learner."""

    discount: Fraction = Field(0.99, description="Discount per env step.")
    n_step: int = Field(1, ge=1, le=1000, description="Env steps per transition (n-step return).")


ALGORITHM = "Name of the algorithm; --help shows its settings."


class AlgorithmConfig(Section):
    """The algorithm. Each algorithm adds its own settings in a model derived from this one."""

    algorithm: str = Field("sac", description=ALGORITHM)

    @property
    def sizes(self) -> list[str]:
        """Flags that determine the form of the algorithm's state, with their values."""
        return []

    def check(self) -> None:
        """Check what can be checked before an environment is known.

        Raises:
            ConfigError: the settings cannot work.
        """

    @property
    def unscaled_inputs(self) -> str:
        """Flag that needs observations as the environment returns them, with its value; "" for none."""
        return ""

    @property
    def divergence_hint(self) -> str:
        """Flags whose values may have been too large if training diverges; "" for none."""
        return ""


AMOUNT = re.compile(r"([1-9][0-9]{0,14})(|kB|MB|GB|TB)")
"""Number and unit of `--replay-capacity`."""


class ReplayConfig(Section):
    """Storage of transitions and composition of batches."""

    batch_size: int = Field(256, ge=1, le=65_536, description="Transitions per update.")
    replay_capacity: str | None = Field(
        None,
        description="Transitions stored, or their size on disk with kB, MB, GB or TB; the oldest are"
        " overwritten. Default: 1,000,000 transitions, or fewer in three quarters of --max-run-bytes.",
    )
    normalize_obs: bool = Field(
        False, description="Scale observations to mean 0 and standard deviation 1 over all inserted ones."
    )
    demos: str | None = Field(None, description="Demonstrations: folder or name of a Minari dataset.")
    demo_fraction: Fraction = Field(0.5, description="Fraction of each batch drawn from the demonstrations.")

    @field_validator("replay_capacity", mode="before")
    @classmethod
    def _is_amount(cls, amount: object) -> object:
        """Accept a positive integer, also as a number, with or without a unit."""
        text = str(amount) if isinstance(amount, int) and not isinstance(amount, bool) else amount
        if text is not None and not (isinstance(text, str) and AMOUNT.fullmatch(text)):
            raise ValueError("allowed: a number of transitions, or of bytes with kB, MB, GB or TB")
        return text


class RateConfig(Section):
    """The rate limiter: updates per env step, or samples per inserted transition."""

    updates_per_step: float | None = Field(
        1.0, gt=0, description="Updates per env step; None: as many as possible."
    )
    samples_per_insert: float | None = Field(
        None, gt=0, description="Samples per inserted transition, instead of --updates-per-step."
    )
    rate_tolerance: int | None = Field(
        None,
        ge=1,
        description="Transitions that actors may be ahead or behind by; default: 4 with --updates-per-step,"
        " 100 with --samples-per-insert.",
    )

    @model_validator(mode="after")
    def _one_ratio(self) -> "RateConfig":
        if self.samples_per_insert is not None and self.updates_per_step is not None:
            raise ValueError(
                f"--samples-per-insert {self.samples_per_insert}: allowed only with --updates-per-step None"
            )
        return self
