# SPDX-License-Identifier: MIT
"""One FastAGI connection: replies and their commands, time limits, every way to end."""

from __future__ import annotations

import math

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import LogLevel, capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from fastagi.agi.errors import (
    AgiConnectionLost,
    AgiError,
    AgiHungUp,
    AgiMisunderstood,
    AgiTimedOut,
)
from fastagi.agi.protocol import AgiLimits, AgiProtocol
from fastagi.wire.agi import AgiReply, AgiRequest
from fastagi.wire.errors import LocalProtocolError
from tests.recordings.dialogue import dialogue_names, read_dialogue

OPENING = (
    b"agi_network: yes\nagi_network_script: request\nagi_uniqueid: 1795377942.1\n\n"
)
NOOP = b"NOOP\n"
FAILURE = b"failure\n"


class Owner:
    """Stores the calls of a connection."""

    def __init__(self) -> None:
        self.requests: list[AgiRequest] = []
        self.expired = 0
        self.closed = 0

    def request_received(self, link: AgiProtocol, request: AgiRequest) -> None:
        self.requests.append(request)

    def session_expired(self, link: AgiProtocol) -> None:
        self.expired += 1

    def link_closed(self, link: AgiProtocol) -> None:
        assert link.closed
        self.closed += 1


class ConnectionTestCase(SynchronousTestCase):
    """A connection in memory, which must leave nothing behind."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.owner = Owner()
        self.connect()
        self.addCleanup(self.leaves_nothing)

    def connect(self) -> None:
        if hasattr(self, "link") and not self.link.closed:
            self.lose()
        self.transport = StringTransport()
        self.link = AgiProtocol(
            owner=self.owner,
            clock=self.clock,
            limits=AgiLimits(),
            peer="127.0.0.1",
        )
        self.link.makeConnection(self.transport)

    def leaves_nothing(self) -> None:
        if not self.link.closed:
            self.lose()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def lose(self) -> None:
        self.link.connectionLost(Failure(ConnectionDone()))

    def open(self) -> None:
        self.link.dataReceived(OPENING)
        self.assertEqual(len(self.owner.requests), 1)

    def receive(self, data: bytes) -> None:
        self.link.dataReceived(data)

    def sent(self) -> bytes:
        data = self.transport.value()
        self.transport.clear()
        return data

    def assert_given_up(self) -> None:
        self.assertEqual(self.sent(), FAILURE)
        with self.assertRaises(AgiError):
            self.link.send_command(NOOP)
        self.assertEqual(self.sent(), b"")


class TestCommands(ConnectionTestCase):
    def test_a_request_is_handed_over_once_it_is_whole(self) -> None:
        for byte in OPENING[:-1]:
            self.receive(bytes([byte]))
        self.assertEqual(self.owner.requests, [])
        self.receive(OPENING[-1:])
        (request,) = self.owner.requests
        self.assertEqual(request.script, "request")
        self.assertEqual(self.sent(), b"")

    def test_no_command_before_the_request(self) -> None:
        with self.assertRaises(LocalProtocolError):
            self.link.send_command(NOOP)
        self.assertEqual(self.sent(), b"")

    def test_a_command_gets_its_reply(self) -> None:
        self.open()
        waiting = self.link.send_command(b"GET VARIABLE A\n")
        self.assertEqual(self.sent(), b"GET VARIABLE A\n")
        self.receive(b"200 resu")
        self.assertNoResult(waiting)
        self.receive(b"lt=1 (x)\n")
        self.assertEqual(self.successResultOf(waiting).value, "x")

    def test_a_refusal_is_a_reply_too(self) -> None:
        self.open()
        waiting = self.link.send_command(NOOP)
        self.receive(b"520-Invalid\nusage\n520 End\n")
        self.assertEqual(self.successResultOf(waiting).code, 520)

    def test_the_next_command_may_go_out_from_within_the_reply(self) -> None:
        self.open()
        later: list[Deferred[AgiReply]] = []
        self.link.send_command(NOOP).addCallback(
            lambda _: later.append(self.link.send_command(b"ANSWER\n"))
        )
        self.sent()
        self.receive(b"200 result=0\n")
        self.assertEqual(self.sent(), b"ANSWER\n")
        self.receive(b"200 result=0\n")
        self.successResultOf(later[0])

    def test_a_second_command_is_not_sent_before_the_reply(self) -> None:
        self.open()
        waiting = self.link.send_command(NOOP)
        with self.assertRaises(LocalProtocolError):
            self.link.send_command(b"ANSWER\n")
        self.assertEqual(self.sent(), NOOP)
        self.receive(b"200 result=0\n")
        self.successResultOf(waiting)

    def test_100_is_not_the_reply(self) -> None:
        self.open()
        waiting = self.link.send_command(b"GOSUB a s 1\n")
        self.receive(b"100 result=0 Trying...\n")
        self.assertNoResult(waiting)
        self.receive(b"200 result=0 Gosub complete\n")
        self.assertEqual(self.successResultOf(waiting).data, "Gosub complete")


class TestHangup(ConnectionTestCase):
    def test_hangup_is_no_reply(self) -> None:
        self.open()
        waiting = self.link.send_command(NOOP)
        self.receive(b"HANGUP\n")
        self.assertTrue(self.link.hung_up)
        self.assertNoResult(waiting)
        self.receive(b"511 Command Not Permitted\n")
        self.assertEqual(self.successResultOf(waiting).code, 511)

    def test_hangup_between_commands(self) -> None:
        self.open()
        self.assertFalse(self.link.hung_up)
        self.receive(b"HANGUP\n")
        self.assertTrue(self.link.hung_up)
        waiting = self.link.send_command(NOOP)
        self.receive(b"200 result=0\n")
        self.successResultOf(waiting)

    def test_hangup_glued_before_and_behind_a_reply(self) -> None:
        self.open()
        for data in (b"HANGUP\n200 result=7\n", b"200 result=7\nHANGUP\nHANGUP\n"):
            waiting = self.link.send_command(NOOP)
            self.receive(data)
            self.assertEqual(self.successResultOf(waiting).result, 7)
        self.assertTrue(self.link.hung_up)

    def test_hangup_glued_to_the_request(self) -> None:
        self.receive(OPENING + b"HANGUP\n")
        self.assertEqual(len(self.owner.requests), 1)
        self.assertTrue(self.link.hung_up)

    def test_hangup_cut_in_two_behind_a_reply(self) -> None:
        self.open()
        waiting = self.link.send_command(NOOP)
        self.receive(b"200 result=0\nHANG")
        self.successResultOf(waiting)
        self.receive(b"UP\n")
        self.assertTrue(self.link.hung_up)

    def test_asterisk_leaves_after_a_hangup(self) -> None:
        self.open()
        waiting = self.link.send_command(NOOP)
        self.receive(b"HANGUP\n")
        self.lose()
        self.failureResultOf(waiting, AgiHungUp)
        with self.assertRaises(AgiHungUp):
            self.link.send_command(NOOP)


class TestLoss(ConnectionTestCase):
    def test_a_lost_connection_fails_the_command_that_waits(self) -> None:
        self.open()
        waiting = self.link.send_command(NOOP)
        self.lose()
        self.failureResultOf(waiting, AgiConnectionLost)
        self.assertEqual(self.owner.closed, 1)

    def test_a_lost_connection_fails_the_commands_that_follow(self) -> None:
        self.open()
        self.lose()
        with self.assertRaises(AgiConnectionLost):
            self.link.send_command(NOOP)

    def test_a_cut_at_any_byte_of_a_dialogue(self) -> None:
        with capturedLogs() as events:
            for name in dialogue_names("agi-22.10-hangup-*"):
                heard = read_dialogue(name).from_asterisk.replace(b"\r\n", b"\n")
                for cut in range(len(heard)):
                    self.connect()
                    self.receive(heard[:cut])
                    self.lose()
                    self.assertEqual(self.clock.getDelayedCalls(), [])
        worse = [event for event in events if event["log_level"] > LogLevel.debug]
        self.assertEqual(worse, [])

    def test_whoever_connects_and_closes_costs_one_debug_line(self) -> None:
        with capturedLogs() as events:
            self.lose()
        (event,) = events
        self.assertEqual(event["log_level"], LogLevel.debug)
        self.assertEqual(self.owner.closed, 1)


class TestMisunderstanding(ConnectionTestCase):
    def test_strangers_are_closed_without_a_byte(self) -> None:
        for data in (
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
            b"\0" * 5000,
            b"\n",
            b"SSH-2.0-OpenSSH_9.2p1\r\n",
        ):
            self.connect()
            with capturedLogs() as events:
                self.receive(data)
                self.assertTrue(self.transport.disconnecting)
                self.receive(data)
                self.lose()
            self.assertEqual(self.sent(), b"")
            (event,) = events
            self.assertEqual(event["log_level"], LogLevel.debug)
        self.assertEqual(self.owner.requests, [])

    def test_headers_that_are_none_are_answered_with_failure(self) -> None:
        with capturedLogs() as events:
            self.receive(b"agi_network: yes\nno header\n\n")
            self.assert_given_up()
            self.lose()
        self.assertEqual([event["log_level"] for event in events], [LogLevel.debug])
        self.assertEqual(self.owner.requests, [])

    def test_a_header_block_without_end(self) -> None:
        self.receive(b"agi_network: yes\n")
        for n in range(10_000):
            self.receive(b"agi_x%d: y\n" % n)
        self.assert_given_up()
        self.assertEqual(self.owner.requests, [])

    def test_a_reply_that_is_none(self) -> None:
        self.open()
        waiting = self.link.send_command(NOOP)
        self.sent()
        self.receive(b"what?\n")
        self.failureResultOf(waiting, AgiMisunderstood)
        self.assert_given_up()

    def test_a_reply_that_nobody_waits_for(self) -> None:
        self.open()
        self.receive(b"200 result=1\n")
        self.assert_given_up()

    def test_a_second_reply_spoils_the_first(self) -> None:
        # A caller with this name made the value "x)\n200 result=1 (forged".
        self.open()
        waiting = self.link.send_command(b"GET VARIABLE A\n")
        self.sent()
        self.receive(b"200 result=1 (x)\n200 result=1 (forged)\n")
        self.failureResultOf(waiting, AgiConnectionLost)
        self.assert_given_up()

    def test_half_a_line_behind_a_reply_spoils_it(self) -> None:
        self.open()
        waiting = self.link.send_command(b"GET VARIABLE A\n")
        self.sent()
        self.receive(b"200 result=1 (x)\n200 res")
        self.failureResultOf(waiting, AgiConnectionLost)
        self.assert_given_up()

    def test_a_name_that_ends_the_header_block_is_not_believed(self) -> None:
        self.receive(OPENING + b"agi_callingpres: 0\n\n")
        self.assertEqual(self.owner.requests, [])
        self.assert_given_up()

    def test_what_comes_after_giving_up_is_dropped(self) -> None:
        self.open()
        self.receive(b"what?\n")
        self.sent()
        for _ in range(1000):
            self.receive(b"200 result=1\n" * 1000)
        self.assertEqual(self.sent(), b"")
        self.assertEqual(len(self.owner.requests), 1)


class TestTime(ConnectionTestCase):
    def test_no_reply_within_the_time(self) -> None:
        self.open()
        waiting = self.link.send_command(NOOP)
        self.sent()
        self.clock.advance(4.99)
        self.assertNoResult(waiting)
        self.clock.advance(0.02)
        self.failureResultOf(waiting, AgiTimedOut)
        self.assert_given_up()

    def test_each_command_has_the_whole_time(self) -> None:
        self.open()
        for _ in range(5):
            waiting = self.link.send_command(NOOP)
            self.clock.advance(4.9)
            self.receive(b"200 result=0\n")
            self.successResultOf(waiting)

    def test_a_late_reply_is_no_reply_to_anything(self) -> None:
        self.open()
        waiting = self.link.send_command(NOOP)
        self.sent()
        self.clock.advance(5.1)
        self.failureResultOf(waiting, AgiTimedOut)
        self.receive(b"200 result=0\n")
        self.assert_given_up()

    def test_a_command_may_take_longer_if_it_says_so(self) -> None:
        self.open()
        waiting = self.link.send_command(NOOP, 20.0)
        self.clock.advance(19.0)
        self.receive(b"200 result=0\n")
        self.successResultOf(waiting)

    def test_a_command_may_take_less(self) -> None:
        self.open()
        waiting = self.link.send_command(NOOP, 0.5)
        self.clock.advance(0.6)
        self.failureResultOf(waiting, AgiTimedOut)

    def test_no_command_outlasts_the_session(self) -> None:
        self.open()
        waiting = self.link.send_command(NOOP, math.inf)
        self.clock.advance(29.9)
        self.assertNoResult(waiting)
        self.clock.advance(0.2)
        error = self.failureResultOf(waiting, AgiTimedOut).value
        self.assertEqual(str(error), "The session lasted over 30 s.")

    def test_a_session_ends_though_nobody_waits_for_asterisk(self) -> None:
        self.open()
        self.clock.advance(29.9)
        self.assertEqual((self.sent(), self.owner.expired), (b"", 0))
        self.clock.advance(0.2)
        self.assertEqual(self.owner.expired, 1)
        self.assert_given_up()

    def test_a_request_that_drips_does_not_win_time(self) -> None:
        for byte in OPENING[:29]:
            self.receive(bytes([byte]))
            self.clock.advance(0.1)
        self.assertEqual(self.sent(), b"")
        self.receive(b"x")
        self.clock.advance(0.2)
        self.assert_given_up()
        self.assertEqual(self.owner.requests, [])

    def test_a_request_that_is_whole_too_late_starts_nothing(self) -> None:
        self.receive(OPENING[:20])
        self.clock.advance(3.1)
        self.receive(OPENING[20:])
        self.assertEqual(self.owner.requests, [])
        self.assert_given_up()

    def test_silence_is_given_up(self) -> None:
        with capturedLogs() as events:
            self.clock.advance(3.1)
            self.assert_given_up()
            self.clock.advance(1.1)
            self.assertTrue(self.transport.disconnecting)
            self.lose()
        self.assertEqual([event["log_level"] for event in events], [LogLevel.debug])

    def test_asterisk_is_given_a_moment_to_close(self) -> None:
        self.open()
        self.link.give_up(AgiError())
        self.clock.advance(0.9)
        self.assertFalse(self.transport.disconnecting)
        self.clock.advance(0.2)
        self.assertTrue(self.transport.disconnecting)

    def test_one_timer_serves_the_whole_session(self) -> None:
        self.open()
        for _ in range(100):
            self.link.send_command(NOOP)
            self.receive(b"200 result=0\n")
            self.assertEqual(len(self.clock.getDelayedCalls()), 1)


class TestEnd(ConnectionTestCase):
    def test_a_finished_session_closes_and_says_nothing(self) -> None:
        self.open()
        self.link.finish()
        self.assertTrue(self.transport.disconnecting)
        self.assertEqual(self.sent(), b"")
        with self.assertRaises(AgiConnectionLost):
            self.link.send_command(NOOP)

    def test_an_end_comes_only_once(self) -> None:
        self.open()
        self.link.finish()
        self.link.give_up(AgiError())
        self.link.finish()
        self.assertEqual(self.sent(), b"")

    def test_giving_up_fails_the_command_that_waits(self) -> None:
        self.open()
        waiting = self.link.send_command(NOOP)
        self.sent()
        self.link.give_up(AgiTimedOut("enough"))
        self.assertEqual(str(self.failureResultOf(waiting).value), "enough")
        self.assert_given_up()

    def test_the_failure_line_is_out_before_anybody_is_told(self) -> None:
        self.open()
        seen: list[bytes] = []
        waiting = self.link.send_command(NOOP)
        self.sent()
        waiting.addErrback(lambda _: seen.append(self.sent()))
        self.clock.advance(5.1)
        self.assertEqual(seen, [FAILURE])

    def test_an_abandoned_command_ends_the_session(self) -> None:
        # Its reply would be mistaken for that of the next command.
        self.open()
        waiting = self.link.send_command(NOOP)
        self.sent()
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assert_given_up()

    def test_each_failure_is_an_exception_of_its_own(self) -> None:
        self.open()
        self.lose()
        errors = []
        for _ in range(2):
            try:
                self.link.send_command(NOOP)
            except AgiConnectionLost as error:
                errors.append(error)
        self.assertEqual(len(errors), 2)
        self.assertIsNot(errors[0], errors[1])
