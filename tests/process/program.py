# SPDX-License-Identifier: MIT
"""``callback-queue`` in a directory of the test: the command, or a fork of it.

A new interpreter takes about a second of processor time to load the product, so that
most tests use forks of a process that has loaded it (:mod:`tests.lab.program`).
"""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from tests.lab.program import Fork
from tests.lab.program import Program as RunningProgram

_DEADLINE_S = 30.0
_PAUSE_S = 0.02


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def wait_until(true: Callable[[], object], what: str) -> None:
    """Wait until the condition is true, with a deadline."""
    end = time.monotonic() + _DEADLINE_S
    while not true():
        assert time.monotonic() < end, f"no {what} in {_DEADLINE_S:g} s"
        time.sleep(_PAUSE_S)


class Program:
    """The command ``callback-queue`` with its settings file.

    Args:
        home: a directory of the test.
        sections: settings, on top of those with which it runs without Asterisk.
        umask: the umask of every process that is started.
        environ: variables on top of those of the test.
        runs_in: the words of a command that runs the service, in a new interpreter.
        forked: whether the commands are forks; otherwise each is a new interpreter, as
            an administrator starts it.
    """

    def __init__(
        self,
        home: Path,
        *,
        umask: int = 0o022,
        environ: Mapping[str, str] | None = None,
        runs_in: Sequence[str] = (),
        forked: bool = True,
        **sections: Mapping[str, Any],
    ) -> None:
        self.home = home
        self.config = home / "callback-queue.yaml"
        self.log = home / "log"
        self.socket = home / "run/control.sock"
        self._runs_in = runs_in
        self._forked = forked
        self._umask = umask
        self._environ = {
            "PATH": "/usr/bin:/bin",
            # Python's own choice.
            "PYTHONWARNINGS": "",
            **(environ or {}),
        }
        self._process: RunningProgram | None = None
        given: dict[str, Any] = {
            # Nobody listens there, so the service keeps trying to connect.
            "ami": {"port": free_port(), "secret": "s3cret"},
            "fastagi": {"port": free_port()},
            "database": {"url": f"sqlite:///{home}/data/callback-queue.db"},
            "control": {"socket": str(self.socket)},
            "log": {"level": "debug"},
            "defaults": {"outbound_channel": "PJSIP/{number}@trunk"},
            "queues": {"support": {}},
        }
        for name, section in sections.items():
            given[name] = {**given.get(name, {}), **section}
        self.agi_port: int = given["fastagi"]["port"]
        (home / "data").mkdir(exist_ok=True)
        self._given = given
        self.write_settings()

    def __enter__(self) -> Self:
        self.begin()
        try:
            wait_until(self.listens, "FastAGI port")
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end()

    @contextmanager
    def begun(self) -> Iterator[int]:
        """Start the service without waiting; yields its process id."""
        pid = self.begin()
        try:
            yield pid
        finally:
            self.end()

    def begin(self) -> int:
        """Start the service without waiting; return its process id."""
        self.log.touch()
        self._process = self._start("run", output=self.log, runs_in=self._runs_in)
        return self.pid

    @property
    def pid(self) -> int:
        """The process id of the service."""
        assert self._process is not None
        return self._process.pid

    @property
    def said(self) -> str:
        """The service's output so far."""
        return self.log.read_text()

    def end(self) -> int:
        """Stop the service and wait for it; return its exit code."""
        assert self._process is not None
        self._process.terminate()
        try:
            return self._process.wait(_DEADLINE_S)
        finally:
            self._process.kill()

    def wait(self) -> int:
        """Wait until the service ends by itself; return its exit code."""
        assert self._process is not None
        return self._process.wait(_DEADLINE_S)

    def kill(self) -> None:
        """Kill the service, even if it is frozen; it may have ended before."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(_DEADLINE_S)

    def listens(self) -> bool:
        """Return whether FastAGI accepts connections; the service must be running."""
        self.assert_runs()
        return _can_connect(self.agi_port)

    def assert_runs(self) -> None:
        """Fail with the service's output if it has ended."""
        assert self._process is not None
        assert self._process.poll() is None, self.said

    def write_settings(self, **sections: Mapping[str, Any]) -> None:
        """Write the settings file again, with these sections on top of the first."""
        given = {**self._given, **sections}
        new = self.config.with_suffix(".new")
        new.touch(0o600)
        new.write_text(yaml.safe_dump(given))
        new.rename(self.config)

    def _start(
        self, *words: str, output: Path, runs_in: Sequence[str] = ()
    ) -> RunningProgram:
        arguments = (*words, "--config", str(self.config))
        directory = Path(__file__).parents[2]
        if self._forked and not runs_in:
            return Fork(
                arguments,
                cwd=directory,
                environment=self._environ,
                output=output,
                umask=self._umask,
            )
        # The process ends with the tests, however they end.
        before = ("setpriv", "--pdeathsig", "KILL", *runs_in)
        # Not the script beside the interpreter, which may belong to another working
        # copy.
        program = (sys.executable, "-m", "fastagi.command.cli")
        with output.open("ab") as file:
            return subprocess.Popen(
                [*before, *program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                umask=self._umask,
                env=self._environ,
                cwd=directory,
            )

    def command(self, *words: str) -> tuple[int, str]:
        """Run another command to its end; return its exit code and output."""
        # Not in the directory of the test, which holds only files of the product.
        with tempfile.TemporaryDirectory() as directory:
            output = Path(directory, "output")
            process = self._start(*words, output=output)
            try:
                code = process.wait(_DEADLINE_S)
            finally:
                process.kill()
            return code, output.read_text()


def _can_connect(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as connection:
            # Linux can connect a socket to itself if it chose this port for it.
            return connection.getsockname() != connection.getpeername()
    except OSError:
        return False
