# SPDX-License-Identifier: MIT
"""Writes files so that everything can be taken back, at any time and after any end.

Before the first file is changed, the journal has copies of all of them and says what
will be written. New contents are complete beside the old ones, on the same disk, before
the first of them takes its name: a full disk is noticed while nothing is changed. A
process that is killed leaves the journal behind; the next one takes back what was not
finished.

The journal is not in ``/var/lib/callback-queue``, because the user of the service could
put another one there, which root would obey; and because it has copies of files with
secrets.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import attrs

from fastagi.errors import Problem
from fastagi.setup import lines
from fastagi.setup.errors import Refused, SetupFailed
from fastagi.setup.planning import PROMPT, SECRET, Change

#: Where the journal is, on the machine whose files are changed.
DIRECTORY: Final = Path("/var/lib/callback-queue-setup")
_FILE: Final = "journal.json"
_LOCK: Final = "lock"
_COPIES: Final = "copies"
_VERSION: Final = 1
#: The name of a file with new contents begins with a dot, so no pattern of an
#: #include fits it.
_NEW: Final = ".{}.callback-queue-setup"


@attrs.frozen(kw_only=True)
class Copy:
    """A file as it was.

    Attributes:
        sha: the hash of its contents, which is the name of the copy.
        mode: its mode.
        uid: its owner.
        gid: its group.
        mtime_ns: when it was changed.
    """

    sha: str
    mode: int
    uid: int
    gid: int
    mtime_ns: int


@attrs.frozen(kw_only=True)
class Entry:
    """One file that setup has written.

    Attributes:
        path: the file.
        original: the file before the first setup; None if there was none.
        after: the hash of what setup wrote.
        whole: whether the whole file is ours.
    """

    path: str
    original: Copy | None
    after: str
    whole: bool


@attrs.frozen(kw_only=True)
class Step:
    """One file of a change that is not finished.

    Attributes:
        path: the file.
        before: the file before this change; None if there was none.
        after: the hash of the new contents.
    """

    path: str
    before: Copy | None
    after: str


@attrs.frozen(kw_only=True)
class Book:
    """The contents of the journal.

    Attributes:
        at: when setup ran last.
        files: every file that setup has written, in that order.
        folders: every folder that it has made.
        commands: what takes back the commands that it has run.
        offer: the prompt for callers that was chosen.
        unfinished: the change that is being made.
        new_folders: the folders that this change makes.
    """

    at: str = ""
    files: tuple[Entry, ...] = ()
    folders: tuple[str, ...] = ()
    commands: tuple[tuple[str, ...], ...] = ()
    offer: str = ""
    unfinished: tuple[Step, ...] = ()
    new_folders: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Folder:
    """A folder that is made if it does not exist."""

    path: Path
    mode: int = 0o755
    gid: int = 0


class Journal:
    """The journal of one machine.

    Args:
        directory: where it is.
        flush: whether files are written to the disk at once. Otherwise a power failure
            soon afterwards may lose them.
    """

    def __init__(self, directory: Path, *, flush: bool = True) -> None:
        self.directory = directory
        self._flush = flush

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep any other setup away.

        Raises:
            SetupFailed: another one is running.
            Refused: this user may not write there.
        """
        try:
            handle = self._lock()
        except OSError as error:
            raise Refused([_cannot_write(self.directory, error)]) from None
        try:
            yield
        finally:
            # While the lock is held: the copies of another setup must stay.
            try:
                if not (self.directory / _FILE).exists():
                    self.forget()
            finally:
                os.close(handle)

    def _lock(self) -> int:
        """Return the lock file, opened and locked."""
        path = self.directory / _LOCK
        while True:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._check_owner()
            handle = os.open(
                path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
            )
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Another setup may have removed the file since it was opened.
                if os.path.samestat(os.fstat(handle), os.lstat(path)):
                    return handle
            except BlockingIOError:
                os.close(handle)
                raise SetupFailed(
                    "another 'callback-queue setup' is running", "wait for its end"
                ) from None
            except FileNotFoundError:
                pass
            os.close(handle)

    def _check_owner(self) -> None:
        """Refuse a journal that another user could have written."""
        status = os.lstat(self.directory)
        if (
            not stat.S_ISDIR(status.st_mode)
            or status.st_uid != os.geteuid()
            or status.st_mode & 0o022
        ):
            raise Refused(
                [
                    Problem(
                        str(self.directory),
                        "it does not belong to the user who runs setup, or others may"
                        " write there",
                        "look who made it; then remove it, or run setup as its owner",
                    )
                ]
            )

    def read(self) -> Book:
        """Return the journal; an empty one if setup has not run.

        Raises:
            SetupFailed: it can not be read.
        """
        path = self.directory / _FILE
        try:
            values = json.loads(path.read_text("utf-8"))
            return _book(values)
        except FileNotFoundError:
            return Book()
        except PermissionError:
            raise SetupFailed(
                f"the journal {path} may not be read", "run it as root"
            ) from None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise SetupFailed(
                f"the journal {path} can not be read: {error}",
                f"the files as they were are in {self.directory / _COPIES}; put them"
                " back by hand, then remove this directory",
            ) from None

    def wrote(self, path: Path) -> bool:
        """Whether a file is just as setup has written it."""
        entries = {entry.path: entry for entry in self.read().files}
        entry = entries.get(str(path))
        return entry is not None and _sha_of(path) == entry.after

    # -- apply

    def apply(
        self,
        changes: Sequence[Change],
        folders: Iterable[Folder],
        commands: Iterable[tuple[str, ...]],
        now: datetime,
        *,
        offer: str = "",
    ) -> None:
        """Write all changes, or none.

        Args:
            changes: the files, in the order in which they are to be written.
            folders: the modes of folders that may have to be made.
            commands: what takes back the commands that belong to these changes.
            now: the time of the journal.
            offer: the prompt for callers that was chosen.

        Raises:
            SetupFailed: nothing is changed.
        """
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        book = self.read()
        wanted = [one for one in changes if not one.is_empty]
        known = {entry.path: entry for entry in book.files}
        made = {str(folder.path): folder for folder in folders}
        missing = list(dict.fromkeys(_missing(one.path for one in wanted)))
        steps: list[Step] = []
        try:
            for one in changes:
                marked = one.is_empty and one.clean not in (None, one.before)
                if marked and str(one.path) not in known:
                    # Lines of a setup whose journal is lost.
                    known[str(one.path)] = Entry(
                        path=str(one.path),
                        original=self._original(one, self._copy(one.path), None),
                        after=_sha(one.after),
                        whole=False,
                    )
            for one in wanted:
                before = self._copy(one.path)
                entry = known.get(str(one.path))
                known[str(one.path)] = Entry(
                    path=str(one.path),
                    original=self._original(one, before, entry),
                    after=_sha(one.after),
                    whole=one.clean is None,
                )
                steps.append(
                    Step(path=str(one.path), before=before, after=_sha(one.after))
                )
            self._write(
                attrs.evolve(
                    book, unfinished=tuple(steps), new_folders=tuple(map(str, missing))
                )
            )
            for folder in missing:
                _make_folder(made.get(str(folder), Folder(path=folder)))
            for one in wanted:
                self._write_new(one)
            for one in wanted:
                os.replace(_new(one.path), one.path)
            if self._flush:
                for parent in {one.path.parent for one in wanted}:
                    _flush_folder(parent)
            self._write(
                Book(
                    at=journal_time(now),
                    files=tuple(known.values()),
                    folders=tuple(dict.fromkeys((*book.folders, *map(str, missing)))),
                    commands=tuple(dict.fromkeys((*book.commands, *commands))),
                    offer=offer,
                )
            )
        except OSError as error:
            first = wanted[0].path if wanted else self.directory
            place = Path(error.filename or first)
            problem = _cannot_write(place, error)
            try:
                self.recover()
            except SetupFailed as failed:
                raise SetupFailed(
                    f"{problem.without_remedy}; and what was written is not taken back:"
                    f" {failed}",
                    f"{problem.remedy}; then run: callback-queue setup --undo",
                ) from None
            raise SetupFailed(
                f"{problem.without_remedy}; nothing is changed", problem.remedy
            ) from None

    def _original(
        self, one: Change, before: Copy | None, entry: Entry | None
    ) -> Copy | None:
        """Return the file as ``undo`` is to leave it."""
        if entry is None:
            if one.clean is None or before is None or one.clean == one.before:
                return before
            # It has lines of a setup whose journal is lost.
            return self._keep(one.clean, before)
        if before is None or before.sha == entry.after or one.clean is None:
            return entry.original
        if entry.original is not None and before.sha == entry.original.sha:
            return entry.original
        # The administrator has changed it since: that change stays.
        return self._keep(one.clean, before)

    def _copy(self, path: Path) -> Copy | None:
        """Keep a copy of a file."""
        try:
            status = path.stat()
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        copy = Copy(
            sha=_sha(data),
            mode=stat.S_IMODE(status.st_mode),
            uid=status.st_uid,
            gid=status.st_gid,
            mtime_ns=status.st_mtime_ns,
        )
        return self._keep(data, copy)

    def _keep(self, data: bytes, like: Copy) -> Copy:
        copies = self.directory / _COPIES
        copies.mkdir(mode=0o700, exist_ok=True)
        sha = _sha(data)
        path = copies / sha
        # A copy that a killed process left may be incomplete.
        if not path.exists() or _sha(path.read_bytes()) != sha:
            self._write_file(path, data, 0o600)
        return attrs.evolve(like, sha=sha)

    def _write_new(self, one: Change) -> None:
        """Write the new contents beside the old ones, with their mode and owner.

        A file of ours with a secret gets its own ones: the old one may have had none.
        """
        path = _new(one.path)
        mode, uid, gid = one.mode, one.uid, one.gid
        if one.clean is not None or one.mode != SECRET:
            with suppress(FileNotFoundError):
                status = one.path.stat()
                mode = stat.S_IMODE(status.st_mode)
                uid, gid = status.st_uid, status.st_gid
        # There are hundreds of prompts, and setup can write them again.
        flush = one.path.suffix != PROMPT
        self._write_file(path, one.after, mode, (uid, gid), flush=flush)

    def _write_file(
        self,
        path: Path,
        data: bytes,
        mode: int,
        owner: tuple[int, int] | None = None,
        *,
        flush: bool = True,
    ) -> None:
        with suppress(FileNotFoundError):
            os.unlink(path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open(path, flags, 0o600)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(handle, view) :]
            if owner is not None and os.geteuid() == 0:
                os.fchown(handle, *owner)
            os.fchmod(handle, mode)
            if flush and self._flush:
                os.fsync(handle)
        except OSError as error:
            error.filename = error.filename or str(path)
            raise
        finally:
            os.close(handle)

    def _write(self, book: Book) -> None:
        path = self.directory / _FILE
        text = json.dumps(
            {"version": _VERSION, **attrs.asdict(book)}, indent=1, sort_keys=True
        )
        new = _new(path)
        self._write_file(new, text.encode(), 0o600)
        os.replace(new, path)
        if self._flush:
            _flush_folder(self.directory)

    # -- recover

    def recover(self) -> list[str]:
        """Take back a change that was not finished.

        Returns:
            The files that were put back.

        Raises:
            SetupFailed: a file can not be written; the journal stays.
        """
        book = self.read()
        done = []
        for step in reversed(book.unfinished):
            path = Path(step.path)
            with self._failing(path):
                with suppress(FileNotFoundError):
                    os.unlink(_new(path))
                # A file that somebody has changed since is left to ``undo``.
                if _sha_of(path) == step.after and not _is(path, step.before):
                    self._put_back(path, step.before)
                    done.append(step.path)
        if book.unfinished or book.new_folders:
            _remove_folders(book.new_folders)
            with self._failing(self.directory):
                self._write(attrs.evolve(book, unfinished=(), new_folders=()))
        return done

    def _put_back(self, path: Path, copy: Copy | None) -> None:
        """Give a file the contents, mode, owner and time of a copy."""
        if copy is None:
            os.unlink(path)
            return
        data = (self.directory / _COPIES / copy.sha).read_bytes()
        if _sha(data) != copy.sha:
            raise SetupFailed(
                f"the copy of {path} is damaged", "put the file back from your backup"
            )
        new = _new(path)
        self._write_file(new, data, copy.mode, (copy.uid, copy.gid))
        os.utime(new, ns=(copy.mtime_ns, copy.mtime_ns), follow_symlinks=False)
        os.replace(new, path)
        if self._flush:
            _flush_folder(path.parent)

    @contextmanager
    def _failing(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            problem = _cannot_write(Path(error.filename or path), error)
            raise SetupFailed(problem) from None

    # -- undo

    def undo(self) -> list[Problem]:
        """Leave every file as it was before the first setup.

        Returns:
            What remains to be done by hand: files that were changed since.

        Raises:
            SetupFailed: a file can not be written; run it again.
        """
        self.recover()
        book = self.read()
        left: list[Problem] = []
        for entry in reversed(book.files):
            path = Path(entry.path)
            with self._failing(path):
                left += self._undo(path, entry)
        _remove_folders(book.folders)
        return left

    def _undo(self, path: Path, entry: Entry) -> Iterator[Problem]:
        sha = _sha_of(path)
        if sha is None or _is(path, entry.original):
            return
        if sha == entry.after:
            self._put_back(path, entry.original)
        elif entry.whole:
            yield Problem(
                entry.path,
                "it was changed since setup wrote it, so it stays",
                "delete it, if you do not need the changes",
            )
        else:
            yield from self._take_out_lines(path)

    def _take_out_lines(self, path: Path) -> Iterator[Problem]:
        """Take our lines out of a file that was changed since."""
        status = path.stat()
        text = path.read_bytes().decode("latin-1")
        try:
            clean = lines.without_ours(text)
        except lines.Misplaced as misplaced:
            yield misplaced.problem(path)
            return
        if clean == text:
            return
        mode = stat.S_IMODE(status.st_mode)
        owner = status.st_uid, status.st_gid
        self._write_file(_new(path), clean.encode("latin-1"), mode, owner)
        os.replace(_new(path), path)

    def forget(self) -> None:
        """Remove the journal and the copies, after everything was taken back."""
        copies = self.directory / _COPIES
        with self._failing(self.directory):
            files = self.directory / _FILE, self.directory / _LOCK
            for path in [*copies.glob("*"), *files]:
                with suppress(FileNotFoundError):
                    os.unlink(path)
            for folder in (copies, self.directory):
                with suppress(FileNotFoundError):
                    os.rmdir(folder)


def journal_time(at: datetime) -> str:
    """Return the time of a setup as the journal has it."""
    return at.isoformat(timespec="seconds")


# -- helpers


def _new(path: Path) -> Path:
    return path.with_name(_NEW.format(path.name))


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _sha_of(path: Path) -> str | None:
    try:
        return _sha(path.read_bytes())
    except FileNotFoundError:
        return None


def _is(path: Path, copy: Copy | None) -> bool:
    """Whether a file is as it was."""
    sha = _sha_of(path)
    if copy is None or sha is None:
        return copy is None and sha is None
    return sha == copy.sha


def _missing(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the folders above files that do not exist, the outer ones first."""
    for path in paths:
        above = [one for one in path.parents if not one.exists()]
        yield from reversed(above)


def _make_folder(folder: Folder) -> None:
    folder.path.mkdir()
    # Asterisk's user may own the folder above, and put a link in its place.
    handle = os.open(
        folder.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    )
    try:
        if os.geteuid() == 0:
            os.fchown(handle, 0, folder.gid)
        os.fchmod(handle, folder.mode)
    finally:
        os.close(handle)


def _remove_folders(paths: Sequence[str]) -> None:
    for path in reversed(paths):
        # It may contain what others have put there.
        with suppress(OSError):
            os.rmdir(path)


def _flush_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _cannot_write(path: Path, error: OSError) -> Problem:
    what = f"it can not be written: {(error.strerror or str(error)).lower()}"
    match error.errno:
        case errno.EACCES | errno.EPERM:
            remedy = "run it as root, such as with sudo"
        case errno.ENOSPC | errno.EDQUOT:
            remedy = f"make room on the disk of {path.parent}, then run it again"
        case errno.EROFS:
            remedy = "make its file system writable, then run it again"
        case _:
            remedy = "mend this, then run it again"
    return Problem(str(path), what, remedy)


def _book(values: Mapping[str, Any]) -> Book:
    if values["version"] != _VERSION:
        raise ValueError(f"it is of version {values['version']}")

    def copy(given: Mapping[str, Any] | None) -> Copy | None:
        return None if given is None else Copy(**given)

    return Book(
        at=values["at"],
        files=tuple(
            Entry(**{**one, "original": copy(one["original"])})
            for one in values["files"]
        ),
        folders=tuple(values["folders"]),
        commands=tuple(map(tuple, values["commands"])),
        offer=values["offer"],
        unfinished=tuple(
            Step(**{**one, "before": copy(one["before"])})
            for one in values["unfinished"]
        ),
        new_folders=tuple(values["new_folders"]),
    )
