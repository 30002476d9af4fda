"""Files that are never half written, and never somebody else's."""

import os
import stat
from pathlib import Path

import pytest

from graspfleet.common.runtime.files import open_own, write_atomically


def test_an_atomic_write_replaces_the_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    for data in (b"old", b"new", b""):
        write_atomically(tmp_path / "file", data)
        assert (tmp_path / "file").read_bytes() == data
        assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomically(tmp_path / "file", b"old")

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("linked", ["file", f".file.{os.getpid()}"], ids=["file", "temporary"])
def test_links_are_replaced_and_not_followed(tmp_path: Path, linked: str) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / linked).symlink_to(tmp_path / "precious")
    write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert not (tmp_path / "file").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"new"
    assert not os.path.lexists(tmp_path / f".file.{os.getpid()}")


def test_what_a_killed_process_of_the_same_number_left_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / f".file.{os.getpid()}").write_bytes(b"half")
    write_atomically(tmp_path / "file", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_permissions_stay_and_new_files_have_those_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "new", b"")
        write_atomically(tmp_path / "secret", b"", 0o600)
    finally:
        os.umask(before)
    assert (mode_of(tmp_path / "new"), mode_of(tmp_path / "secret")) == (0o640, 0o600)
    (tmp_path / "new").chmod(0o604)
    write_atomically(tmp_path / "new", b"again")
    assert mode_of(tmp_path / "new") == 0o604


def test_a_file_of_ours_is_no_link_no_pipe_and_no_folder(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "link").symlink_to(tmp_path / "precious")
    (tmp_path / "dangling").symlink_to(tmp_path / "made")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("link", "dangling", "pipe", "folder"):
        for flags in (os.O_RDWR, os.O_WRONLY | os.O_APPEND):
            with pytest.raises(OSError, match=r"link|regular|directory|device"):
                open_own(tmp_path / name, flags | os.O_CREAT)
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert not (tmp_path / "made").exists()
    descriptor = open_own(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    os.close(descriptor)
    assert (tmp_path / "file").is_file()
