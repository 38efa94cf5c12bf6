# SPDX-License-Identifier: MIT
"""Reads the end of a log file, including rotated files.

A reading begins at a time, not at a position in a file, so it does not matter whether
the file was renamed, copied and truncated, or compressed since. Knows nothing of the
lines except their time. Blocks while it reads.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from io import BufferedIOBase
from pathlib import Path
from typing import IO, Final

from attrs import frozen

from fastagi.errors import Problem
from fastagi.history.errors import HistoryUnreadable
from fastagi.plain_file import NoPlainFile, open_plain

#: Returns when a line was written, in epoch seconds; None for anything but a line.
LineTime = Callable[[bytes], float | None]
#: Joins the lines of one file that belong to one entry.
Join = Callable[[list[bytes]], list[bytes]]

_FIRST_BLOCK: Final = 256 * 1024
#: A file without a line of the log in this many bytes is not such a log.
_NO_LOG_BYTES: Final = 1024 * 1024
#: Maximum number of bytes read in all; a busy machine writes less in a week.
_MAX_BYTES: Final = 64 * 1024 * 1024
#: Maximum number of bytes unpacked from one compressed file to reach its end.
_MAX_UNPACKED_BYTES: Final = 512 * 1024 * 1024
_CHUNK_BYTES: Final = 1024 * 1024
_COMPRESSED: Final[dict[str, Callable[[IO[bytes]], BufferedIOBase]]] = {
    ".gz": lambda file: gzip.GzipFile(fileobj=file),
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
}
_CORRECT: Final = "correct the section 'history' of the settings"


@frozen
class Lines:
    """The end of a log."""

    #: Oldest first.
    lines: list[bytes]
    #: What cannot be read, each with its remedy.
    remarks: tuple[Problem, ...] = ()


@frozen
class _Part:
    """The lines of one file."""

    lines: list[bytes]
    size: int
    reaches_back: bool


def lines_since(
    path: Path,
    since: float,
    time_of: LineTime,
    join: Join | None = None,
    folders: Sequence[str | Path] = (),
) -> Lines:
    """Return the lines written since a time, and perhaps earlier ones, oldest first.

    A last line without a line break is left out, because it is still being written.

    Args:
        path: the path of the current file. Rotated files are in the same folder, in a
            folder within it, or in one of ``folders``, with names such as
            ``queue_log.1``, ``queue_log-20261124``, ``queue_log_20261124.gz``.
        since: the time, in epoch seconds.
        time_of: returns when a line was written.
        join: joins lines, if an entry may have several.
        folders: further folders for rotated files.

    Raises:
        HistoryUnreadable: neither the file nor an older one can be read.
    """
    parts: list[_Part] = []
    troubles: list[HistoryUnreadable] = []
    left = _MAX_BYTES
    seen: set[tuple[int, int]] = set()
    for candidate in _newest_first(path, since, folders):
        try:
            with open_plain(candidate) as file:
                status = os.fstat(file.fileno())
                if (status.st_dev, status.st_ino) in seen:
                    continue
                seen.add((status.st_dev, status.st_ino))
                part = _read(candidate, file, _Form(since, time_of, join), left)
        except FileNotFoundError:
            # It was rotated just now, and is among the older ones.
            continue
        except NoPlainFile as error:
            # For example a directory with the name of a rotated file.
            if candidate == path:
                troubles.append(_unreadable(candidate, error))
            continue
        except HistoryUnreadable as trouble:
            troubles.append(trouble)
            continue
        except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
            troubles.append(_unreadable(candidate, error))
            continue
        parts.append(part)
        left -= part.size
        if part.reaches_back:
            break
        if left <= 0:
            troubles.append(_too_much(candidate))
            break
    if not parts:
        raise troubles[0] if troubles else _missing(path)
    # With copytruncate two files contain the same lines for a moment.
    joined = (line for part in reversed(parts) for line in part.lines)
    lines = list(dict.fromkeys(joined)) if len(parts) > 1 else parts[0].lines
    return Lines(lines, tuple(trouble.problem for trouble in troubles))


@frozen
class _Form:
    """Which lines are wanted from a file, and how to read them."""

    since: float
    time_of: LineTime
    join: Join | None


def _newest_first(
    path: Path, since: float, folders: Sequence[str | Path]
) -> Iterator[Path]:
    yield path
    older: list[tuple[float, Path]] = []
    rotated = _rotated_names(path.name)
    for folder in _folders_of(path, folders):
        for one in _in_folder(folder):
            if one.name == path.name or not rotated.fullmatch(one.name):
                continue
            try:
                written_at = one.stat().st_mtime
            except OSError:
                continue
            if written_at >= since:
                older.append((written_at, one))
    for _, one in sorted(older, reverse=True):
        yield one


def _rotated_names(name: str) -> re.Pattern[str]:
    """Return a pattern for the names that Asterisk and logrotate give an old log.

    A date may follow the name, or precede its extension. ``queue_log_2`` and
    ``queue_log2`` do not match: they may be other logs.
    """
    stem, dot, extension = name.rpartition(".")
    forms = [rf"{re.escape(name)}(?:[.-].*|_[0-9]{{4}}.*|[0-9]{{6}}.*)"]
    if dot and stem:
        forms.append(rf"{re.escape(stem)}[-_.]?[0-9]{{4}}.*\.{re.escape(extension)}.*")
    return re.compile("|".join(forms), re.DOTALL)


def _folders_of(path: Path, folders: Sequence[str | Path]) -> list[Path]:
    """Return the folders in which rotated files of a log may be.

    A folder within the log's folder is left out if it contains a current log with the
    same name: then it belongs to another Asterisk. One that may not be entered holds
    nothing that can be read (pathlib would raise for it).
    """
    within = [
        one
        for one in _in_folder(path.parent)
        if os.path.isdir(one) and not os.path.exists(one / path.name)
    ]
    return list(dict.fromkeys([path.parent, *within, *map(Path, folders)]))


def _in_folder(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return [Path(entry.path) for entry in entries]
    except OSError:
        return []


def _read(path: Path, file: IO[bytes], form: _Form, most: int) -> _Part:
    """Return the end of a file.

    Args:
        path: the path of the file, for errors.
        file: the open file.
        form: which lines are wanted.
        most: maximum number of bytes to read.

    Raises:
        HistoryUnreadable: it is not such a log, or cannot be unpacked.
        OSError, EOFError, ValueError, lzma.LZMAError, zlib.error: it cannot be read.
    """
    unpack = _COMPRESSED.get(path.suffix)
    if unpack is not None:
        data, whole = _unpacked(path, unpack(file), most)
        return _part(path, data, whole, form)
    size = file.seek(0, os.SEEK_END)
    block = _FIRST_BLOCK
    while True:
        begin = max(0, size - min(block, most))
        file.seek(begin)
        data = file.read(size - begin)
        part = _part(path, data, not begin, form)
        if part.reaches_back or not begin or block >= most:
            return part
        block *= 4


def _unpacked(path: Path, packed: BufferedIOBase, most: int) -> tuple[bytes, bool]:
    """Return the end of a compressed file's contents, and whether that is all of it."""
    chunks: deque[bytes] = deque()
    size = total = 0
    while chunk := packed.read(_CHUNK_BYTES):
        chunks.append(chunk)
        size += len(chunk)
        total += len(chunk)
        if total > _MAX_UNPACKED_BYTES:
            raise HistoryUnreadable(
                path,
                f"it holds more than {_MAX_UNPACKED_BYTES >> 20} MB",
                "have the log rotated more often",
            )
        while size - len(chunks[0]) >= most:
            size -= len(chunks.popleft())
    return b"".join(chunks)[-most:], total <= most


def _part(path: Path, data: bytes, whole: bool, form: _Form) -> _Part:
    # The first line may be cut; the last one is not finished.
    lines = data.split(b"\n")[0 if whole else 1 : -1]
    if form.join is not None:
        lines = form.join(lines)
    first = next((at for at in map(form.time_of, lines) if at is not None), None)
    if first is None and len(data) >= _NO_LOG_BYTES:
        raise HistoryUnreadable(
            path,
            f"in {_NO_LOG_BYTES >> 20} MB of it there is no line of such a log",
            _CORRECT,
        )
    return _Part(lines, len(data), first is not None and first < form.since)


def _too_much(path: Path) -> HistoryUnreadable:
    return HistoryUnreadable(
        path,
        f"no more than the newest {_MAX_BYTES >> 20} MB of the log are read, and what"
        " stands before them is not known",
        "make missed_window shorter, or look there for calls that were missed",
    )


def _unreadable(path: Path, trouble: Exception) -> HistoryUnreadable:
    if isinstance(trouble, PermissionError):
        return HistoryUnreadable(
            path,
            "the user of this service may not read it",
            "'callback-queue check', as root, says how to let it",
        )
    reason = getattr(trouble, "strerror", None) or str(trouble) or "it is damaged"
    return HistoryUnreadable(
        path,
        f"it can not be read: {reason.lower()}",
        "the calls in it are not known; mend it or move it away",
    )


def _missing(path: Path) -> HistoryUnreadable:
    return HistoryUnreadable(path, "it does not exist", _CORRECT)
