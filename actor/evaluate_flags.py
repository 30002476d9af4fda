"""Flags of `graspfleet evaluate`."""

from typing import Annotated, Literal

from pydantic import Field

from graspfleet.common.fields import MAX_EPISODES
from graspfleet.common.runtime.seeds import HELD_OUT_ROOT
from graspfleet.common.settings.config import ENV_ARGS
from graspfleet.common.settings.section import Positional, Section, Spelling


class EvaluateFlags(Section):
    """Run deterministic episodes of a run's policy, on seeds that training never saw."""

    run_dir: Annotated[str, Positional("RUN_DIR")] = Field(description="Directory of the run.")
    episodes: int = Field(100, ge=1, description="Number of episodes.")
    policy: Literal["best", "last"] = Field("best", description="Policy of the run.")
    compare_episodes: int | None = Field(
        None,
        ge=0,
        le=MAX_EPISODES,
        description="Episodes per policy to compare for the best; fewer than 20: none; default: the run's,"
        " at most --episodes.",
    )
    seed: int = Field(HELD_OUT_ROOT, ge=0, description="Root of the episodes' seeds.")
    env_args: tuple[str, ...] = Field((), description=f"Arguments of the environment: {ENV_ARGS}")
    max_episode_steps: int | None = Field(
        None, ge=1, description="Episode length, env steps; default: the run's."
    )
    success_key: str | None = Field(
        None, min_length=1, description="Key of the success flag in the info; default: the run's."
    )
    headless: bool = Field(True, description="No window.")
    video: str | None = Field(None, description="Record the first episodes: path of an MP4 file.")
    video_episodes: int = Field(5, ge=1, description="Episodes in the video.")
    json_output: Annotated[bool, Spelling("json")] = Field(False, description="Print one JSON object.")
