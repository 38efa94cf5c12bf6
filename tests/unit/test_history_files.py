# SPDX-License-Identifier: MIT
"""The end of a log is read, however the log is rotated."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastagi.history import files
from fastagi.history.errors import HistoryUnreadable
from fastagi.history.files import lines_since


def time_of(raw: bytes) -> float | None:
    """A line is a time and, perhaps, a space and more."""
    word = raw.strip(b"\0").partition(b" ")[0]
    return float(word) if word.isdigit() else None


def write(path: Path, *times: int, written_at: float | None = None) -> None:
    path.write_bytes(b"".join(b"%d line\n" % at for at in times))
    os.utime(path, (written_at or times[-1],) * 2)


def read(path: Path, since: float = 0) -> list[int]:
    found = lines_since(path, since, time_of)
    return [int(at) for line in found if (at := time_of(line)) is not None]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "queue_log"


def test_last_line_without_its_end_is_left_for_later(log: Path) -> None:
    log.write_bytes(b"1 a\n2 b\n3")
    assert read(log) == [1, 2]
    log.write_bytes(b"1 a\n2 b\n3 c\n")
    assert read(log) == [1, 2, 3]


def test_renamed_and_begun_anew(log: Path) -> None:
    write(log.with_name("queue_log.1"), 1, 2, 3)
    write(log, 4, 5)
    assert read(log) == [1, 2, 3, 4, 5]


def test_renamed_and_not_yet_begun_anew(log: Path) -> None:
    write(log.with_name("queue_log-20261124"), 1, 2, 3)
    assert read(log) == [1, 2, 3]


def test_copied_and_emptied(log: Path) -> None:
    """Some lines may stand in both for a moment, and NULs before what comes next."""
    write(log, 1, 2, 3)
    shutil.copy(log, log.with_name("queue_log.1"))
    assert read(log) == [1, 2, 3]
    log.write_bytes(b"\0" * 24 + b"4 line\n")
    assert read(log) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)],
)
def test_older_ones_are_compressed(log: Path, suffix: str, pack: object) -> None:
    assert callable(pack)
    packed = log.with_name(f"queue_log.2{suffix}")
    packed.write_bytes(pack(b"1 line\n2 line\n"))
    os.utime(packed, (2, 2))
    write(log.with_name("queue_log.1"), 3, 4)
    write(log, 5)
    assert read(log) == [1, 2, 3, 4, 5]


def test_older_ones_are_missing_or_damaged(log: Path) -> None:
    write(log, 5, 6)
    assert read(log, since=1) == [5, 6]
    log.with_name("queue_log.1.gz").write_bytes(b"no gzip")
    log.with_name("queue_log.2").mkdir()
    assert read(log, since=1) == [5, 6]


def test_pipe_in_the_place_of_a_log_holds_nobody_up(log: Path) -> None:
    os.mkfifo(log.with_name("queue_log.1"))
    write(log, 5, 6)
    assert read(log, since=1) == [5, 6]
    log.unlink()
    os.mkfifo(log)
    with pytest.raises(HistoryUnreadable, match="it is no plain file"):
        read(log, since=1)


def test_no_older_file_is_opened_than_is_needed(log: Path) -> None:
    write(log.with_name("queue_log.2"), 1, 2)
    write(log.with_name("queue_log.1"), 3, 4)
    write(log, 5, 6)
    assert read(log, since=4) == [3, 4, 5, 6]
    assert read(log, since=6) == [5, 6]


def test_other_files_beside_it_are_not_read(log: Path) -> None:
    write(log, 5, 6)
    write(log.with_name("queue_logger"), 1)
    write(log.with_name("full.1"), 1)
    assert read(log) == [5, 6]


def test_only_the_end_of_a_large_file_is_read(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_FIRST_BLOCK", 100)
    write(log, *range(10_000))
    found = read(log, since=9_990)
    assert found == list(range(found[0], 10_000))
    assert 9_900 < found[0] < 9_990
    assert read(log, since=0) == list(range(10_000))


@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=60),
    st.integers(0, 50),
    st.integers(20, 200),
)
def test_nothing_written_since_is_left_out(
    tmp_path_factory: pytest.TempPathFactory, times: list[int], since: int, block: int
) -> None:
    times.sort()
    log = tmp_path_factory.mktemp("log") / "queue_log"
    write(log, *times)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "_FIRST_BLOCK", block)
        found = read(log, since)
    assert found == times[-len(found) :]
    assert [at for at in found if at >= since] == [at for at in times if at >= since]


def test_missing_file_is_told_with_the_remedy(log: Path) -> None:
    with pytest.raises(HistoryUnreadable, match=r"does not exist.*'history'"):
        read(log)


def test_file_in_the_wrong_place_is_told(tmp_path: Path) -> None:
    with pytest.raises(HistoryUnreadable, match="does not exist"):
        read(tmp_path / "no" / "queue_log")
    with pytest.raises(HistoryUnreadable):
        read(tmp_path)


def test_file_that_may_not_be_read_is_told_with_the_remedy(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    write(log, 1)
    monkeypatch.setattr(files, "open_plain", refuse)
    with pytest.raises(HistoryUnreadable, match=r"may not read it; .*usermod"):
        read(log)
