"""Ablation of the preset `cube-fast`: the cube learned with one setting changed, on several seeds.

    python -m benchmarks.ablation --seeds 0 1 2

One process steps, learns and evaluates in turn with the parts of the actor and the learner. The number of
updates per env step is fixed, so a run depends on its seed alone and not on the machine. The policy is
evaluated every `EVAL_INTERVAL_STEPS` env steps in `--episodes` deterministic episodes on the default physics.
Rewrites `OUT/ablation.json` after each run, and prints a table.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import mean
from types import MappingProxyType
from typing import Any

import numpy as np

from benchmarks.machine import describe_machine
from graspfleet.actor.environment import Environment
from graspfleet.actor.episode import EpisodeRunner
from graspfleet.actor.evaluate import run_episodes
from graspfleet.actor.exploration import BehaviorPolicy
from graspfleet.common.fields import Episode
from graspfleet.common.policy import NumpyPolicy
from graspfleet.common.runtime.seeds import draw_seeds, seed_sequence, training_seeds
from graspfleet.common.runtime.signals import StopSignal
from graspfleet.common.settings.config import EnvConfig
from graspfleet.common.settings.env_args import evaluated_env_args
from graspfleet.common.settings.flags import TrainFlags, parse
from graspfleet.common.specs import EnvSpec
from graspfleet.common.transition import Transition
from graspfleet.learner.algorithm import all_settings, definition
from graspfleet.learner.experience.replay import Replay

UPDATES_PER_STEP = 0.36
"""Updates per env step of a free-running learner on two cores."""
PUBLISH_INTERVAL_STEPS = 400
"""Env steps between two policies of the actor."""
EVAL_INTERVAL_STEPS, FIRST_EVAL_STEPS = 4000, 8000
"""Env steps between two evaluations, and before the first."""
SEED = 4_000_037
"""Root of the judging episodes' seeds."""

LEVERS: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "cube-fast": [],
        "discount 0.95": ["--discount", "0.95"],
        "discount 0.85": ["--discount", "0.85"],
        "1-step returns": ["--n-step", "1"],
        "3-step returns": ["--n-step", "3"],
        "no random actions": ["--random-action-prob", "0"],
        "no average": ["--ema-tau", "1"],
        "no LayerNorm": ["--no-critic-layer-norm"],
        "tau 0.005, learning rate 3e-4": ["--tau", "0.005", "--learning-rate", "3e-4"],
        "first temperature 1": ["--initial-temperature", "1"],
        "target entropy -3": ["--target-entropy", "-3"],
        "batches of 256": ["--batch-size", "256"],
        "rewards five times as large": ["--reward-scale", "5"],
    }
)
"""Flags that each lever adds to the preset."""


class Inserter:
    """Stands in for the writer, the wire and ingest: what an episode runner writes is in the replay at once.

    Args:
        spec: what a transition looks like.
        replay: where it goes.
    """

    def __init__(self, spec: EnvSpec, replay: Replay) -> None:
        self.discarded = 0
        self._spec, self._replay = spec, replay

    def add(self, transition: Transition) -> None:
        """Insert one transition."""
        self._replay.insert(np.frombuffer(transition.pack(self._spec.record.itemsize), self._spec.record))

    def add_episode(self, episode: Episode) -> None:
        """Forget the summary."""


def learn(flags: TrainFlags, seed: int, num_steps: int, num_episodes: int, folder: Path) -> dict[int, float]:
    """Return the success of the evaluated policies by the env steps behind them."""
    stream = seed_sequence(seed, "ablation")
    rngs = [np.random.default_rng(part) for part in stream.spawn(4)]
    env = Environment(flags.env, flags.returns)
    eval_env = Environment(
        EnvConfig(**{**flags.env.model_dump(), "env_args": evaluated_env_args(flags.env, flags.evaluator)}),
        flags.returns,
    )
    spec = env.spec
    replay = Replay(folder / "replay", spec, num_steps, rngs[0])
    batch_size = flags.replay.batch_size
    agent = definition("sac").build(flags.algorithm, spec, flags.learner, batch_size=batch_size, seed=seed)
    writer: Any = Inserter(spec, replay)
    runner = EpisodeRunner(env, writer, training_seeds(rngs[1]), flags.actor.reinit_episodes)
    share = flags.actor.random_action_prob
    behavior = BehaviorPolicy(spec.action_dim, rngs[2], deterministic=False, random_action_prob=share)
    owed, success = 0.0, {}
    for step in range(1, num_steps + 1):
        runner.step(behavior.act(*runner.obs.batch())[0])
        if step > flags.learner.explore_steps:
            owed += UPDATES_PER_STEP
            while owed >= 1:
                agent.update(replay.sample(1, batch_size))
                owed -= 1
            if step % PUBLISH_INTERVAL_STEPS == 0:
                behavior.policy = NumpyPolicy(agent.policy().arrays(), spec, rngs[3])
        if step >= FIRST_EVAL_STEPS and step % EVAL_INTERVAL_STEPS == 0:
            copy = agent.policy()
            policy = NumpyPolicy(copy.ema() or copy.arrays(), spec, np.random.default_rng(0))
            seeds = draw_seeds(np.random.default_rng(seed_sequence(SEED, "judge")))
            done = run_episodes(eval_env, policy, seeds, num_episodes, StopSignal())
            success[step] = sum(bool(episode[2]) for episode in done.episodes) / done.count
    return success


def run(lever: str, seed: int, num_steps: int, num_episodes: int) -> dict[str, Any]:
    """Learn once; return the figures."""
    flags = parse(
        TrainFlags, ["--preset", "cube-fast", *LEVERS[lever]], prog="ablation", algorithms=all_settings()
    )
    with tempfile.TemporaryDirectory() as folder:
        return {
            "lever": lever,
            "seed": seed,
            "success": learn(flags, seed, num_steps, num_episodes, Path(folder)),
        }


def table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the lines of a table: mean success of the seeds at each evaluation, worst seed in brackets."""
    for lever in dict.fromkeys(row["lever"] for row in rows):
        curves = [row["success"] for row in rows if row["lever"] == lever]
        cells = []
        for step in curves[0]:
            values = [curve[step] for curve in curves]
            cells.append(f"{100 * mean(values):.0f} ({100 * min(values):.0f})")
        yield f"| {lever} | {' | '.join(cells)} |"


def main() -> int:
    """Run all levers on all seeds, as many side by side as there are cores."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--levers", choices=LEVERS, nargs="+", default=list(LEVERS))
    parser.add_argument("--steps", type=int, default=28_000, help="env steps of a run")
    parser.add_argument("--episodes", type=int, default=100, help="of a evaluation")
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    command = " ".join(["python -m benchmarks.ablation", *sys.argv[1:]])
    rows: list[dict[str, Any]] = []
    with ProcessPoolExecutor() as pool:
        sizes = options.steps, options.episodes
        waiting = [
            pool.submit(run, lever, seed, *sizes) for seed in options.seeds for lever in options.levers
        ]
        for result in waiting:
            rows.append(result.result())
            print(json.dumps(rows[-1]), flush=True)
            report = {"command": command, "machine": describe_machine(), "runs": rows}
            (options.out / "ablation.json").write_text(json.dumps(report, indent=2) + "\n")
    print("\n".join(table(rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
