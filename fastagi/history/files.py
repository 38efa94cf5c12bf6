# SPDX-License-Identifier: MIT
"""Reads the end of a log file, however it is rotated.

Nothing is kept of where the reading stopped: what is asked for is a time, and a time
means the same in a file that was renamed, copied and emptied, or compressed. Knows
nothing of what the lines say but their time. Blocks while it reads.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Final

from fastagi.history.errors import HistoryUnreadable
from fastagi.plain_file import NoPlainFile, open_plain

#: Tells when a line was written, in epoch seconds; None if it is no line.
LineTime = Callable[[bytes], float | None]

_FIRST_BLOCK: Final = 256 * 1024
#: More than a busy machine writes in a month.
_MOST_BYTES: Final = 512 * 1024 * 1024
_COMPRESSED: Final[dict[str, Callable[[bytes], bytes]]] = {
    ".gz": gzip.decompress,
    ".bz2": bz2.decompress,
    ".xz": lzma.decompress,
}


def lines_since(path: Path, since: float, time_of: LineTime) -> list[bytes]:
    """Return the lines written since a time, and perhaps some before, oldest first.

    A last line without its line break is left out: it is not written to its end.

    Args:
        path: of the file as it is now; older ones stand beside it, with anything
            after its name: ``.1``, ``-20261124``, ``.2.gz``.
        since: epoch seconds.
        time_of: tells when a line was written.

    Raises:
        HistoryUnreadable: neither the file nor an older one can be read.
    """
    parts: list[list[bytes]] = []
    trouble: OSError | None = None
    seen: set[tuple[int, int]] = set()
    for candidate in _newest_first(path, since):
        try:
            with open_plain(candidate) as file:
                status = os.fstat(file.fileno())
                if (status.st_dev, status.st_ino) in seen:
                    continue
                seen.add((status.st_dev, status.st_ino))
                lines, enough = _read(candidate, file, since, time_of)
        except NoPlainFile as error:
            if candidate == path:
                trouble = error
            continue
        except FileNotFoundError:
            # Rotated this very moment; it is among the older ones.
            continue
        except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
            trouble = error if isinstance(error, OSError) else OSError(0, str(error))
            continue
        parts.append(lines)
        if enough:
            break
    if not parts:
        raise _unreadable(path, trouble)
    # copytruncate leaves the same lines in two files for a moment.
    joined = (line for part in reversed(parts) for line in part)
    return list(dict.fromkeys(joined)) if len(parts) > 1 else parts[0]


def _newest_first(path: Path, since: float) -> Iterator[Path]:
    yield path
    older: list[tuple[float, Path]] = []
    try:
        names = os.listdir(path.parent)
    except OSError:
        return
    for name in names:
        if name.startswith(path.name) and name[len(path.name) :][:1] in {".", "-"}:
            one = path.with_name(name)
            try:
                written_at = one.stat().st_mtime
            except OSError:
                continue
            if written_at >= since:
                older.append((written_at, one))
    for _, one in sorted(older, reverse=True):
        yield one


def _read(
    path: Path, file: IO[bytes], since: float, time_of: LineTime
) -> tuple[list[bytes], bool]:
    """Return the lines of a file, and whether they reach back far enough."""
    unpack = _COMPRESSED.get(path.suffix)
    if unpack is not None:
        lines = _whole_lines(unpack(file.read(_MOST_BYTES)))
        return lines, _is_old(lines, since, time_of)
    size = file.seek(0, os.SEEK_END)
    block = _FIRST_BLOCK
    while True:
        begin = max(0, size - min(block, _MOST_BYTES))
        file.seek(begin)
        data = file.read(size - begin)
        if begin:
            # The first line is cut.
            data = data.partition(b"\n")[2]
        lines = _whole_lines(data)
        enough = _is_old(lines, since, time_of)
        if enough or not begin or block >= _MOST_BYTES:
            return lines, enough
        block *= 4


def _whole_lines(data: bytes) -> list[bytes]:
    return data.split(b"\n")[:-1]


def _is_old(lines: Iterable[bytes], since: float, time_of: LineTime) -> bool:
    first = next((at for at in map(time_of, lines) if at is not None), None)
    return first is not None and first < since


def _unreadable(path: Path, trouble: Any) -> HistoryUnreadable:
    match trouble:
        case PermissionError():
            return HistoryUnreadable(
                path,
                "the user of this service may not read it",
                "put the user into the group that owns it, such as:"
                " usermod -a -G asterisk callback-queue; then restart the service",
            )
        case OSError():
            reason = (trouble.strerror or str(trouble)).lower()
            return HistoryUnreadable(path, f"it can not be read: {reason}", "mend it")
        case _:
            return HistoryUnreadable(
                path,
                "it does not exist",
                "correct the section 'history' of the settings",
            )
