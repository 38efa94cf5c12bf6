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
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from subprocess import CompletedProcess
from typing import IO, Protocol

import attrs

from tests.lab.trees import namespace_options

_PR_SET_PDEATHSIG = 1
_COMMAND = Path(sys.executable).with_name("callback-queue")
#: The usual umask.
_UMASK = 0o022
#: What the process that forks has imported.
_LOADED = "tests.lab.loaded"
#: Names the machine for one program and those that it starts.
_RENAME = 'hostname "$1"; shift; exec "$@"'
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

    def terminate(self) -> None:
        """Let it end, by SIGTERM."""

    def kill(self) -> None:
        """Kill it."""


def start_command(
    arguments: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    host: str = "",
) -> Program:
    """Start the installed command; stdout and stderr are one stream.

    Args:
        arguments: its arguments.
        cwd: its directory.
        environment: its environment.
        host: the machine's name, as the command sees it; empty: the true one.
    """
    renamed: tuple[str, ...] = ()
    if host:
        renamed = ("unshare", "--uts", *namespace_options())
        renamed += ("sh", "-ec", _RENAME, "sh", host)
    leash = ("setpriv", "--pdeathsig", "KILL")
    return subprocess.Popen(
        [*renamed, *leash, str(_COMMAND), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=dict(environment),
        cwd=cwd,
    )


def run_command(
    arguments: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    timeout_s: float,
) -> CompletedProcess[str]:
    """Run the installed command to its end.

    Raises:
        TimeoutExpired: it did not end in time, and was killed.
    """
    return subprocess.run(
        [str(_COMMAND), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env=dict(environment),
        cwd=cwd,
        check=False,
    )


def run_fork(
    arguments: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    timeout_s: float,
) -> CompletedProcess[str]:
    """Run a fork of the command to its end.

    Raises:
        TimeoutExpired: it did not end in time, and was killed.
    """
    with tempfile.TemporaryDirectory() as directory:
        streams = Path(directory, "stdout"), Path(directory, "stderr")
        process = _fork(arguments, cwd, environment, *streams)
        process.join(timeout_s)
        code = process.exitcode
        if code is None:
            process.kill()
            raise subprocess.TimeoutExpired("callback-queue", timeout_s)
        return CompletedProcess(arguments, code, *(s.read_text() for s in streams))


class Fork:
    """The command, started by a fork; stdout and stderr are one stream.

    Args:
        arguments: its arguments.
        cwd: its directory.
        environment: its environment.
        output: the file to which its output is added; None: the pipe ``stdout``.
        umask: its umask.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        cwd: Path,
        environment: Mapping[str, str],
        output: Path | None = None,
        umask: int = _UMASK,
    ) -> None:
        self.stdout: IO[bytes] | None = None
        if output is not None:
            streams = output, output
            self._process = _fork(arguments, cwd, environment, *streams, umask=umask)
            return
        read, write = _forks.Pipe(duplex=False)
        self._process = _fork(arguments, cwd, environment, write, write, umask=umask)
        write.close()
        self.stdout = os.fdopen(os.dup(read.fileno()), "rb")
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

    def terminate(self) -> None:
        """Let it end, by SIGTERM."""
        self._process.terminate()

    def kill(self) -> None:
        """Kill it."""
        self._process.kill()


@attrs.frozen
class Launcher:
    """How the command is started, or run to its end."""

    start: Callable[..., Program]
    run: Callable[..., CompletedProcess[str]]


#: As a user does.
COMMAND = Launcher(start_command, run_command)
#: By forks, which are faster.
FORK = Launcher(Fork, run_fork)


def command_on(host: str) -> Launcher:
    """Return how the command is started as on a machine with this name."""
    return Launcher(partial(start_command, host=host), run_command)


def _fork(
    arguments: Sequence[str],
    cwd: Path,
    environment: Mapping[str, str],
    *streams: Connection | Path,
    umask: int = _UMASK,
) -> ForkServerProcess:
    """Start a fork with these streams as stdout and stderr."""
    _forks.set_forkserver_preload([_LOADED])
    process = _forks.Process(
        target=_be_the_command,
        args=(list(arguments), str(cwd), dict(environment), umask, *streams),
        daemon=True,
    )
    process.start()
    return process


def _be_the_command(
    arguments: list[str],
    cwd: str,
    environment: dict[str, str],
    umask: int,
    *streams: Connection | Path,
) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    with ExitStack() as stack:
        for number, stream in enumerate(streams, 1):
            opened = stream.open("ab") if isinstance(stream, Path) else stream
            os.dup2(opened.fileno(), number)
            # Both may be the same one.
            stack.callback(opened.close)
    # The fork server ignores an import that fails.
    assert _LOADED in sys.modules, f"{_LOADED} can not be imported"
    os.chdir(cwd)
    os.umask(umask)
    os.environ.clear()
    os.environ.update(environment)
    # The effect of PYTHONUNBUFFERED and PYTHONWARNINGS on a new interpreter; the latter
    # may be empty.
    sys.stdout.reconfigure(write_through=True)  # type: ignore[union-attr]
    if environment.get("PYTHONWARNINGS", "default"):
        warnings.simplefilter("default")
    sys.argv = ["callback-queue", *arguments]

    from fastagi.command.cli import main

    main()
