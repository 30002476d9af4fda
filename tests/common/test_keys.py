"""`graspfleet keys` and the files it makes: whatever is wrong with one is answered in one line."""

import os
import stat
from pathlib import Path

import pytest
import zmq.auth

from graspfleet.common.errors import ConfigError
from graspfleet.common.net.certificates import Certificate
from graspfleet.common.net.security import actor_keys, learner_keys, may_use
from graspfleet.common.settings.transport import KeysConfig
from graspfleet.keys import main
from tests.fakes import ONE_LINE


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "keys"
    assert main(["init", str(folder)]) == 0
    return folder


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_init_makes_the_learners_key_and_a_first_actors(folder: Path) -> None:
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*")} == {
        *("learner.key", "learner.key_secret", "actor.key_secret", "allowed", "allowed/actor.key")
    }
    assert [mode(folder / name) for name in (".", "allowed")] == [0o700, 0o700]
    assert [mode(path) for path in folder.glob("*_secret")] == [0o600, 0o600]
    public, secret = zmq.auth.load_certificate(folder / "actor.key_secret")  # others read the format too
    assert zmq.auth.load_certificate(folder / "allowed" / "actor.key") == (public, None)
    assert secret is not None
    assert zmq.curve_public(secret) == public


def test_init_on_anything_that_exists_changes_nothing(folder: Path) -> None:
    before = tree(folder)
    with pytest.raises(ConfigError, match=ONE_LINE):
        main(["init", str(folder)])
    assert tree(folder) == before


def test_both_sides_find_their_keys_in_the_folder(folder: Path) -> None:
    config = KeysConfig(keys=str(folder))
    learner, actor = learner_keys(config), actor_keys(config)
    assert learner is not None
    assert actor is not None
    assert zmq.curve_public(learner.secret) == actor.learner
    assert (actor.name, learner.allowed) == ("actor", folder / "allowed")


def test_files_one_by_one_mean_the_same_whatever_they_are_called(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "mounted"
    secret.symlink_to(folder / "actor.key_secret")
    pair = KeysConfig(learner_public=str(folder / "learner.key"), actor_secret=str(secret))
    assert actor_keys(pair) == actor_keys(KeysConfig(keys=str(folder)))
    sides = KeysConfig(learner_secret=str(folder / "learner.key_secret"), allowed=str(folder / "allowed"))
    assert learner_keys(sides) == learner_keys(KeysConfig(keys=str(folder)))
    with pytest.raises(ConfigError, match="--actor-secret"):
        actor_keys(sides)
    with pytest.raises(ConfigError, match="--learner-secret"):
        learner_keys(pair)


def test_added_keys_are_listed_chosen_and_revoked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["add", str(folder), "lab2"])
    chosen = actor_keys(KeysConfig(keys=str(folder), key_name="lab2"))
    assert chosen is not None
    assert chosen.name == "lab2"
    default = actor_keys(KeysConfig(keys=str(folder)))
    assert default is not None
    assert default.name == "actor"
    capsys.readouterr()
    main(["list", str(folder)])
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["actor", "lab2"]
    main(["revoke", str(folder), "actor"])
    only = actor_keys(KeysConfig(keys=str(folder)))
    assert only is not None
    assert only.name == "lab2"
    assert not (folder / "actor.key_secret").exists()
    main(["add", str(folder), "actor"])  # the same name with another key: rotation


@pytest.mark.parametrize(
    "words",
    [
        ["add", "KEYS", "actor"],
        ["add", "KEYS", "learner"],
        ["add", "KEYS", "actor-2"],
        ["add", "KEYS", "../x"],
        ["add", "KEYS", "x" * 33],
        ["add", "KEYS", ""],
        ["add", "KEYS"],
        ["add", "KEYS/none", "x"],
        ["list", "KEYS/none"],
        ["revoke", "KEYS", "nobody"],
        ["revoke", "KEYS", "../learner"],
        ["init", "KEYS/learner.key/below"],
        ["init"],
        ["fly"],
    ],
    ids=" ".join,
)
def test_a_mistake_is_one_line_and_changes_nothing(folder: Path, words: list[str]) -> None:
    before = tree(folder)
    with pytest.raises(ConfigError, match=ONE_LINE):
        main([word.replace("KEYS", str(folder)) for word in words])
    assert tree(folder) == before


def damage(path: Path, how: str) -> None:
    if how == "missing":
        path.unlink()
    elif how == "readable":
        path.chmod(0o640)
    elif how == "folder":
        path.unlink()
        path.mkdir()
    elif how == "pipe":
        path.unlink()
        os.mkfifo(path, 0o600)
    elif how == "truncated":
        path.write_text(path.read_text()[:-20])
    elif how == "another":
        other = Certificate.generate("x").secret
        assert other is not None
        lines = [line for line in path.read_text().splitlines() if "secret-key" not in line]
        path.write_text("\n".join([*lines, f'    secret-key = "{other.decode()}"']))
    else:
        path.write_bytes({"empty": b"", "binary": bytes(range(256)), "huge": b"#" * (1 << 20)}[how])


DAMAGES = ["missing", "readable", "folder", "pipe", "truncated", "another", "empty", "binary", "huge"]


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("name", ["learner", "actor"])
def test_a_private_key_that_cannot_be_trusted_is_refused(folder: Path, name: str, how: str) -> None:
    path = folder / f"{name}.key_secret"
    damage(path, how)
    with pytest.raises(ConfigError, match=ONE_LINE) as caught:
        (learner_keys if name == "learner" else actor_keys)(KeysConfig(keys=str(folder)))
    assert path.name in str(caught.value)


@pytest.mark.parametrize("how", ["missing", "truncated", "empty", "binary", "huge", "pipe"])
def test_a_learners_public_key_that_is_none_is_refused(folder: Path, how: str) -> None:
    damage(folder / "learner.key", "truncated" if how == "truncated" else how)
    with pytest.raises(ConfigError, match=ONE_LINE, check=lambda error: "learner.key" in str(error)):
        actor_keys(KeysConfig(keys=str(folder)))


def test_an_allow_list_that_others_may_write_is_refused(folder: Path) -> None:
    (folder / "allowed").chmod(0o777)
    with pytest.raises(ConfigError, match="writable by others"):
        learner_keys(KeysConfig(keys=str(folder)))


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ({"keys": "k", "allowed": "a", "learner_secret": "s"}, "--learner-secret s"),
        ({"allowed": "a"}, "--learner-secret"),
        ({"actor_secret": "s"}, "--learner-public"),
    ],
)
def test_flags_that_make_no_whole_are_refused(said: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigError, match=ONE_LINE) as caught:
        KeysConfig(**said)
    assert named in str(caught.value)


def test_a_key_speaks_for_ids_that_begin_with_its_name() -> None:
    assert all(may_use("lab", actor_id) for actor_id in ("lab", "lab-1", "lab-host-7"))
    assert not any(may_use("lab", actor_id) for actor_id in ("", "la", "lab2", "lab2-1", "LAB", "x-lab"))
    assert may_use(None, "anything")
