# SPDX-License-Identifier: MIT
"""From Debian's Asterisk 22 as shipped to a callback: two commands."""

from __future__ import annotations

import resource
from typing import Final

from tests.lab.trees import find_debian
from tests.packaging import EPOCH
from tests.packaging.exchange import Exchange
from tests.packaging.machine import ADMIN, Machine
from tools import deb

_MOST_S: Final = 60.0
_CLIENT: Final = "+4930123456"
_SETUP: Final = (
    "sudo callback-queue setup --yes --queue support"
    " --outbound 'PJSIP/{number}@trunk' --region DE"
)


def test_a_package_and_setup_lead_to_a_callback_within_a_minute_of_processor_time() -> (
    None
):
    package = deb.build(14, epoch=EPOCH)
    with Machine(find_debian(14), "setup") as machine:
        exchange = Exchange(machine)
        try:
            exchange.configure()
            before = exchange.configuration()
            machine.copy_in(package, f"/home/{ADMIN}/")
            used_s = _processor_time_s(machine)
            machine.run("sudo apt-get install -y ./callback-queue_*.deb", user=ADMIN)
            said = machine.run(_SETUP, user=ADMIN)
            exchange.call_back(_CLIENT)
            used_s = _processor_time_s(machine) - used_s
            assert used_s < _MOST_S, said
            tasks = machine.run("sudo callback-queue tasks list --all", user=ADMIN)
            assert _CLIENT in tasks
            machine.run("sudo callback-queue check", user=ADMIN)
            machine.run("sudo callback-queue setup --undo --yes", user=ADMIN)
            assert exchange.configuration() == before
        finally:
            exchange.close()


def _processor_time_s(machine: Machine) -> float:
    """Return what the machine's services and all commands of this test have used."""
    commands = resource.getrusage(resource.RUSAGE_CHILDREN)
    return commands.ru_utime + commands.ru_stime + machine.processor_time_s()
