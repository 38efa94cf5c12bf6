# SPDX-License-Identifier: MIT
"""One connection to the manager: replies, lists, time-outs, loss."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from fastagi.ami import actions
from fastagi.ami.errors import ActionFailed, ActionTimedOut, NotConnected
from fastagi.ami.protocol import AmiProtocol, OneShot
from fastagi.wire.ami import AmiMessage
from tests.emulator.manager_end import ManagerEnd
from tests.recordings.dialogue import read_dialogue


class ProtocolCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.events: list[AmiMessage] = []
        self.ends: list[str] = []
        self.link = AmiProtocol(
            clock=self.clock,
            on_event=self.events.append,
            on_end=lambda: self.ends.append(self.link.end_reason),
            action_timeout_s=10.0,
            action_id_prefix="t-",
        )
        self.asterisk = ManagerEnd(self.link)
        self.asterisk.banner()

    def tearDown(self) -> None:
        self.asterisk.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertFalse(self.link.usable)


class ReplyTests(ProtocolCase):
    def test_action_goes_out_as_exact_bytes(self) -> None:
        self.link.send(actions.ping()).addErrback(lambda _: None)
        self.assertEqual(
            self.asterisk.value(), b"Action: Ping\r\nActionID: t-1\r\n\r\n"
        )

    def test_no_action_waits_for_the_one_before_it_to_be_acknowledged(self) -> None:
        self.assertFalse(self.asterisk.has_delay)

    def test_reply_finds_the_one_who_asked_though_others_are_answered_first(
        self,
    ) -> None:
        ping = self.link.send(actions.ping())
        status = self.link.send(actions.core_settings())
        asked = [self.asterisk.asked("Ping"), self.asterisk.asked("CoreSettings")]
        self.asterisk.answer(asked[1], "Success", ("CoreRealTimeEnabled", "3"))
        self.assertNoResult(ping)
        self.assertEqual(self.successResultOf(status).get("CoreRealTimeEnabled"), "3")
        self.asterisk.answer(asked[0], "Success", ("Ping", "Pong"))
        self.assertEqual(self.successResultOf(ping).get("Ping"), "Pong")

    def test_refusal_tells_what_was_asked_and_what_was_answered(self) -> None:
        reply = self.link.send(actions.hangup("nosuch"))
        self.asterisk.answer(
            self.asterisk.asked("Hangup"), "Error", ("Message", "No such channel")
        )
        error = self.failureResultOf(reply, ActionFailed).value
        self.assertEqual(str(error), "Asterisk refused Hangup: No such channel")
        self.assertEqual(error.action, actions.hangup("nosuch"))
        self.assertEqual(error.response.get("Message"), "No such channel")

    def test_no_reply_fails_the_action_and_leaves_the_others(self) -> None:
        slow = self.link.send(actions.command("core show version"), timeout_s=30)
        lost = self.link.send(actions.ping())
        self.clock.advance(9.9)
        self.assertNoResult(lost)
        self.clock.advance(0.2)
        error = self.failureResultOf(lost, ActionTimedOut).value
        self.assertEqual(str(error), "Asterisk did not answer Ping in 10 s")
        self.asterisk.answer(self.asterisk.asked("Command"), "Success")
        self.successResultOf(slow)

    def test_reply_after_the_timeout_is_dropped(self) -> None:
        reply = self.link.send(actions.ping())
        asked = self.asterisk.asked("Ping")
        self.clock.advance(10)
        self.failureResultOf(reply, ActionTimedOut)
        self.asterisk.answer(asked, "Success")
        self.asterisk.answer(asked, "Success")
        self.assertEqual(self.events, [])
        self.assertTrue(self.link.usable)

    def test_reply_that_comes_twice_counts_once(self) -> None:
        reply = self.link.send(actions.ping())
        asked = self.asterisk.asked("Ping")
        self.asterisk.answer(asked, "Success", ("Ping", "Pong"))
        self.asterisk.answer(asked, "Error")
        self.assertEqual(self.successResultOf(reply).get("Ping"), "Pong")

    def test_cancelled_action_is_forgotten(self) -> None:
        reply = self.link.send(actions.ping())
        reply.cancel()
        self.failureResultOf(reply, CancelledError)
        self.asterisk.answer(self.asterisk.asked("Ping"), "Success")

    def test_answer_to_what_could_not_be_read_is_reported(self) -> None:
        with capturedLogs() as logs:
            self.asterisk.say(("Response", "Error"), ("Message", "line too long"))
        (event,) = [e for e in logs if e["log_level"] == LogLevel.warn]
        self.assertIn("line too long", event["text"])

    def test_every_connection_has_action_ids_of_its_own(self) -> None:
        # OriginateResponse reaches every manager with the ActionID of one of them.
        ids = set()
        for _ in range(2):
            link = AmiProtocol(clock=Clock(), on_event=lambda _: None)
            asterisk = ManagerEnd(link)
            link.send(actions.ping()).addErrback(lambda _: None)
            ids.add(asterisk.asked("Ping").action_id)
            link.drop("over")
        self.assertEqual(len(ids), 2)

    def test_secret_of_a_login_is_not_logged(self) -> None:
        with capturedLogs() as logs:
            login = self.link.send(actions.login_plain("callback", "hush-hush"))
            self.asterisk.answer(self.asterisk.asked("Login"), "Error")
            self.link.drop("over")
        self.assertNotIn("hush", repr(logs))
        self.assertNotIn("hush", repr(self.failureResultOf(login)))


class EventTests(ProtocolCase):
    def test_events_come_out_in_order_between_replies(self) -> None:
        ping = self.link.send(actions.ping())
        self.asterisk.event("One")
        self.asterisk.answer(self.asterisk.asked("Ping"), "Success")
        self.asterisk.event("Two")
        self.successResultOf(ping)
        self.assertEqual([event.event for event in self.events], ["One", "Two"])

    def test_booted_asterisk_is_noticed_and_the_event_goes_on(self) -> None:
        before = self.link.when_fully_booted()
        self.asterisk.event("FullyBooted")
        self.successResultOf(before)
        self.successResultOf(self.link.when_fully_booted())
        self.assertEqual([event.event for event in self.events], ["FullyBooted"])

    def test_event_with_the_id_of_a_waiting_action_is_still_an_event(self) -> None:
        # A UserEvent carries the ActionID of the action that raised it, and may come
        # before the reply; so may OriginateResponse, which has a Response header too.
        reply = self.link.send(actions.originate(channel="Local/1@a", application="X"))
        asked = self.asterisk.asked("Originate")
        self.asterisk.event(
            "OriginateResponse",
            ("ActionID", asked.action_id),
            ("Response", "Failure"),
        )
        self.assertNoResult(reply)
        self.assertEqual([e.event for e in self.events], ["OriginateResponse"])
        self.asterisk.answer(asked, "Success")
        self.successResultOf(reply)

    def test_recorded_originate_brings_its_events(self) -> None:
        reply = self.link.send(actions.originate(channel="Local/1@a", application="X"))
        recorded = read_dialogue("ami-22.10-originate").turns[1].data
        action_id = self.asterisk.asked("Originate").action_id.encode()
        self.asterisk.say_bytes(
            recorded.replace(b"ActionID: 61\r\n", b"ActionID: " + action_id + b"\r\n")
        )
        self.assertEqual(
            self.successResultOf(reply).get("Message"),
            "Originate successfully queued",
        )
        names = [event.event for event in self.events]
        self.assertEqual(names.count("OriginateResponse"), 1)
        self.assertEqual(names.count("BridgeEnter"), 2)


class ListTests(ProtocolCase):
    def begin(self) -> tuple[Deferred[list[AmiMessage]], AmiMessage]:
        reply = self.link.send_list(actions.core_show_channels())
        return reply, self.asterisk.asked("CoreShowChannels")

    def start(self, asked: AmiMessage) -> None:
        self.asterisk.answer(asked, "Success", ("EventList", "start"))

    def item(self, asked: AmiMessage, uniqueid: str) -> None:
        self.asterisk.event(
            "CoreShowChannel",
            ("ActionID", asked.action_id),
            ("Uniqueid", uniqueid),
        )

    def complete(self, asked: AmiMessage) -> None:
        self.asterisk.event(
            "CoreShowChannelsComplete",
            ("ActionID", asked.action_id),
            ("EventList", "Complete"),
            ("ListItems", "2"),
        )

    def test_list_is_collected_and_kept_from_the_listeners(self) -> None:
        reply, asked = self.begin()
        self.start(asked)
        self.item(asked, "1.1")
        self.item(asked, "1.2")
        self.assertNoResult(reply)
        self.complete(asked)
        self.asterisk.event("Hangup", ("Uniqueid", "9.9"))
        self.assertEqual(
            [item.get("Uniqueid") for item in self.successResultOf(reply)],
            ["1.1", "1.2"],
        )
        self.assertEqual([event.event for event in self.events], ["Hangup"])

    def test_event_in_the_middle_of_a_list_is_not_believed(self) -> None:
        """Asterisk sends none there; a caller's number with line breaks forges one."""
        reply, asked = self.begin()
        self.start(asked)
        self.item(asked, "1.1")
        self.asterisk.event("QueueMemberStatus", ("Interface", "PJSIP/stranger"))
        # This would end the list for a client that accepts it.
        self.asterisk.say(("Response", "Success"), ("ActionID", "1"))
        self.asterisk.say(("Response", "Success"))
        self.asterisk.event("Complete", ("EventList", "Complete"))
        self.asterisk.event("Complete", ("ActionID", "1"), ("EventList", "Complete"))
        self.asterisk.event("Hangup", ("Uniqueid", "1.1"))
        self.item(asked, "1.2")
        self.complete(asked)

        self.assertEqual(len(self.successResultOf(reply)), 2)
        self.assertEqual(self.events, [])
        self.asterisk.event("Hangup", ("Uniqueid", "9.9"))
        self.assertEqual([event.event for event in self.events], ["Hangup"])

    def test_event_in_the_middle_of_a_list_given_up_is_not_believed(self) -> None:
        reply, asked = self.begin()
        self.clock.advance(10)
        self.failureResultOf(reply, ActionTimedOut)
        self.start(asked)
        self.asterisk.event("Hangup", ("Uniqueid", "1.1"))
        self.complete(asked)
        self.asterisk.event("Hangup", ("Uniqueid", "9.9"))

        self.assertEqual([event.get("Uniqueid") for event in self.events], ["9.9"])

    def test_two_lists_at_once_do_not_mix(self) -> None:
        first, asked_first = self.begin()
        second, asked_second = self.begin()
        # Asterisk carries out one action after another.
        for asked, uniqueid in ((asked_first, "1.1"), (asked_second, "2.1")):
            self.start(asked)
            self.item(asked, uniqueid)
            self.complete(asked)
        for reply, uniqueid in ((first, "1.1"), (second, "2.1")):
            (item,) = self.successResultOf(reply)
            self.assertEqual(item.get("Uniqueid"), uniqueid)

    def test_recorded_lists_are_whole(self) -> None:
        for version in ("16.28", "22.10"):
            turns = read_dialogue(f"ami-{version}-queue-status").turns
            recorded = (
                (turns[1], b"11", 5),
                (turns[3], b"12", 2),
                (turns[5], b"13", 0),
            )
            for turn, their_id, items in recorded:
                reply = self.link.send_list(actions.queue_status())
                our_id = self.asterisk.asked("QueueStatus").action_id.encode()
                self.asterisk.say_bytes(
                    turn.data.replace(
                        b"ActionID: " + their_id + b"\r\n",
                        b"ActionID: " + our_id + b"\r\n",
                    )
                )
                self.assertEqual(len(self.successResultOf(reply)), items)
        self.assertNotIn("QueueMember", [event.event for event in self.events])

    def test_refused_list_fails(self) -> None:
        reply, asked = self.begin()
        self.asterisk.answer(asked, "Error", ("Message", "Permission denied"))
        self.failureResultOf(reply, ActionFailed)

    def test_answer_without_a_list_fails(self) -> None:
        reply = self.link.send_list(actions.ping())
        self.asterisk.answer(self.asterisk.asked("Ping"), "Success")
        error = self.failureResultOf(reply, ActionFailed).value
        self.assertIn("announces no list", str(error))

    def test_list_that_does_not_end_in_time_fails_and_its_rest_is_dropped(self) -> None:
        reply, asked = self.begin()
        self.start(asked)
        self.item(asked, "1.1")
        self.clock.advance(10)
        self.failureResultOf(reply, ActionTimedOut)
        again, asked_again = self.begin()
        self.item(asked, "1.2")
        self.complete(asked)
        self.start(asked_again)
        self.item(asked_again, "2.1")
        self.complete(asked_again)
        self.assertEqual(len(self.successResultOf(again)), 1)
        self.assertEqual(self.events, [])

    def test_list_lost_half_way_fails(self) -> None:
        reply, asked = self.begin()
        self.start(asked)
        self.item(asked, "1.1")
        self.asterisk.close()
        self.assertTrue(self.failureResultOf(reply, NotConnected).value.sent)


class EndTests(ProtocolCase):
    def test_everything_that_waits_fails_at_once_when_the_link_goes(self) -> None:
        ping = self.link.send(actions.ping())
        listed = self.link.send_list(actions.queue_status())
        booted = self.link.when_fully_booted()
        closed = self.link.when_closed()
        self.link.connectionLost(Failure(ConnectionLost()))
        for reply, name in ((ping, "Ping"), (listed, "QueueStatus")):
            error = self.failureResultOf(reply, NotConnected).value
            self.assertTrue(error.sent)
            self.assertIn(f"{name} got no reply", str(error))
        self.assertFalse(self.failureResultOf(booted, NotConnected).value.sent)
        self.assertIn("non-clean", self.successResultOf(closed))

    def test_action_after_the_end_is_not_sent(self) -> None:
        self.asterisk.close()
        self.asterisk.clear()
        error = self.failureResultOf(self.link.send(actions.ping()), NotConnected).value
        self.assertFalse(error.sent)
        self.assertIn("the other side closed the connection", str(error))
        self.assertEqual(self.asterisk.value(), b"")

    def test_action_sent_by_one_who_just_lost_another_fails_too(self) -> None:
        # Older clients changed a dictionary during iteration.
        failed: list[bool] = []

        def again(failure: Failure) -> None:
            failed.append(failure.value.sent)
            if len(failed) < 5:
                self.link.send(actions.ping()).addErrback(again)

        for _ in range(3):
            self.link.send(actions.ping()).addErrback(again)
        self.asterisk.close()
        self.assertEqual(sorted(failed), [False] * 4 + [True] * 3)

    def test_one_who_fails_may_cancel_another(self) -> None:
        second: Deferred[AmiMessage] = Deferred()
        first = self.link.send(actions.ping())
        first.addErrback(lambda _: second.cancel())
        second = self.link.send(actions.ping())
        self.asterisk.close()
        self.failureResultOf(second, CancelledError)

    def test_end_is_told_once_and_before_those_who_wait(self) -> None:
        order: list[str] = []
        ping = self.link.send(actions.ping())
        ping.addErrback(lambda _: order.extend(self.ends))
        self.link.drop("too silent")
        self.assertEqual(order, ["too silent"])
        self.assertEqual(self.ends, ["too silent"])
        self.assertEqual(self.successResultOf(self.link.when_closed()), "too silent")

    def test_dropped_link_delivers_nothing_more(self) -> None:
        def drop(event: AmiMessage) -> None:
            self.events.append(event)
            self.link.drop("enough")

        self.link = AmiProtocol(clock=self.clock, on_event=drop)
        self.asterisk = ManagerEnd(self.link)
        self.asterisk.say_bytes(
            b"Asterisk Call Manager/11.0.0\r\n"
            b"Event: One\r\n\r\nEvent: FullyBooted\r\n\r\n"
        )
        self.assertEqual([event.event for event in self.events], ["One"])
        self.failureResultOf(self.link.when_fully_booted(), NotConnected)

    def test_peer_that_breaks_the_rules_is_dropped(self) -> None:
        self.link = AmiProtocol(clock=self.clock, on_event=self.events.append)
        self.asterisk = ManagerEnd(self.link)
        banner = self.link.when_banner()
        self.asterisk.say_bytes(b"HTTP/1.1 400 Bad Request\r\n")
        self.failureResultOf(banner, NotConnected)
        self.assertTrue(self.asterisk.closed)
        self.assertIn("no Asterisk manager", self.link.end_reason)


class AfterReadTests(ProtocolCase):
    """Code that needs all messages of one read waits for the last of them."""

    def setUp(self) -> None:
        super().setUp()
        self.order: list[str] = []
        self.link = AmiProtocol(clock=self.clock, on_event=self.hear)
        self.asterisk = ManagerEnd(self.link)
        self.asterisk.banner()

    def hear(self, event: AmiMessage) -> None:
        self.order.append(event.event)
        if event.event == "One":
            self.link.after_read(lambda: self.order.append("after"))

    def test_it_comes_after_the_last_message_that_was_read(self) -> None:
        self.asterisk.say_bytes(b"Event: One\r\n\r\nEvent: Two\r\n\r\nEvent: Th")
        self.assertEqual(self.order, ["One", "Two", "after"])
        self.asterisk.say_bytes(b"ree\r\n\r\n")
        self.assertEqual(self.order, ["One", "Two", "after", "Three"])

    def test_it_comes_at_once_if_nothing_is_being_read(self) -> None:
        self.link.after_read(lambda: self.order.append("after"))
        self.assertEqual(self.order, ["after"])

    def test_one_that_raises_stops_no_other(self) -> None:
        def fail() -> None:
            raise ValueError("never mind")

        def hear(event: AmiMessage) -> None:
            self.link.after_read(fail)
            self.link.after_read(lambda: self.order.append("after"))

        self.link = AmiProtocol(clock=self.clock, on_event=hear)
        self.asterisk = ManagerEnd(self.link)
        self.asterisk.banner()
        self.asterisk.say_bytes(b"Event: One\r\n\r\n")
        self.assertEqual(self.order, ["after"])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertTrue(self.link.usable)

    def test_it_comes_though_what_takes_a_message_raises(self) -> None:
        def hear(event: AmiMessage) -> None:
            self.link.after_read(lambda: self.order.append("after"))
            raise ValueError("a mistake")

        self.link = AmiProtocol(clock=self.clock, on_event=hear)
        self.asterisk = ManagerEnd(self.link)
        self.asterisk.banner()
        with self.assertRaises(ValueError):
            self.link.dataReceived(b"Event: One\r\n\r\n")
        self.assertEqual(self.order, ["after"])

    def test_it_comes_though_the_link_is_dropped_meanwhile(self) -> None:
        def hear(event: AmiMessage) -> None:
            self.link.after_read(lambda: self.order.append("after"))
            self.link.drop("enough")

        self.link = AmiProtocol(clock=self.clock, on_event=hear)
        self.asterisk = ManagerEnd(self.link)
        self.asterisk.banner()
        self.asterisk.say_bytes(b"Event: One\r\n\r\nEvent: Two\r\n\r\n")
        self.assertEqual(self.order, ["after"])


class KeepAliveTests(ProtocolCase):
    def setUp(self) -> None:
        super().setUp()
        self.link.keep_alive(15.0)

    def test_silence_is_broken_by_a_ping(self) -> None:
        for _ in range(3):
            self.clock.advance(14.9)
            self.assertTrue(self.asterisk.asked_nothing())
            self.clock.advance(0.1)
            self.asterisk.answer(self.asterisk.asked("Ping"), "Success")
        self.assertTrue(self.link.usable)

    def test_link_on_which_events_come_is_not_pinged(self) -> None:
        for _ in range(10):
            self.clock.advance(14.0)
            self.asterisk.event("Newchannel")
        self.assertTrue(self.asterisk.asked_nothing())
        self.clock.pump([15.0, 15.0])
        self.asterisk.asked("Ping")

    def test_link_without_a_reply_to_the_ping_is_dropped(self) -> None:
        self.clock.advance(15)
        waiting = self.link.send(actions.core_settings(), timeout_s=100)
        self.clock.advance(9.9)
        self.assertFalse(self.asterisk.closed)
        self.clock.advance(0.1)
        self.assertTrue(self.asterisk.closed)
        self.assertIn("not even a ping", self.link.end_reason)
        self.failureResultOf(waiting, NotConnected)

    def test_late_pong_is_forgiven_while_events_come(self) -> None:
        self.clock.advance(15)
        self.clock.advance(5)
        self.asterisk.event("Newchannel")
        self.clock.advance(5)
        self.assertTrue(self.link.usable)
        # The link is still watched.
        self.asterisk.asked("Ping")
        self.clock.advance(15)
        self.asterisk.asked("Ping")
        self.clock.advance(10)
        self.assertTrue(self.asterisk.closed)

    def test_refused_ping_is_a_sign_of_life(self) -> None:
        self.clock.advance(15)
        self.asterisk.answer(self.asterisk.asked("Ping"), "Error")
        self.clock.advance(15)
        self.asterisk.asked("Ping")
        self.assertTrue(self.link.usable)


class OneShotTests(SynchronousTestCase):
    def test_each_waiter_has_a_result_of_its_own(self) -> None:
        happening: OneShot[int] = OneShot()
        first, second = happening.when(), happening.when()
        first.addCallback(lambda _: None)
        happening.happen(7)
        happening.happen(8)
        self.assertIsNone(self.successResultOf(first))
        self.assertEqual(self.successResultOf(second), 7)
        self.assertEqual(self.successResultOf(happening.when()), 7)

    def test_waiter_may_cancel_another_when_told(self) -> None:
        happening: OneShot[int] = OneShot()
        first, second, third = (happening.when() for _ in range(3))
        first.addCallback(lambda _: second.cancel())
        happening.happen(7)
        self.failureResultOf(second, CancelledError)
        self.assertEqual(self.successResultOf(third), 7)

    def test_cancelled_waiter_is_forgotten(self) -> None:
        happening: OneShot[int] = OneShot()
        gone, stays = happening.when(), happening.when()
        gone.cancel()
        self.failureResultOf(gone, CancelledError)
        happening.fail(NotConnected("over"))
        self.failureResultOf(stays, NotConnected)
