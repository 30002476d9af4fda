"""Flags of `graspfleet evaluate`."""

from typing import Annotated, Literal

from pydantic import Field

from graspfleet.common.fields import MAX_EPISODES
from graspfleet.common.runtime.seeds import HELD_OUT_ROOT
from graspfleet.common.settings.config import ENV_ARGS
from graspfleet.common.settings.section import Positional, Section, Spelling


class EvaluateFlags(Section):
    """Evaluate a run's policy in deterministic episodes, on seeds that were not used in training."""

    run_dir: Annotated[str, Positional("RUN_DIR")] = Field(description="Directory of the run.")
    episodes: int = Field(100, ge=1, description="Number of episodes.")
    policy: Literal["best", "last"] = Field("best", description="Policy to evaluate.")
    compare_episodes: int | None = Field(
        None,
        ge=0,
        le=MAX_EPISODES,
        description="Episodes per policy of a comparison that chooses the best; fewer than 20: no comparison;"
        " default: the run's setting, at most --episodes.",
    )
    seed: int = Field(HELD_OUT_ROOT, ge=0, description="Root seed of the episodes.")
    env_args: tuple[str, ...] = Field((), description=f"Arguments of the environment: {ENV_ARGS}")
    max_episode_steps: int | None = Field(
        None, ge=1, description="Episode length, env steps; default: the run's setting."
    )
    success_key: str | None = Field(
        None, min_length=1, description="Key of the success flag in the info; default: the run's setting."
    )
    headless: bool = Field(True, description="Run without a window.")
    video: str | None = Field(None, description="Record the first episodes: path of an MP4 file.")
    video_episodes: int = Field(5, ge=1, description="Episodes in the video.")
    json_output: Annotated[bool, Spelling("json")] = Field(False, description="Print one JSON object.")
