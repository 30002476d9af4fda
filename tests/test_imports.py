"""The direction of imports, and that nothing which can run a peer's code is ever called."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("actor", "common", "learner", "graspfleet")
FILES = {
    path.relative_to(ROOT).as_posix(): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))  # which does not follow the links in graspfleet/
}
LEARNER_ONLY = {"torch", "tensorboard", "matplotlib", "minari", "h5py", "numba"}
UNSAFE_LOADERS = {f"yaml.{name}" for name in ("Loader", "UnsafeLoader", "FullLoader", "CLoader")}
BASELINES = {"stable_baselines3", "sbx", "jax", "torchrl", "tensordict", "panda_gym"}
CODE_IN_DATA = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "jsonpickle"}


def tree(name: str) -> ast.Module:
    return ast.parse(FILES[name].read_text(), name)


def imported(module: ast.AST) -> Iterator[str]:
    """Yield the dotted names of everything imported, at any depth."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def package_of(module: str) -> str:
    """Return the package of ours that a dotted name is of: a folder of this tree, or another library."""
    first, _, rest = module.partition(".")
    below = rest.partition(".")[0]
    return below if first == "graspfleet" and below in PACKAGES else first


def packages(name: str) -> set[str]:
    return {package_of(module) for module in imported(tree(name)) if module != "graspfleet"}


def named(name: str) -> set[str]:
    """Return the packages of dotted names in strings, such as entry points and words after `-m`."""
    texts = [node.value for node in ast.walk(tree(name)) if isinstance(node, ast.Constant)]
    words = [text for text in texts if isinstance(text, str) and re.fullmatch(r"graspfleet(\.\w+)*", text)]
    return {package_of(word) for word in words}


FORBIDDEN = {
    "actor": {"learner", "graspfleet"},
    "learner": {"actor", "graspfleet"},
    "common": {"actor", "learner", "graspfleet"},
    "graspfleet": set[str](),
}


def test_there_is_something_to_look_at() -> None:
    assert len(FILES) > 30
    assert "common" in packages("actor/loop.py")
    assert "torch" in packages("learner/sac/agent.py")
    assert packages("graspfleet/train.py") >= {"common", "graspfleet"}
    assert named("graspfleet/cli.py") == {"actor", "learner", "graspfleet"}


@pytest.mark.parametrize("name", FILES)
def test_imports_point_one_way(name: str) -> None:
    package = name.split("/")[0]
    forbidden = FORBIDDEN[package]
    if package != "learner":
        forbidden = forbidden | LEARNER_ONLY
    if name == "actor/grasp/demos.py":  # a command of its own, with its own extra; actors never import it
        forbidden = forbidden - {"minari"}
    assert not packages(name) & (forbidden | BASELINES | {"tests", "benchmarks"})
    assert not named(name) & FORBIDDEN[package]


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("graspfleet/")])
def test_the_front_door_needs_a_process_of_its_own_for_actor_and_learner(name: str) -> None:
    """Its modules name theirs, to be started or imported when they are called; they import neither."""
    assert not packages(name) & {"actor", "learner"}


def test_nothing_is_imported_by_the_name_of_its_folder() -> None:
    for name in FILES:
        assert not {module.partition(".")[0] for module in imported(tree(name))} & {
            "actor",
            "common",
            "learner",
        }


def test_everything_is_installed() -> None:
    """`pyproject.toml` lists every package, below the name that it is imported by."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    found = {Path(name).parent.as_posix().replace("/", ".") for name in FILES if name.endswith("__init__.py")}
    assert set(declared["packages"]) == {
        name if name == "graspfleet" else f"graspfleet.{name}" for name in found
    }
    assert {name.removeprefix("graspfleet."): folder for name, folder in declared["package-dir"].items()} == {
        name: name for name in PACKAGES
    }
    for name in ("actor", "common", "learner"):
        assert (ROOT / "graspfleet" / name).readlink() == Path("..") / name


@pytest.mark.parametrize("name", [name for name in FILES if not name.startswith("actor/grasp/")])
def test_the_task_is_known_nowhere_outside_its_package(name: str) -> None:
    if name != "actor/__init__.py":
        assert not [module for module in imported(tree(name)) if module.startswith("graspfleet.actor.grasp")]
    # The word may name the project and the default environment, but no name or comparison may turn on it.
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Name | ast.Attribute):
            word = node.id if isinstance(node, ast.Name) else node.attr
            assert "grasp" not in word.lower().replace("graspfleet", ""), (node.lineno, word)
        if isinstance(node, ast.Compare | ast.Match):
            assert "grasp" not in ast.dump(node).lower().replace("graspfleet", ""), node.lineno


def value_of(keyword: ast.keyword) -> ast.expr:
    return keyword.value


def loads_code(call: ast.Call) -> str | None:
    """Return what is wrong with a call that could run code found in data."""
    called = ast.unparse(call.func)
    keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    if called in ("eval", "exec", "compile", "__import__"):
        return called
    if called in ("yaml.load", "yaml.unsafe_load", "yaml.full_load", "yaml.load_all"):
        return called
    if called in ("np.load", "numpy.load") and keywords.get("allow_pickle", "False") != "False":
        return called
    if called == "torch.load" and keywords.get("weights_only") != "True":
        return called
    if called in ("os.system", "os.popen", "torch.jit.load", "torch.hub.load", "input"):
        return called
    if called.endswith((".send_pyobj", ".recv_pyobj")) or keywords.get("shell", "False") != "False":
        return called
    if any(ast.unparse(part) in UNSAFE_LOADERS for part in [*call.args, *map(value_of, call.keywords)]):
        return called
    return None


@pytest.mark.parametrize(
    "line",
    [
        "eval(x)",
        "yaml.load(x)",
        "np.load(x, allow_pickle=True)",
        "torch.load(x)",
        "torch.load(x, weights_only=False)",
        "a.b.recv_pyobj()",
        "subprocess.run(x, shell=True)",
        "os.system(x)",
        "torch.jit.load(x)",
        "anything(x, Loader=yaml.UnsafeLoader)",
        "anything(x, yaml.Loader)",
    ],
)
def test_the_search_finds_what_it_searches(line: str) -> None:
    call = ast.parse(line, mode="eval").body
    assert isinstance(call, ast.Call)
    assert loads_code(call)


@pytest.mark.parametrize("path", [*FILES.values(), *sorted((ROOT / "benchmarks").rglob("*.py"))], ids=str)
def test_no_data_is_ever_run_as_code(path: Path) -> None:
    module = ast.parse(path.read_text(), path)
    assert not {name.split(".")[0] for name in imported(module)} & CODE_IN_DATA
    calls = [node for node in ast.walk(module) if isinstance(node, ast.Call)]
    assert not [(call.lineno, loads_code(call)) for call in calls if loads_code(call)]


def test_an_actor_needs_none_of_the_learners_packages() -> None:
    names = ", ".join(map(repr, sorted(LEARNER_ONLY)))
    code = f"import graspfleet.actor.__main__, sys; f = {{{names}}} & set(sys.modules); assert not f, f"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
