# SPDX-License-Identifier: MIT
"""Copies a SQLite file that others may be writing to, whole or not at all.

Owns the way from a file in use to a single new file that is known to be sound and to
survive a power failure. Knows nothing of what is in it.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import quote

from fastagi.store.errors import CopyFailed

T = TypeVar("T")

#: Copied in one go: about 4 MB. What waits for the disk is never more than that, so
#: that a COMMIT of the service does not wait behind a whole database.
_PAGES: Final = 1024
#: After each of them, in seconds: the disk is the service's.
_PAUSE_S: Final = 0.005
#: For another process to let go of the file, in seconds.
_LOCK_WAIT_S: Final = 5.0
#: In SQLite's virtual machine, between two looks for Ctrl-C.
_INSTRUCTIONS: Final = 100_000
#: What a file system says that has no hard links, such as that of a USB stick.
_NO_LINKS: Final = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
#: While copying, the fault of the file that is read; all else is that of the copy.
_WHEN_READING: Final = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_IOERR_READ,
    sqlite3.SQLITE_IOERR_SHORT_READ,
    sqlite3.SQLITE_IOERR_CORRUPTFS,
}


def uri(path: Path, mode: str) -> str:
    """Return how SQLite is told to open a file ``ro`` or ``rw``, and not to make it."""
    return f"file:{quote(str(path))}?mode={mode}"


def code_of(error: sqlite3.Error) -> int:
    """Return SQLite's result code; 0 if it is the driver's own error."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)


def sync_directory(directory: Path) -> None:
    """Let a new name survive a power failure."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems of a network know of no such thing.
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)


def copy_file(source: Path, target: Path, look: Callable[[sqlite3.Connection], T]) -> T:
    """Copy what was committed when the copy began.

    Nobody who writes to the source is kept waiting, if it has a write-ahead log. The
    copy has none: it is one file, readable by its owner alone, and it gets its name
    once all of it is on the disk and has been checked.

    Args:
        source: a SQLite file; nothing in it is changed.
        target: a name nothing has yet.
        look: is shown the copy, and raises if it should not get its name.

    Returns:
        What ``look`` returned.

    Raises:
        CopyFailed: the copy can not be made where it should be. Like after any other
            error, of ``look`` too, nothing is left of it.
        sqlite3.Error: the source can not be read, or it is damaged.
        KeyboardInterrupt: by Ctrl-C, soon after it.
    """
    if os.path.lexists(target):
        raise _taken(target)
    try:
        with tempfile.TemporaryDirectory(
            prefix=".unfinished-", dir=target.parent, ignore_cleanup_errors=True
        ) as folder:
            unfinished = Path(folder, "copy")
            result = _fill(source, unfinished, target, look)
            _put_in_place(unfinished, target)
        sync_directory(target.parent)
    except OSError as error:
        raise CopyFailed(
            f"{target} can not be made: {error.strerror}",
            "give a place on a disk with room, in a folder that exists and that this"
            " user may write to",
        ) from error
    return result


def _fill(
    source: Path,
    unfinished: Path,
    target: Path,
    look: Callable[[sqlite3.Connection], T],
) -> T:
    had_log = os.path.lexists(f"{source}-wal")
    # Open until SQLite has closed it: closing it earlier would drop SQLite's locks.
    descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with closing(_connect(unfinished, "rw")) as copy:
            _copy_pages(source, copy, descriptor, target)
            try:
                copy.set_progress_handler(lambda: 0, _INSTRUCTIONS)
                _check(copy)
                result = look(copy)
            except sqlite3.OperationalError as error:
                if code_of(error) == sqlite3.SQLITE_INTERRUPT:
                    # What a signal's handler raises is lost on its way through SQLite.
                    raise KeyboardInterrupt from None
                raise
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
        if not had_log and os.path.lexists(f"{source}-wal"):
            _put_log_away(source)
    return result


def _copy_pages(
    source: Path, copy: sqlite3.Connection, descriptor: int, target: Path
) -> None:
    def pause(_status: int, _remaining: int, _total: int) -> None:
        os.fsync(descriptor)
        time.sleep(_PAUSE_S)

    # If it comes to nothing the copy is thrown away; at the end it is synced here.
    copy.execute("PRAGMA journal_mode=OFF")
    copy.execute("PRAGMA synchronous=OFF")
    with closing(_connect(source, "ro")) as original:
        # One moment for all pages. Else each COMMIT of the service would have the
        # copy begin anew.
        original.execute("BEGIN")
        original.execute("SELECT count(*) FROM sqlite_master").fetchone()
        try:
            original.backup(copy, pages=_PAGES, progress=pause)
            # With a write-ahead log of its own it would be more than one file.
            copy.execute("PRAGMA journal_mode=DELETE").fetchone()
        except sqlite3.Error as error:
            code = code_of(error)
            if {code, code & 0xFF} & _WHEN_READING:
                raise
            if code == sqlite3.SQLITE_FULL:
                why, remedy = "no room left", "make room on its disk"
            else:
                why, remedy = str(error), "check its disk"
            raise CopyFailed(
                f"{target} can not be written: {why}",
                f"{remedy}, or give another place",
            ) from error


def _check(copy: sqlite3.Connection) -> None:
    """Look at every page: the copy of a damaged file is as damaged."""
    (answer,) = copy.execute("PRAGMA integrity_check(1)").fetchone()
    if answer != "ok":
        damaged = sqlite3.DatabaseError(" ".join(answer.split()))
        damaged.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise damaged


def _put_in_place(unfinished: Path, target: Path) -> None:
    """Give it its name, unless something else has got that name meanwhile."""
    try:
        os.link(unfinished, target)
    except FileExistsError:
        raise _taken(target) from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _put_in_place_without_links(unfinished, target)


def _put_in_place_without_links(unfinished: Path, target: Path) -> None:
    try:
        # Whoever makes it has the name; what is put in its place is ours to replace.
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        raise _taken(target) from None
    try:
        unfinished.replace(target)
    except BaseException:
        target.unlink()
        raise


def _put_log_away(source: Path) -> None:
    """Remove the empty log that comes into being when nobody else has the file open.

    SQLite does it when the last one leaves who may write, and knows who is the last.
    """
    with suppress(sqlite3.Error), closing(_connect(source, "rw")) as conn:
        conn.execute("SELECT count(*) FROM sqlite_master").fetchone()


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        uri(path, mode), uri=True, timeout=_LOCK_WAIT_S, isolation_level=None
    )


def _taken(target: Path) -> CopyFailed:
    return CopyFailed(
        f"{target} exists already and is left as it is",
        "give another name, or move it away first",
    )
