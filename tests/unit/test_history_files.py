# SPDX-License-Identifier: MIT
"""The end of a log is read, however the log is rotated."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import IO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastagi.history import files
from fastagi.history.errors import HistoryUnreadable
from fastagi.history.files import lines_since
from fastagi.plain_file import open_plain


def time_of(raw: bytes) -> float | None:
    """A line is a time and, perhaps, a space and more."""
    word = raw.strip(b"\0").partition(b" ")[0]
    return float(word) if word.isdigit() else None


def write(path: Path, *times: int, written_at: float | None = None) -> None:
    path.write_bytes(b"".join(b"%d line\n" % at for at in times))
    os.utime(path, (written_at or times[-1],) * 2)


def read(path: Path, since: float = 0) -> list[int]:
    found = lines_since(path, since, time_of)
    assert found.remarks == ()
    return [int(at) for line in found.lines if (at := time_of(line)) is not None]


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


def test_older_ones_are_missing(log: Path) -> None:
    write(log, 5, 6)
    assert read(log, since=1) == [5, 6]
    log.with_name("queue_log.2").mkdir()
    assert read(log, since=1) == [5, 6]


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".gz", b"no gzip"),
        (".gz", gzip.compress(b"1 line\n2 line\n")[:-6]),
        (".bz2", b"no bzip2"),
        (".xz", lzma.compress(b"1 line\n")[:20]),
    ],
    ids=["no gzip", "cut gzip", "no bzip2", "cut xz"],
)
def test_older_one_that_is_damaged_is_told(
    log: Path, suffix: str, content: bytes
) -> None:
    write(log, 5, 6)
    damaged = log.with_name(f"queue_log.1{suffix}")
    damaged.write_bytes(content)
    found = lines_since(log, 1, time_of)
    assert found.lines == [b"5 line", b"6 line"]
    (remark,) = found.remarks
    assert str(remark).startswith(f"{damaged}: it can not be read: ")
    assert str(remark).endswith(
        "; the calls in it are not known; mend it or move it away"
    )


def test_older_one_that_may_not_be_read_is_told(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = log.with_name("queue_log.1")

    def refuse(path: Path) -> IO[bytes]:
        if path == older:
            raise PermissionError(13, "Permission denied", str(path))
        return open_plain(path)

    write(older, 1, 2)
    write(log, 5, 6)
    monkeypatch.setattr(files, "open_plain", refuse)
    found = lines_since(log, 1, time_of)
    assert found.lines == [b"5 line", b"6 line"]
    (remark,) = found.remarks
    assert str(remark).startswith(
        f"{older}: the user of this service may not read it; "
    )


def test_file_that_is_no_such_log_is_soon_given_up(log: Path) -> None:
    with log.open("wb") as file:
        for _ in range(2000):
            file.write(b"no time at all\n" * 70)
        file.truncate(1 << 40)
    with pytest.raises(HistoryUnreadable, match=r"in 1 MB .* no line .*'history'"):
        read(log)
    # And it harms no other.
    older = log.with_name("queue_log.1")
    write(older, 1, 2)
    found = lines_since(log, 0, time_of)
    assert found.lines == [b"1 line", b"2 line"]
    assert len(found.remarks) == 1


def test_no_more_of_a_log_is_read_than_fits(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_FIRST_BLOCK", 100)
    monkeypatch.setattr(files, "_MAX_BYTES", 1000)
    write(log.with_name("queue_log.1"), *range(900))
    write(log, *range(900, 950))
    found = lines_since(log, 1, time_of)
    assert sum(len(line) + 1 for line in found.lines) <= 1000
    times = [time_of(line) for line in found.lines]
    assert times == list(range(950 - len(times), 950))
    (remark,) = found.remarks
    assert "what stands before them is not known; make missed_window shorter" in str(
        remark
    )
    # So much is all that is asked for.
    assert lines_since(log, 890, time_of).remarks == ()


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz"])
def test_compressed_log_is_unpacked_within_limits(
    log: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_MAX_BYTES", 1000)
    monkeypatch.setattr(files, "_CHUNK_BYTES", 100)
    pack = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}[suffix]
    packed = log.with_name(f"queue_log.1{suffix}")
    packed.write_bytes(pack(b"".join(b"%d line\n" % at for at in range(900))))
    found = lines_since(log, 1, time_of)
    times = [time_of(line) for line in found.lines]
    assert times == list(range(900 - len(times), 900))
    assert 900 < sum(len(line) + 1 for line in found.lines) <= 1000
    assert len(found.remarks) == 1
    monkeypatch.setattr(files, "_MAX_UNPACKED_BYTES", 7000)
    with pytest.raises(HistoryUnreadable, match="it holds more than"):
        lines_since(log, 1, time_of)


def test_little_memory_is_needed_for_much_that_was_compressed(log: Path) -> None:
    packed = log.with_name("queue_log.1.gz")
    with gzip.open(packed, "wb", compresslevel=1) as file:
        for _ in range(200):
            file.write(b"1 line\n" + b"x" * (1 << 20))
    write(log, 5, 6)
    tracemalloc.start()
    try:
        found = lines_since(log, 0, time_of)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.lines[-1] == b"6 line"
    assert most < 4 * files._MAX_BYTES


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
    with pytest.raises(HistoryUnreadable, match=r"may not read it; .*check.*root"):
        read(log)


@pytest.mark.parametrize(
    ("current", "older"),
    [
        ("queue_log", "queue_log.1"),
        ("queue_log", "queue_log.1700000000"),
        ("queue_log", "queue_log-20261124.gz"),
        ("queue_log", "queue_log-20261124.log.gz"),
        ("queue_log", "queue_log_20261124"),
        ("queue_log", "queue_log_2026-11-24"),
        ("queue_log", "queue_log20261124"),
        ("queue.log", "queue-20261124.log"),
        ("queue.log", "queue_20261124.log.gz"),
        ("queue.log", "queue.20261124.log"),
        ("Master.csv", "Master-20261124.csv"),
        ("queue_log", "old/queue_log.1"),
        ("queue_log", "archive/queue_log_20261124.gz"),
    ],
)
def test_names_that_rotation_gives(tmp_path: Path, current: str, older: str) -> None:
    rotated = tmp_path / older
    rotated.parent.mkdir(exist_ok=True)
    packed = rotated.suffix == ".gz"
    rotated.write_bytes(gzip.compress(b"100 a\n") if packed else b"100 a\n")
    (tmp_path / current).write_bytes(b"200 b\n")
    assert lines_since(tmp_path / current, 0, time_of).lines == [b"100 a", b"200 b"]


@pytest.mark.parametrize(
    "other",
    ["queue_log_2", "queue_log2", "queue_logs", "queue_log_old", "my_queue_log.1"],
)
def test_files_of_others_are_not_read(tmp_path: Path, other: str) -> None:
    (tmp_path / other).write_bytes(b"100 a\n")
    (tmp_path / "queue_log").write_bytes(b"200 b\n")
    assert lines_since(tmp_path / "queue_log", 0, time_of).lines == [b"200 b"]


def test_folder_of_another_asterisk_is_not_read(tmp_path: Path) -> None:
    """It has a log of its own that is written to."""
    (tmp_path / "pbx2").mkdir()
    for name in ("pbx2/queue_log", "pbx2/queue_log.1"):
        (tmp_path / name).write_bytes(b"100 a\n")
    (tmp_path / "queue_log").write_bytes(b"200 b\n")
    assert lines_since(tmp_path / "queue_log", 0, time_of).lines == [b"200 b"]


def test_folder_elsewhere_into_which_logs_are_rotated(tmp_path: Path) -> None:
    elsewhere = tmp_path / "a/b/c"
    elsewhere.mkdir(parents=True)
    (elsewhere / "queue_log.1").write_bytes(b"100 a\n")
    log = tmp_path / "queue_log"
    log.write_bytes(b"200 b\n")
    folders = (elsewhere, tmp_path / "nowhere")
    found = lines_since(log, 0, time_of, folders=folders)
    assert found.lines == [b"100 a", b"200 b"]


def test_folder_that_may_not_be_entered_hides_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o000)
    (tmp_path / "queue_log.1").write_bytes(b"100 a\n")
    (tmp_path / "queue_log").write_bytes(b"200 b\n")
    # By its descriptor, since others may not enter pytest's folders.
    folder = os.open(tmp_path, os.O_RDONLY)
    tmp_path.chmod(0o755)
    user = os.geteuid()
    with suppress(PermissionError):
        os.seteuid(65534)
    try:
        log = Path(f"/proc/self/fd/{folder}/queue_log")
        found = lines_since(log, 0, time_of).lines
    finally:
        os.seteuid(user)
        os.close(folder)
    assert found == [b"100 a", b"200 b"]
