"""What settings a command runs with: early words in every spelling, and settings that exclude each other."""

from pathlib import Path
from typing import Any

import pytest

from graspfleet.common.errors import ConfigError
from graspfleet.common.settings.flags import EvaluatorFlags, LearnerFlags, TrainFlags, parse
from graspfleet.common.settings.processes import RunConfig
from graspfleet.learner.algorithm import all_settings
from tests.fakes import ONE_LINE


def train(*argv: str) -> TrainFlags:
    return parse(TrainFlags, argv, prog="train", algorithms=all_settings())


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A run that has begun, with settings that no preset has."""
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints" / "step-000000000000.pt").write_text("")
    (run / "config.yaml").write_text("env: {env: Pendulum-v1}\nreplay: {batch_size: 77}")
    return run


SPELLINGS = [
    ["--run-dir", "R", "--auto-resume"],
    ["--run_dir", "R", "--auto_resume"],
    ["--run-dir=R", "--auto-resume"],
    ["--run_dir=R", "--auto-resume"],
    ["--run-dir", "elsewhere", "--auto-resume", "--run_dir", "R"],
    ["--no-auto-resume", "--run-dir", "R", "--auto_resume"],
    ["--env-args", "a=1", "b=2", "--run-dir", "R", "--auto-resume"],
    ["--auto-resume", "--run-dir", "R", "--preset", "plain"],
    ["--resume", "R"],
    ["--resume=R"],
    ["--resume", "elsewhere", "--resume", "R"],
]


@pytest.mark.parametrize("argv", SPELLINGS, ids=" ".join)
@pytest.mark.parametrize("command", [TrainFlags, LearnerFlags, EvaluatorFlags])
def test_a_run_is_gone_on_with_however_it_is_said(
    argv: list[str], command: type[TrainFlags], begun: Path
) -> None:
    flags = parse(
        command, [word.replace("R", str(begun)) for word in argv], prog="x", algorithms=all_settings()
    )
    assert (flags.run.resume, flags.run.run_dir, flags.env.env) == (str(begun), None, "Pendulum-v1")
    if isinstance(flags, LearnerFlags):
        assert flags.replay.batch_size == 77


@pytest.mark.parametrize("word", ["--no-auto-resume", "--no_auto_resume"])
def test_the_last_of_two_words_holds(word: str, begun: Path) -> None:
    flags = train("--run-dir", str(begun), "--auto-resume", word)
    assert (flags.run.resume, flags.run.run_dir, flags.algorithm) == (None, str(begun), train().algorithm)


@pytest.mark.parametrize(
    ("section", "argv"),
    [
        ("{{run_dir: {run}, auto_resume: true}}", []),
        ("{{auto_resume: true}}", ["--run_dir", "{run}"]),
        ("{{run_dir: {run}}}", ["--auto_resume"]),
        ("{{run_dir: elsewhere, auto_resume: true}}", ["--run-dir={run}"]),
        ("{{resume: {run}}}", []),
        ("{{run_dir: elsewhere, preset: plain}}", ["--resume", "{run}"]),
    ],
)
def test_a_file_may_say_which_run_is_meant(
    section: str, argv: list[str], begun: Path, tmp_path: Path
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(f"run: {section.format(run=begun)}\nalgorithm: {{tau: 0.5}}")
    flags = train("--config", str(file), *(word.format(run=begun) for word in argv))
    assert flags.run.resume == str(begun)
    assert (flags.replay.batch_size, flags.algorithm.tau) == (77, 0.5)  # the run's, over it the file's


def test_a_flag_says_no_where_the_file_says_yes(begun: Path, tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(f"run: {{run_dir: {begun}, auto_resume: true}}")
    assert train("--config", str(file), "--no-auto-resume").run == RunConfig(
        run_dir=str(begun), config=str(file)
    )


@pytest.mark.parametrize("option", ["--preset=cube-fast", "--preset cube-fast", "--env=Grasp-v0"])
def test_presets_are_found_in_every_spelling(option: str) -> None:
    assert train(*option.split()).algorithm == train("--preset", "cube-fast").algorithm
    assert train(*option.split()).algorithm != train("--preset", "plain").algorithm


RATES: list[tuple[str, list[str], tuple[float | None, float | None]]] = [
    ("", ["--samples-per-insert", "8"], (None, 8)),
    ("", ["--samples_per_insert=8"], (None, 8)),
    ("", ["--samples-per-insert", "8", "--updates-per-step", "None"], (None, 8)),
    ("{updates_per_step: 2}", ["--samples-per-insert", "8"], (None, 8)),
    ("{samples_per_insert: 8}", [], (None, 8)),
    ("{samples_per_insert: 8}", ["--updates-per-step", "2"], (2, None)),
    ("{samples_per_insert: 8, updates_per_step: null}", ["--updates-per-step", "2"], (2, None)),
    ("{samples_per_insert: 8}", ["--updates-per-step", "None"], (None, 8)),
    ("{updates_per_step: 2}", ["--samples-per-insert", "None"], (2, None)),
    ("{rate_tolerance: 7}", [], (1, None)),
]


@pytest.mark.parametrize(("file", "argv", "expected"), RATES)
@pytest.mark.parametrize("preset", ["plain", "cube-fast"])
def test_the_ratio_that_is_said_replaces_the_other(
    file: str, argv: list[str], expected: tuple[Any, Any], preset: str, tmp_path: Path
) -> None:
    words = ["--preset", preset, *argv]
    if file:
        (tmp_path / "c.yaml").write_text(f"rate: {file}")
        words += ["--config", str(tmp_path / "c.yaml")]
    rate = train(*words).rate
    if "rate_tolerance" in file:
        expected = (train("--preset", preset).rate.updates_per_step, expected[1])
    assert (rate.updates_per_step, rate.samples_per_insert) == expected


def test_the_keys_that_are_said_replace_the_others(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("transport: {learner_secret: a, allowed: b}")
    transport = train("--config", str(file), "--keys", "folder").transport
    assert (transport.keys, transport.learner_secret, transport.allowed) == ("folder", None, None)
    assert train("--config", str(file), "--allowed", "c").transport.allowed == "c"
    file.write_text("transport: {keys: folder}")
    transport = train("--config", str(file), "--learner-secret=a", "--allowed=b").transport
    assert (transport.keys, transport.learner_secret) == (None, "a")


def test_settings_of_a_run_give_way_too(begun: Path) -> None:
    (begun / "config.yaml").write_text("rate: {updates_per_step: 1.0, samples_per_insert: null}")
    assert train("--resume", str(begun), "--samples-per-insert", "4").rate.updates_per_step is None


@pytest.mark.parametrize(
    "argv",
    [
        ["--samples-per-insert", "8", "--updates-per-step", "1"],
        ["--keys", "k", "--learner-secret", "a", "--allowed", "b"],
        ["--resume", "{run}", "--run-dir", "elsewhere"],
        ["--resume", "{run}", "--preset", "plain"],
        ["--resume", ""],
        ["--run-dir", ""],
        ["--run-dir", "{run}", "--auto-resume", "--res", "x"],
        ["--auto_resume", "maybe"],
        ["--actor-id", "--resume", "{run}"],
    ],
    ids=" ".join,
)
def test_who_says_both_or_nothing_hears_it_in_one_line(argv: list[str], begun: Path) -> None:
    with pytest.raises(ConfigError, match=ONE_LINE):
        train(*(word.format(run=begun) for word in argv))


def test_a_file_names_no_further_file(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("run: {config: other.yaml}")
    with pytest.raises(ConfigError, match="config is allowed only as a flag"):
        train("--config", str(tmp_path / "c.yaml"))
