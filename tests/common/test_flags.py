"""Flags, --config, presets and --resume: what wins, and the one line that answers each mistake."""

from pathlib import Path
from typing import Any

import pytest

from graspfleet.actor.evaluate_flags import EvaluateFlags
from graspfleet.common.errors import ConfigError
from graspfleet.common.settings.config import AlgorithmConfig, EnvConfig
from graspfleet.common.settings.env_args import parse_env_args
from graspfleet.common.settings.files import PRESETS, dump_yaml
from graspfleet.common.settings.flags import ActorFlags, EvaluatorFlags, LearnerFlags, TrainFlags, parse
from graspfleet.common.settings.section import Section
from graspfleet.learner.algorithm import all_settings
from graspfleet.status import StatusFlags

WITH_SECTIONS = [ActorFlags, EvaluatorFlags, LearnerFlags, TrainFlags]
PRESET_NAMES = [path.stem for path in sorted(PRESETS.glob("*.yaml"))]


def train(*argv: str) -> TrainFlags:
    return parse(TrainFlags, argv, prog="train", algorithms=all_settings())


def lookup(flags: Section, path: str) -> Any:
    value: Any = flags
    for name in path.split("."):
        value = getattr(value, name)
    return value


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


@pytest.fixture
def presets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One preset of our own, so that nobody's tuning decides these tests."""
    folder = tmp_path / "presets"
    folder.mkdir()
    write(
        folder / "mine.yaml",
        "default_for: Grasp-v0\nenv: {env_args: [a=1]}\nreturns: {n_step: 3}\n"
        "replay: {batch_size: 128}\nalgorithm: {tau: 0.25, critic_layer_norm: true}",
    )
    monkeypatch.setattr("graspfleet.common.settings.files.PRESETS", folder)


SCRIPT_NAMES = [
    # What people know from the multiprocess SAC script, in the order of the design's table.
    (["--actor-id", "a1"], "actor.actor_id", "a1"),
    (["--max-episodes", "7"], "actor.max_episodes", 7),
    (["--max-episode-steps", "30"], "env.max_episode_steps", 30),
    (["--hidden-dim", "64"], "algorithm.hidden_dim", 64),
    (["--batch-size", "32"], "replay.batch_size", 32),
    (["--replay-capacity", "5000"], "replay.replay_capacity", "5000"),
    (["--explore-steps", "10"], "learner.explore_steps", 10),
    (["--updates-per-step", "0.5"], "rate.updates_per_step", 0.5),
    (["--updates-per-step", "None"], "rate.updates_per_step", None),
    (["--auto-entropy"], "algorithm.auto_entropy", True),
    (["--no-auto-entropy"], "algorithm.auto_entropy", False),
    (["--target-entropy", "-3"], "algorithm.target_entropy", -3.0),
    (["--reward-scale", "10"], "algorithm.reward_scale", 10.0),
    (["--deterministic"], "actor.deterministic", True),
    (["--demos", "d", "--demo-fraction", "0.25"], "replay.demo_fraction", 0.25),
    (["--demos", "d"], "replay.demos", "d"),
    (["--run-dir", "r"], "run.run_dir", "r"),
    (["--headless"], "env.headless", True),
    (["--no-headless"], "env.headless", False),
]


@pytest.mark.usefixtures("presets")
@pytest.mark.parametrize(("argv", "path", "value"), SCRIPT_NAMES, ids=lambda part: str(part))
def test_every_name_of_the_old_script_has_its_flag(argv: list[str], path: str, value: Any) -> None:
    assert lookup(train(*argv), path) == value
    assert type(lookup(train(*argv), path)) is type(value)


def test_a_flag_means_the_same_in_every_command() -> None:
    for command in WITH_SECTIONS:
        flags = parse(command, ["--seed", "5", "--discount", "0.5"], prog="x", algorithms=all_settings())
        assert (lookup(flags, "env.seed"), lookup(flags, "returns.discount")) == (5, 0.5)


@pytest.mark.usefixtures("presets")
def test_flags_go_before_the_config_file_before_the_preset_before_the_defaults(tmp_path: Path) -> None:
    file = write(
        tmp_path / "c.yaml",
        "replay: {batch_size: 64}\nalgorithm: {tau: 0.5}\nlearner: {total_env_steps: 5000}",
    )
    argv = ["--config", file, "--preset", "mine", "--batch-size", "16"]
    flags = train(*argv)
    assert flags.replay.batch_size == 16  # flag, also in file and preset
    assert flags.algorithm.tau == 0.5  # file, also in the preset
    assert flags.learner.total_env_steps == 5000
    assert flags.algorithm.critic_layer_norm is True  # preset
    assert flags.algorithm.reward_scale == 1.0  # default
    assert train(*reversed_pairs(argv)) == flags.model_copy(update={"run": flags.run})


def reversed_pairs(argv: list[str]) -> list[str]:
    pairs = [argv[i : i + 2] for i in range(0, len(argv), 2)]
    return [word for pair in reversed(pairs) for word in pair]


@pytest.mark.usefixtures("presets")
def test_an_environment_brings_its_own_preset_along_unless_told_otherwise(tmp_path: Path) -> None:
    assert train().env.env_args == ("a=1",)
    assert train() == train("--preset", "mine").model_copy(update={"run": train().run})
    assert train("--env", "Pendulum-v1").env.env_args == ()
    assert train("--preset", "plain").env.env_args == ()
    file = write(tmp_path / "c.yaml", "algorithm: {tau: 0.5}")
    assert train("--config", file).returns.n_step == 1  # a file says it all
    assert train("--config", file, "--preset", "mine").returns.n_step == 3
    file = write(tmp_path / "named.yaml", "run: {preset: mine}\nalgorithm: {tau: 0.5}")
    flags = train("--config", file)
    assert (flags.returns.n_step, flags.algorithm.tau) == (3, 0.5)  # or names the preset that it changes


def test_auto_resume_goes_on_once_a_run_has_begun(tmp_path: Path) -> None:
    words = ("--run-dir", str(tmp_path), "--auto-resume")
    assert (train(*words).run.run_dir, train(*words).run.resume) == (str(tmp_path), None)
    write(tmp_path / "config.yaml", "replay: {batch_size: 77}")
    (tmp_path / "checkpoints").mkdir()
    assert train(*words).run.resume is None  # killed before its first checkpoint
    write(tmp_path / "checkpoints" / "step-000000000000.pt", "")
    flags = train(*words)
    assert (flags.run.run_dir, flags.run.resume, flags.replay.batch_size) == (None, str(tmp_path), 77)
    assert train(*words, "--no-auto-resume").run.resume is None
    assert train("--auto-resume").run.resume is None


def test_resume_takes_the_settings_of_the_run_but_not_its_place(tmp_path: Path) -> None:
    earlier = train("--env", "Pendulum-v1", "--batch-size", "77", "--run-dir", "elsewhere", "--seed", "3")
    write(tmp_path / "config.yaml", dump_yaml(earlier))
    resumed = train("--resume", str(tmp_path), "--seed", "4")
    assert resumed.replay.batch_size == 77
    assert resumed.env.env == "Pendulum-v1"
    assert resumed.env.seed == 4
    assert (resumed.run.run_dir, resumed.run.resume) == (None, str(tmp_path))


@pytest.mark.parametrize("preset", PRESET_NAMES)
@pytest.mark.parametrize("command", WITH_SECTIONS)
def test_every_preset_loads_for_every_command(preset: str, command: type[Section]) -> None:
    assert PRESET_NAMES
    assert (
        lookup(parse(command, ["--preset", preset], prog="x", algorithms=all_settings()), "run.preset")
        == preset
    )


@pytest.mark.parametrize("command", WITH_SECTIONS)
def test_dumped_settings_load_as_they_were(command: type[Section], tmp_path: Path) -> None:
    argv = [
        "--env",
        "Pendulum-v1",
        "--env-args",
        "a=1",
        "b=[x, y]",
        "--max-episode-steps",
        "9",
        "--seed",
        "3",
    ]
    flags = parse(command, argv, prog="x", algorithms=all_settings())
    file = write(tmp_path / "c.yaml", dump_yaml(flags))
    again = parse(command, ["--config", file], prog="x", algorithms=all_settings())
    assert again.model_dump(exclude={"run"}) == flags.model_dump(exclude={"run"})


def test_env_args_are_yaml_values() -> None:
    words = ["physics=fast", "mass=[0.1, 0.2]", "on=true", "n=3", "none=null", "text='3'", "expression=a=b"]
    assert parse_env_args(words) == {
        "physics": "fast",
        "mass": [0.1, 0.2],
        "on": True,
        "n": 3,
        "none": None,
        "text": "3",
        "expression": "a=b",
    }


@pytest.mark.parametrize(
    "word", ["physics", "=fast", "a b=1", "1a=2", "a=[1", "a=!!python/object/apply:os.getcwd []"]
)
def test_an_env_arg_that_is_none_is_named(word: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_env_args([word])
    assert_one_line(caught.value, "--env-args", word)


def assert_one_line(error: ConfigError, *named: str) -> None:
    message = str(error)
    assert "\n" not in message
    for name in named:
        assert name in message, message


MISTAKES = [
    (["--batch-size", "0"], ["--batch-size", "0"]),
    (["--batch-size", "many"], ["--batch-size", "many"]),
    (["--batch-size", "1.5"], ["--batch-size", "1.5"]),
    (["--batch-size", "many"], ["--batch-size many: allowed: an integer"]),
    (["--max-episode-steps", "0.5"], ["--max-episode-steps 0.5: allowed: an integer, at least 1, or None"]),
    (
        ["--updates-per-step", "often"],
        ["--updates-per-step often: allowed: a finite number, more than 0, or None"],
    ),
    (["--tau", "slow"], ["--tau slow: allowed: a finite number, more than 0 and at most 1"]),
    (["--device", "tpu"], ["--device tpu: allowed: auto, cpu, cuda"]),
    (["--batch-size"], ["--batch-size: needs a value"]),
    (["--discount", "1.5"], ["--discount", "1.5"]),
    (["--discount", "nan"], ["--discount nan: allowed: a finite number, 0 to 1"]),
    (["--learning-rate", "-1"], ["--learning-rate", "-1"]),
    (["--tau", "inf"], ["--tau", "inf"]),
    (["--seed", "-1"], ["--seed", "-1"]),
    (["--actor-id", "a b"], ["--actor-id 'a b': allowed: text, matching ^[A-Za-z0-9._-]"]),
    (["--weights-port", "70000"], ["--weights-port", "70000"]),
    (["--headless", "maybe"], ["--headless maybe: allowed: --headless or --no-headless, without a value"]),
    (["--no_headless=1"], ["--no-headless 1: allowed: --headless or --no-headless"]),
    (["--objects", "cube", "--env", "Pendulum-v1"], ["--objects: no such flag", "--env-args objects=VALUE"]),
    (["--no-batch-size"], ["--no-batch-size: no such flag. Perhaps you meant: --batch-size"]),
    (["-x"], ["-x: no such flag"]),
    (["--run-dir", ""], ["--run-dir '': allowed: text, at least 1 character, or None"]),
    (["--learner", "tcp://x"], ["--learner tcp://x: allowed: a host name or address"]),
    (["--env-args", "a=1", "b"], ["--env-args b: allowed: KEY=VALUE"]),
    (["--eval-env-args", "b"], ["--eval-env-args b: allowed: KEY=VALUE"]),
    (["--hiden-dim", "3"], ["--hiden-dim", "Perhaps you meant: --hidden-dim"]),
    (["stray"], ["stray: unexpected argument"]),
    (["--tau", "0.5", "stray"], ["stray: unexpected argument; allowed: train [FLAGS]"]),
    (["--batch-size"], ["--batch-size"]),
    (["--config"], ["--config"]),
    (["--env"], ["--env"]),
    (["--preset", "nonsense"], ["--preset", "nonsense", "plain"]),
    (["--config", "/nowhere.yaml"], ["--config", "/nowhere.yaml"]),
    (["--resume", "/nowhere"], ["--resume", "/nowhere"]),
    (
        ["--samples-per-insert", "8", "--updates-per-step", "1"],
        ["--samples-per-insert", "8", "--updates-per-step"],
    ),
]


@pytest.mark.parametrize(("argv", "named"), MISTAKES, ids=lambda words: " ".join(words))
def test_a_mistake_is_answered_in_one_line_that_names_it(argv: list[str], named: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        train(*argv)
    assert_one_line(caught.value, *named)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("algorithm: [", ["--config"]),
        ("- sac", ["--config", "mapping"]),
        ("", ["--config", "mapping"]),
        ("algoritm: {tau: 0.5}", ["c.yaml: 'algoritm' is not a section; perhaps you meant algorithm"]),
        ("tau: 0.5", ["c.yaml: 'tau' is not a section; it belongs to section algorithm"]),
        (
            "env: {tau: 0.5}",
            ["c.yaml: env: tau: not a setting of this section; it belongs to section algo"],
        ),
        (
            "algorithm: {n_step: 3}",
            ["n_step: not a setting of this section; it belongs to section returns"],
        ),
        (
            "replay: {bach_size: 3}",
            ["replay: bach_size: no such setting; perhaps you meant batch_size"],
        ),
        ("env: {bach_size: 3}", ["env: bach_size: ", "perhaps you meant batch_size of section replay"]),
        ("launch: {xyzzy: 3}", ["launch: xyzzy: no such setting; allowed: actors, max_restarts"]),
        ("env: {env_args: [1]}", ["c.yaml: env: --env-args 1: "]),
        ("learner: {bind: 'a b'}", ["c.yaml: learner: --bind 'a b': allowed:"]),
        ("algorithm: 3", ["--config", "algorithm: 3 is not a mapping"]),
        ("3: {tau: 0.5}", ["--config", "3"]),
        ("algorithm: {tao: 0.5}", ["c.yaml: algorithm: tao: no such setting; perhaps you meant tau"]),
        ("algorithm: {3: 0.5}", ["3"]),
        ("algorithm: {tau: 7}", ["c.yaml: algorithm: --tau 7: allowed"]),
        ("algorithm: {tau: big}", ["c.yaml: algorithm: --tau big: "]),
        ("rate: {updates_per_step: 1, samples_per_insert: 8}", ["--samples-per-insert", "8"]),
        ("a: !!python/object/apply:os.getcwd []", ["--config"]),
        ("algorithm: {tau: 0.5}\n\0", ["--config"]),
    ],
)
def test_a_mistake_in_a_file_is_answered_in_one_line(text: str, named: list[str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        train("--config", write(tmp_path / "c.yaml", text))
    assert_one_line(caught.value, *named)


def test_a_file_that_is_no_text_is_answered_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_bytes(b"\xff\xfe\xfd")
    with pytest.raises(ConfigError) as caught:
        train("--config", str(tmp_path / "c.yaml"))
    assert_one_line(caught.value, "--config", str(tmp_path))


def test_help_leaves_with_status_0(capsys: pytest.CaptureFixture[str]) -> None:
    for command in [*WITH_SECTIONS, EvaluateFlags, StatusFlags]:
        with pytest.raises(SystemExit) as caught:
            parse(command, ["--help"], prog="graspfleet x", algorithms=all_settings())
        assert caught.value.code == 0
        assert "graspfleet x" in capsys.readouterr().out


def test_help_shows_the_settings_that_hold_here_with_their_ranges(
    presets: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")

    def page(*argv: str) -> list[str]:
        with pytest.raises(SystemExit):
            train(*argv, "--help")
        return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]

    assert "--batch-size INT Transitions per update. (1 to 65536; default: 128)" in page()  # the preset's
    assert "--batch-size INT Transitions per update. (1 to 65536; default: 256)" in page("--preset", "plain")
    assert "--batch-size INT Transitions per update. (1 to 65536; default: 7)" in page("--batch-size", "7")
    assert any(line.startswith("--tau ") for line in page())
    assert not any(line.startswith("--tau ") for line in page("--algorithm", "crossq"))
    assert any(line.startswith("--renorm-warmup ") for line in page("--algorithm", "crossq"))


@pytest.mark.parametrize("value", ["-3", "-0.5", "-1e-3", "-.5"])
@pytest.mark.parametrize("spelling", ["--target-entropy {}", "--target-entropy={}", "--target_entropy {}"])
def test_a_negative_number_is_a_value_and_no_flag(value: str, spelling: str) -> None:
    assert lookup(train(*spelling.format(value).split()), "algorithm.target_entropy") == float(value)


def test_a_file_that_names_one_port_leaves_the_others_as_the_command_has_them(tmp_path: Path) -> None:
    file = write(tmp_path / "c.yaml", "transport: {weights_port: 7000}")
    transport = train("--config", file).transport
    assert (transport.experience_port, transport.weights_port, transport.control_port) == (0, 7000, 0)


def test_commands_without_sections_parse_too() -> None:
    flags = parse(EvaluateFlags, ["run", "--episodes", "3", "--json"], prog="x")
    assert (flags.run_dir, flags.episodes, flags.json_output) == ("run", 3, True)
    assert parse(StatusFlags, [], prog="x").run_dir is None
    for argv, named in (
        ([], "RUN_DIR is missing; allowed: x RUN_DIR [FLAGS]"),
        (["--json"], "RUN_DIR is missing"),
        (["run", "other"], "other: unexpected argument; allowed: x RUN_DIR [FLAGS]"),
        (["--headless", "no", "run"], "--headless no: allowed: --headless or --no-headless"),
        (["run", "--video"], "--video: needs a value"),
        (["run", "--env-args", "b"], "--env-args b"),
        (["run", "--policy", "worst"], "worst"),
    ):
        with pytest.raises(ConfigError) as caught:
            parse(EvaluateFlags, argv, prog="x")
        assert_one_line(caught.value)
        assert named in str(caught.value)


def test_a_file_of_an_environment_is_found_from_anywhere_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert EnvConfig(env="mine/arm.py:Arm-v0").env == f"{tmp_path}/mine/arm.py:Arm-v0"
    assert EnvConfig(env="mine/arm.py:Arm-v0").env_id == "Arm-v0"
    assert EnvConfig(env="package:Arm-v0").env == "package:Arm-v0"


def test_settings_belong_to_one_algorithm_and_a_lower_layer_of_another_one_is_left_out(
    presets: None, tmp_path: Path
) -> None:
    """The preset's are those of SAC."""
    other = type("Other", (AlgorithmConfig,), {"__annotations__": {"momentum": float}, "momentum": 0.5})

    algorithms = {"sac": all_settings()["sac"], "other": other}

    def settings(*argv: str) -> dict[str, Any]:
        return parse(TrainFlags, argv, prog="x", algorithms=algorithms).algorithm.model_dump()

    file = write(tmp_path / "c.yaml", "run: {preset: mine}\nalgorithm: {algorithm: other, momentum: 0.75}")
    assert settings("--algorithm", "other") == {"algorithm": "other", "momentum": 0.5}
    assert settings("--config", file, "--momentum", "0.25") == {"algorithm": "other", "momentum": 0.25}
    assert settings("--config", file)["momentum"] == 0.75
    assert settings("--config", file, "--algorithm", "sac")["tau"] == 0.25  # the preset's again
    with pytest.raises(ConfigError, match="--tau: not a flag of --algorithm other"):
        settings("--config", file, "--tau", "0.5")


def test_an_algorithm_that_there_is_not_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"\A--algorithm ppo: allowed: [^\n]*sac[^\n]*\Z"):
        train("--algorithm", "ppo")
