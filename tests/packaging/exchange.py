# SPDX-License-Identifier: MIT
"""The Asterisk of a machine, as an administrator has set it up, and phones for it.

One queue ``support`` with one agent, one trunk. Owns what is appended to Debian's
files, and the directory of the phones. Independent of the product.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import attrs

from tests.lab.phones import LIFETIME_S, CalledPhone, Caller
from tests.lab.ports import PhoneSlot
from tests.lab.scenarios import Answer, Press
from tests.lab.trees import SHARED, find_tree
from tests.packaging.machine import Machine

#: The number that callers dial.
HOTLINE: Final = "4930999"
AGENT: Final = PhoneSlot("127.0.0.1", 6000)
#: Whoever is called through the trunk is at this address.
OUTSIDE: Final = PhoneSlot("127.0.0.1", 6020)
_CALLER: Final = PhoneSlot("127.0.0.1", 6040)
_AGENT_HZ: Final = 700
_CLIENT_HZ: Final = 1600

_PJSIP: Final = f"""
[udp]
type = transport
protocol = udp
bind = 127.0.0.1:5060

[trunk]
type = endpoint
transport = udp
context = from-trunk
disallow = all
allow = ulaw
direct_media = no
dtmf_mode = auto_info
trust_id_inbound = yes
aors = trunk

[trunk]
type = aor
contact = sip:{OUTSIDE}

[trunk]
type = identify
endpoint = trunk
match = 127.0.0.0/8

[101]
type = endpoint
transport = udp
context = internal
disallow = all
allow = ulaw
direct_media = no
aors = 101

[101]
type = aor
contact = sip:101@{AGENT}
"""
_QUEUES: Final = """
[support]
strategy = ringall
timeout = 15
retry = 1
member => PJSIP/101
"""
_EXTENSIONS: Final = f"""
[from-trunk]
exten => {HOTLINE},1,Answer()
 same => n,Queue(support,t,,,600)
 same => n,Hangup()

[internal]
exten => _X.,1,Dial(PJSIP/${{EXTEN}}@trunk)
"""


@attrs.define
class _Ports:
    sip: int = 5060

    def phone_slot(self) -> PhoneSlot:
        """Return the place of the caller's phone."""
        return _CALLER


class Exchange:
    """The running Asterisk of a machine; to phones it is like one of the laboratory."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.tree = find_tree(22)
        self.ports = _Ports()
        self.home = Path(tempfile.mkdtemp(dir=SHARED, prefix="callback-queue-phones-"))
        (self.home / "phones").mkdir()

    def close(self) -> None:
        """Remove the phones' files."""
        shutil.rmtree(self.home, ignore_errors=True)

    def configure(self) -> None:
        """Append the office's own lines to Debian's files, and restart Asterisk."""
        for name, text in (
            ("pjsip.conf", _PJSIP),
            ("queues.conf", _QUEUES),
            ("extensions.conf", _EXTENSIONS),
        ):
            path = self.machine.path(f"/etc/asterisk/{name}")
            path.write_text(path.read_text() + text)
        self.machine.run("systemctl restart asterisk")
        self.machine.wait_until("asterisk -rx 'core waitfullybooted'")

    def cli(self, command: str) -> str:
        """Run a command of Asterisk's command line."""
        return self.machine.run(f"asterisk -rx '{command}'")

    @contextmanager
    def people(self) -> Iterator[tuple[CalledPhone, CalledPhone]]:
        """Plug in the phones of the agent and of the client."""
        with self.machine.network():
            agent = CalledPhone(
                self,  # type: ignore[arg-type]
                "agent",
                [Answer()],
                slot=AGENT,
                voice_hz=_AGENT_HZ,
                speaks=True,
                lifetime_s=LIFETIME_S,
            )
            client = CalledPhone(
                self,  # type: ignore[arg-type]
                "client",
                [Answer()],
                slot=OUTSIDE,
                voice_hz=_CLIENT_HZ,
                speaks=True,
                lifetime_s=LIFETIME_S,
            )
        with agent, client:
            yield agent, client

    def call_back(self, number: str) -> None:
        """A caller presses 1 and hangs up, an agent becomes free, and the two talk.

        Raises:
            DeadlinePassed: one of these things did not happen.
        """
        self.cli("queue pause member PJSIP/101 queue support")
        with self.people() as (agent, client):
            with self._caller_presses_1(number) as caller:
                caller.wait_until_hung_up(20)
                assert caller.got_bye, "the request was not accepted"
            self.cli("queue unpause member PJSIP/101 queue support")
            agent.wait_for_call(20)
            client.wait_for_call(20)
            agent.wait_to_hear(client)
            client.wait_to_hear(agent)

    def _caller_presses_1(self, number: str) -> Caller:
        with self.machine.network():
            return Caller(
                self,  # type: ignore[arg-type]
                HOTLINE,
                Press("1", after_ms=1500),
                number=number,
            )

    def configuration(self) -> dict[str, str]:
        """Return the sum of each file of /etc/asterisk."""
        listed = self.machine.run(
            "cd /etc/asterisk && find . -type f -exec sha256sum {} +"
        )
        return {name: digest for digest, name in map(str.split, listed.splitlines())}
