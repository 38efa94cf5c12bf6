# SPDX-License-Identifier: MIT
"""The real service process between a model of Asterisk and callers, on real ports.

Owns the process, the ports, and the kernel's figures of time and memory. The service
runs as in production: its own process, its own SQLite file, every COMMIT on the disk.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
    UNIXClientEndpoint,
    connectProtocol,
)
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater

from fastagi.garbage import exclude_existing_objects
from fastagi.store import migrate
from tests.emulator.agi_client import AgiClientProtocol, AsteriskAgi
from tests.emulator.asterisk import FakeAsterisk
from tests.emulator.manager import User
from tests.emulator.wires import Net
from tests.harness.control_client import ControlClient

#: Twisted types its reactor as a bare module.
reactor: Any = _reactor

_READY_DEADLINE_S = 60.0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class _Nothing(deque[Any]):
    """A list that stays empty: what short tests record would fill a long run."""

    def __init__(self) -> None:
        super().__init__(maxlen=0)


class _ManagerPort(Factory):
    noisy = False

    def __init__(self, asterisk: FakeAsterisk) -> None:
        self._asterisk = asterisk

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        return self._asterisk.manager.accept()


class Reader(Protocol):
    """Reads the stream of the live state, and counts."""

    noisy = False

    def __init__(self) -> None:
        #: The bytes and the events that came so far.
        self.bytes = 0
        self.events = 0
        self._rest = b""

    def connectionMade(self) -> None:
        """Ask for the stream."""
        assert self.transport is not None
        self.transport.write(
            b"GET /v1/live HTTP/1.1\r\nHost: service\r\n"
            b"Accept: text/event-stream\r\n\r\n"
        )

    def dataReceived(self, data: bytes) -> None:
        """Count."""
        self.bytes += len(data)
        # An event ends with an empty line, a heartbeat begins with a colon.
        found = self._rest + data
        self.events += found.count(b"}\n\n")
        self._rest = found[-2:] if not found.endswith(b"}\n\n") else b""


class Rig:
    """One service process, and everything around it."""

    #: Whether somebody follows the live state of each service.
    is_looked_at = False

    def __init__(
        self,
        settings: Mapping[str, Any],
        queues: Iterable[str],
        database_url: str | None = None,
        runs_in: Sequence[str] = (),
    ) -> None:
        """Prepare.

        Args:
            settings: sections of the settings file.
            queues: names of the queues.
            database_url: the database; None: a new SQLite file.
            runs_in: the words of a command that runs the service.
        """
        self.home = Path(tempfile.mkdtemp(prefix="callback-queue-bench-"))
        self.database_url = database_url or f"sqlite:///{self.home}/callback-queue.db"
        self.asterisk = FakeAsterisk(
            reactor, Net(), user=User(name="bench", secret="bench")
        )
        self.asterisk.alert_s = 0.0
        self.asterisk.told = _Nothing()  # type: ignore[assignment]
        self.asterisk.queue_log = _Nothing()  # type: ignore[assignment]
        self.asterisk.manager.actions = _Nothing()  # type: ignore[assignment]
        for queue in queues:
            self.asterisk.add_queue(queue)
        self._socket = self.home / "control.sock"
        #: Sections of the settings file; None leaves one out.
        self.settings = dict(settings)
        #: The settings of the manager interface, once its port is open.
        self.ami_settings: dict[str, Any] = {}
        self._queues = list(queues)
        self._runs_in = runs_in
        #: The port of FastAGI.
        self.agi_port = 0
        self._process: subprocess.Popen[bytes] | None = None

    # -- start and stop

    async def open_manager(self) -> None:
        """Open the manager port."""
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(
            _ManagerPort(self.asterisk)
        )
        self.ami_settings = {
            "host": "127.0.0.1",
            "port": port.getHost().port,
            "username": "bench",
            "secret": "bench",
        }

    async def listen(self) -> None:
        """Open the manager port, write the settings and create the database."""
        if not self.ami_settings:
            await self.open_manager()
        # A port that was free a moment ago: the service itself opens it.
        probe = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(
            Factory.forProtocol(Protocol)
        )
        self.agi_port = probe.getHost().port
        await probe.stopListening()
        settings = {
            "ami": self.ami_settings,
            "fastagi": {
                "listen": "127.0.0.1",
                "port": self.agi_port,
                # All callers have one address; the limits for each address are not
                # measured.
                "max_connections": 2000,
                "max_connections_per_peer": 2000,
                "max_rate_per_peer": 100_000,
            },
            "database": {"url": self.database_url},
            "control": {"socket": str(self._socket)},
            "queues": {queue: {} for queue in self._queues},
            **self.settings,
        }
        written = {name: one for name, one in settings.items() if one is not None}
        (self.home / "settings.yaml").write_text(yaml.safe_dump(written))
        migrate.prepare(self.database_url)

    async def start(self, environ: Mapping[str, str] | None = None) -> float:
        """Start the service; return the seconds until it saw its queues.

        Args:
            environ: variables on top of those of this process.
        """
        program = Path(sys.executable).with_name("callback-queue")
        began = time.perf_counter()
        with (self.home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *self._runs_in,
                    *("setpriv", "--pdeathsig", "KILL", str(program)),
                    *("run", "--config", str(self.home / "settings.yaml")),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(environ or {})},
            )
        await self.until(self._is_ready, _READY_DEADLINE_S)
        took_s = time.perf_counter() - began
        if self.is_looked_at:
            reader = await self.look_on()
            await self.until(lambda: _is_true(reader.events > 0), _READY_DEADLINE_S)
        return took_s

    async def look_on(self) -> Reader:
        """Follow the live state."""
        endpoint = UNIXClientEndpoint(reactor, str(self._socket))
        reader: Reader = await connectProtocol(endpoint, Reader())
        return reader

    async def _is_ready(self) -> bool:
        status = await self._status()
        return status is not None and self.is_at_work(status)

    async def answers(self) -> bool:
        """Whether the service answers commands."""
        return await self._status() is not None

    async def _status(self) -> Mapping[str, Any] | None:
        """Return the status; None if the service does not answer yet."""
        if self._process is None:
            return None
        if self._process.poll() is not None:
            raise RuntimeError(f"the service ended:\n{self.log()}")
        if not self._socket.exists():
            return None
        try:
            status: Mapping[str, Any] = await self.ask("status")
        except ConnectError:
            return None
        return status

    def is_at_work(self, status: Mapping[str, Any]) -> bool:
        """Whether the service has a link and sees its queues."""
        return bool(status["asterisk"]["connected"]) and all(
            queue["known"] for queue in status["queues"].values()
        )

    def stop(self) -> None:
        """End the service."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(10)
        self._process = None

    def close(self) -> None:
        """End the service and remove all its files."""
        self.stop()
        shutil.rmtree(self.home, ignore_errors=True)

    def log(self) -> str:
        """Return what the service wrote."""
        return (self.home / "log").read_text(errors="replace")[-5000:]

    # -- requests to the service

    async def ask(self, command: str, **arguments: Any) -> Any:
        """Send a command over the control socket."""
        asking = ControlClient(command, arguments)
        await connectProtocol(UNIXClientEndpoint(reactor, str(self._socket)), asking)
        answer = await asking.answered
        if not answer["ok"]:
            raise RuntimeError(answer["error"])
        return answer["result"]

    async def press(
        self, number: str, queue: str, uniqueid: str, script: str = "request"
    ) -> str:
        """Press 1: run AGI() as Asterisk does, return CALLBACK_STATUS."""
        channel = AsteriskAgi(
            script,
            (queue, "1", uniqueid),
            headers={"agi_callerid": number, "agi_uniqueid": uniqueid},
        )
        client = AgiClientProtocol(channel)
        await connectProtocol(
            TCP4ClientEndpoint(reactor, "127.0.0.1", self.agi_port), client
        )
        await client.ended
        return channel.variables.get("CALLBACK_STATUS", "")

    async def until(
        self, condition: Callable[[], Awaitable[bool]], deadline_s: float
    ) -> None:
        """Wait until the condition is true.

        Raises:
            TimeoutError: it is not true in time.
        """
        end = time.monotonic() + deadline_s
        while not await condition():
            if time.monotonic() > end:
                raise TimeoutError(f"not in {deadline_s} s:\n{self.log()}")
            await pause(0.02)

    # -- figures of the kernel

    @property
    def cpu_s(self) -> float:
        """Processor time that all threads of the service have used, in seconds."""
        assert self._process is not None
        stat = Path(f"/proc/{self._process.pid}/stat").read_text()
        fields = stat.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S

    @property
    def memory_kb(self) -> int:
        """Memory of the service that is in RAM, in kilobytes."""
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+)", status)
        assert found is not None
        return int(found[1])


async def _is_true(value: bool) -> bool:
    return value


def pause(seconds: float) -> Deferred[None]:
    """Let time pass."""
    return deferLater(reactor, seconds)


async def at_once(work: Callable[[], Coroutine[Any, Any, None]], count: int) -> None:
    """Run the same coroutine several times at once; fail with the first failure."""
    running = [Deferred.fromCoroutine(work()) for _ in range(count)]
    await gatherResults(running, consumeErrors=True)


def run(work: Coroutine[Any, Any, int]) -> int:
    """Run a coroutine on the reactor; return its exit code."""
    codes: list[int] = []

    def failed(failure: Any) -> None:
        print(failure.getTraceback(), file=sys.stderr)
        codes.append(2)

    def begin() -> None:
        # This process measures times, too.
        exclude_existing_objects()
        running = Deferred.fromCoroutine(work).addCallbacks(codes.append, failed)
        running.addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run()
    return codes[0]
