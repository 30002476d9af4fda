"""`--env`: modules and files found by one rule, nothing shadows anything, every refusal one line."""

import sys
from asyncio import CancelledError
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from gymnasium.wrappers import NormalizeObservation, NormalizeReward, TransformObservation

from graspfleet.actor import registry
from graspfleet.actor.registry import make
from graspfleet.common.errors import ConfigError
from graspfleet.common.settings.config import EnvConfig
from tests.actor import misbehaving_envs
from tests.actor.misbehaving_envs import AlwaysBreaks, Counting, TakesNothing
from tests.fakes import ONE_LINE

ROOT = Path(__file__).parents[2]
OWN = """
import gymnasium
from tests.actor.misbehaving_envs import Counting
{more}
class Own(Counting):
    pass
gymnasium.register("Own-v0", f"{{__name__}}:Own")
"""


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave neither paths nor modules nor environments of one test to the next."""
    elsewhere = [entry for entry in sys.path if entry and Path(entry).resolve() != ROOT]  # as if installed
    monkeypatch.setattr(sys, "path", elsewhere)
    modules, environments = set(sys.modules), dict(gymnasium.registry)
    yield
    for name in set(sys.modules) - modules:
        if not name.startswith(("numpy", "gymnasium")):
            del sys.modules[name]
    gymnasium.registry.clear()
    gymnasium.registry.update(environments)


def write(folder: Path, name: str, more: str = "") -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(OWN.format(more=more))
    return file


def own(name: str) -> str:
    """Return the module that an environment's class is of."""
    return type(make(name, {}).unwrapped).__module__


def test_a_module_in_the_working_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "own_module.py")
    write(tmp_path, "own_package/envs.py")
    monkeypatch.chdir(tmp_path)
    assert own("own_module:Own-v0") == "own_module"
    del gymnasium.registry["Own-v0"]
    assert own("own_package.envs:Own-v0") == "own_package.envs"
    assert sys.path[-1] == str(tmp_path), "after everything that is installed"


@pytest.mark.parametrize(
    "name", ["plain.py", "folder/of/mine.py", "with-dash.v2.py", "json.py", "common.py", "graspfleet.py"]
)
def test_a_file_is_found_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    file = write(tmp_path, name)
    monkeypatch.chdir(tmp_path)
    for place in (name, f"./{name}", str(file)):
        assert own(f"{place}:Own-v0") in (file.stem, "file_" + file.stem.replace("-", "_").replace(".", "_"))


def test_a_file_imports_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "gains_of_mine.py").write_text("GAIN = 3")
    assert own(f"{write(tmp_path, 'mine.py', 'from gains_of_mine import GAIN')}:Own-v0") == "mine"


def test_an_environment_finds_its_own_common_and_the_program_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = "import common.gains\nfrom actor import GAIN\nassert common.gains.GAIN == GAIN == 3"
    (tmp_path / "common").mkdir()
    (tmp_path / "common" / "gains.py").write_text("GAIN = 3")
    (tmp_path / "actor.py").write_text("GAIN = 3")
    write(tmp_path, "shadowing.py", more)
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        make("shadowing:Own-v0", {})  # its second environment finds what the first has loaded
        assert sys.modules["graspfleet.actor.registry"] is registry
        assert str(tmp_path) not in sys.path[:1]


def test_an_entry_point_of_the_users_own_common_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "common/envs.py", "gymnasium.registry.clear()")
    (tmp_path / "entry.py").write_text('import gymnasium\ngymnasium.register("Own-v0", "common.envs:Own")')
    monkeypatch.chdir(tmp_path)
    assert own("entry:Own-v0") == "common.envs"


def test_the_programs_own_environments_are_found_beside_a_common_of_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "common.py").write_text("raise RuntimeError('this is not yours')")
    monkeypatch.chdir(tmp_path)
    assert own("graspfleet.actor.grasp:Grasp-v0") == "graspfleet.actor.grasp.env"


def refusal(name: str, **arguments: Any) -> str:
    with pytest.raises(ConfigError, match=ONE_LINE) as caught:
        make(name, arguments)
    assert str(caught.value).startswith(f"--env {name.rpartition(':')[0] or name}")
    return str(caught.value)


BROKEN_FILES = {
    "syntax": ("def f(:", "SyntaxError"),
    "name": ("undefined", "NameError: name 'undefined'"),
    "import": ("import no_such_thing", "No module named 'no_such_thing' (broken.py:1)"),
    "panic": ("raise BaseException('a panic of Rust')", "a panic of Rust"),
    "exit": ("raise SystemExit(0)", "SystemExit"),
    "interrupted-halfway": ("import tests.fakes\n1 / 0", "ZeroDivisionError"),
    "registers-nothing": ("", "Own"),
}


@pytest.mark.parametrize("name", BROKEN_FILES)
def test_a_file_that_cannot_be_imported_is_one_line(tmp_path: Path, name: str) -> None:
    text, words = BROKEN_FILES[name]
    (tmp_path / "broken.py").write_text(text)
    for _ in range(2):  # a second environment of the process meets the same
        assert words in refusal(f"{tmp_path / 'broken.py'}:Own-v0")


@pytest.mark.parametrize("name", ["own.py", "/tmp/own.py", "no_such_module:Own-v0", "Own-v0"])
def test_a_name_that_leads_nowhere_is_answered_by_the_forms_that_are_allowed(name: str) -> None:
    assert refusal(name).endswith("allowed: a Gymnasium id, module:Id-v0 or path/to/file.py:Id-v0")


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    assert "no such file" in refusal(f"{tmp_path}/nowhere.py:Own-v0")
    assert "no such file" in refusal(f"{tmp_path}.py:Own-v0")


CONSTRUCTORS: dict[str, Any] = {
    error.__name__: error
    for error in (OSError, KeyError, AssertionError, SystemExit, AttributeError, CancelledError)
}


@pytest.mark.parametrize("name", CONSTRUCTORS)
def test_whatever_a_constructor_raises_is_one_line(name: str) -> None:
    class Refuses(Counting):
        def __init__(self) -> None:
            raise CONSTRUCTORS[name]("no mesh\nat all")

    gymnasium.register("Refuses-v0", entry_point=Refuses)
    line = refusal("Refuses-v0")
    assert f"{name}: " in line
    assert "test_registry.py:" in line


def test_a_constructor_that_makes_no_environment_is_one_line() -> None:
    gymnasium.register("Nothing-v0", entry_point=lambda: object())
    assert "gymnasium.Env" in refusal("Nothing-v0")


def test_render_mode_is_passed_only_when_wanted() -> None:
    misbehaving_envs.make(TakesNothing)
    with pytest.raises(ConfigError, match=r"render_mode.*\(--render-mode, --no-headless, --video\)"):
        misbehaving_envs.make(TakesNothing, render_mode="rgb_array")
    env = misbehaving_envs.make(Counting, render_mode="rgb_array").env.unwrapped
    assert isinstance(env, Counting)
    assert env.settings == {"render_mode": "rgb_array"}


@pytest.mark.parametrize("wrapper", [NormalizeObservation, NormalizeReward])
def test_statistics_of_a_process_of_its_own_are_refused(wrapper: Any) -> None:
    def made() -> Any:
        return TransformObservation(wrapper(Counting()), lambda obs: obs, None)

    gymnasium.register("Normalized-v0", entry_point=made)
    line = refusal("Normalized-v0")
    assert wrapper.__name__ in line
    assert "docs/environments.md" in line


def test_frozen_statistics_are_taken() -> None:
    def made() -> Any:
        env = NormalizeObservation(Counting())
        env.update_running_mean = False
        return env

    gymnasium.register("Frozen-v0", entry_point=made)
    make("Frozen-v0", {})


def test_statistics_of_another_librarys_wrapper_are_refused() -> None:
    class RunningMeanStd:
        pass

    class Scaled(gymnasium.Wrapper[Any, Any, Any, Any]):
        def __init__(self, env: Any) -> None:
            super().__init__(env)
            self.scale = RunningMeanStd()

    gymnasium.register("Scaled-v0", entry_point=lambda: Scaled(AlwaysBreaks()))
    assert "Scaled" in refusal("Scaled-v0")


@pytest.mark.parametrize(
    ("env", "name"),
    [("Own-v0", "Own-v0"), ("pkg.envs:Own-v0", "pkg.envs:Own-v0"), ("/there/my.py:Own-v0", "Own-v0")],
)
def test_a_path_is_no_part_of_the_name_that_peers_compare(env: str, name: str) -> None:
    assert EnvConfig(env=env).env_id == name
