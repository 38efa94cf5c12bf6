# SPDX-License-Identifier: MIT
"""A soak of two services on one PostgreSQL, each beside an Asterisk of its own.

One of the services at a time is killed, frozen or stopped for a while; the other one
takes over its Asterisk. A service that comes back or wakes up may hold none.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import sqlalchemy as sa

from tests.lab.cluster import addresses, machine_of, node_of, settings_of
from tests.lab.databases import PostgreSQL
from tests.lab.errors import LabError
from tests.lab.processes import wait_until
from tests.lab.service import Service, merged, says
from tests.soak.plan import Plan, Trouble
from tests.soak.rules import Disturbance, Tables, Verdict, read_postgresql
from tests.soak.soak import READY_DEADLINE_S, AnySoak, Pace, connected_at
from tests.soak.town import Town

#: How long a service is away at most, in seconds: in half of the times longer than the
#: lease on its Asterisk.
LONGEST_S = 12.0
_NAMES = ("a", "b")
_TAKES = says("^this instance holds the Asterisk")
#: From a fault's end until another service has taken over at the latest: the lease, a
#: second, the connect, and what a busy machine needs.
_TAKES_OVER_S = 20.0


class ClusterSoak(AnySoak):
    """Two services, each beside an Asterisk."""

    def __init__(
        self,
        plan: Plan,
        pace: Pace | None = None,
        tell: Callable[[str], object] = print,
    ) -> None:
        self._stack = ExitStack()
        nodes = [node_of(name) for name in _NAMES]
        super().__init__(plan, pace, tell, Town(plan, system_names=nodes))
        self._stack.callback(self.town.close)
        self._server = PostgreSQL()
        self._stack.callback(self._server.close)
        self._asterisks = dict(zip(_NAMES, self.town.exchanges, strict=True))
        #: Which service is disturbed.
        self._chance = random.Random(f"{plan.seed} services")
        self._url = ""
        #: The services that ended though nobody had ended them.
        self._ended: list[str] = []

    def start(self) -> None:
        """Start everything."""
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        self._server.start()
        self._url = self._stack.enter_context(self._server.database())
        for name, asterisk in self._asterisks.items():
            asterisk.set_dialplan(global_variables=addresses(name, self._asterisks))
        self.town.start()
        for name, asterisk in self._asterisks.items():
            own = settings_of(name, self._asterisks, self._url)
            service = Service(
                asterisk,
                merged(self._pace.settings(self.town), own),
                launcher=machine_of(name),
            )
            self._stack.callback(service.close)
            self.services.append(service)
        made = self.services[0].cli("db", "upgrade")
        if made.exit_code:
            raise LabError(f"no database could be made:\n{made.out}{made.err}")
        for service in self.services:
            service.start(ready=False)
        self.wait_until_ready()

    def close(self) -> None:
        """End everything and remove all files."""
        self._stack.close()

    def wait_until_ready(self) -> None:
        """Wait until each Asterisk is held by a service that is connected to it."""
        wait_until(self._all_held, READY_DEADLINE_S, "a holder of each Asterisk")

    def _all_held(self) -> bool:
        held: list[str] = []
        for service in self.services:
            answer = service.status()
            if answer is None:
                return False
            held += (one["name"] for one in answer["nodes"] if one["connected"])
        return sorted(held) == [node_of(name) for name in _NAMES]

    def run(self) -> Verdict:
        """Run the soak; return the results."""
        verdict = super().run()
        taken = sum(
            bool(_TAKES(line)) for service in self.services for line in service.lines
        )
        # Each was taken once at the start.
        verdict.figures["Asterisks taken over"] = f"{taken - len(_NAMES)}"
        verdict.rule("services that ended by themselves", self._ended)
        return verdict

    def tables(self) -> Tables:
        """Return all rows of the database."""
        return read_postgresql(self._url)

    def ask(self, question: str) -> list[Any]:
        """Return the rows that a query finds."""
        engine = sa.create_engine(self._url)
        with engine.connect() as db:
            found = [tuple(row) for row in db.execute(sa.text(question))]
        engine.dispose()
        return found

    def begin(self, trouble: Trouble) -> Callable[[], object]:
        """Disturb one of the services; return the function that ends it."""
        number = self._chance.randrange(len(self.services))
        service = self.services[number]
        if not service.running:
            self._ended.append(f"service {_NAMES[number]}")
            return partial(service.start, ready=False)
        match trouble:
            case Trouble.KILL_SERVICE:
                service.kill()
            case Trouble.HAND_OVER:
                service.stop()
            case Trouble.FREEZE_SERVICE:
                service.freeze()
                return service.thaw
            case _:
                raise LabError(f"{trouble.value}: not with several services")
        return partial(service.start, ready=False)

    def recovered_at(self, one: Disturbance) -> float:
        """Return when each Asterisk was followed again after a fault."""
        connected = (
            at
            for service in self.services
            for at in map(connected_at, service.lines)
            if one.began < at < one.over + _TAKES_OVER_S
        )
        return max(one.over, *connected, one.began)
