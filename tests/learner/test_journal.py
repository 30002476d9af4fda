"""The journal: what was appended comes back, a torn end is cut off, damage is told in one line."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graspfleet.common.errors import ConfigError, StorageError
from graspfleet.learner.experience.journal import Entry, Journal
from tests.fakes import ONE_LINE, SESSION

SNAPSHOT = {"inserted": 5, "sessions": {"a " + SESSION: [1, 2]}}


def entry(seq: int) -> Entry:
    return Entry("a", SESSION, seq, 2 * seq, 2, 0, 77, 2 * seq + 2, 0, 0, 1, 0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    journal = Journal(tmp_path / "journal.bin")
    journal.rotate(SNAPSHOT)
    for seq in range(3):
        journal.append(entry(seq))
    journal.close()
    return tmp_path / "journal.bin"


def test_snapshot_and_entries_come_back_in_order(path: Path) -> None:
    recovered = Journal(path).recover()
    assert recovered.snapshot == SNAPSHOT
    assert recovered.entries == [entry(seq) for seq in range(3)]
    assert recovered.torn_bytes == 0


def test_a_recovered_journal_goes_on(path: Path) -> None:
    journal = Journal(path)
    journal.recover()
    journal.append(entry(3))
    journal.close()
    assert [each.seq for each in Journal(path).recover().entries] == [0, 1, 2, 3]


def test_rotation_begins_anew(path: Path) -> None:
    journal = Journal(path)
    journal.rotate({"inserted": 6})
    journal.append(entry(9))
    journal.close()
    recovered = Journal(path).recover()
    assert (recovered.snapshot, recovered.entries) == ({"inserted": 6}, [entry(9)])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(1, 40), junk=st.binary(max_size=30))
def test_a_torn_end_is_cut_off_and_what_stands_before_it_is_kept(path: Path, cut: int, junk: bytes) -> None:
    whole = path.read_bytes()
    torn = path.with_name("torn.bin")
    torn.write_bytes(whole[:-cut] + junk)
    journal = Journal(torn)
    recovered = journal.recover()
    assert recovered.snapshot == SNAPSHOT
    assert recovered.entries == [entry(seq) for seq in range(len(recovered.entries))]
    assert len(recovered.entries) <= 2 or (whole[:-cut] + junk).startswith(whole)
    journal.append(entry(7))  # behind the last whole one, not behind the rubbish
    journal.close()
    assert Journal(torn).recover().entries == [*recovered.entries, entry(7)]


def test_a_flipped_bit_ends_it_there(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(bytes(data))
    recovered = Journal(path).recover()
    assert (len(recovered.entries), recovered.torn_bytes > 0) == (2, True)


@pytest.mark.parametrize("data", [b"", b"x" * 100, b"\xff" * 8])
def test_a_damaged_beginning_is_told_in_one_line(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=ONE_LINE):
        Journal(path).recover()
    assert path.read_bytes() == data


def test_a_missing_file_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=ONE_LINE):
        Journal(tmp_path / "none").recover()


def test_a_full_disk_is_told_in_one_line_and_leaves_the_rest_readable(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(path)
    journal.recover()
    half = os.write
    monkeypatch.setattr("os.write", lambda descriptor, data: half(descriptor, data[:9]))
    with pytest.raises(StorageError, match=ONE_LINE):
        journal.append(entry(3))
    monkeypatch.undo()
    assert [each.seq for each in Journal(path).recover().entries] == [0, 1, 2]


def test_of_a_damaged_entry_only_that_one_is_lost(path: Path) -> None:
    whole = path.read_bytes()
    starts = [start for start in range(len(whole)) if whole.startswith(whole[:4], start)]
    assert len(starts) == 5
    for offset in range(starts[2], len(whole)):
        data = bytearray(whole)
        data[offset] ^= 1 << offset % 8
        path.write_bytes(bytes(data))
        recovered = Journal(path).recover()
        lost = sum(start <= offset for start in starts) - 3
        assert [each.seq for each in recovered.entries] == [seq for seq in range(3) if seq != lost]
        assert (recovered.damaged, recovered.torn_bytes > 0) == ((1, False) if lost < 2 else (0, True))


def test_damage_to_either_copy_of_the_snapshot_costs_nothing(path: Path) -> None:
    whole = path.read_bytes()
    for offset in range(2 * whole.find(whole[:4], 1)):
        data = bytearray(whole)
        data[offset] ^= 1 << offset % 8
        path.write_bytes(bytes(data))
        recovered = Journal(path).recover()
        assert (recovered.snapshot, len(recovered.entries)) == (SNAPSHOT, 3)
        assert (recovered.damaged, recovered.torn_bytes) == (1, 0)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(begin=st.integers(0, 400), junk=st.binary(min_size=1, max_size=200))
def test_whatever_lies_in_between_no_entry_comes_back_changed(path: Path, begin: int, junk: bytes) -> None:
    whole = path.read_bytes()
    first = whole.find(whole[:4], 1)  # where the second copy of the snapshot begins
    begin = min(first + begin, len(whole))
    for data in (whole[:begin] + junk + whole[begin:], whole[:begin] + junk + whole[begin + len(junk) :]):
        spoiled = path.with_name("spoiled.bin")
        spoiled.write_bytes(data)
        journal = Journal(spoiled)
        entries = journal.recover().entries
        journal.close()
        assert set(entries) <= {entry(seq) for seq in range(3)}
        assert entries == sorted(entries)


def test_counters_come_back_as_the_largest_noted(path: Path) -> None:
    journal = Journal(path)
    journal.recover()
    for number in (1, 2):
        journal.note({"wall_s": number / 2, "gaps": 7})
        journal.append(entry(2 + number))
    journal.note({"weights_version": 3})
    journal.close()
    recovered = Journal(path).recover()
    assert recovered.said == {"wall_s": 1.0, "gaps": 7, "weights_version": 3}
    assert [each.seq for each in recovered.entries] == [0, 1, 2, 3, 4]


def test_another_format_is_told_in_one_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("graspfleet.learner.experience.journal.FORMAT", 5)
        Journal(path).rotate(SNAPSHOT)
    with pytest.raises(ConfigError, match=r"\A[^\n]*has journal format 5; [^\n]*: 4\Z"):
        Journal(path).recover()
