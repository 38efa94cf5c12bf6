# SPDX-License-Identifier: MIT
"""Ports for one laboratory that no other laboratory on the machine uses.

A lock on a file holds a block or a single port as long as the process lives. All ports
lie below the kernel's ephemeral range, so that neither a second test run nor an
outgoing connection can take a port between its choice and its use.
"""

from __future__ import annotations

import fcntl
import os
import socket
from contextlib import suppress
from typing import IO

import attrs

from tests.lab.errors import LabError
from tests.lab.trees import SHARED

_FIRST = 12000
_SIZE = 600
_BLOCKS = 33
#: Single ports, below the blocks.
_SINGLE = range(11900, 12000)

_PHONES = 10
_PHONE_PORTS = 8
_PHONE_SLOTS = 50
_RTP = _PHONES + _PHONES + _PHONE_PORTS * _PHONE_SLOTS
#: Phones use 127.0.0.1, then 127.0.0.2, ...: one address for each round of the slots.
_ADDRESSES = 200


@attrs.frozen
class PhoneSlot:
    """The place of one phone: an address, and the first of its eight ports."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class PortBlock:
    """Six hundred ports of 127.0.0.1: AMI, SIP, AGI, phones and Asterisk's RTP."""

    def __init__(self) -> None:
        self._next_slot = 0
        for number in range(_BLOCKS):
            base = _FIRST + number * _SIZE
            lock = _try_lock(f"ports-{os.getuid()}-{number:02}")
            if lock is None:
                continue
            tcp = (base, *range(base + 2, base + _PHONES))
            if _is_free(socket.SOCK_DGRAM, base + 1) and all(
                _is_free(socket.SOCK_STREAM, port) for port in tcp
            ):
                self._lock = lock
                #: The number of this block, unique among the running laboratories of
                #: this user.
                self.number = number
                self.base = base
                return
            lock.close()
        raise LabError("no free block of ports: stop other laboratories")

    @property
    def ami(self) -> int:
        """TCP port of the manager interface."""
        return self.base

    @property
    def sip(self) -> int:
        """UDP port of chan_pjsip."""
        return self.base + 1

    @property
    def agi(self) -> int:
        """TCP port where the FastAGI server under test listens."""
        return self.base + 2

    @property
    def spare(self) -> int:
        """TCP port for other purposes of a test (a proxy, a status page)."""
        return self.base + 3

    @property
    def ami_tls(self) -> tuple[int, ...]:
        """TCP ports for the manager interface with TLS, one for each certificate."""
        return tuple(range(self.base + 4, self.base + _PHONES))

    @property
    def rtp(self) -> tuple[int, int]:
        """First and last UDP port of Asterisk's RTP range."""
        return self.base + _RTP, self.base + _SIZE - 1

    def phone_slot(self) -> PhoneSlot:
        """Return an address and eight ports for a phone.

        SIP, SIPp's control port, two that SIPp takes for media and two that come with
        them, then the phone's own RTP and RTCP.

        No slot is used twice before 200 rounds are over. Asterisk repeats an INVITE to
        a closed phone for some seconds; it must not reach the phone of a later test.
        """
        turn, slot = divmod(self._next_slot, _PHONE_SLOTS)
        self._next_slot += 1
        return PhoneSlot(
            host=f"127.0.0.{1 + turn % _ADDRESSES}",
            port=self.base + _PHONES + slot * _PHONE_PORTS,
        )

    def release(self) -> None:
        """Release the block."""
        self._lock.close()


class HeldPort:
    """One TCP port of 127.0.0.1, for a server that belongs to no Asterisk."""

    def __init__(self) -> None:
        for number in _SINGLE:
            lock = _try_lock(f"port-{os.getuid()}-{number}")
            if lock is None:
                continue
            if _is_free(socket.SOCK_STREAM, number):
                self._lock = lock
                self.number = number
                return
            lock.close()
        raise LabError("no free port: stop other laboratories")

    def release(self) -> None:
        """Release the port."""
        self._lock.close()


def _try_lock(name: str) -> IO[str] | None:
    lock = (SHARED / f"callback-queue-lab-{name}.lock").open("a")
    with suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return lock
    lock.close()
    return None


def _is_free(kind: socket.SocketKind, port: int) -> bool:
    with socket.socket(socket.AF_INET, kind) as probe:
        if kind is socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
