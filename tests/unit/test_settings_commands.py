# SPDX-License-Identifier: MIT
"""The commands ``settings.show``, ``settings.check`` and ``check.run``, in memory."""

from __future__ import annotations

import json
import sys
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar, cast

import attrs
import pytest

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from fastagi.config import dry_run
from fastagi.config.load import parse_settings
from fastagi.doors import codec
from fastagi.errors import CallbackError
from fastagi.runtime.background import Background, Stopping
from fastagi.runtime.clock import MachineClock
from fastagi.runtime.programs import ChildPrograms, ProgramFailed
from fastagi.service.check_command import CheckCommand
from fastagi.service.commands import (
    Actor,
    Busy,
    CheckDone,
    CheckSettings,
    NoSuchQueue,
    RunCheck,
    ShowSettings,
)
from fastagi.service.settings_commands import SettingsCommands
from fastagi.service.settings_in_force import SettingsInForce

T = TypeVar("T")
_FILE = """\
ami: {secret: s3cret}
log: {level: info}
queues:
  support: {outbound_channel: "PJSIP/{number}@trunk"}
"""
_NOBODY = Actor()


def _begin(work: Coroutine[Any, Any, T]) -> tuple[list[T], list[Failure]]:
    """Start work; return lists of its result and its error, empty until it ends."""
    results: list[T] = []
    errors: list[Failure] = []
    Deferred.fromCoroutine(work).addCallbacks(results.append, errors.append)
    return results, errors


def _done(work: Coroutine[Any, Any, T]) -> T:
    results, errors = _begin(work)
    if errors:
        errors[0].raiseException()
    (result,) = results
    return result


class _Settings:
    def __init__(self) -> None:
        self.timers = Clock()
        self.in_force = SettingsInForce(parse_settings(_FILE, file="/etc/cq.yaml"))
        self.dry_runs: list[Deferred[bytes]] = []
        self.commands = SettingsCommands(
            settings=self.in_force,
            clock=MachineClock(cast(IReactorTime, self.timers), lambda: 0.0),
            dry_run=self._dry_run,
        )

    def _dry_run(self, data: bytes) -> Deferred[bytes]:
        self.given = data
        self.dry_runs.append(Deferred())
        return self.dry_runs[-1]

    def show(self, queue: str = "") -> Any:
        """Return the answer to ``settings.show`` as JSON."""
        command = ShowSettings(queue=queue)
        return codec.answer_json(_done(self.commands.show(command, _NOBODY)))


def test_settings_are_shown_as_they_were_loaded() -> None:
    answer = _Settings().show()
    assert answer["file"] == "/etc/cq.yaml"
    assert answer["loaded_at"] == "1970-01-01T00:00:00.000+00:00"
    rows = {row["name"]: row for row in answer["settings"]}
    assert rows["log.level"] == {
        "name": "log.level",
        "value": "info",
        "default": "info",
        "origin": "file",
        "line": 2,
        "file": "",
        "secret": False,
        "needs_restart": False,
        "waits_for_restart": False,
    }
    assert (rows["ami.secret"]["value"], rows["ami.secret"]["secret"]) == (None, True)
    assert "s3cret" not in json.dumps(answer)


def test_settings_of_a_queue_are_shown_alone() -> None:
    service = _Settings()
    rows = service.show("SUPPORT")["settings"]
    assert {row["name"].split(".")[1] for row in rows} == {"support"}
    with pytest.raises(NoSuchQueue, match="no queue 'sales' in the settings"):
        service.show("sales")


def test_change_that_needs_a_restart_is_shown_as_one_that_waits() -> None:
    service = _Settings()
    new = _FILE.replace("s3cret", "other").replace("level: info", "level: warn")
    service.in_force.replace(parse_settings(f"fastagi: {{port: 4000}}\n{new}"))
    rows = {row["name"]: row for row in service.show()["settings"]}
    waiting = [name for name, row in rows.items() if row["waits_for_restart"]]
    assert waiting == ["ami.secret", "fastagi.port"]
    assert (rows["fastagi.port"]["value"], rows["log.level"]["line"]) == (4000, 3)


def test_changed_file_is_compared_with_the_one_in_force() -> None:
    service = _Settings()
    text = _FILE.replace("level: info", "level: warn")
    work = service.commands.check(CheckSettings(text=text), _NOBODY)
    results, _errors = _begin(work)
    (dry_run_of_file,) = service.dry_runs
    assert not results
    dry_run_of_file.callback(dry_run.answer(service.given))
    (checked,) = results
    (change,) = codec.answer_json(checked)["changes"]
    assert (change["name"], change["before"], change["after"], change["line"]) == (
        *("log.level", "info", "warn"),
        2,
    )


def test_only_one_file_is_checked_at_a_time() -> None:
    service = _Settings()
    first, _ = _begin(service.commands.check(CheckSettings(text="a"), _NOBODY))
    with pytest.raises(Busy):
        _done(service.commands.check(CheckSettings(text="b"), _NOBODY))
    service.dry_runs[0].errback(ProgramFailed("it was killed"))
    assert not first
    _begin(service.commands.check(CheckSettings(text="c"), _NOBODY))
    assert len(service.dry_runs) == 2


# -- the check -------------------------------------------------------------


@attrs.define
class _Programs:
    """Programs that end when the test says."""

    asked: list[tuple[str, tuple[str, ...]]] = attrs.field(factory=list)
    running: list[Deferred[bytes]] = attrs.field(factory=list)

    def run(
        self,
        module: str,
        words: Sequence[str] = (),
        *,
        data: bytes = b"",
        limit_s: float,
        codes: Sequence[int] = (0,),
    ) -> Deferred[bytes]:
        self.asked.append((module, tuple(words)))
        self.running.append(Deferred())
        return self.running[-1]

    def stop(self) -> None:
        """Nothing runs."""


_FINDING = {
    "area": "settings",
    "where": "a.yaml:1",
    "problem": "unknown setting",
    "remedy": "delete it",
    "level": "fault",
    "checked": True,
}


class _Checks:
    def __init__(self) -> None:
        self.timers = Clock()
        clock = MachineClock(cast(IReactorTime, self.timers), self.timers.seconds)
        self.programs = _Programs()
        self.command = CheckCommand(
            config="cq.yaml",
            programs=self.programs,
            clock=clock,
            background=Background(clock),
        )

    def ask(self) -> tuple[list[CheckDone], list[Failure]]:
        """Ask for a check."""
        return _begin(self.command.run(RunCheck(), _NOBODY))

    def end(self, output: bytes = json.dumps([_FINDING]).encode()) -> None:
        """End the check that runs."""
        self.programs.running.pop().callback(output)


def test_check_runs_as_its_own_program_with_the_same_settings() -> None:
    checks = _Checks()
    results, _ = checks.ask()
    ((module, (*words, config)),) = checks.programs.asked
    assert module == "fastagi.command.cli"
    assert words == ["check", "--json", "--config"]
    # Its current directory is another one.
    assert config.startswith("/")
    assert config.endswith("/cq.yaml")
    checks.timers.advance(3)
    checks.end()
    (done,) = results
    assert codec.answer_json(done) == {
        "at": "1970-01-01T00:00:03.000+00:00",
        "took_s": 3.0,
        "findings": [_FINDING],
    }


def test_check_that_several_ask_for_runs_once() -> None:
    checks = _Checks()
    asked = [checks.ask() for _ in range(3)]
    assert len(checks.programs.asked) == 1
    checks.end()
    assert all(len(results) == 1 for results, _ in asked)
    checks.timers.advance(9.9)
    results, _ = checks.ask()
    assert results == asked[0][0]
    checks.timers.advance(0.1)
    results, _ = checks.ask()
    assert not results
    assert len(checks.programs.asked) == 2


@pytest.mark.parametrize(
    ("output", "error"),
    [
        (ProgramFailed("it did not end within 60 s"), "it did not end within 60 s"),
        (b"Traceback", "of another version"),
        (b'[{"area": "settings"}]', "of another version"),
        (b"{}", "of another version"),
        (ValueError("embedded null byte"), "embedded null byte"),
    ],
)
def test_check_that_fails_is_told_and_not_kept(
    output: bytes | Exception, error: str
) -> None:
    checks = _Checks()
    _, errors = checks.ask()
    if isinstance(output, Exception):
        checks.programs.running.pop().errback(output)
    else:
        checks.end(output)
    if not isinstance(output, ValueError):
        assert errors[0].check(CallbackError)
    assert error in errors[0].getErrorMessage()
    checks.ask()
    assert len(checks.programs.asked) == 2


# -- programs --------------------------------------------------------------


class _Process:
    pid = 7

    def __init__(self) -> None:
        self.given = b""
        self.signals: list[str] = []

    def write(self, data: bytes) -> None:
        self.given += data

    def closeStdin(self) -> None:
        self.given += b"<end>"

    def signalProcess(self, signal: str) -> None:
        self.signals.append(signal)


class _Reactor:
    """A reactor that starts no program."""

    def __init__(self) -> None:
        self.timers = Clock()
        self.programs = ChildPrograms(self, MachineClock(cast(Any, self.timers)))
        self.fails = False

    def spawnProcess(
        self, child: Any, executable: str, words: list[str], **options: Any
    ) -> None:
        if self.fails:
            raise OSError("no more processes")
        self.words, self.options = words, options
        self.child, self.process = child, _Process()
        child.makeConnection(self.process)

    def run(self, codes: Sequence[int] = (0,)) -> tuple[list[bytes], list[Failure]]:
        """Run a program."""
        results: list[bytes] = []
        errors: list[Failure] = []
        running = self.programs.run("m", ["a"], data=b"x", limit_s=5, codes=codes)
        running.addCallbacks(results.append, errors.append)
        return results, errors

    def end(self, code: int | None) -> None:
        """End the program."""
        reason = ProcessDone(0) if code == 0 else ProcessTerminated(code, signal=9)
        self.child.processEnded(Failure(reason))


def test_program_gets_its_input_and_returns_its_output() -> None:
    reactor = _Reactor()
    results, _ = reactor.run()
    assert reactor.words == [sys.executable, "-m", "m", "a"]
    assert reactor.process.given == b"x<end>"
    reactor.child.outReceived(b"1")
    reactor.child.errReceived(b"a warning")
    reactor.child.outReceived(b"2")
    reactor.end(0)
    assert results == [b"12"]
    assert not reactor.timers.getDelayedCalls()


@pytest.mark.parametrize(
    ("code", "codes", "error"),
    [(1, (0, 1), ""), (2, (0, 1), "m ended with the exit code 2"), (None, (), "m was")],
)
def test_exit_code_of_a_program_is_judged(
    code: int | None, codes: Sequence[int], error: str
) -> None:
    reactor = _Reactor()
    results, errors = reactor.run(codes)
    reactor.end(code)
    assert len(results) == (not error)
    assert not error or error in errors[0].getErrorMessage()


@pytest.mark.parametrize("ended_by", ["time", "length", "stop"])
def test_program_is_killed(ended_by: str) -> None:
    reactor = _Reactor()
    _, errors = reactor.run()
    reactor.timers.advance(4.9)
    assert not errors
    if ended_by == "time":
        reactor.timers.advance(0.1)
    elif ended_by == "length":
        reactor.child.outReceived(b"x" * 8_000_001)
    else:
        reactor.programs.stop()
    assert errors[0].check(Stopping if ended_by == "stop" else ProgramFailed)
    assert reactor.process.signals == ["KILL"]
    reactor.end(None)
    assert len(errors) == 1
    assert not reactor.timers.getDelayedCalls()


def test_program_that_can_not_be_started_is_told() -> None:
    reactor = _Reactor()
    reactor.fails = True
    _, errors = reactor.run()
    assert "m can not be started: no more processes" in errors[0].getErrorMessage()
    assert not reactor.timers.getDelayedCalls()
