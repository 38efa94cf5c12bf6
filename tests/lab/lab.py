# SPDX-License-Identifier: MIT
"""One test's laboratory: an Asterisk, its witness, and everybody who takes part.

Owns the order in which all of it is closed, and the report of a failed test.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from tests.lab.asterisk import Asterisk
from tests.lab.errors import LabError
from tests.lab.phones import LIFETIME_S, Agent, Caller, Client, Phone
from tests.lab.program import COMMAND, Launcher
from tests.lab.scenarios import Behaviour, Step
from tests.lab.service import Service
from tests.lab.witness import Witness

_LOG_TAIL = 12_000

AnyPhone = TypeVar("AnyPhone", bound=Phone)


class Lab:
    """The laboratory of one test; everything that it creates is closed with it."""

    def __init__(self, asterisk: Asterisk, *, launcher: Launcher = COMMAND) -> None:
        self.asterisk = asterisk
        self._launcher = launcher
        #: Whether phones created from now on speak and listen. Each such phone is a
        #: thread that sends fifty packets a second: too much for dozens of them.
        self.voices = True
        #: How long phones created from now on exist, in seconds.
        self.lifetime_s = LIFETIME_S
        self.witness = Witness(asterisk.ports.ami)
        self.witness.connect()
        self._phones: list[Phone] = []
        self._services: list[Service] = []

    def agent(self, name: str, *behaviours: Behaviour) -> Agent:
        """Create the phone of one of `config.AGENTS`, such as alice."""
        return self._keep(
            Agent(
                self.asterisk,
                name,
                *behaviours,
                speaks=self.voices,
                lifetime_s=self.lifetime_s,
            )
        )

    def client(self, number: str, *behaviours: Behaviour) -> Client:
        """Create the phone of a client."""
        return self._keep(
            Client(
                self.asterisk,
                number,
                *behaviours,
                speaks=self.voices,
                lifetime_s=self.lifetime_s,
            )
        )

    def caller(
        self,
        exten: str,
        *steps: Step,
        number: str = "+4930123456",
        display_name: str = "",
        withheld: bool = False,
        headers: Iterable[str] = (),
        keys_as_rtp: bool = False,
    ) -> Caller:
        """Let somebody call an extension of [inbound]."""
        return self._keep(
            Caller(
                self.asterisk,
                exten,
                *steps,
                number=number,
                display_name=display_name,
                withheld=withheld,
                headers=headers,
                keys_as_rtp=keys_as_rtp,
                speaks=self.voices,
            )
        )

    def service(
        self, settings: Mapping[str, Any] | None = None, *, start: bool = True
    ) -> Service:
        """Start the product beside this Asterisk."""
        service = Service(self.asterisk, settings, launcher=self._launcher)
        self._services.append(service)
        if start:
            service.start()
        return service

    def _keep(self, phone: AnyPhone) -> AnyPhone:
        self._phones.append(phone)
        return phone

    def close(self) -> None:
        """Close everything; Asterisk itself stays."""
        for service in self._services:
            service.close()
        # The phones still answer the BYEs, so none is repeated later.
        with suppress(LabError):
            self.asterisk.thaw()
            self.asterisk.hang_up_everything()
        for phone in self._phones:
            phone.close()
        self.witness.close()

    def report(self) -> list[tuple[str, str]]:
        """Return what everybody saw, as titles and texts."""
        sections = [
            (f"Asterisk {self.asterisk.version}: log", self.asterisk.log[-_LOG_TAIL:]),
            ("witness: latest events", self.witness.report()),
        ]
        sections += [(f"phone {one.name}", one.report()) for one in self._phones]
        sections += [("service", one.report()) for one in self._services]
        return sections
