# SPDX-License-Identifier: MIT
"""Fills an empty database with a day of version 0.1.0: ``python fill_0_1_0.py URL``.

It runs with the code of 0.1.0 and its own model of Asterisk; `record_databases` starts
it. It prints what the commands of 0.1.0 answer about that day, as JSON.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from fastagi.config.model import NumberPlanSettings

from fastagi import __version__
from fastagi.store import migrate
from tests.support.callback_scenarios import NO_ANSWER, Answers, Refuses
from tests.support.world import World, queue_settings, settings

ALICE, BOB, CAROL = "PJSIP/alice", "PJSIP/bob", "PJSIP/carol"
TALKS = Answers(after_s=3, hangs_up_after_s=40)


class Day:
    """The world of 0.1.0, and what people do in it."""

    def __init__(self, url: str) -> None:
        migrate.prepare(url)
        self.world = World(url=url)
        self.pbx = self.world.asterisk
        self.pbx.add_queue("support", (ALICE, BOB))
        self.pbx.add_queue("sales", (CAROL,))
        for interface in (ALICE, BOB, CAROL):
            self.pbx.phone(interface).always(Answers(after_s=2))
        quick = {"attempts": 2, "retry_delay": "2m", "member_retry_delay": "30s"}
        self.settings = settings(
            queue_settings("support", outbound_caller_id="+4930555000", **quick),
            queue_settings("sales", request_expiry="10m", **quick),
            number_plan=NumberPlanSettings.model_validate({"region": "DE"}),
        )
        self.world.begin(self.settings)

    def client(self, number: str, *behaviours: Any, then: Any = TALKS) -> None:
        """Say what a client does on each callback."""
        self.pbx.client(number).will(*behaviours).always(then)

    def agents_busy(self, busy: bool = True) -> None:
        """Let all agents begin, or end, calls of their own."""
        for interface in (ALICE, BOB, CAROL):
            self.pbx.phone(interface).busy(busy)

    def press(self, number: str, name: str = "", queue: str = "support") -> None:
        """Let somebody call in, wait for 20 seconds, press 1 and hang up."""
        call = self.pbx.call(queue, number, name=name)
        self.world.run(20)
        call.press()
        self.world.run(10)
        assert call.gone, call.heard

    def miss(self, number: str, name: str = "", queue: str = "support") -> None:
        """Let somebody call in, wait for 30 seconds and hang up."""
        call = self.pbx.call(queue, number, name=name)
        self.world.run(30)
        call.hang_up()
        self.world.run(1)

    def order(self, command: str, **arguments: Any) -> Any:
        """Give a command to the running service."""
        answer = self.world.ask(command, **arguments)
        assert answer["ok"], answer
        return answer["result"]

    def play(self) -> None:
        """Play the day, up to the moment in which the service is killed."""
        world = self.world
        self.agents_busy()
        self.client("03012345601")
        self.press("03012345601", "Ann")
        self.client("03012345602", Refuses.BUSY)
        self.press("03012345602", "Jörg")
        self.client("03012345603", then=NO_ANSWER)
        self.miss("03012345603", "Clara")
        self.client("03012345604", then=Refuses.NOT_FOUND)
        self.press("03012345604")
        self.client("03012345605", then=Refuses.DECLINE)
        self.press("03012345605", queue="sales")
        self.agents_busy(False)
        world.run(1200)

        # Nobody in sales answers, so the client's request becomes too old.
        self.agents_busy()
        self.press("03012345606", "Dora", queue="sales")
        world.run(900)
        # Operators.
        added = self.order("tasks.add", queue="support", number="+49 30 12345607")
        self.order("tasks.cancel", id=added["task"]["id"], reason="by e-mail")
        self.order("numbers.block", number="03012345608", reason="calls all day")
        self.order("numbers.block", number="030999000", reason="")
        self.order("numbers.unblock", number="030999000")
        self.miss("03012345608")
        self.press_in_vain("09001234567")
        # Somebody asks twice, from the number in another form; then is served.
        self.press("03012345609", "Emil")
        self.press("+493012345609", "Emil")
        self.agents_busy(False)
        self.client("03012345609", then=NO_ANSWER)
        world.run(90)
        self.pbx.call("support", "03012345609", name="Emil", talks_s=60)
        world.run(200)

        # What is open when the service is killed: a client with one attempt behind, two
        # who wait, a missed call, a manual task, and a talk that goes on.
        self.agents_busy()
        self.client("03012345610", Refuses.BUSY)
        self.press("03012345610", "Frida")
        self.pbx.phone(ALICE).busy(False)
        world.run(20)
        self.pbx.phone(ALICE).busy()
        self.client("03012345611", then=Answers(after_s=3))
        self.press("03012345611", "Gustav")
        self.pbx.phone(ALICE).busy(False)
        world.run(20)
        self.press("03012345612", "Helga")
        self.press("03012345613", "Ivo")
        self.miss("03012345614", "Jana", queue="sales")
        self.order("tasks.add", queue="support", number="03012345615", name="Karl")
        world.run(2)
        (under_way,) = (task for task in world.tasks() if task.status == "calling")
        assert under_way.number == "03012345611", under_way

    def press_in_vain(self, number: str) -> None:
        """Let somebody press 1 who can not be called back, and hang up later."""
        call = self.pbx.call("support", number)
        self.world.run(20)
        call.press()
        self.world.run(10)
        assert call.waiting
        call.hang_up()
        self.world.run(1)

    def answers(self) -> dict[str, Any]:
        """Return what the service answers at the end."""
        tasks = self.order("tasks.list", all=True, status=None, queue=None, number=None)
        numbers = [task["id"] for task in tasks]
        return {
            "version": __version__,
            "database": migrate.newest_version(),
            "ended_at": self.world.clock.seconds(),
            #: What Asterisk keeps of calls, with the service or without it.
            "astdb": [[*key, value] for key, value in self.pbx.astdb.items()],
            "listed": tasks,
            "shown": [self.order("tasks.show", id=number) for number in numbers],
            "blocked": self.order("numbers.list"),
            "refused": self.order("numbers.refused", queue=None),
        }


def main() -> None:
    """Play the day, print the answers, and kill the service."""
    day = Day(sys.argv[1])
    day.play()
    answers = day.answers()
    day.world.processes[-1].kill()
    json.dump(answers, sys.stdout, ensure_ascii=False, indent=1)


if __name__ == "__main__":
    main()
