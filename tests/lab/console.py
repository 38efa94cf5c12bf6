# SPDX-License-Identifier: MIT
"""The console with something to see: ``python -m tests.lab.console``.

Starts an Asterisk, the service and the web process. The database has the callbacks of
the last two weeks; on top of them people call: some press 1, some hang up, some wait
for an agent. Prints the address and a one-time login. Ctrl-C ends all of it.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from tests.lab import past_traffic
from tests.lab.asterisk import Asterisk
from tests.lab.closing import Starting
from tests.lab.config import Queue
from tests.lab.errors import LabError
from tests.lab.lab import Lab
from tests.lab.program import COMMAND, Launcher
from tests.lab.scenarios import BUSY, Answer, Behaviour, HangUp, NoAnswer, Press
from tests.lab.service import Service
from tests.lab.web import Web

QUEUES: Final = (
    Queue(name="support", members=("alice", "bob"), wrapuptime_s=5),
    Queue(name="sales", members=("carol", "dave"), wrapuptime_s=5),
    Queue(name="billing", members=("erin",)),
)
_AGENTS: Final = ("alice", "bob", "carol", "dave", "erin")
_SETTINGS: Final = {
    "defaults": {
        "retry_delay": "2m",
        "success_duration": "5s",
        "opening_hours": {"time_zone": "Europe/Berlin"},
        "offers": {"enabled": True},
    },
    "number_plan": {"region": "DE", "own_numbers": [r"\+49305550100"]},
}
#: Alarms come soon, so that there is one to see.
_WEB_SETTINGS: Final = {
    "alarms": {
        "oldest_task": {"yellow": "1m", "red": "4m"},
        "no_agents": {"yellow": "10s", "red": "40s"},
    }
}
_NAMES: Final = (
    "Ada Berger", "Ben Vogel", "Clara Winter", "David Sommer", "Eva Lang",
    "Felix Braun", "Greta Stein", "Hanna Wolf", "Ivan Petrov", "Jonas Frank",
    "Katja Blum", "Lena Roth",
)  # fmt: skip
#: How long phones exist, in seconds: a working day.
_LIFETIME_S: Final = 10 * 3600
#: Number of people who call at the same time, at most.
_MOST_CALLERS: Final = 12
_LONGEST_PAUSE_S: Final = 4.0

Say = Callable[[str], None]


class Town(Starting):
    """All that runs, with people who call."""

    def __init__(
        self,
        *,
        seed: int = 1,
        days: int = 14,
        port: int | None = None,
        launcher: Launcher = COMMAND,
        say: Say = lambda text: None,
    ) -> None:
        self._dice = random.Random(seed)
        self._days = days
        self._port = port
        self._launcher = launcher
        self._say = say
        self._stopping = threading.Event()
        self._closing: list[Starting | Lab] = []
        self.lab: Lab
        self.service: Service
        self.web: Web
        self._numbers: list[str] = []

    def start(self) -> None:
        """Start Asterisk, the service, the web process, and the phones."""
        self._say("starting Asterisk 22 (its own files and ports, on 127.0.0.1)")
        asterisk = Asterisk(22, queues=QUEUES)
        self._closing.append(asterisk)
        asterisk.start()
        self.lab = Lab(asterisk, launcher=self._launcher)
        self._closing.append(self.lab)
        # Nobody listens, and voices need processor time.
        self.lab.voices = False
        self.lab.lifetime_s = _LIFETIME_S
        # So that the page Health shows what it does on the machine of an Asterisk.
        directories = {
            "config_dir": str(asterisk.home / "etc"),
            "sounds_dir": str(asterisk.home / "data/sounds"),
        }
        self.service = self.lab.service(
            {**_SETTINGS, "asterisk": directories}, start=False
        )
        self.service.config.chmod(0o640)
        made = self.service.cli("db", "upgrade")
        if made.exit_code:
            raise LabError(f"no database could be made:\n{made.out}{made.err}")
        self._say(f"writing the callbacks of {self._days} days into the database")
        count = past_traffic.write(
            self.service.settings["database"]["url"],
            datetime.now(UTC),
            [queue.name for queue in QUEUES],
            [f"PJSIP/{name}" for name in _AGENTS],
            days=self._days,
        )
        self._say(f"{count} tasks; starting the service")
        self.service.start()
        self._say("starting the web process")
        self.web = Web(
            self.service, _WEB_SETTINGS, launcher=self._launcher, port=self._port
        )
        self._closing.append(self.web)
        self.web.start()
        self._say("agents and clients connect their phones")
        for name in _AGENTS:
            talk_ms = self._dice.randrange(15_000, 40_000)
            self.lab.agent(name, Answer(2500, steps=(HangUp(after_ms=talk_ms),)))
        self.lab.asterisk.cli(
            "queue pause member PJSIP/erin queue billing reason lunch"
        )
        for number in range(len(_NAMES)):
            behaviour: Behaviour = Answer(ring_ms=3000)
            if number % 5 == 3:
                behaviour = BUSY if number % 2 else NoAnswer()
            self._numbers.append(f"+493023125{number:03}")
            self.lab.client(self._numbers[-1], behaviour)

    def live(self, seconds: float | None = None) -> None:
        """Let people call, until it is stopped or the time is over."""
        end = None if seconds is None else time.monotonic() + seconds
        while not self._stopping.is_set() and (end is None or time.monotonic() < end):
            self._somebody_calls()
            self._somebody_pauses()
            self._stopping.wait(self._dice.uniform(1.0, _LONGEST_PAUSE_S))

    def stop(self) -> None:
        """Let nobody call any more."""
        self._stopping.set()

    @property
    def stopped(self) -> bool:
        """Whether it was told to stop."""
        return self._stopping.is_set()

    def close(self) -> None:
        """End all of it, in any state."""
        for one in reversed(self._closing):
            one.close()

    def _somebody_calls(self) -> None:
        waiting = sum(queue["waiting"] for queue in self._queues().values())
        if waiting >= _MOST_CALLERS:
            return
        person = self._dice.randrange(len(_NAMES))
        queue = self._dice.choices(QUEUES, (5, 3, 1))[0].name
        steps = self._dice.choices(
            (
                (Press("1", after_ms=self._dice.randrange(4000, 15000)),),
                (HangUp(after_ms=self._dice.randrange(6000, 20000)),),
                (),
            ),
            (5, 2, 3),
        )[0]
        self.lab.caller(
            queue, *steps, number=self._numbers[person], display_name=_NAMES[person]
        )

    def _somebody_pauses(self) -> None:
        """Let an agent take a break, or come back."""
        if self._dice.random() > 0.08:
            return
        queue = self._dice.choice(QUEUES[:2])
        what = self._dice.choice(("pause", "unpause", "unpause"))
        name = self._dice.choice(queue.members)
        reason = " reason lunch" if what == "pause" else ""
        self.lab.asterisk.cli(
            f"queue {what} member PJSIP/{name} queue {queue.name}{reason}"
        )

    def _queues(self) -> dict[str, dict[str, int]]:
        status = self.service.status()
        return status["queues"] if status else {}


def main() -> int:
    """Run it until Ctrl-C; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab.console")
    parser.add_argument("--port", type=int, help="of the console; else a free one")
    parser.add_argument("--seed", type=int, default=1, help="of the people's dice")
    options = parser.parse_args()

    def say(text: str) -> None:
        print(text, flush=True)

    town = Town(seed=options.seed, port=options.port, say=say)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: town.stop())
    try:
        with town:
            say(
                f"\nThe console:  {town.web.address}\n"
                f"First login:  {town.web.first_link()}\n"
                "              (works once: choose a name and a password)\n"
                f"The wall:     {town.web.add_wall_link('demo')}\n\n"
                "People call now. Ctrl-C ends everything."
            )
            town.live()
            say("\nending all of it")
    except LabError as error:
        town.close()
        # Ctrl-C in a terminal ends Asterisk and the service at the same moment.
        if town.stopped:
            return 0
        print(f"console: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
