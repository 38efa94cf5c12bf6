# SPDX-License-Identifier: MIT
"""``callback-queue`` as a process of its own: the command, or a fork of it.

The command takes more than a second of processor time to load its modules, and the
tests start it hundreds of times. A fork has loaded them already. Otherwise it behaves
like the command: it has its own memory, process id, arguments, environment and output,
and ends by the same signals.

Owns the process that is forked.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Protocol

_PR_SET_PDEATHSIG = 1
_forks = multiprocessing.get_context("forkserver")


class Program(Protocol):
    """The used part of `subprocess.Popen`."""

    @property
    def pid(self) -> int:
        """The process id."""

    @property
    def stdout(self) -> IO[bytes] | None:
        """Its output."""

    def poll(self) -> int | None:
        """Return the exit code; None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raise TimeoutExpired if it does not end in time."""

    def kill(self) -> None:
        """Kill it."""


def run_command(
    arguments: Sequence[str], *, cwd: Path, environment: Mapping[str, str]
) -> Program:
    """Start the installed command; stdout and stderr are one stream."""
    command = Path(sys.executable).with_name("callback-queue")
    return subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", str(command), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=dict(environment),
        cwd=cwd,
    )


class Fork:
    """The command, started by a fork; stdout and stderr are one stream."""

    def __init__(
        self, arguments: Sequence[str], *, cwd: Path, environment: Mapping[str, str]
    ) -> None:
        _forks.set_forkserver_preload(["tests.lab.loaded"])
        read, write = _forks.Pipe(duplex=False)
        self._process = _forks.Process(
            target=_be_the_command,
            args=(list(arguments), str(cwd), dict(environment), write),
            daemon=True,
        )
        self._process.start()
        write.close()
        self.stdout: IO[bytes] = os.fdopen(os.dup(read.fileno()), "rb")
        read.close()

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """Return the exit code; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raise TimeoutExpired if it does not end in time."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("callback-queue", timeout or 0.0)
        return self._process.exitcode

    def kill(self) -> None:
        """Kill it."""
        self._process.kill()


def _be_the_command(
    arguments: list[str], cwd: str, environment: dict[str, str], output: Connection
) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    for number in (1, 2):
        os.dup2(output.fileno(), number)
    output.close()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    # The effect of PYTHONUNBUFFERED and PYTHONWARNINGS on a new interpreter.
    sys.stdout.reconfigure(write_through=True)  # type: ignore[union-attr]
    warnings.simplefilter("default")
    sys.argv = ["callback-queue", *arguments]

    from fastagi.command.cli import main

    main()
