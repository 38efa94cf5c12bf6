# SPDX-License-Identifier: MIT
"""Two Asterisks, a service beside each of them, and one PostgreSQL for both services.

Each service has a host name of its own, as on two machines. So a service does not see
whether the other one's process has ended: it takes over when the lease has run out.
Clients' phones are reached from both Asterisks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import attrs
import sqlalchemy as sa

from tests.lab.asterisk import Asterisk
from tests.lab.closing import Starting
from tests.lab.config import ROUTE_FAMILY, Queue
from tests.lab.databases import PostgreSQL
from tests.lab.errors import LabError
from tests.lab.lab import Lab
from tests.lab.phones import Client
from tests.lab.program import Launcher, command_on
from tests.lab.scenarios import Behaviour
from tests.lab.service import LogLine, Service, default_settings, merged, says

_START_DEADLINE_S = 60.0
_HOLD_BACK = sa.text(
    "INSERT INTO lease (name, host, boot_id, pid, pid_space, process_start, token,"
    " since, epoch, valid_until)"
    " VALUES (:name, '', '', 0, '', '', '', 0, 0, 1e12)"
)
_LET_TAKE = sa.text(
    "UPDATE lease SET valid_until = extract(epoch FROM clock_timestamp())"
    " WHERE name = :name"
)


@attrs.frozen(eq=False)
class Site:
    """One machine: an Asterisk and the service beside it."""

    #: The name of the instance.
    name: str
    asterisk: Asterisk
    #: Everybody who takes part there.
    lab: Lab
    service: Service

    @property
    def node(self) -> str:
        """The name of the Asterisk in the settings."""
        return node_of(self.name)


def node_of(name: str) -> str:
    """Return the name of the Asterisk of a site in the settings."""
    return f"pbx-{name}"


def addresses(name: str, asterisks: Mapping[str, Asterisk]) -> Mapping[str, str]:
    """Return the variable CALLBACK_AGI of a site's Asterisk: its own service first.

    Args:
        name: of the site.
        asterisks: those of all sites, by their names.
    """
    nearest_first = sorted(asterisks, key=lambda other: other != name)
    found = (
        f"agi://127.0.0.1:{asterisks[other].ports.agi}/{node_of(name)}"
        for other in nearest_first
    )
    return {"CALLBACK_AGI": "&".join(found)}


def settings_of(
    name: str, asterisks: Mapping[str, Asterisk], url: str
) -> Mapping[str, Any]:
    """Return what differs from the laboratory's settings for the service of a site.

    Args:
        name: of the site.
        asterisks: those of all sites, by their names.
        url: of the database.
    """
    nodes = {
        node_of(other): {
            "ami": default_settings(asterisk, asterisk.home)["ami"],
            "history": {"enabled": False},
        }
        for other, asterisk in asterisks.items()
    }
    return {
        "ami": None,
        "history": None,
        "nodes": nodes,
        "database": {"url": url},
        "instance": {"name": name, "nodes": [node_of(name)]},
    }


def hold_back(url: str, nodes: Sequence[str]) -> None:
    """Let nobody take these Asterisks until :func:`let_take`.

    Otherwise a service that starts a second earlier than the others takes all of them.
    """
    values = [{"name": f"node:{node}"} for node in nodes]
    _change(url, _HOLD_BACK, values)


def let_take(url: str, nodes: Sequence[str]) -> None:
    """Let each service take the Asterisk that it prefers."""
    _change(url, _LET_TAKE, [{"name": f"node:{node}"} for node in nodes])


def _change(url: str, statement: sa.TextClause, values: list[dict[str, str]]) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as conn:
        conn.execute(statement, values)
    engine.dispose()


def machine_of(name: str) -> Launcher:
    """Return how the service of a site is started: on a machine of its own."""
    return command_on(f"machine-{name}")


def holds(node: str) -> Callable[[LogLine], object]:
    """Return a predicate: the log line of a service that takes an Asterisk."""
    return says(f"^this instance holds the Asterisk {node} now")


_STARTS = says("^callback-queue .* starts")


def _connected(node: str) -> Callable[[LogLine], object]:
    return says(f"^connected to Asterisk {node} at")


class Cluster(Starting):
    """The sites ``a`` and ``b``: the service of each holds the Asterisk there."""

    def __init__(
        self,
        queues: Mapping[str, Sequence[Queue]],
        settings: Mapping[str, Any],
        major: int = 22,
    ) -> None:
        """Prepare.

        Args:
            queues: those of the Asterisk of each site, by the site's name.
            settings: what differs from the laboratory's settings, for both services.
            major: the version of both Asterisks.
        """
        self._stack = ExitStack()
        self._settings = settings
        self.sites: tuple[Site, ...] = ()
        try:
            self._server = PostgreSQL()
            self._stack.callback(self._server.close)
            self._asterisks: dict[str, Asterisk] = {}
            for name, own in queues.items():
                asterisk = Asterisk(major, queues=own, system_name=node_of(name))
                self._stack.callback(asterisk.close)
                self._asterisks[name] = asterisk
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Start everything; return when each service holds its Asterisk.

        Raises:
            LabError: something does not start; the text holds what it said.
        """
        try:
            self._start()
        except BaseException as error:
            if isinstance(error, LabError):
                error.add_note(self.report())
            self.close()
            raise

    def _start(self) -> None:
        self._server.start()
        url = self._stack.enter_context(self._server.database())
        for name, asterisk in self._asterisks.items():
            asterisk.set_dialplan(global_variables=addresses(name, self._asterisks))
            asterisk.start()
        for name, asterisk in self._asterisks.items():
            lab = Lab(asterisk, launcher=machine_of(name))
            self._stack.callback(lab.close)
            own = settings_of(name, self._asterisks, url)
            service = lab.service(merged(self._settings, own), start=False)
            self.sites += (Site(name, asterisk, lab, service),)
        made = self.sites[0].service.cli("db", "upgrade")
        if made.exit_code:
            raise LabError(f"no database could be made:\n{made.out}{made.err}")
        nodes = [site.node for site in self.sites]
        hold_back(url, nodes)
        for site in self.sites:
            site.service.start(ready=False)
        for site in self.sites:
            site.service.wait_for(_STARTS, _START_DEADLINE_S)
        let_take(url, nodes)
        for site in self.sites:
            for line in (holds(site.node), _connected(site.node)):
                site.service.wait_for(line, _START_DEADLINE_S)

    def close(self) -> None:
        """End everything and remove all files."""
        self._stack.close()

    def client(self, number: str, *behaviours: Behaviour) -> Client:
        """Create the phone of a client, whom both Asterisks reach."""
        first, *others = self.sites
        client = first.lab.client(number, *behaviours)
        for site in others:
            site.asterisk.cli(f"database put {ROUTE_FAMILY} {number} {client.slot}")
        return client

    def report(self) -> str:
        """Return what the services said, for a person."""
        return "\n\n".join(
            f"service {site.name}:\n{site.service.report()}" for site in self.sites
        )
