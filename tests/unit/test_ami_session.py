# SPDX-License-Identifier: MIT
"""The session with the manager: login, readiness, loss, next connection."""

from __future__ import annotations

import errno
from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.address import HostnameAddress
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectingCancelledError, ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from fastagi.ami import actions
from fastagi.ami.errors import ActionFailed, ActionTimedOut, NotConnected
from fastagi.ami.session import AmiSession, Credentials
from fastagi.ami.tls import TlsFailed
from fastagi.wire.ami import AmiMessage
from fastagi.wire.errors import LocalProtocolError
from tests.emulator.manager_end import ManagerEnd, ManagerEndpoint
from tests.harness.messages import message_of, written

T = TypeVar("T")

#: The answer of Asterisk to the challenge 522897061 and the secret "lab-secret".
DIGEST = "065aa4d6ce2e588f8a6da8620d92ff6b"


class SessionCase(SynchronousTestCase):
    event_mask = "on"
    auth = "md5"

    def setUp(self) -> None:
        self.clock = Clock()
        self.endpoint = ManagerEndpoint()
        self.told: list[str] = []
        self.tries: list[int] = []
        self.session = AmiSession(
            endpoint=self.endpoint,
            clock=self.clock,
            credentials=Credentials(
                username="callback",
                secret="lab-secret",
                auth=self.auth,  # type: ignore[arg-type]
            ),
            backoff=self.backoff,
            event_mask=self.event_mask,
            address="127.0.0.1:5038",
        )
        self.session.on_connected(lambda: self.told.append("connected"))
        self.session.on_disconnected(self.disconnected)
        self.session.startService()

    def disconnected(self) -> None:
        self.told.append("disconnected")
        self.assertFalse(self.session.connected)
        self.assertTrue(self.session.last_error)

    def backoff(self, failures: int) -> float:
        self.tries.append(failures)
        return float(failures)

    def tearDown(self) -> None:
        stopped = self.session.stopService()
        self.clock.advance(2)
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.endpoint.open_links, [])
        self.assertEqual(self.endpoint.waiting, [])
        self.assertFalse(self.session.connected)

    def run_(self, work: Coroutine[Deferred[Any], Any, T]) -> Deferred[T]:
        return Deferred.fromCoroutine(work)

    def accept(self) -> ManagerEnd:
        asterisk = self.endpoint.accept()
        asterisk.banner()
        return asterisk

    def log_in(self, asterisk: ManagerEnd) -> None:
        asterisk.answer(
            asterisk.asked("Challenge"), "Success", ("Challenge", "522897061")
        )
        asterisk.answer(asterisk.asked("Login"), "Success")

    def refuse_login(self, asterisk: ManagerEnd) -> None:
        asterisk.answer(
            asterisk.asked("Challenge"), "Success", ("Challenge", "522897061")
        )
        asterisk.answer(
            asterisk.asked("Login"), "Error", ("Message", "Authentication failed")
        )

    def settings(self, asterisk: ManagerEnd, version: str = "22.10.1") -> None:
        asterisk.answer(
            asterisk.asked("CoreSettings"), "Success", ("AsteriskVersion", version)
        )

    def connect(self) -> ManagerEnd:
        asterisk = self.accept()
        self.log_in(asterisk)
        asterisk.event("FullyBooted")
        self.settings(asterisk)
        self.assertTrue(self.session.connected)
        return asterisk


class TlsTests(SessionCase):
    def test_reason_of_no_tls_is_told_and_tried_again(self) -> None:
        with capturedLogs() as logs:
            ((_, attempt),) = self.endpoint.waiting
            self.endpoint.waiting = []
            attempt.errback(TlsFailed("its certificate expired", "renew it"))
        words = "no TLS with 127.0.0.1:5038: its certificate expired - renew it"
        self.assertEqual(self.session.last_error, words)
        self.assertIn(words, str(formatEvent(logs[-1])))
        self.assertEqual(self.tries, [1])
        self.clock.advance(1)
        self.connect()


class UnexpectedTests(SessionCase):
    def test_fault_that_nobody_thought_of_is_named_and_tried_again(self) -> None:
        ((_, attempt),) = self.endpoint.waiting
        self.endpoint.waiting = []
        attempt.errback(MemoryError("no room for it"))
        self.assertEqual(len(self.flushLoggedErrors(MemoryError)), 1)
        self.assertIn("MemoryError: no room for it", self.session.last_error)
        self.clock.advance(1)
        self.connect()


class LoginTests(SessionCase):
    def test_md5_login_sends_the_digest_and_never_the_secret(self) -> None:
        asterisk = self.accept()
        challenge = asterisk.asked("Challenge")
        self.assertEqual(challenge.get("AuthType"), "MD5")
        asterisk.answer(challenge, "Success", ("Challenge", "522897061"))
        self.assertIn(b"Login", asterisk.value())
        self.assertNotIn(b"lab-secret", asterisk.value())
        login = asterisk.asked("Login")
        self.assertEqual(login.get("AuthType"), "MD5")
        self.assertEqual(login.get("Username"), "callback")
        self.assertEqual(login.get("Key"), DIGEST)

    def test_nothing_is_sent_before_the_banner(self) -> None:
        asterisk = self.endpoint.accept()
        self.assertTrue(asterisk.asked_nothing())

    def test_session_is_ready_only_when_asterisk_has_booted(self) -> None:
        asterisk = self.accept()
        self.log_in(asterisk)
        self.clock.advance(29)
        self.assertFalse(self.session.connected)
        self.failureResultOf(self.run_(self.session.send(actions.ping())), NotConnected)
        self.assertTrue(asterisk.asked_nothing())
        asterisk.event("FullyBooted")
        self.settings(asterisk, "22.10.1+dfsg")
        self.assertTrue(self.session.connected)
        self.assertEqual(self.session.asterisk_version, "22.10.1+dfsg")
        self.assertEqual(self.told, ["connected"])

    def test_event_before_the_reply_to_the_login_counts(self) -> None:
        asterisk = self.accept()
        asterisk.answer(asterisk.asked("Challenge"), "Success", ("Challenge", "1"))
        asterisk.event("FullyBooted")
        asterisk.answer(asterisk.asked("Login"), "Success")
        self.settings(asterisk)
        self.assertTrue(self.session.connected)

    def test_without_the_event_the_session_goes_on_with_a_warning(self) -> None:
        asterisk = self.accept()
        self.log_in(asterisk)
        with capturedLogs() as logs:
            self.clock.advance(30)
        (warning,) = [e for e in logs if e["log_level"] == LogLevel.warn]
        self.assertIn('lacks "system"', formatEvent(warning))
        # Such a user may not ask for the settings either.
        asterisk.answer(
            asterisk.asked("CoreSettings"), "Error", ("Message", "Permission denied")
        )
        self.assertTrue(self.session.connected)
        self.assertEqual(self.session.asterisk_version, "")

    def test_everything_in_one_piece_of_bytes(self) -> None:
        heard: list[str] = []
        self.session.listen("*", lambda message: heard.append(message.event))
        asterisk = self.accept()
        self.log_in(asterisk)
        self.assertFalse(self.session.connected)
        asterisk.say_bytes(b"Event: Early\r\n\r\nEvent: FullyBooted\r\n\r\n")
        settings = asterisk.asked("CoreSettings")
        asterisk.say_bytes(
            written(
                message_of([("Response", "Success"), ("ActionID", settings.action_id)])
            )
            + b"Event: First\r\n\r\n"
        )
        # What came before on_connected is not told: who then asks for the whole
        # picture would otherwise get it mixed with news that are older.
        self.assertEqual(heard, ["First"])
        self.assertEqual(self.told, ["connected"])

    def test_connection_is_announced_with_the_version(self) -> None:
        with capturedLogs() as logs:
            self.connect()
        (line,) = [formatEvent(e) for e in logs if e["log_level"] == LogLevel.info]
        self.assertEqual(
            line, "connected to 127.0.0.1:5038 as callback: Asterisk 22.10.1"
        )


class PlainLoginTests(SessionCase):
    auth = "plain"

    def test_plain_login_sends_the_secret(self) -> None:
        asterisk = self.accept()
        login = asterisk.asked("Login")
        self.assertEqual(login.get("Secret"), "lab-secret")

    def test_secret_is_in_no_log_and_no_repr(self) -> None:
        with capturedLogs() as logs:
            asterisk = self.accept()
            asterisk.answer(
                asterisk.asked("Login"), "Error", ("Message", "Authentication failed")
            )
        self.assertTrue(logs)
        told = repr(logs) + "".join(formatEvent(event) for event in logs)
        self.assertNotIn("lab-secret", told)
        self.assertNotIn("lab-secret", repr(self.session._credentials))
        self.assertNotIn("lab-secret", self.session.last_error)


class EventMaskTests(SessionCase):
    event_mask = "call,agent"

    def test_mask_is_asked_for_after_the_login(self) -> None:
        asterisk = self.accept()
        self.log_in(asterisk)
        # A mask in the login itself would suppress FullyBooted.
        self.assertTrue(asterisk.asked_nothing())
        asterisk.event("FullyBooted")
        mask = asterisk.asked("Events")
        self.assertEqual(mask.get("EventMask"), "call,agent")
        asterisk.answer(mask, "Success", ("Events", "On"))
        self.settings(asterisk)
        self.assertTrue(self.session.connected)


class ReconnectTests(SessionCase):
    def test_refused_connections_are_tried_again_with_growing_delay(self) -> None:
        with capturedLogs() as logs:
            for failures in range(1, 6):
                self.endpoint.refuse()
                self.assertEqual(self.endpoint.waiting, [])
                self.clock.advance(failures - 0.1)
                self.assertEqual(self.endpoint.waiting, [])
                self.clock.advance(0.1)
                self.assertEqual(len(self.endpoint.waiting), 1)
        self.assertEqual(self.tries, [1, 2, 3, 4, 5])
        lines = [formatEvent(e) for e in logs if e["log_level"] == LogLevel.warn]
        self.assertEqual(len(lines), 5)
        self.assertIn("can not connect to 127.0.0.1:5038: Connection was re", lines[4])
        self.assertIn("enabled = yes", lines[4])
        self.assertIn("(next try in 5.0 s)", lines[4])
        self.connect()

    def test_refused_connection_is_told_in_plain_words(self) -> None:
        ((_, attempt),) = self.endpoint.waiting
        self.endpoint.waiting = []
        attempt.errback(Failure(ConnectionRefusedError(errno.ECONNREFUSED)))
        self.assertIn(
            "can not connect to 127.0.0.1:5038: connection refused. Is Asterisk",
            self.session.last_error,
        )
        self.assertIn("(ami.host and ami.port in", self.session.last_error)

    def test_connection_that_never_comes_is_given_up(self) -> None:
        self.clock.advance(10)
        self.assertEqual(self.endpoint.cancelled, 1)
        self.clock.advance(1)
        self.connect()

    def test_refused_logins_count_too_and_say_what_to_do(self) -> None:
        for failures in (1, 2, 3):
            asterisk = self.accept()
            with capturedLogs() as logs:
                self.refuse_login(asterisk)
            self.assertTrue(asterisk.closed)
            (line,) = [formatEvent(e) for e in logs if e["log_level"] == LogLevel.error]
            self.assertIn("refused the login of callback: Authentication failed", line)
            self.assertIn("[callback] of manager.conf", line)
            self.assertIn(f"(next try in {failures:.1f} s)", line)
            self.assertIn("refused the login", self.session.last_error)
            self.clock.advance(failures)
        self.assertEqual(self.tries, [1, 2, 3])
        self.assertEqual(self.told, [])
        self.connect()
        self.assertEqual(self.session.last_error, "")

    def test_no_second_link_is_begun_before_the_first_is_closed(self) -> None:
        asterisk = self.accept()
        asterisk.abortConnection = lambda: None  # type: ignore[method-assign]
        self.refuse_login(asterisk)
        self.clock.advance(100)
        self.assertEqual(self.endpoint.waiting, [])
        asterisk.close()
        self.clock.advance(1)
        self.connect()
        self.assertEqual(len(self.endpoint.open_links), 1)

    def test_link_closed_in_the_middle_of_the_login_counts_as_a_failure(self) -> None:
        self.accept().close()
        self.assertIn("the login of callback", self.session.last_error)
        self.clock.advance(1)
        asterisk = self.accept()
        self.log_in(asterisk)
        asterisk.close()
        self.clock.advance(2)
        self.endpoint.accept().close()
        self.clock.advance(3)
        self.assertEqual(self.tries, [1, 2, 3])
        self.connect()

    def test_silent_peer_is_given_up(self) -> None:
        asterisk = self.endpoint.accept()
        self.clock.advance(10)
        self.assertTrue(asterisk.closed)
        self.assertIn("says nothing in 10 s", self.session.last_error)

    def test_login_without_a_reply_is_given_up(self) -> None:
        asterisk = self.accept()
        asterisk.asked("Challenge")
        self.clock.advance(10)
        self.assertTrue(asterisk.closed)
        self.clock.advance(1)
        self.connect()

    def test_other_service_on_the_port_is_told(self) -> None:
        asterisk = self.endpoint.accept()
        asterisk.say_bytes(b"SSH-2.0-OpenSSH\r\n")
        self.assertTrue(asterisk.closed)
        self.assertEqual(
            self.session.last_error,
            "127.0.0.1:5038 did not greet as an Asterisk manager: this is no Asterisk"
            " manager, its first words are 'SSH-2.0-OpenSSH'. Check host and port",
        )

    def test_lost_link_is_replaced_and_the_count_begins_anew(self) -> None:
        self.endpoint.refuse()
        self.clock.advance(1)
        self.endpoint.refuse()
        self.clock.advance(2)
        for _ in range(2):
            asterisk = self.connect()
            with capturedLogs() as logs:
                asterisk.close()
            self.assertFalse(self.session.connected)
            (line,) = [formatEvent(e) for e in logs if e["log_level"] == LogLevel.warn]
            self.assertEqual(
                line,
                "lost the connection to 127.0.0.1:5038: the other side closed the"
                " connection (next try in 1.0 s)",
            )
            self.clock.advance(1)
        self.assertEqual(self.tries, [1, 2, 1, 1])
        self.assertEqual(self.told, ["connected", "disconnected"] * 2)

    def test_announced_shutdown_is_given_as_the_reason(self) -> None:
        asterisk = self.connect()
        asterisk.event("Shutdown", ("Shutdown", "Cleanly"), ("Restart", "True"))
        asterisk.close()
        self.assertIn("Asterisk restarts", self.session.last_error)
        self.clock.advance(1)
        self.connect().close()
        self.assertIn("closed the connection", self.session.last_error)

    def test_dead_link_is_found_by_ping_and_replaced(self) -> None:
        asterisk = self.connect()
        self.clock.advance(15)
        asterisk.asked("Ping")
        self.clock.advance(10)
        self.assertTrue(asterisk.closed)
        self.assertEqual(self.told, ["connected", "disconnected"])
        self.clock.advance(1)
        self.connect()

    def test_default_delays_grow_up_to_a_limit(self) -> None:
        session = AmiSession(
            endpoint=self.endpoint,
            clock=self.clock,
            credentials=Credentials(username="a", secret="b"),
        )
        delays = [session._backoff(failures) for failures in (1, 5, 50, 500)]
        self.assertLess(delays[0], 2)
        self.assertLess(delays[0], delays[1])
        self.assertLess(delays[1], delays[2])
        self.assertLess(max(delays), 60)


class ActionTests(SessionCase):
    def test_send_returns_the_response(self) -> None:
        asterisk = self.connect()
        reply = self.run_(self.session.send(actions.core_settings()))
        asterisk.answer(asterisk.asked("CoreSettings"), "Success", ("A", "1"))
        self.assertEqual(self.successResultOf(reply).get("A"), "1")

    def test_send_list_returns_the_items(self) -> None:
        asterisk = self.connect()
        reply = self.run_(self.session.send_list(actions.db_get("a", "b")))
        asked = asterisk.asked("DBGet")
        asterisk.answer(asked, "Success", ("EventList", "start"))
        asterisk.event("DBGetResponse", ("Val", "x"), ("ActionID", asked.action_id))
        asterisk.event(
            "DBGetComplete", ("ActionID", asked.action_id), ("EventList", "Complete")
        )
        self.assertEqual([m.get("Val") for m in self.successResultOf(reply)], ["x"])

    def test_action_without_a_connection_is_not_sent_later(self) -> None:
        self.endpoint.refuse()
        reply = self.run_(self.session.send(actions.ping()))
        error = self.failureResultOf(reply, NotConnected).value
        self.assertFalse(error.sent)
        self.assertIn("can not connect", str(error))
        self.clock.advance(1)
        asterisk = self.connect()
        self.assertTrue(asterisk.asked_nothing())

    def test_action_cut_off_is_failed_at_once_and_never_sent_again(self) -> None:
        asterisk = self.connect()
        replies = [
            self.run_(
                self.session.send(
                    actions.originate(channel="Local/1@a", application="Wait")
                )
            ),
            self.run_(self.session.send_list(actions.queue_status())),
        ]
        asterisk.close()
        for reply in replies:
            self.assertTrue(self.failureResultOf(reply, NotConnected).value.sent)
        self.clock.advance(1)
        asterisk = self.connect()
        self.clock.advance(14)
        self.assertTrue(asterisk.asked_nothing())

    def test_who_is_cut_off_finds_the_session_not_connected(self) -> None:
        asterisk = self.connect()
        found: list[object] = []

        async def work() -> None:
            try:
                await self.session.send(actions.ping())
            except NotConnected:
                found.extend([self.session.connected, list(self.told)])
                try:
                    await self.session.send(actions.ping())
                except NotConnected as error:
                    found.append(error.sent)

        done = self.run_(work())
        asterisk.close()
        self.successResultOf(done)
        self.assertEqual(found, [False, ["connected", "disconnected"], False])

    def test_own_timeout_is_used(self) -> None:
        self.connect()
        reply = self.run_(self.session.send(actions.ping(), timeout_s=2))
        self.clock.advance(2)
        self.failureResultOf(reply, ActionTimedOut)

    def test_refused_action_leaves_the_session_alone(self) -> None:
        asterisk = self.connect()
        reply = self.run_(self.session.send(actions.hangup("x")))
        asterisk.answer(asterisk.asked("Hangup"), "Error", ("Message", "No such"))
        self.failureResultOf(reply, ActionFailed)
        self.assertTrue(self.session.connected)

    def test_what_would_be_misread_is_not_sent(self) -> None:
        asterisk = self.connect()
        with self.assertRaises(LocalProtocolError):
            actions.hangup("1\r\nAction: Command\r\nCommand: core stop now")
        self.assertTrue(asterisk.asked_nothing())


class ListenerTests(SessionCase):
    def setUp(self) -> None:
        super().setUp()
        self.heard: list[str] = []

    def hear(self, message: AmiMessage) -> None:
        self.heard.append(message.get("Uniqueid"))

    def test_listener_hears_its_event_and_no_other(self) -> None:
        self.session.listen("Hangup", self.hear)
        asterisk = self.connect()
        asterisk.event("Hangup", ("Uniqueid", "1.1"))
        asterisk.event("Newchannel", ("Uniqueid", "1.2"))
        self.assertEqual(self.heard, ["1.1"])

    def test_event_with_a_header_twice_is_heard_by_nobody(self) -> None:
        self.session.listen("Hangup", self.hear)
        self.session.listen("*", self.hear)
        asterisk = self.connect()
        asterisk.event("Hangup", ("Uniqueid", "callback-1"), ("Uniqueid", "1.1"))
        self.assertEqual(self.heard, [])
        asterisk.event("Hangup", ("Uniqueid", "1.2"))
        self.assertEqual(self.heard, ["1.2", "1.2"])

    def test_one_bad_listener_stops_nobody(self) -> None:
        def bad(message: AmiMessage) -> None:
            raise ZeroDivisionError("bad listener")

        self.session.listen("Hangup", bad)
        self.session.listen("Hangup", self.hear)
        self.session.listen("*", bad)
        self.session.listen("*", self.hear)
        asterisk = self.connect()
        asterisk.event("Hangup", ("Uniqueid", "1.1"))
        asterisk.event("Hangup", ("Uniqueid", "1.2"))
        self.assertEqual(self.heard, ["1.1", "1.1", "1.2", "1.2"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 4)
        self.assertTrue(self.session.connected)

    def test_bad_callback_of_a_connection_stops_nobody(self) -> None:
        def bad() -> None:
            raise ZeroDivisionError("bad callback")

        self.session.on_connected(bad)
        self.session.on_connected(lambda: self.heard.append("connected"))
        self.session.on_disconnected(bad)
        self.session.on_disconnected(lambda: self.heard.append("disconnected"))
        asterisk = self.connect()
        self.session.on_connected(bad)
        asterisk.close()
        self.assertEqual(self.heard, ["connected", "disconnected"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 3)

    def test_listeners_are_still_there_after_a_reconnect(self) -> None:
        self.session.listen("Hangup", self.hear)
        self.connect().close()
        self.clock.advance(1)
        self.connect().event("Hangup", ("Uniqueid", "2.1"))
        self.assertEqual(self.heard, ["2.1"])

    def test_removed_listener_hears_nothing_more(self) -> None:
        remove = self.session.listen("Hangup", self.hear)
        stays = self.session.listen("Hangup", self.hear)
        asterisk = self.connect()
        remove()
        remove()
        asterisk.event("Hangup", ("Uniqueid", "1.1"))
        self.assertEqual(self.heard, ["1.1"])
        stays()
        asterisk.event("Hangup", ("Uniqueid", "1.2"))
        self.assertEqual(self.heard, ["1.1"])

    def test_listeners_may_be_added_and_removed_by_a_listener(self) -> None:
        def first(message: AmiMessage) -> None:
            remove_second()
            self.session.listen("Hangup", self.hear)

        self.session.listen("Hangup", first)
        remove_second = self.session.listen("Hangup", lambda _: self.heard.append("2"))
        asterisk = self.connect()
        asterisk.event("Hangup", ("Uniqueid", "1.1"))
        self.assertEqual(self.heard, [])
        asterisk.event("Hangup", ("Uniqueid", "1.2"))
        self.assertEqual(self.heard, ["1.2"])

    def test_callback_given_while_connected_is_called_at_once(self) -> None:
        self.connect()
        remove = self.session.on_connected(lambda: self.heard.append("now"))
        self.assertEqual(self.heard, ["now"])
        remove()
        self.endpoint.links[-1].close()
        self.clock.advance(1)
        self.connect()
        self.assertEqual(self.heard, ["now"])

    def test_action_may_be_sent_as_soon_as_connected_is_told(self) -> None:
        replies: list[Deferred[AmiMessage]] = []
        self.session.on_connected(
            lambda: replies.append(self.run_(self.session.send(actions.ping())))
        )
        asterisk = self.connect()
        asterisk.answer(asterisk.asked("Ping"), "Success")
        self.successResultOf(replies[0])


class TrialTests(SessionCase):
    def setUp(self) -> None:
        super().setUp()
        self.trial = AmiSession(
            endpoint=self.endpoint,
            clock=self.clock,
            credentials=Credentials(username="callback", secret="lab-secret"),
            is_trial=True,
        )

    def test_nothing_is_logged_of_a_trial(self) -> None:
        self.endpoint.refuse()
        with capturedLogs() as logs:
            self.trial.startService()
            self.endpoint.refuse()
            self.assertIn("can not connect to Asterisk", self.trial.last_error)
            self.successResultOf(self.trial.stopService())
        self.assertEqual({one["log_level"] for one in logs}, {LogLevel.debug})


class StopTests(SessionCase):
    def stop(self) -> Deferred[None]:
        return self.session.stopService()

    def test_stop_while_connecting(self) -> None:
        self.successResultOf(self.stop())
        self.assertEqual(self.endpoint.cancelled, 1)

    def test_stop_while_connecting_is_no_fault_if_the_endpoint_says_so(self) -> None:
        """An endpoint with a name to look up has an error of its own for that."""
        ((_, attempt),) = self.endpoint.waiting
        self.endpoint.waiting = []
        error = ConnectingCancelledError(HostnameAddress(b"asterisk", 5038))
        attempt._canceller = lambda cancelled: cancelled.errback(error)
        self.successResultOf(self.stop())
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_stop_while_waiting_for_the_next_try(self) -> None:
        self.endpoint.refuse()
        self.successResultOf(self.stop())
        self.clock.advance(100)
        self.assertEqual(self.endpoint.waiting, [])

    def test_next_try_at_once_if_it_is_waited_for(self) -> None:
        self.session.connect_now()
        self.assertEqual(len(self.endpoint.waiting), 1)
        self.assertFalse(self.session.is_pausing)
        self.endpoint.refuse()
        self.assertTrue(self.session.is_pausing)
        self.assertEqual(self.endpoint.waiting, [])
        self.session.connect_now()
        self.assertFalse(self.session.is_pausing)
        asterisk = self.connect()
        self.session.connect_now()
        self.assertTrue(self.session.connected)
        asterisk.close()
        self.assertTrue(self.session.is_pausing)

    def test_stop_in_the_middle_of_the_login(self) -> None:
        asterisk = self.accept()
        with capturedLogs() as logs:
            self.successResultOf(self.stop())
        self.assertTrue(asterisk.closed)
        self.assertNotIn("next try", "".join(formatEvent(e) for e in logs))

    def test_stop_while_asterisk_boots(self) -> None:
        asterisk = self.accept()
        self.log_in(asterisk)
        self.successResultOf(self.stop())
        self.assertTrue(asterisk.closed)

    def test_stop_logs_off_and_waits_for_the_end_of_the_link(self) -> None:
        asterisk = self.connect()
        stopped = self.stop()
        self.assertFalse(self.session.connected)
        self.assertEqual(self.told, ["connected", "disconnected"])
        asterisk.answer(asterisk.asked("Logoff"), "Goodbye")
        self.successResultOf(stopped)
        self.assertTrue(asterisk.closed)
        self.clock.advance(100)
        self.assertEqual(self.endpoint.waiting, [])

    def test_stop_does_not_wait_for_ever_for_a_goodbye(self) -> None:
        asterisk = self.connect()
        waiting = self.run_(self.session.send(actions.ping()))
        stopped, again = self.stop(), self.stop()
        self.assertNoResult(stopped)
        self.clock.advance(2)
        self.successResultOf(stopped)
        self.successResultOf(again)
        self.failureResultOf(waiting, NotConnected)
        self.assertTrue(asterisk.closed)

    def test_stop_by_a_callback_of_the_connection(self) -> None:
        stops: list[Deferred[None]] = []
        self.session.on_connected(lambda: stops.append(self.stop()))
        asterisk = self.accept()
        self.log_in(asterisk)
        asterisk.event("FullyBooted")
        self.settings(asterisk)
        asterisk.asked("Logoff")
        asterisk.close()
        self.successResultOf(stops[0])

    def test_stop_by_a_callback_of_the_loss(self) -> None:
        stops: list[Deferred[None]] = []
        self.session.on_disconnected(lambda: stops.append(self.stop()))
        self.connect().close()
        self.successResultOf(stops[0])

    def test_stop_twice_and_start_again(self) -> None:
        self.successResultOf(self.stop())
        self.successResultOf(self.stop())
        self.session.startService()
        self.connect()
