# SPDX-License-Identifier: MIT
"""A child process that ends with the test process, and waiting with a deadline.

A process must be started from the main thread: the kernel kills it when the thread that
started it ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, TypeVar

from tests.lab.errors import DeadlinePassed, LabError
from tests.lab.trees import Programs

T = TypeVar("T")

_FIRST_PAUSE_S = 0.002
_LONGEST_PAUSE_S = 0.02
#: On a busy machine the kernel needs this long to remove a killed process's namespaces.
_GONE_DEADLINE_S = 20.0


def pauses(deadline_s: float) -> Iterator[None]:
    """Yield until the deadline, after pauses of 2 to 20 ms.

    For the few conditions without an event: a socket that must appear, a count that
    must become zero.
    """
    end = time.monotonic() + deadline_s
    pause_s = _FIRST_PAUSE_S
    while True:
        yield
        if time.monotonic() >= end:
            return
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)


def wait_until(condition: Callable[[], object], deadline_s: float, what: str) -> None:
    """Wait until the condition is true.

    Raises:
        DeadlinePassed: it did not become true in time.
    """
    for _ in pauses(deadline_s):
        if condition():
            return
    raise DeadlinePassed(f"{what} did not happen within {deadline_s} s")


def wait_for_matches(
    changed: threading.Condition,
    items: Callable[[], Sequence[T]],
    predicate: Callable[[T], object],
    deadline_s: float,
    count: int,
) -> list[T]:
    """Wait until so many items match; return all that match, fewer at the deadline.

    Args:
        changed: guards the items, and is notified when there are more.
        items: returns them, in order.
        predicate: whether an item matches.
        deadline_s: how long to wait, in seconds.
        count: how many are wanted.
    """
    end = time.monotonic() + deadline_s
    found: list[T] = []
    looked_at = 0
    with changed:
        while True:
            found += filter(predicate, items()[looked_at:])
            looked_at = len(items())
            if len(found) >= count or not changed.wait(end - time.monotonic()):
                return found


class LabProcess:
    """A running program of a tree."""

    def __init__(
        self,
        programs: Programs,
        argv: Sequence[str],
        *,
        output: Path,
        cwd: Path | None = None,
        as_root: bool = True,
    ) -> None:
        self.output = output
        self._wrapped = programs.root is not None
        with output.open("ab") as sink:
            self._popen = subprocess.Popen(
                programs.command(*argv, as_root=as_root),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=programs.environment(),
                cwd=cwd,
            )

    @property
    def running(self) -> bool:
        """Whether the program has not ended yet."""
        return self._popen.poll() is None

    @property
    def exit_code(self) -> int | None:
        """The program's exit code, minus the signal that ended it, or None."""
        return self._popen.poll()

    @property
    def pid(self) -> int:
        """The program's own process id, as this process sees it.

        Raises:
            LabError: the program has ended, or has not begun.
        """
        if not self._wrapped:
            return self._popen.pid
        parent = self._popen.pid
        try:
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text()
        except OSError:
            children = ""
        if not children.split():
            raise LabError(f"process {parent} has no program running in it")
        return int(children.split()[0])

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program; nothing happens if it has ended."""
        if self.running:
            with suppress(LabError, ProcessLookupError):
                os.kill(self.pid, number)

    def wait(self, deadline_s: float) -> int:
        """Wait for the end and return the exit code.

        Raises:
            DeadlinePassed: it still runs.
        """
        try:
            return self._popen.wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise DeadlinePassed(
                f"process {self._popen.pid} did not end within {deadline_s} s"
            ) from None

    def kill(self) -> None:
        """End the program at once and wait until it is gone."""
        self.signal(signal.SIGKILL)
        try:
            self._popen.wait(5)
        except subprocess.TimeoutExpired:
            # The program had not begun yet: kill the wrapper, which ends the program,
            # too.
            self._popen.kill()
            self._popen.wait(_GONE_DEADLINE_S)

    def text(self) -> str:
        """Return what the program wrote to its standard output and error."""
        return read_text(self.output)


def read_text(path: Path, start: int = 0) -> str:
    """Return a file's text from a byte offset; "" if the file is missing."""
    try:
        with path.open("rb") as file:
            return _decode(file, start)
    except FileNotFoundError:
        return ""


def _decode(file: IO[bytes], start: int) -> str:
    file.seek(start)
    return file.read().decode("utf-8", "replace")
