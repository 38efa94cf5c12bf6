# SPDX-License-Identifier: MIT
"""The product, run as a user runs it: a settings file and a command.

Owns the process ``callback-queue run`` and its log. Of the product it uses only the
command line, the settings file, the log lines, the control socket and the exit codes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from fastagi.doors import client
from fastagi.service.commands import COMMANDS
from tests.lab.asterisk import Asterisk
from tests.lab.closing import Starting
from tests.lab.errors import DeadlinePassed, LabError
from tests.lab.processes import pauses, wait_for_matches
from tests.lab.program import COMMAND, Launcher, Program

_READY_DEADLINE_S = 15.0
_STOP_DEADLINE_S = 15.0
_COMMAND_DEADLINE_S = 30.0
_DATABASE = "callback-queue.db"

LogLine = Mapping[str, Any]


def says(pattern: str, **fields: object) -> Callable[[LogLine], object]:
    """Return a predicate: a log line with this message and these fields."""
    compiled = re.compile(pattern)

    def matches(line: LogLine) -> bool:
        return bool(compiled.search(str(line.get("message", "")))) and all(
            line.get(name) == value for name, value in fields.items()
        )

    return matches


class CommandResult:
    """The result of one ``callback-queue`` command."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.exit_code = done.returncode
        self.out = done.stdout
        self.err = done.stderr

    def json(self) -> Any:
        """Return the answer to ``--json``.

        Raises:
            LabError: the command failed, or said something else.
        """
        try:
            return json.loads(self.out)
        except json.JSONDecodeError:
            raise LabError(
                f"exit code {self.exit_code}, no JSON:\n{self.out}\n{self.err}"
            ) from None


class Service(Starting):
    """One ``callback-queue run`` beside one Asterisk.

    The settings, the database and the socket survive :meth:`kill` and :meth:`start`, as
    on a real machine.
    """

    def __init__(
        self,
        asterisk: Asterisk,
        settings: Mapping[str, Any] | None = None,
        *,
        launcher: Launcher = COMMAND,
    ) -> None:
        self._launcher = launcher
        self.home = asterisk.home / "service" / f"{time.monotonic_ns()}"
        self.home.mkdir(parents=True)
        self.config = self.home / "callback-queue.yaml"
        self.settings = merged(default_settings(asterisk, self.home), settings or {})
        self.write_settings()
        self._lines: list[LogLine] = []
        self._changed = threading.Condition()
        self._process: Program | None = None
        self._reader: threading.Thread | None = None

    # -- settings

    def write_settings(self, changes: Mapping[str, Any] | None = None) -> None:
        """Write the settings file: the current settings with these changes."""
        self.settings = merged(self.settings, changes or {})
        # None leaves out a section that the laboratory has by default.
        written = {name: one for name, one in self.settings.items() if one is not None}
        self.config.write_text(yaml.safe_dump(written, sort_keys=False))

    def reload(self) -> None:
        """Send SIGHUP: load the settings again."""
        self._signal(signal.SIGHUP)

    # -- start and stop

    def start(self, *, ready: bool = True) -> None:
        """Start it; by default wait until it knows Asterisk and every queue.

        Raises:
            LabError: it ended; the text holds what it said.
        """
        if self.running:
            raise LabError("the service runs already")
        self._provide_database()
        self._process = self._launcher.start(
            ["run", "--config", str(self.config)],
            cwd=self.home,
            environment=_environment(),
        )
        self._reader = threading.Thread(
            target=self._read, args=(self._process,), name="service log", daemon=True
        )
        self._reader.start()
        if ready:
            self.wait_until_ready()

    def _provide_database(self) -> None:
        # Creating its tables takes the service longer than the rest of its start.
        file = self.home / _DATABASE
        if self.settings["database"]["url"] != f"sqlite:///{file}" or file.exists():
            return
        empty = self.home.parent / "empty.db"
        if empty.exists():
            shutil.copy(empty, file)
            return
        made = self.cli("db", "upgrade")
        if made.exit_code:
            raise LabError(f"no database could be made:\n{made.out}{made.err}")
        shutil.copy(file, empty)

    def wait_until_ready(self, deadline_s: float = _READY_DEADLINE_S) -> None:
        """Wait until it reports that it is connected and sees its queues.

        Raises:
            LabError: it ended; the text holds what it said.
            DeadlinePassed: it is not ready in time; the text holds its last answer.
        """
        answer: Any = None
        for _ in pauses(deadline_s):
            if not self.running:
                raise LabError(f"the service ended:\n{self.report()}")
            answer = self.status()
            if answer is None or not answer["asterisk"]["connected"]:
                continue
            if all(queue["known"] for queue in answer["queues"].values()):
                return
        raise DeadlinePassed(
            f"the service is not ready after {deadline_s} s; it says {answer}\n"
            f"{self.report()}"
        )

    @property
    def running(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id."""
        if self._process is None:
            raise LabError("the service was not started")
        return self._process.pid

    def stop(self, deadline_s: float = _STOP_DEADLINE_S) -> int:
        """Send SIGTERM and wait for the end; return the exit code.

        Raises:
            DeadlinePassed: it did not end; it still runs.
        """
        self.order_to_stop()
        return self.wait(deadline_s)

    def order_to_stop(self) -> None:
        """Send SIGTERM without waiting."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self.wait(_STOP_DEADLINE_S)

    def freeze(self) -> None:
        """Freeze the process (SIGSTOP): connections stay open."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen process continue (SIGCONT)."""
        self._signal(signal.SIGCONT)

    def wait(self, deadline_s: float) -> int:
        """Wait for the end of the process; return its exit code."""
        if self._process is None or self._reader is None:
            raise LabError("the service was not started")
        try:
            code = self._process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise DeadlinePassed(
                f"the service did not end within {deadline_s} s:\n{self.report()}"
            ) from None
        self._reader.join(5)
        return code

    def close(self) -> None:
        """End it in any state."""
        self.kill()

    def _signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    # -- its log

    def _read(self, process: Program) -> None:
        assert process.stdout is not None
        with process.stdout as stream:
            for raw in stream:
                text = raw.decode("utf-8", "replace").rstrip("\n")
                with self._changed:
                    self._lines.append(_parse(text))
                    self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    @property
    def lines(self) -> list[LogLine]:
        """All log lines so far, of all its runs.

        Lines without JSON, such as a crash of the interpreter, have level "raw".
        """
        with self._changed:
            return list(self._lines)

    def wait_for(
        self,
        predicate: Callable[[LogLine], object],
        deadline_s: float = 10.0,
        *,
        count: int = 1,
    ) -> LogLine:
        """Wait for the count-th log line that matches, old or new; return it.

        Raises:
            DeadlinePassed: it did not come; the text holds the log.
        """
        found = wait_for_matches(
            self._changed, lambda: self._lines, predicate, deadline_s, count
        )
        if len(found) >= count:
            return found[count - 1]
        raise DeadlinePassed(
            f"{len(found)} of {count} awaited log lines within {deadline_s} s:\n"
            f"{self.report()}"
        )

    def report(self) -> str:
        """Return the log as text for a person."""
        return "\n".join(
            f"{line.get('time', '')} {line.get('level', '')} {line.get('message', '')}"
            + (f"\n{line['traceback']}" if "traceback" in line else "")
            for line in self.lines
        )

    # -- its commands

    def cli(self, *arguments: str) -> CommandResult:
        """Run ``callback-queue ARGUMENTS --config FILE`` and return its result."""
        done = self._launcher.run(
            [*arguments, "--config", str(self.config)],
            cwd=self.home,
            environment=_environment(),
            timeout_s=_COMMAND_DEADLINE_S,
        )
        return CommandResult(done)

    # -- its answers: the same as of commands with --json, but without a process for
    # each, as there would be hundreds

    def ask(self, command: str, **arguments: Any) -> Any:
        """Send a command to the running service, as the command line does.

        Raises:
            OSError: it does not run.
            LabError: it refuses.
        """
        path = self.settings["control"]["socket"]
        try:
            with client.Service(path, _COMMAND_DEADLINE_S) as service:
                return service.do(COMMANDS[command](**arguments))
        except client.CommandFailed as error:
            raise LabError(f"{command}: {error}") from error
        except (client.NoService, client.NoAnswer) as error:
            raise ConnectionError(str(error)) from error

    def status(self) -> Any:
        """Return its status; None if it does not answer yet."""
        try:
            return self.ask("status")
        except OSError:
            return None

    def tasks(self, **filters: str) -> Any:
        """Return the tasks, including ended ones, the latest first."""
        return self.ask("tasks.list", all=True, **filters)

    def task(self, task_id: int) -> Any:
        """Return a task with its attempts and events."""
        return self.ask("tasks.show", id=task_id)


def default_settings(asterisk: Asterisk, home: Path) -> dict[str, Any]:
    """Return settings for the laboratory; all others have their defaults."""
    return {
        "ami": {
            "host": "127.0.0.1",
            "port": asterisk.ports.ami,
            "username": asterisk.service_user.name,
            "secret": asterisk.service_user.secret,
        },
        "fastagi": {"listen": "127.0.0.1", "port": asterisk.ports.agi},
        "database": {"url": f"sqlite:///{home / _DATABASE}"},
        "control": {"socket": str(home / "control.sock")},
        # Asterisk's log still has the calls of other tests.
        "history": {
            "enabled": False,
            "queue_log": str(asterisk.home / "log/queue_log"),
        },
        "log": {"level": "debug", "format": "json"},
        "defaults": {"outbound_channel": "Local/{number}@outbound-routes/n"},
        "queues": {
            queue.name: {}
            for queue in asterisk.queues
            if queue.context == "callback-request"
        },
    }


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the base with the changes applied, section by section."""
    result = dict(base)
    for key, value in changes.items():
        old = result.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            value = merged(old, value)
        result[key] = value
    return result


def _environment() -> dict[str, str]:
    # Every warning of the product is shown and fails the test.
    return {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "default"}


def _parse(text: str) -> LogLine:
    try:
        line = json.loads(text)
    except json.JSONDecodeError:
        line = None
    return line if isinstance(line, dict) else {"level": "raw", "message": text}
