# SPDX-License-Identifier: MIT
"""The FastAGI server and its scripts, against Asterisk's side played in memory."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from ipaddress import ip_network
from typing import Any

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IProtocolFactory,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from fastagi.agi.errors import (
    AgiCommandFailed,
    AgiConnectionLost,
    AgiError,
    AgiHungUp,
    AgiTimedOut,
)
from fastagi.agi.server import FastAgiServer
from fastagi.agi.session import AgiSession
from fastagi.wire.errors import LocalProtocolError
from tests.emulator.agi_client import AsteriskAgi, MemoryCall, MemoryEndpoint

Script = Callable[[AgiSession], Coroutine[Any, Any, None]]


class Stranger(Protocol):
    """Sends the given bytes and stores the answer."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces
        self.heard = b""
        self.lost = False

    def connectionMade(self) -> None:
        assert self.transport is not None
        for piece in self.pieces:
            self.transport.write(piece)

    def dataReceived(self, data: bytes) -> None:
        self.heard += data

    def connectionLost(self, reason: object = None) -> None:
        self.lost = True


class ServerTestCase(SynchronousTestCase):
    """A server in memory, which must leave nothing behind."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.endpoint = MemoryEndpoint()
        self.scripts: dict[str, Script] = {}
        self.serve()

    def serve(self, **settings: Any) -> None:
        self.server = FastAgiServer(
            endpoint=self.endpoint,
            scripts=self.scripts,
            clock=self.clock,
            **settings,
        )
        self.server.startService()
        self.addCleanup(self.leaves_nothing, self.server)

    def leaves_nothing(self, server: FastAgiServer) -> None:
        self.assertEqual(server.active, 0)
        if server.running:
            self.successResultOf(server.stopService())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def run_script(
        self, script: Script, asterisk: AsteriskAgi | None = None
    ) -> AsteriskAgi:
        """Run a script to its end on a channel, and return the channel."""
        if asterisk is None:
            asterisk = AsteriskAgi()
        self.serve_script(script)
        self.endpoint.call(asterisk)
        self.assertNotEqual(asterisk.agistatus, "")
        self.assertEqual(asterisk.faults, [])
        return asterisk

    def serve_script(self, script: Script, **settings: Any) -> None:
        self.scripts = {"request": script}
        self.serve(**settings)

    def call(self, asterisk: AsteriskAgi, host: str = "127.0.0.1") -> MemoryCall:
        return self.endpoint.call(asterisk, host)


async def nothing(agi: AgiSession) -> None:
    """Do nothing."""


class TestVerbs(ServerTestCase):
    def test_variables(self) -> None:
        seen: list[str | None] = []

        async def script(agi: AgiSession) -> None:
            seen.append(await agi.get_variable("QUEUENAME"))
            seen.append(await agi.get_variable("NONE"))
            seen.append(await agi.get_variable("EMPTY"))
            seen.append(await agi.get_variable("CALLERID(num)"))
            seen.append(await agi.get_full_variable("${QUEUENAME}-x"))
            seen.append(await agi.get_full_variable("${QUEUENAME}", "SIP/none"))
            await agi.set_variable("CALLBACK_STATUS", 'say "hi" \\ (x) J\xf6rg')
            seen.append(await agi.get_variable("CALLBACK_STATUS"))

        asterisk = self.run_script(
            script,
            AsteriskAgi(
                variables={"QUEUENAME": "support", "EMPTY": "", "CALLERID(num)": "2001"}
            ),
        )
        text = 'say "hi" \\ (x) J\xf6rg'
        self.assertEqual(seen, ["support", None, "", "2001", "support-x", None, text])
        self.assertEqual(asterisk.variables["CALLBACK_STATUS"], text)
        self.assertEqual(asterisk.agistatus, "SUCCESS")

    def test_several_variables_need_one_round_trip(self) -> None:
        async def script(agi: AgiSession) -> None:
            await agi.set_variables(("A", "a/b-1.2&c"), ("B", ""), ("C", "*#+@:"))

        asterisk = self.run_script(script, AsteriskAgi())
        self.assertEqual(asterisk.variables, {"A": "a/b-1.2&c", "B": "", "C": "*#+@:"})
        self.assertEqual(
            asterisk.commands, [("EXEC", "MSet", "A=a/b-1.2&c,B=,C=*#+@:")]
        )
        self.assertEqual(asterisk.faults, [])

    def test_variables_that_mset_would_change_are_set_one_by_one(self) -> None:
        for value in ("a,b", 'a"b', "a\\b", "a(b", "a b", "a|b", "a=b", "a$b", "\xe4"):

            async def script(agi: AgiSession, value: str = value) -> None:
                await agi.set_variables(("A", "1"), ("B", value))

            asterisk = self.run_script(script, AsteriskAgi())
            self.assertEqual(asterisk.variables, {"A": "1", "B": value})
            self.assertEqual(
                asterisk.commands,
                [("SET", "VARIABLE", "A", "1"), ("SET", "VARIABLE", "B", value)],
            )

    def test_a_value_that_get_variable_cuts_is_read_whole(self) -> None:
        seen: list[str | None] = []
        values = {"SHORT": "x" * 1022, "LONG": "y" * 5000, "WIDE": "\u20ac" * 400}

        async def script(agi: AgiSession) -> None:
            for name in values:
                seen.append(await agi.get_variable(name))

        asterisk = self.run_script(script, AsteriskAgi(variables=values))
        self.assertEqual(seen, list(values.values()))
        self.assertEqual(len(asterisk.commands), 5)

    def test_prompts_and_digits(self) -> None:
        seen: list[str] = []

        async def script(agi: AgiSession) -> None:
            await agi.answer()
            seen.append(await agi.stream_file("a", escape_digits="123"))
            seen.append(await agi.stream_file("b", escape_digits="9"))
            seen.append(await agi.stream_file("c", offset_samples=800))
            seen.append(await agi.get_data("d", timeout_s=2.5, max_digits=4))
            seen.append(await agi.wait_for_digit(1.25))
            seen.append(await agi.say_digits("42", escape_digits="#"))
            seen.append(await agi.say_number(42))
            seen.append(await agi.wait_for_digit(1))

        asterisk = self.run_script(script, AsteriskAgi(digits="10042*#"))
        self.assertEqual(seen, ["1", "", "", "0042", "*", "#", "", ""])
        self.assertEqual(asterisk.played, ["a", "b", "c", "d"])
        self.assertIn(("STREAM", "FILE", "c", "", "800"), asterisk.commands)
        self.assertIn(("GET", "DATA", "d", "2500", "4"), asterisk.commands)
        self.assertIn(("WAIT", "FOR", "DIGIT", "1250"), asterisk.commands)

    def test_applications_and_console(self) -> None:
        async def script(agi: AgiSession) -> None:
            self.assertEqual(await agi.exec("Playback", "beep", "noanswer"), 0)
            self.assertEqual(await agi.exec("NoOp"), 0)
            await agi.verbose("two words", 3)
            await agi.noop()
            with self.assertRaises(AgiCommandFailed):
                await agi.exec("NoSuchApp", "x")

        asterisk = self.run_script(script)
        self.assertEqual(
            asterisk.executed, [("Playback", "beep,noanswer"), ("NoOp", "")]
        )
        self.assertEqual(asterisk.console, ["two words"])

    def test_database(self) -> None:
        async def script(agi: AgiSession) -> None:
            self.assertIsNone(await agi.database_get("callback", "a"))
            await agi.database_put("callback", "a", 'b "c"')
            self.assertEqual(await agi.database_get("callback", "a"), 'b "c"')
            await agi.database_del("callback", "a")
            await agi.database_put("callback", "d", "e")
            await agi.database_deltree("callback")

        asterisk = self.run_script(script)
        self.assertEqual(asterisk.database, {})
        self.assertEqual(asterisk.agistatus, "SUCCESS")

    def test_where_the_call_goes_on(self) -> None:
        async def script(agi: AgiSession) -> None:
            await agi.set_callerid('"Alice" <2001>')
            await agi.set_music(True, "default")
            await agi.set_music(False)
            await agi.set_autohangup(60)
            await agi.goto("queues", "support", "2")
            self.assertEqual(await agi.channel_status(), 6)

        asterisk = self.run_script(script)
        self.assertEqual(
            asterisk.commands,
            [
                ("SET", "CALLERID", '"Alice" <2001>'),
                ("SET", "MUSIC", "on", "default"),
                ("SET", "MUSIC", "off"),
                ("SET", "AUTOHANGUP", "60"),
                ("SET", "CONTEXT", "queues"),
                ("SET", "EXTENSION", "support"),
                ("SET", "PRIORITY", "2"),
                ("CHANNEL", "STATUS"),
            ],
        )

    def test_a_word_that_cannot_be_sent_sends_nothing(self) -> None:
        async def script(agi: AgiSession) -> None:
            for attempt in (
                agi.set_variable("A", "x\nHANGUP"),
                agi.set_variable("A", "x\0"),
                agi.set_variable("A", "x" * 2047),
                agi.set_variable("A B", "x"),
                agi.set_variable("", "x"),
                agi.get_variable("${A}"),
                agi.exec("Playback", "a,b"),
                agi.exec("Play back", "a"),
                agi.verbose("x\r\ny"),
            ):
                with self.assertRaises(LocalProtocolError):
                    await attempt

        asterisk = self.run_script(script)
        self.assertEqual(asterisk.commands, [])
        self.assertEqual(asterisk.agistatus, "SUCCESS")

    def test_a_refused_command_names_itself(self) -> None:
        async def script(agi: AgiSession) -> None:
            for words, text in (
                (("NOSUCH", "x"), "NOSUCH x: 510 Invalid or unknown command"),
                (
                    ("SET", "VARIABLE", "A"),
                    "SET VARIABLE: 520 Invalid command syntax.  Proper usage follows:",
                ),
            ):
                with self.assertRaises(AgiCommandFailed) as caught:
                    await agi.command(*words)
                self.assertEqual(str(caught.exception), text)

        self.run_script(script)


class TestHangup(ServerTestCase):
    def test_the_caller_hangs_up_in_a_prompt(self) -> None:
        seen: list[bool] = []

        async def script(agi: AgiSession) -> None:
            with self.assertRaises(AgiHungUp):
                await agi.stream_file("accepted")
            seen.append(agi.hung_up)
            await agi.set_variable("CALLBACK_STATUS", "ABANDONED")
            with self.assertRaises(AgiHungUp):
                await agi.answer()

        asterisk = self.run_script(
            script, AsteriskAgi(hang_up_during=("STREAM", "FILE"))
        )
        self.assertEqual(seen, [True])
        self.assertEqual(asterisk.variables["CALLBACK_STATUS"], "ABANDONED")
        self.assertEqual(asterisk.agistatus, "HANGUP")

    def test_a_script_need_not_care_for_hangups(self) -> None:
        async def script(agi: AgiSession) -> None:
            await agi.get_data("menu", timeout_s=5, max_digits=1)
            raise AssertionError("never reached")

        with capturedLogs() as events:
            asterisk = self.run_script(
                script, AsteriskAgi(hang_up_during=("GET", "DATA"))
            )
        self.assertEqual(asterisk.agistatus, "HANGUP")
        self.assertEqual(events, [])

    def test_the_caller_hangs_up_while_the_script_works(self) -> None:
        work: Deferred[None] = Deferred()
        seen: list[object] = []

        async def script(agi: AgiSession) -> None:
            await work
            seen.append(agi.hung_up)
            await agi.set_variable("CALLBACK_STATUS", "ACCEPTED")
            await agi.stream_file("accepted")

        self.serve_script(script)
        asterisk = AsteriskAgi()
        call = self.call(asterisk)
        call.hang_up()
        work.callback(None)
        call.flush()
        self.assertEqual(seen, [True])
        self.assertEqual(asterisk.variables["CALLBACK_STATUS"], "ACCEPTED")
        self.assertEqual(asterisk.played, [])
        self.assertEqual(asterisk.agistatus, "HANGUP")

    def test_asterisk_leaves_at_once_when_told_to(self) -> None:
        async def script(agi: AgiSession) -> None:
            with self.assertRaises(AgiHungUp):
                await agi.stream_file("accepted")
            with self.assertRaises(AgiHungUp):
                await agi.set_variable("A", "b")

        self.run_script(
            script,
            AsteriskAgi(
                hang_up_during=("STREAM", "FILE"),
                variables={"AGIEXITONHANGUP": "yes"},
            ),
        )

    def test_a_missing_prompt_is_no_hangup(self) -> None:
        async def script(agi: AgiSession) -> None:
            with self.assertRaises(AgiCommandFailed) as caught:
                await agi.stream_file("missing")
            self.assertEqual(str(caught.exception), "STREAM FILE: 200 result=-1")
            await agi.set_variable("CALLBACK_STATUS", "ACCEPTED")

        asterisk = self.run_script(script, AsteriskAgi(sounds=frozenset()))
        self.assertEqual(asterisk.variables["CALLBACK_STATUS"], "ACCEPTED")
        # Asterisk sets it so: the dialplan must check CALLBACK_STATUS.
        self.assertEqual(asterisk.agistatus, "FAILURE")

    def test_a_hangup_handler_has_a_dead_channel(self) -> None:
        async def script(agi: AgiSession) -> None:
            self.assertFalse(agi.hung_up)
            with self.assertRaises(AgiHungUp):
                await agi.channel_status()
            await agi.set_variable("A", "b")
            await agi.exec("NoOp", "x")

        asterisk = self.run_script(script, AsteriskAgi(dead=True))
        self.assertEqual(asterisk.agistatus, "SUCCESS")

    def test_the_script_hangs_up(self) -> None:
        async def script(agi: AgiSession) -> None:
            await agi.hangup()
            with self.assertRaises(AgiHungUp):
                await agi.stream_file("bye")

        self.run_script(script)


class TestRouting(ServerTestCase):
    def test_the_path_chooses_the_script(self) -> None:
        seen: list[tuple[str, object]] = []

        def script(name: str) -> Script:
            async def run(agi: AgiSession) -> None:
                seen.append((name, (dict(agi.request.query), agi.request.args)))

            return run

        self.scripts = {name: script(name) for name in ("a", "a/b", "")}
        self.serve()
        for path, args in (("a?q=1&r", ()), ("a/b", ("x", "")), ("", ()), ("/a", ())):
            asterisk = AsteriskAgi(path, args)
            self.call(asterisk)
            self.assertEqual(asterisk.agistatus, "SUCCESS")
        self.assertEqual(
            seen,
            [
                ("a", ({"q": "1", "r": ""}, ())),
                ("a/b", ({}, ("x", ""))),
                ("", ({}, ())),
                ("a", ({}, ())),
            ],
        )

    def test_an_unknown_path_fails_at_once(self) -> None:
        self.serve_script(nothing)
        for path in ("none", "request/", "REQUEST", ""):
            asterisk = AsteriskAgi(path)
            with capturedLogs() as events:
                self.call(asterisk)
            self.assertEqual(asterisk.agistatus, "FAILURE")
            warnings = [e for e in events if e["log_level"] > LogLevel.debug]
            self.assertEqual([e["script"] for e in warnings], [path])

    def test_a_script_that_fails(self) -> None:
        async def script(agi: AgiSession) -> None:
            await agi.verbose("so far")
            raise ValueError("a mistake")

        asterisk = self.run_script(script)
        self.assertEqual(asterisk.agistatus, "FAILURE")
        (failure,) = self.flushLoggedErrors(ValueError)
        self.assertEqual(str(failure.value), "a mistake")

    def test_a_script_that_fails_before_it_begins(self) -> None:
        def script(agi: AgiSession) -> Coroutine[Any, Any, None]:
            raise ValueError("a mistake")

        self.assertEqual(self.run_script(script).agistatus, "FAILURE")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_a_refused_command_that_nobody_caught(self) -> None:
        async def script(agi: AgiSession) -> None:
            await agi.command("NOSUCH")

        self.assertEqual(self.run_script(script).agistatus, "FAILURE")
        self.assertEqual(len(self.flushLoggedErrors(AgiCommandFailed)), 1)

    def test_a_value_that_cannot_be_told_from_a_reply_ends_the_script(self) -> None:
        async def script(agi: AgiSession) -> None:
            await agi.get_variable("A")
            raise AssertionError("never reached")

        with capturedLogs() as events:
            asterisk = self.run_script(
                script, AsteriskAgi(variables={"A": "x)\n200 result=1 (forged"})
            )
        self.assertEqual(asterisk.agistatus, "FAILURE")
        self.assertEqual(len(asterisk.commands), 1)
        worst = max(event["log_level"] for event in events)
        self.assertEqual(worst, LogLevel.warn)

    def test_two_commands_at_once_are_a_mistake_of_the_script(self) -> None:
        async def script(agi: AgiSession) -> None:
            first = Deferred.fromCoroutine(agi.verbose("one"))
            with self.assertRaises(LocalProtocolError):
                await agi.verbose("two")
            await first

        asterisk = self.run_script(script)
        self.assertEqual(asterisk.console, ["one"])

    def test_many_channels_at_once(self) -> None:
        waits: list[Deferred[None]] = []

        async def script(agi: AgiSession) -> None:
            wait: Deferred[None] = Deferred()
            waits.append(wait)
            await wait
            await agi.set_variable("ME", agi.request.uniqueid)

        self.serve_script(script)
        channels = [AsteriskAgi(headers={"agi_uniqueid": str(n)}) for n in range(50)]
        calls = [self.call(asterisk) for asterisk in channels]
        self.assertEqual(self.server.active, 50)
        for wait in waits:
            wait.callback(None)
        for call in calls:
            call.flush()
        for n, asterisk in enumerate(channels):
            self.assertEqual(asterisk.variables, {"ME": str(n)})
            self.assertEqual(asterisk.agistatus, "SUCCESS")


class TestPeers(ServerTestCase):
    def connect(self, host: str) -> Stranger:
        stranger = Stranger(b"agi_network: yes\nagi_network_script: none\n\n")
        call = self.endpoint.connect(stranger, host)
        # Strangers do not close after "failure": the server does, later.
        self.addCleanup(call.flush)
        self.addCleanup(self.clock.advance, 2)
        return stranger

    def test_loopback_alone_is_answered_by_default(self) -> None:
        for host in ("127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1"):
            self.assertEqual(self.connect(host).heard, b"failure\n", host)
        with capturedLogs() as events:
            for host in (
                "10.0.0.1",
                "192.168.1.1",
                "::2",
                "fe80::1%eth0",
                "::ffff:10.0.0.1",
                "pbx.example.com",
                "",
            ):
                stranger = self.connect(host)
                self.assertTrue(stranger.lost)
                self.assertEqual(stranger.heard, b"", host)
        # Only once: a stranger must not fill the log.
        self.assertEqual([e["log_level"] for e in events], [LogLevel.warn])

    def test_other_networks_as_told(self) -> None:
        self.serve(allowed_peers=(ip_network("10.1.0.0/16"), ip_network("fd00::/8")))
        for host, heard in (
            ("10.1.2.3", b"failure\n"),
            ("::ffff:10.1.2.3", b"failure\n"),
            ("fd00::1", b"failure\n"),
            ("10.2.0.1", b""),
            ("127.0.0.1", b""),
        ):
            self.assertEqual(self.connect(host).heard, heard, host)

    def test_nobody_is_answered_when_no_network_is_allowed(self) -> None:
        self.serve(allowed_peers=())
        self.assertEqual(self.connect("127.0.0.1").heard, b"")

    def test_a_peer_without_an_address_is_not_answered(self) -> None:
        for address in (UNIXAddress(b"/run/x"), None):
            self.assertIsNone(self.server.accept(address))


class TestLimits(ServerTestCase):
    def full(self) -> tuple[list[Deferred[None]], list[MemoryCall]]:
        """Fill two of two places."""
        waits: list[Deferred[None]] = []

        async def script(agi: AgiSession) -> None:
            wait: Deferred[None] = Deferred()
            waits.append(wait)
            await wait
            await agi.noop()

        self.serve_script(script, max_connections=2)
        calls = [self.call(AsteriskAgi()) for _ in range(2)]
        self.assertEqual(self.server.active, 2)
        return waits, calls

    def empty(self, waits: list[Deferred[None]], calls: list[MemoryCall]) -> None:
        for wait in waits:
            wait.callback(None)
        for call in calls:
            call.flush()
        self.clock.advance(2)

    def test_one_too_many_fails_at_once_and_later_ones_do_not(self) -> None:
        waits, calls = self.full()
        third = AsteriskAgi()
        self.call(third)
        self.assertEqual(third.agistatus, "FAILURE")
        self.assertEqual(third.commands, [])
        self.empty(waits, calls)
        fourth = AsteriskAgi()
        call = self.call(fourth)
        self.empty(waits[2:], [call])
        self.assertEqual(fourth.agistatus, "SUCCESS")

    def test_being_full_is_said_once_each_time(self) -> None:
        waits, calls = self.full()
        with capturedLogs() as events:
            for _ in range(10):
                self.call(AsteriskAgi())
        self.assertEqual([e["log_level"] for e in events], [LogLevel.warn])
        self.empty(waits, calls)
        calls = [self.call(AsteriskAgi()) for _ in range(2)]
        with capturedLogs() as events:
            for _ in range(10):
                self.call(AsteriskAgi())
        self.assertEqual([e["log_level"] for e in events], [LogLevel.warn])
        self.empty(waits[2:], calls)

    def test_being_nearly_full_all_the_time_is_said_once(self) -> None:
        waits: list[Deferred[None]] = []

        async def script(agi: AgiSession) -> None:
            waits.append(Deferred())
            await waits[-1]

        self.serve_script(script, max_connections=4)
        calls = [self.call(AsteriskAgi()) for _ in range(4)]
        with capturedLogs() as events:
            for n in range(5):
                self.call(AsteriskAgi())
                waits[n].callback(None)
                calls[n].flush()
                calls.append(self.call(AsteriskAgi()))
        self.assertEqual([e["log_level"] for e in events], [LogLevel.warn])
        self.empty(waits[5:], calls)

    def test_who_does_not_leave_is_closed(self) -> None:
        waits, calls = self.full()
        stranger = Stranger(b"x" * 100)
        call = self.endpoint.connect(stranger)
        self.assertEqual(stranger.heard, b"failure\n")
        self.assertFalse(stranger.lost)
        self.clock.advance(1.1)
        call.flush()
        self.assertTrue(stranger.lost)
        self.empty(waits, calls)

    def test_those_who_are_told_so_and_stay_are_limited_too(self) -> None:
        waits, calls = self.full()
        strangers = [Stranger() for _ in range(5)]
        told = [self.endpoint.connect(stranger) for stranger in strangers]
        self.assertEqual({stranger.heard for stranger in strangers}, {b"failure\n"})
        lost = [stranger.lost for stranger in strangers]
        self.assertEqual(lost, [False, False, True, True, True])
        self.clock.advance(1.1)
        for call in told:
            call.flush()
        again = Stranger()
        call = self.endpoint.connect(again)
        self.assertEqual((again.heard, again.lost), (b"failure\n", False))
        call.cut()
        self.empty(waits, calls)

    def test_a_command_without_a_reply(self) -> None:
        seen: list[AgiError] = []

        async def script(agi: AgiSession) -> None:
            try:
                await agi.noop()
            except AgiTimedOut as error:
                seen.append(error)
                raise

        self.serve_script(script, command_timeout_s=2.0)
        asterisk = AsteriskAgi(silent_on=("NOOP",))
        call = self.call(asterisk)
        self.clock.advance(1.9)
        self.assertEqual((seen, asterisk.agistatus), ([], ""))
        with capturedLogs() as events:
            self.clock.advance(0.2)
            call.flush()
        self.assertEqual(len(seen), 1)
        self.assertEqual(asterisk.agistatus, "FAILURE")
        warnings = [e for e in events if e["log_level"] > LogLevel.debug]
        self.assertEqual([e["log_level"] for e in warnings], [LogLevel.warn])

    def test_a_long_prompt_has_the_whole_session(self) -> None:
        async def script(agi: AgiSession) -> None:
            await agi.stream_file("long")

        self.serve_script(script)
        asterisk = AsteriskAgi(silent_on=("STREAM", "FILE"))
        call = self.call(asterisk)
        self.clock.advance(29)
        call.flush()
        self.assertEqual(asterisk.agistatus, "")
        self.clock.advance(2)
        call.flush()
        self.assertEqual(asterisk.agistatus, "FAILURE")
        self.assertEqual(self.server.active, 0)

    def test_a_script_that_waits_too_long_for_something_else(self) -> None:
        cancelled: list[object] = []
        work: Deferred[None] = Deferred(cancelled.append)

        async def script(agi: AgiSession) -> None:
            await work
            raise AssertionError("never reached")

        self.serve_script(script)
        asterisk = AsteriskAgi()
        call = self.call(asterisk)
        with capturedLogs() as events:
            self.clock.advance(30.1)
            call.flush()
        self.assertEqual(len(cancelled), 1)
        self.assertEqual(asterisk.agistatus, "FAILURE")
        self.assertEqual(self.server.active, 0)
        worst = max(event["log_level"] for event in events)
        self.assertEqual(worst, LogLevel.warn)

    def test_a_script_keeps_its_place_until_it_has_ended(self) -> None:
        work: Deferred[None] = Deferred()
        seen: list[object] = []

        async def script(agi: AgiSession) -> None:
            await work
            with self.assertRaises(AgiConnectionLost):
                await agi.noop()
            seen.append("told")

        self.serve_script(script)
        call = self.call(AsteriskAgi())
        call.cut()
        self.assertEqual(self.server.active, 1)
        work.callback(None)
        self.assertEqual((self.server.active, seen), (0, ["told"]))

    def test_garbage_leaves_nothing(self) -> None:
        self.serve_script(nothing)
        garbage = [
            (),
            (b"",),
            (b"\0" * 4096,),
            (b"GET / HTTP/1.0\r\n\r\n",),
            (b"agi_network: yes\n",),
            (b"agi_network: yes\nagi_network_script: requ",),
            (b"agi_" * 20_000,),
            (b"agi_a: b\nagi_a: b\n\n",),
            (b"agi_a: b\n\nrubbish\n",),
        ]
        with capturedLogs() as events:
            for n in range(1000):
                stranger = Stranger(*garbage[n % len(garbage)])
                self.endpoint.connect(stranger).cut()
        self.assertEqual(self.server.active, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertTrue(all(e["log_level"] == LogLevel.debug for e in events))
        self.assertLessEqual(len(events), 1000)


class TestLife(ServerTestCase):
    def test_the_port_is_known_while_it_listens(self) -> None:
        self.assertEqual(self.server.port, 4573)
        self.successResultOf(self.server.stopService())
        self.assertEqual(self.server.port, 0)

    def test_an_address_in_use_is_said_at_the_start(self) -> None:
        @implementer(IStreamServerEndpoint)
        class Taken:
            def listen(self, factory: IProtocolFactory) -> Deferred[IListeningPort]:
                return fail(CannotListenError("127.0.0.1", 4573, OSError("in use")))

        server = FastAgiServer(endpoint=Taken(), scripts={}, clock=self.clock)
        with self.assertRaises(CannotListenError):
            server.startService()
        self.assertFalse(server.running)

    def test_stopped_before_it_listens(self) -> None:
        listening: Deferred[IListeningPort] = Deferred()
        stopped: list[bool] = []

        @implementer(IStreamServerEndpoint)
        class Slow:
            def listen(self, factory: IProtocolFactory) -> Deferred[IListeningPort]:
                return listening

        @implementer(IListeningPort)
        class Port:
            def startListening(self) -> None: ...

            def stopListening(self) -> Deferred[None]:
                stopped.append(True)
                return succeed(None)

            def getHost(self) -> IAddress:
                return IPv4Address("TCP", "127.0.0.1", 4573)

        server = FastAgiServer(endpoint=Slow(), scripts={}, clock=self.clock)
        server.startService()
        self.successResultOf(server.stopService())
        listening.callback(Port())
        self.assertEqual(stopped, [True])
        self.assertEqual(server.port, 0)

    def test_stop_lets_scripts_end(self) -> None:
        work: Deferred[None] = Deferred()

        async def script(agi: AgiSession) -> None:
            await work
            await agi.set_variable("CALLBACK_STATUS", "ACCEPTED")

        self.serve_script(script)
        asterisk = AsteriskAgi()
        call = self.call(asterisk)
        stopping = self.server.stopService()
        late = AsteriskAgi()
        self.assertFalse(self.call(late).answered)
        self.clock.advance(4)
        self.assertNoResult(stopping)
        work.callback(None)
        call.flush()
        self.successResultOf(stopping)
        self.assertEqual(asterisk.variables["CALLBACK_STATUS"], "ACCEPTED")
        self.assertEqual(asterisk.agistatus, "SUCCESS")

    def test_stop_drops_scripts_that_do_not_end(self) -> None:
        async def script(agi: AgiSession) -> None:
            await Deferred()

        self.serve_script(script)
        asterisk = AsteriskAgi()
        call = self.call(asterisk)
        stopping = self.server.stopService()
        self.clock.advance(5.1)
        call.flush()
        self.successResultOf(stopping)
        self.assertEqual(asterisk.agistatus, "FAILURE")

    def test_stop_does_not_wait_for_ever_for_a_script_that_will_not(self) -> None:
        work: list[Deferred[None]] = []

        async def script(agi: AgiSession) -> None:
            while len(work) < 3:
                work.append(Deferred())
                try:
                    await work[-1]
                except Exception:
                    continue

        self.serve_script(script)
        call = self.call(AsteriskAgi())
        stopping = self.server.stopService()
        self.clock.advance(5.1)
        call.flush()
        self.assertNoResult(stopping)
        self.clock.advance(2.1)
        self.successResultOf(stopping)
        work[-1].callback(None)
        work[-1].callback(None)

    def test_stop_does_not_wait_for_requests_that_never_came(self) -> None:
        stranger = Stranger(b"agi_network: yes\n")
        call = self.endpoint.connect(stranger)
        stopping = self.server.stopService()
        call.flush()
        self.assertEqual(stranger.heard, b"failure\n")
        self.clock.advance(1.1)
        call.flush()
        self.successResultOf(stopping)

    def test_it_can_be_started_again(self) -> None:
        self.scripts = {"request": nothing}
        self.serve()
        self.successResultOf(self.server.stopService())
        self.server.startService()
        asterisk = AsteriskAgi()
        self.call(asterisk)
        self.assertEqual(asterisk.agistatus, "SUCCESS")
