# SPDX-License-Identifier: MIT
"""One soak: callers call, the service calls back, faults happen, all is recorded.

Owns the run, its pace and its end. It also ends every fault that it begins.
"""

from __future__ import annotations

import re
import sqlite3
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Self

import attrs

from tests.lab.errors import DeadlinePassed, LabError
from tests.lab.processes import wait_until
from tests.lab.service import LogLine, Service
from tests.soak.link import Link
from tests.soak.plan import Break, Call, Plan, Trouble
from tests.soak.rules import (
    Books,
    Disturbance,
    Limits,
    Tables,
    Verdict,
    read_sqlite,
)
from tests.soak.town import CLIENT_RINGS, Town

#: Time after a connect until the service works normally, in seconds.
_SETTLES_S = 3.0
READY_DEADLINE_S = 60.0
#: How many open tasks are told of at the end.
_MOST_TOLD = 5
#: Twisted keeps one spare file open for when file descriptors run out.
_RESERVED = "unclosed file <_io.TextIOWrapper name='/dev/null'"
_SOUNDS = (
    "accepted",
    "already_registered",
    "member_alert",
    "hold_on",
    "cannot_call",
    "closed",
)


@attrs.frozen(kw_only=True)
class Pace:
    """The speed of everything, in seconds."""

    retry_delay_s: int = 6
    success_s: int = 2
    attempts: int = 3
    request_expiry_s: int = 240
    missed_window_s: int = 120
    #: Time at the end within which every due task must be called.
    drain_s: float = 150.0

    def settings(self, town: Town) -> dict[str, Any]:
        """Return the service's settings, without how Asterisk is reached."""
        return {
            "log": {"level": "info"},
            "control": {"stop_timeout": "1s"},
            "defaults": {
                "outbound_channel": town.outbound_channel,
                "display_prefix": "Callback ",
                "attempts": self.attempts,
                "retry_delay": f"{self.retry_delay_s}s",
                "member_retry_delay": f"{self.retry_delay_s}s",
                "success_duration": f"{self.success_s}s",
                "request_expiry": f"{self.request_expiry_s}s",
                "missed_window": f"{self.missed_window_s}s",
                "member_ring_time": "10s",
                "caller_ring_time": "5s",
                "sounds": dict.fromkeys(_SOUNDS, "beep"),
            },
        }


class AnySoak(ABC):
    """Callers and phones, Asterisks under test, and services between them."""

    def __init__(
        self, plan: Plan, pace: Pace | None, tell: Callable[[str], object], town: Town
    ) -> None:
        self._plan = plan
        self._pace = pace or Pace()
        self._tell = tell
        self.town = town
        #: The services, which are not started yet.
        self.services: list[Service] = []
        #: The faults so far.
        self.disturbances: list[Disturbance] = []
        #: The recorded lines, at the end.
        self.books: Books | None = None
        #: What is to be done later, and when.
        self._later: list[tuple[float, Callable[[], object]]] = []
        self._began = 0.0
        #: When the current fault killed the Asterisk under test.
        self._died: float | None = None
        self._told_at = 0.0
        self._calls = 0
        self._not_made = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def start(self) -> None:
        """Start everything; return when the services work."""

    @abstractmethod
    def close(self) -> None:
        """End everything and remove all files."""

    @abstractmethod
    def wait_until_ready(self) -> None:
        """Wait until the services work."""

    @abstractmethod
    def tables(self) -> Tables:
        """Return all rows of the database."""

    @abstractmethod
    def ask(self, question: str) -> list[Any]:
        """Return the rows that a query finds."""

    @abstractmethod
    def begin(self, trouble: Trouble) -> Callable[[], object]:
        """Begin a fault; return the function that ends it."""

    @abstractmethod
    def recovered_at(self, one: Disturbance) -> float:
        """Return when the service was connected again after a fault."""

    # -- the run

    def run(self) -> Verdict:
        """Run the soak; return the results."""
        self._began = self._told_at = time.monotonic()
        for event in self._plan.events():
            self._wait_until(event.at_s)
            if isinstance(event, Call):
                self._call(event)
            else:
                self._break(event)
        self._wait_until(self._plan.duration_s)
        return self._end()

    def _wait_until(self, at_s: float) -> None:
        """Let time pass, and do what becomes due meanwhile."""
        while True:
            now_s = time.monotonic() - self._began
            if time.monotonic() - self._told_at >= 60:
                self._told_at += 60
                self._tell_progress(round(now_s / 60))
            due = [one for one in self._later if one[0] <= now_s]
            for one in due:
                self._later.remove(one)
                one[1]()
            if due:
                continue
            if now_s >= at_s:
                return
            next_s = min([at_s, *(one[0] for one in self._later)])
            time.sleep(min(max(0.0, next_s - now_s), 1.0))

    def _call(self, call: Call) -> None:
        try:
            self.town.call(call)
            self._calls += 1
        except LabError:
            self._not_made += 1

    # -- faults and their ends

    def _break(self, event: Break) -> None:
        self._heal()
        began = time.time()
        self._died = None
        mend = self.begin(event.trouble)
        died = self._died

        def mended() -> None:
            mend()
            self.disturbances.append(
                Disturbance(event.trouble, began, time.time(), died)
            )

        self._later.append((time.monotonic() - self._began + event.for_s, mended))

    def _heal(self) -> None:
        """End all faults now."""
        later, self._later = self._later, []
        for _, mend in later:
            mend()

    # -- the end

    def _end(self) -> Verdict:
        self._heal()
        self._tell("no more calls; waiting until all is done")
        self.wait_until_ready()
        with suppress(DeadlinePassed):
            # The report must explain what is still open then.
            wait_until(lambda: not self._open_tasks(), self._pace.drain_s, "the end")
        self._tell_open()
        exit_codes = [service.stop() for service in self.services]
        now = time.time()
        self.books = Books(
            self.tables(),
            self.town.saw(),
            self.town.promised(),
            [self._with_recovery(one) for one in self.disturbances],
        )
        verdict = self.books.judge(
            Limits(attempts=self._pace.attempts, success_s=self._pace.success_s), now
        )
        if self._not_made:
            verdict.figures["calls the town could not make"] = f"{self._not_made}"
        verdict.rule("failures in the service's log", self._failures())
        verdict.rule(
            "unclean end of a service",
            [f"exit code {code}" for code in exit_codes if code],
        )
        return verdict

    def _tell_open(self) -> None:
        """Tell why tasks are still open, as each service sees it."""
        for (task_id,) in self._open_tasks()[:_MOST_TOLD]:
            for service in self.services:
                why = service.task(task_id)["task"]["why_not_yet"]
                self._tell(f"task {task_id} is open, process {service.pid}: {why}")

    def _open_tasks(self) -> list[Any]:
        return self.ask("SELECT id FROM task WHERE ended_at IS NULL")

    def _failures(self) -> list[str]:
        return [
            f"{line.get('time')} {line.get('message')}"
            for service in self.services
            for line in service.lines
            if ("traceback" in line or line.get("level") in ("critical", "raw"))
            and _RESERVED not in str(line.get("message"))
        ]

    def _with_recovery(self, one: Disturbance) -> Disturbance:
        """Return it, including the time that the service needs to connect again."""
        return attrs.evolve(one, over=self.recovered_at(one) + _SETTLES_S)

    # -- progress

    def _tell_progress(self, minute: int) -> None:
        tasks = Counter(
            dict(self.ask("SELECT status, count(*) FROM task GROUP BY status"))
        )
        rung = sum(line.word == CLIENT_RINGS for line in self.town.saw())
        told = ", ".join(f"{n} {status}" for status, n in tasks.most_common())
        troubles = Counter(one.trouble.value for one in self.disturbances)
        broke = ", ".join(f"{n} {what}" for what, n in troubles.most_common())
        self._tell(
            f"{minute:3} min: {self._calls} calls in, {rung} clients rung;"
            f" tasks: {told or 'none'}; memory {self._memory()}; {broke or 'calm'}"
        )

    def _memory(self) -> str:
        return " and ".join(_memory_of(service) for service in self.services)


class Soak(AnySoak):
    """One service beside one Asterisk."""

    def __init__(
        self,
        plan: Plan,
        pace: Pace | None = None,
        tell: Callable[[str], object] = print,
    ) -> None:
        super().__init__(plan, pace, tell, Town(plan))
        exchange = self.town.exchange
        self._link = Link(exchange.ports.spare, exchange.ports.ami)
        self.service = Service(
            exchange,
            {"ami": {"port": self._link.port}, **self._pace.settings(self.town)},
        )
        self.services.append(self.service)

    def start(self) -> None:
        """Start everything."""
        self.town.start()
        self.service.start(ready=False)
        self.wait_until_ready()

    def close(self) -> None:
        """End everything and remove all files."""
        self.service.close()
        self._link.close()
        self.town.close()

    def wait_until_ready(self) -> None:
        """Wait until the service works."""
        self.service.wait_until_ready(READY_DEADLINE_S)

    def tables(self) -> Tables:
        """Return all rows of the database."""
        return read_sqlite(self._database)

    def ask(self, question: str) -> list[Any]:
        """Return the rows that a query finds."""
        db = sqlite3.connect(self._database)
        try:
            return db.execute(question).fetchall()
        finally:
            db.close()

    @property
    def _database(self) -> Path:
        return self.service.home / "callback-queue.db"

    def recovered_at(self, one: Disturbance) -> float:
        """Return when the service was connected again after a fault."""
        if one.trouble in (
            Trouble.RELOAD,
            Trouble.FREEZE_SERVICE,
            Trouble.FREEZE_ASTERISK,
        ):
            return one.over
        connected = (
            at for at in map(connected_at, self.service.lines) if at > one.began
        )
        return max(one.over, next(connected, time.time()))

    def begin(self, trouble: Trouble) -> Callable[[], object]:
        """Begin a fault; return the function that ends it."""
        exchange, service = self.town.exchange, self.service
        match trouble:
            case Trouble.KILL_SERVICE:
                service.kill()
                return partial(service.start, ready=False)
            case Trouble.HAND_OVER:
                service.stop()
                return partial(service.start, ready=False)
            case Trouble.FREEZE_SERVICE:
                service.freeze()
                return service.thaw
            case Trouble.RELOAD:
                # systemd refuses to reload a service before it runs.
                service.wait_until_ready(READY_DEADLINE_S)
                delay_s = self._pace.retry_delay_s + len(self.disturbances) % 2
                service.write_settings({"defaults": {"retry_delay": f"{delay_s}s"}})
                service.reload()
            case Trouble.CUT:
                self._link.cut()
            case Trouble.FREEZE_ASTERISK:
                exchange.freeze()
                return exchange.thaw
            case Trouble.KILL_ASTERISK:
                exchange.kill()
                self._died = time.time()
                exchange.start()
            case Trouble.RESTART_ASTERISK:
                exchange.stop()
                self._died = time.time()
                exchange.start()
        return _nothing


def _memory_of(service: Service) -> str:
    with suppress(OSError, LabError):
        status = Path(f"/proc/{service.pid}/status").read_text()
        if found := re.search(r"VmRSS:\s+(\d+)", status):
            return f"{int(found[1]) / 1024:.0f} MB"
    return "-"


def connected_at(line: LogLine) -> float:
    """Return the time of a log line that says "Asterisk is connected", 0 for others."""
    if not str(line.get("message", "")).startswith("connected to"):
        return 0.0
    return datetime.fromisoformat(str(line["time"])).timestamp()


def _nothing() -> None:
    """Do nothing: there is nothing to end."""
