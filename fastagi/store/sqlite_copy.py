# SPDX-License-Identifier: MIT
"""Copies a SQLite file while other processes may write to it.

The copy is one new file, complete, checked and synced to the disk; if that fails,
nothing is left of it. Independent of the contents.
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

from fastagi.sqlite_uri import Mode, sqlite_uri
from fastagi.store.errors import CopyFailed

T = TypeVar("T")

#: Number of pages copied in one step, about 4 MB. No more than that waits for the disk,
#: so that a COMMIT of the service is not delayed by the whole copy.
_PAGES: Final = 1024
#: Pause after each step, in seconds, to leave the disk to the service.
_PAUSE_S: Final = 0.005
#: Time to wait for another process to release the file, in seconds.
_LOCK_WAIT_S: Final = 5.0
#: Number of SQLite's virtual machine instructions between two checks for Ctrl-C.
_INSTRUCTIONS: Final = 100_000
#: Errors of file systems without hard links, such as that of a USB stick.
_NO_LINKS: Final = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
#: Errors while copying that concern the source; all others concern the copy.
_WHEN_READING: Final = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_IOERR_READ,
    sqlite3.SQLITE_IOERR_SHORT_READ,
    sqlite3.SQLITE_IOERR_CORRUPTFS,
}


def code_of(error: sqlite3.Error) -> int:
    """Return SQLite's result code; 0 for an error of the driver."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)


def sync_directory(directory: Path) -> None:
    """Sync a directory, so that a new name survives a power failure."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems do not support it.
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)


def copy_file(source: Path, target: Path, look: Callable[[sqlite3.Connection], T]) -> T:
    """Copy what is committed when the copy begins.

    If the source has a write-ahead log, its writers do not wait. The copy has none: it
    is one file, readable only by its owner. It gets its name when all of it is on the
    disk and checked. After any error nothing is left of it.

    Args:
        source: a SQLite file; it is not changed.
        target: a path that does not exist yet.
        look: called with a connection to the copy; raises if the copy is useless.

    Returns:
        What ``look`` returned.

    Raises:
        CopyFailed: the target cannot be written.
        sqlite3.Error: the source cannot be read, or is damaged.
        KeyboardInterrupt: Ctrl-C was pressed.
    """
    if os.path.lexists(target):
        raise _exists_already(target)
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
    # Closed after SQLite's connection: closing it earlier would drop SQLite's locks.
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
                    # SQLite loses an exception that a signal handler raised inside it.
                    raise KeyboardInterrupt from None
                raise
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
        if not had_log and os.path.lexists(f"{source}-wal"):
            _remove_empty_log(source)
    return result


def _copy_pages(
    source: Path, copy: sqlite3.Connection, descriptor: int, target: Path
) -> None:
    def pause(_status: int, _remaining: int, _total: int) -> None:
        os.fsync(descriptor)
        time.sleep(_PAUSE_S)

    # No journal: a failed copy is deleted, and a finished one is synced here.
    copy.execute("PRAGMA journal_mode=OFF")
    copy.execute("PRAGMA synchronous=OFF")
    with closing(_connect(source, "ro")) as original:
        # One read transaction for all pages: otherwise each COMMIT of the service would
        # restart the copy.
        original.execute("BEGIN")
        original.execute("SELECT count(*) FROM sqlite_master").fetchone()
        try:
            original.backup(copy, pages=_PAGES, progress=pause)
            # With a write-ahead log the copy would be more than one file.
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
    """Check every page: the copy of a damaged file is damaged, too."""
    (answer,) = copy.execute("PRAGMA integrity_check(1)").fetchone()
    if answer != "ok":
        damaged = sqlite3.DatabaseError(" ".join(answer.split()))
        damaged.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise damaged


def _put_in_place(unfinished: Path, target: Path) -> None:
    """Rename the finished copy, unless a file with that name appeared meanwhile."""
    try:
        os.link(unfinished, target)
    except FileExistsError:
        raise _exists_already(target) from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _put_in_place_without_links(unfinished, target)


def _put_in_place_without_links(unfinished: Path, target: Path) -> None:
    try:
        # Creating the empty file reserves the name; after that it may be replaced.
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        raise _exists_already(target) from None
    try:
        unfinished.replace(target)
    except BaseException:
        target.unlink()
        raise


def _remove_empty_log(source: Path) -> None:
    """Remove the empty write-ahead log that reading an otherwise closed file creates.

    SQLite removes it when the last connection that may write is closed.
    """
    with suppress(sqlite3.Error), closing(_connect(source, "rw")) as conn:
        conn.execute("SELECT count(*) FROM sqlite_master").fetchone()


def _connect(path: Path, mode: Mode) -> sqlite3.Connection:
    return sqlite3.connect(
        sqlite_uri(path, mode), uri=True, timeout=_LOCK_WAIT_S, isolation_level=None
    )


def _exists_already(target: Path) -> CopyFailed:
    return CopyFailed(
        f"{target} exists already and is left as it is",
        "give another name, or move it away first",
    )
