# SPDX-License-Identifier: MIT
"""The share of the FastAGI server that one peer may use."""

from __future__ import annotations

from ipaddress import ip_network

from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent

from fastagi.agi.peers import Admission, Peers, RateLimitedReport
from fastagi.agi.session import AgiSession
from tests.emulator.agi_client import AsteriskAgi
from tests.unit.test_agi_server import ServerTestCase, Stranger

NETWORKS = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


def peers(clock: Clock, *, max_at_once: int = 2, max_per_second: int = 100) -> Peers:
    return Peers(
        clock=clock,  # type: ignore[arg-type]
        allowed=NETWORKS,
        max_at_once=max_at_once,
        max_per_second=max_per_second,
    )


def test_one_peer_is_limited_and_another_is_not() -> None:
    some = peers(Clock())
    assert some.admit("10.0.0.1") is Admission.ADMITTED
    assert some.admit("10.0.0.1") is Admission.ADMITTED
    assert some.admit("10.0.0.1") is Admission.TOO_MANY
    assert some.admit("10.0.0.2") is Admission.ADMITTED
    some.release("10.0.0.1")
    assert some.admit("10.0.0.1") is Admission.ADMITTED


def test_each_form_of_an_address_is_the_same_peer() -> None:
    some = peers(Clock())
    assert some.admit("10.0.0.1") is Admission.ADMITTED
    assert some.admit("::ffff:10.0.0.1") is Admission.ADMITTED
    assert some.admit("::ffff:a00:1") is Admission.TOO_MANY
    assert some.admit("fd00::1") is Admission.ADMITTED
    assert some.admit("fd00:0::0:1") is Admission.ADMITTED
    assert some.admit("fd00::1") is Admission.TOO_MANY


def test_rate_counts_those_who_were_refused_too_and_begins_anew() -> None:
    clock = Clock()
    some = peers(clock, max_at_once=1, max_per_second=3)
    told = [some.admit("10.0.0.1") for _ in range(5)]
    assert told == [
        Admission.ADMITTED,
        *[Admission.TOO_MANY] * 2,
        *[Admission.TOO_FAST] * 2,
    ]
    assert some.admit("10.0.0.2") is Admission.ADMITTED
    some.release("10.0.0.1")
    assert some.admit("10.0.0.1") is Admission.TOO_FAST
    clock.advance(1)
    assert some.admit("10.0.0.1") is Admission.ADMITTED


def test_strangers_are_strangers_however_many() -> None:
    some = peers(Clock(), max_per_second=1)
    for host in ("127.0.0.1", "192.0.2.1", "::1", "", "somewhere", "10.0.0.1%eth0"):
        assert some.admit(host) is Admission.NOT_ALLOWED
        assert some.admit(host) is Admission.NOT_ALLOWED


def test_refused_connections_are_reported_at_once_and_then_once_a_minute() -> None:
    clock = Clock()
    reported: list[tuple[int, str]] = []
    refused = RateLimitedReport(
        clock,  # type: ignore[arg-type]
        lambda count, peer: reported.append((count, peer)),
    )
    refused.add("a")
    for _ in range(1000):
        refused.add("b")
    assert reported == [(1, "a")]
    clock.advance(60)
    refused.add("c")
    assert reported == [(1, "a"), (1001, "c")]


async def _wait_for_a_key(agi: AgiSession) -> None:
    await agi.wait_for_digit(60)


class TestShares(ServerTestCase):
    """With the whole server: one of two Asterisks uses all that it can get."""

    def setUp(self) -> None:
        super().setUp()
        self.scripts = {"request": _wait_for_a_key}
        self.serve(
            max_connections=8,
            max_connections_per_peer=6,
            allowed_peers=(ip_network("10.0.0.0/8"),),
            header_timeout_s=3.0,
        )

    def connect(self, strangers: list[Stranger], host: str) -> None:
        """Connect several; they are closed after the test."""
        calls = [self.endpoint.connect(one, host) for one in strangers]
        for call in calls:
            self.addCleanup(call.flush)
        self.addCleanup(self.clock.pump, [1.0] * 5)

    def test_peer_that_never_asks_for_anything_leaves_room_for_another(self) -> None:
        # Single bytes do not help: the time limit is for the whole header block.
        slow = [Stranger(b"agi_network: yes\n") for _ in range(20)]
        self.connect(slow, "10.0.0.1")
        self.assertEqual(self.server.active, 6)
        asterisk = AsteriskAgi(digits="5")
        call = self.call(asterisk, "10.0.0.2")
        call.flush()
        self.assertEqual(asterisk.agistatus, "SUCCESS")

    def test_refused_peer_hears_failure_at_once_and_the_log_says_why(self) -> None:
        with capturedLogs() as logs:
            refused = [Stranger() for _ in range(20)]
            self.connect(refused, "10.0.0.1")
        self.assertEqual([one.heard for one in refused[6:]], [b"failure\n"] * 14)
        warnings = [formatEvent(e) for e in logs if e["log_level"] is LogLevel.warn]
        self.assertEqual(
            warnings,
            [
                "1 FastAGI connections were refused, the latest from 10.0.0.1: it has"
                " fastagi.max_connections_per_peer of them"
            ],
        )

    def test_strangers_are_told_nothing_and_the_log_is_not_flooded(self) -> None:
        with capturedLogs() as logs:
            strangers = [Stranger(b"agi_network: yes\n") for _ in range(1000)]
            self.connect(strangers, "192.0.2.1")
        self.assertTrue(all(one.lost and not one.heard for one in strangers))
        self.assertEqual(len(logs), 1)
        self.assertIn("not in fastagi.allowed_peers", str(formatEvent(logs[0])))
