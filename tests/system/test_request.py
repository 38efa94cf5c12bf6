# SPDX-License-Identifier: MIT
"""A caller presses the key: stored and promised, or back in line at the same place."""

from __future__ import annotations

import itertools

from fastagi.service import promises
from tests.emulator.calls import LiveCall
from tests.emulator.scenarios import Answers
from tests.system.harness import (
    NUMBER,
    TALKS_10S,
    ServiceTestCase,
    live_first,
    queue_settings,
)

ACCEPTED = "callback-queue/accepted"
ALREADY = "callback-queue/already-registered"
CANNOT_CALL = "callback-queue/cannot-call"
HOLD_ON = "callback-queue/hold-on"


class RequestTestCase(ServiceTestCase):
    """The one agent is busy, so callers wait."""

    def setUp(self) -> None:
        super().setUp()
        self.alice.busy()

    def three_in_line(self) -> tuple[LiveCall, LiveCall, LiveCall]:
        """Let three callers join, ten seconds apart; the second is ours."""
        first = self.call("0301111111")
        self.world.run(10)
        ours = self.call()
        self.world.run(10)
        last = self.call("0303333333")
        self.world.run(10)
        return first, ours, last

    def press_and_wait(self, wait_s: float = 5.0) -> LiveCall:
        _, ours, _ = self.three_in_line()
        ours.press()
        self.world.run(wait_s)
        return ours

    def assert_back_in_line(self, call: LiveCall, prompt: str) -> None:
        """Check that the caller heard this, and waits at the same place as before."""
        self.assertEqual(call.heard, [prompt])
        self.assertTrue(call.waiting)
        self.assertEqual(call.positions, [2, 2])
        self.assertEqual(call.position, 2)


class AcceptedTests(RequestTestCase):
    """The request is stored."""

    def test_the_promise_is_spoken_after_the_commit(self) -> None:
        process = self.begin()
        process.database.takes_s = lambda name: 0.5 if name == "add" else 0.0
        call = self.call()
        call.press()
        self.world.run(0.4)
        self.assertEqual(call.heard, [])
        self.assertEqual(self.world.tasks(), [])
        self.world.run(0.1)
        self.assertEqual(call.heard, [ACCEPTED])
        self.assertEqual(len(self.world.tasks()), 1)
        self.world.run(2)
        self.assertTrue(call.gone)

    def test_what_is_kept_of_the_caller(self) -> None:
        self.begin(queue_settings(request_expiry="2h"))
        self.run_to(3)
        call = self.call("+49 (30) 123-4567", name='Ann "A" <b>\x07')
        self.run_to(13)
        call.press()
        self.run_to(20)
        task = self.world.task()
        self.assertEqual(task.number, "+49301234567")
        self.assertEqual(task.name, "Ann A b")
        self.assertEqual(task.queue, "support")
        self.assertEqual(task.kind.value, "requested")
        self.assertEqual(task.linkedid, call.channel.uniqueid)
        self.assertEqual(self.world.since(task.joined_at), 3)
        self.assertEqual(self.world.since(task.created_at), 13)
        self.assertEqual(self.world.since(task.due_at), 13)
        self.assertEqual(self.world.since(task.expires_at), 13 + 7200)

    def test_the_queue_is_found_whatever_the_case_of_its_name(self) -> None:
        self.begin(queue_settings("Support"))
        call = self.call()
        call.press()
        self.world.run(3)
        self.assertEqual(call.heard, [ACCEPTED])
        self.assertEqual(self.world.task().queue, "Support")
        self.alice.busy(False)
        self.world.run(60)
        self.assert_status("completed")

    def test_the_sounds_are_the_queues_own(self) -> None:
        self.begin(queue_settings(sounds={"accepted": "custom/yes"}))
        call = self.call()
        call.press()
        self.world.run(3)
        self.assertEqual(call.heard, ["custom/yes"])

    @live_first
    def test_asked_again_in_another_call_keeps_the_earlier_place(self) -> None:
        self.begin(queue_settings(request_expiry="1h"))
        first = self.call()
        self.run_to(10)
        first.press()
        self.run_to(100)
        second = self.call()
        self.run_to(200)
        second.press()
        self.run_to(210)
        self.assertEqual(second.heard, [ALREADY])
        self.assertTrue(second.gone)
        task = self.world.task()
        self.assertEqual(self.world.since(task.joined_at), 0)
        self.assertEqual(self.world.since(task.due_at), 10)
        self.assertEqual(self.world.since(task.expires_at), 3800)
        self.assertEqual([move for _, move, _ in self.world.story()][-1], "repeat")

    def test_asked_again_with_the_number_in_another_form(self) -> None:
        self.begin()
        self.call("+49301234567").press()
        self.world.run(5)
        second = self.call("49 30 1234567")
        second.press()
        self.world.run(5)
        self.assertEqual(second.heard, [ALREADY])
        self.assertEqual(len(self.world.tasks()), 1)

    def test_two_callers_with_one_number_at_the_same_moment(self) -> None:
        self.begin()
        calls = [self.call(), self.call()]
        for call in calls:
            call.press()
        self.world.run(5)
        self.assertEqual(sorted(call.heard[0] for call in calls), [ACCEPTED, ALREADY])
        self.assertEqual(len(self.world.tasks()), 1)

    @live_first
    def test_the_caller_hangs_up_before_the_answer_and_the_request_stands(self) -> None:
        process = self.begin()
        process.database.takes_s = lambda name: 0.5 if name == "add" else 0.0
        call = self.call()
        call.press()
        self.world.run(0.2)
        call.hang_up()
        self.world.run(5)
        self.assertTrue(call.gone)
        self.assert_status("pending")
        self.alice.busy(False)
        self.client.always(TALKS_10S)
        self.world.run(60)
        self.assert_status("completed")

    @live_first
    def test_the_caller_hangs_up_in_the_prompt_and_the_request_stands(self) -> None:
        self.begin()
        call = self.call()
        call.press()
        self.world.run(1)
        call.hang_up()
        self.world.run(5)
        self.assert_status("pending")


class RefusedTests(RequestTestCase):
    """Numbers that cannot be called."""

    def refused(self, number: str = NUMBER, **more: str) -> None:
        """Let a caller of this number, between two others, press the key."""
        self.begin(queue_settings(numbers={"deny": ["0900[0-9]+"]}))
        self.call("0301111111")
        self.world.run(10)
        ours = self.call(number, **more)
        self.world.run(10)
        self.call("0303333333")
        ours.press()
        self.world.run(5)
        self.assert_back_in_line(ours, CANNOT_CALL)
        self.assertEqual(self.world.tasks(), [])

    def test_no_number(self) -> None:
        self.refused("")

    def test_anonymous(self) -> None:
        self.refused("anonymous", name="Anonymous")

    def test_withheld(self) -> None:
        self.refused(callingpres="35")

    def test_not_available(self) -> None:
        self.refused(callingpres="67")

    def test_garbage(self) -> None:
        self.refused("0301234567&Local/9@evil")

    def test_a_sip_address(self) -> None:
        self.refused("alice@example.com")

    def test_bytes_that_are_no_text(self) -> None:
        self.refused("0301\udcff4567", name="J\udcf6rg")

    def test_too_short(self) -> None:
        self.refused("101")

    def test_denied(self) -> None:
        self.refused("0900123456")


class FailedTests(RequestTestCase):
    """The request cannot be stored: nothing is promised, nothing is lost."""

    def test_a_queue_that_is_not_in_the_settings(self) -> None:
        self.begin(queue_settings("sales"))
        ours = self.press_and_wait()
        self.assert_back_in_line(ours, HOLD_ON)
        self.assertEqual(self.world.tasks(), [])
        self.assert_warned("'support', which is not in the settings")

    def test_the_database_is_unavailable(self) -> None:
        process = self.begin()
        process.database.unavailable = "no room left"
        ours = self.press_and_wait()
        self.assert_back_in_line(ours, HOLD_ON)
        self.assert_warned("could not be stored")
        process.database.unavailable = ""
        self.world.run(60)
        self.assertEqual(self.world.tasks(), [])

    def test_a_late_commit_is_taken_back(self) -> None:
        process = self.begin()
        process.database.takes_s = lambda name: 3.0 if name == "add" else 0.0
        ours = self.press_and_wait()
        self.assert_back_in_line(ours, HOLD_ON)
        self.assert_status("cancelled", "the caller could not be told in time")
        self.alice.busy(False)
        self.world.run(60)
        self.assertEqual(self.originates, [])

    def test_taking_back_is_tried_until_the_database_takes_it(self) -> None:
        process = self.begin()
        process.database.takes_s = lambda name: 3.0 if name == "add" else 0.0
        process.database.broken["take_back"] = "no room left"
        ours = self.press_and_wait()
        self.world.run(10)
        self.assertTrue(ours.waiting)
        self.assert_warned("is not taken back yet")
        process.database.broken.clear()
        self.world.run(5)
        self.assert_status("cancelled", "the caller could not be told in time")

    def test_a_commit_nobody_heard_of_is_taken_back(self) -> None:
        process = self.begin()
        process.database.unheard = {"add"}
        process.database.broken["take_back"] = "no answer"
        ours = self.press_and_wait()
        self.assert_back_in_line(ours, HOLD_ON)
        self.assert_status("pending")
        process.database.broken.clear()
        self.world.run(5)
        self.assert_status("cancelled", "the caller could not be told in time")

    def test_a_late_commit_nobody_heard_of_is_taken_back(self) -> None:
        process = self.begin()
        process.database.unheard = {"add"}
        process.database.takes_s = lambda name: 3.0 if name == "add" else 0.0
        ours = self.press_and_wait()
        self.assert_back_in_line(ours, HOLD_ON)
        self.assert_status("cancelled", "the caller could not be told in time")

    def test_what_is_asked_for_again_is_not_taken_back(self) -> None:
        """The first request was stored without anybody knowing."""
        process = self.begin()
        process.database.unheard = {"add"}
        process.database.broken["take_back"] = "no answer"
        ours = self.press_and_wait(7)
        process.database.unheard = set()
        ours.press()
        self.world.run(1)
        process.database.broken.clear()
        self.world.run(10)
        self.assertIn(ALREADY, ours.heard)
        self.assert_status("pending")

    def test_a_commit_just_in_time_counts(self) -> None:
        process = self.begin()
        process.database.takes_s = lambda name: 0.7 if name == "add" else 0.0
        ours = self.press_and_wait()
        self.assertEqual(ours.heard, [ACCEPTED])
        self.assert_status("pending")

    def test_the_service_is_not_running(self) -> None:
        process = self.begin()
        process.kill()
        ours = self.press_and_wait()
        self.assert_back_in_line(ours, HOLD_ON)

    def test_asterisk_is_not_connected(self) -> None:
        self.begin()
        _, ours, _ = self.three_in_line()
        self.asterisk.manager.listening = False
        self.asterisk.cut_links()
        self.world.run(5)
        ours.press()
        self.world.run(5)
        # The request counts like any other; it is called when the link is back.
        self.assertEqual(ours.heard, [ACCEPTED])
        self.assertEqual(self.world.since(self.world.task().joined_at), 10)

    def test_cut_after_the_commit_while_the_caller_goes_back(self) -> None:
        process = self.begin()
        _, ours, _ = self.three_in_line()
        process.at("after COMMIT of add", lambda: self.asterisk.agi_runs[-1].cut())
        ours.press()
        self.world.run(0.1)
        self.assert_status("pending")
        self.world.run(5)
        self.assert_back_in_line(ours, HOLD_ON)
        self.assert_status("cancelled", "is back in line")
        self.alice.busy(False)
        self.world.run(60)
        self.assertEqual(self.originates, [])

    def test_no_answer_in_time_after_the_commit(self) -> None:
        """The dialplan gives up, and the service learns of it afterwards."""
        process = self.begin()
        _, ours, _ = self.three_in_line()
        process.at("after COMMIT of add", lambda: self.asterisk.agi_runs[-1].stall(20))
        ours.press()
        self.world.run(30)
        self.assert_back_in_line(ours, HOLD_ON)
        self.assert_status("cancelled", "is back in line")

    def test_the_caller_goes_back_while_the_link_is_lost(self) -> None:
        process = self.begin()
        _, ours, _ = self.three_in_line()
        process.at("after COMMIT of add", lambda: self.asterisk.agi_runs[-1].cut())
        ours.press()
        self.world.run(1)
        self.asterisk.manager.listening = False
        self.asterisk.cut_links()
        self.world.run(5)
        self.assertTrue(ours.waiting)
        self.asterisk.manager.listening = True
        self.world.run(60)
        self.assert_status("cancelled", "is back in line")

    def test_a_repeat_that_could_not_be_told_is_not_taken_back(self) -> None:
        process = self.begin()
        self.add()
        _, ours, _ = self.three_in_line()
        process.at("after COMMIT of add", lambda: self.asterisk.agi_runs[-1].cut())
        ours.press()
        self.world.run(10)
        self.assertTrue(ours.waiting)
        self.assert_status("pending")

    @live_first
    def test_nothing_is_remembered_of_a_caller_who_is_gone(self) -> None:
        process = self.begin()
        call = self.call()
        process.at("after COMMIT of add", call.hang_up)
        call.press()
        self.world.run(10)
        self.assert_status("pending")
        self.assertEqual(process.service.node.promises._unanswered, {})

    def test_only_so_many_are_remembered_whose_end_nobody_told(self) -> None:
        self.patch(promises, "_MAX_UNANSWERED", 2)
        process = self.begin()
        self.asterisk.manager.listening = False
        self.asterisk.cut_links()
        for number in range(4):
            call = self.call(f"030222222{number}")
            process.at("after COMMIT of add", lambda: self.asterisk.agi_runs[-1].cut())
            call.press()
            self.world.run(1)
            call.hang_up()
            self.world.run(1)
        self.assertEqual(len(self.world.tasks()), 4)
        self.assertLessEqual(len(process.service.node.promises._unanswered), 2)

    @live_first
    def test_nothing_is_remembered_of_a_caller_who_left_a_slow_database(self) -> None:
        process = self.begin()
        call = self.call()
        process.database.takes_s = lambda name: 0.5 * (name == "add")
        call.press()
        self.world.run(0.2)
        call.hang_up()
        self.world.run(10)
        self.assert_status("pending")
        self.assertEqual(process.service.node.promises._unanswered, {})

    def hang_up_after(self, seconds: float, *, unheard: bool = False) -> None:
        """Press 1 and hang up while the database does nothing for two seconds."""
        process = self.begin()
        process.database.unheard = {"add"} if unheard else set()
        until = self.world.clock.seconds() + 2
        count = itertools.count(1)

        def takes_s(_name: str) -> float:
            # Requests are processed in order.
            wait_s: float = max(0.0, until - self.world.clock.seconds())
            return wait_s + next(count) * 1e-4

        process.database.takes_s = takes_s
        call = self.call()
        call.press()
        self.world.run(seconds)
        call.hang_up()
        self.world.run(5)

    @live_first
    def test_the_caller_hangs_up_before_a_slow_database_is_given_up(self) -> None:
        self.hang_up_after(0.3)
        self.assert_status("pending", "the client pressed the key")

    @live_first
    def test_the_caller_hangs_up_after_a_slow_database_was_given_up(self) -> None:
        """This is before the service knows whether to take the request back."""
        self.hang_up_after(1.2)
        (pending,) = [task for task in self.world.tasks() if task.is_open]
        self.assertIn("missed call", pending.reason)

    @live_first
    def test_who_hangs_up_before_an_unheard_commit_is_not_taken_back(self) -> None:
        self.hang_up_after(0.3, unheard=True)
        self.assert_status("pending", "the client pressed the key")


class SeveralAddressesTests(RequestTestCase):
    """The dialplan asks the same service again, at its second address."""

    def setUp(self) -> None:
        super().setUp()
        self.asterisk.addresses = 2

    def assert_promised(self, call: LiveCall) -> None:
        """Check that the caller was promised the one callback there is."""
        self.assertEqual(call.heard, [ACCEPTED])
        self.assertTrue(call.gone)
        self.assertEqual(len(self.world.tasks()), 1)
        moves = [event.move.value for event in self.world.history()]
        self.assertEqual(moves, ["create"])
        self.assert_status("pending")

    def test_answer_of_the_first_address_is_lost(self) -> None:
        process = self.begin()
        _, ours, _ = self.three_in_line()
        process.at("after COMMIT of add", lambda: self.asterisk.agi_runs[-1].cut())
        ours.press()
        self.world.run(10)
        self.assert_promised(ours)
        self.assertEqual(process.service.node.promises._unanswered, {})
        self.assertEqual(process.service.node.promises._asked, {})

    def test_answer_of_the_first_address_does_not_come(self) -> None:
        process = self.begin()
        _, ours, _ = self.three_in_line()
        process.at("after COMMIT of add", lambda: self.asterisk.agi_runs[-1].stall(20))
        ours.press()
        self.world.run(30)
        self.assert_promised(ours)

    def press_while_the_commit_takes(self, seconds: float) -> LiveCall:
        """Press 1; each address has half a second, the service 0.8 s for each."""
        process = self.begin()
        process.database.takes_s = lambda name: seconds if name == "add" else 0.0
        ours = self.press_and_wait(10)
        self.assertEqual(process.service.node.promises._asked, {})
        self.assertEqual(process.service.node.promises._unanswered, {})
        return ours

    def test_commit_comes_while_the_second_address_is_asked(self) -> None:
        self.assert_promised(self.press_while_the_commit_takes(0.6))

    def test_commit_comes_when_it_is_too_late_only_for_the_first(self) -> None:
        self.assert_promised(self.press_while_the_commit_takes(0.9))

    def assert_taken_back_once(self, call: LiveCall) -> None:
        """Check that the caller waits again, and that there will be no callback."""
        self.assert_back_in_line(call, HOLD_ON)
        self.assert_status("cancelled", "the caller")
        moves = [event.move.value for event in self.world.history()]
        self.assertEqual(moves, ["create", "take_back"])

    def test_commit_comes_when_the_dialplan_does_not_wait_any_more(self) -> None:
        self.assert_taken_back_once(self.press_while_the_commit_takes(1.1))

    def test_commit_comes_when_it_is_too_late_for_both(self) -> None:
        self.assert_taken_back_once(self.press_while_the_commit_takes(1.4))

    def test_caller_presses_again_before_the_late_commit(self) -> None:
        process = self.begin()
        process.database.takes_s = lambda name: 8.0 if name == "add" else 0.0
        ours = self.press_and_wait(7.8)
        self.assertTrue(ours.waiting)
        ours.press()
        self.world.run(10)
        self.assertEqual(ours.heard, [HOLD_ON, ACCEPTED])
        self.assertTrue(ours.gone)
        self.assert_status("pending")
        self.assertEqual(process.service.node.promises._asked, {})

    def test_commit_nobody_heard_of_is_taken_back(self) -> None:
        process = self.begin()
        process.database.unheard = {"add"}
        process.database.takes_s = lambda name: 0.7 if name == "add" else 0.0
        _, ours, _ = self.three_in_line()
        ours.press()
        self.world.run(10)
        self.assert_back_in_line(ours, HOLD_ON)
        self.assert_status("cancelled", "the caller could not be told in time")

    def test_caller_hangs_up_while_the_second_address_is_asked(self) -> None:
        process = self.begin()
        process.database.takes_s = lambda name: 0.9 if name == "add" else 0.0
        _, ours, _ = self.three_in_line()
        ours.press()
        self.world.run(0.7)
        ours.hang_up()
        self.world.run(10)
        self.assert_status("pending")
        self.assertEqual(len(self.world.tasks()), 1)

    def test_caller_who_is_not_called_is_refused_by_the_first(self) -> None:
        self.begin()
        first = self.call("0301111111")
        self.world.run(10)
        ours = self.call("anonymous")
        self.world.run(10)
        ours.press()
        self.world.run(10)
        self.assert_back_in_line(ours, CANNOT_CALL)
        self.assertEqual(len(self.asterisk.agi_runs), 2)
        self.assertTrue(first.waiting)


class BackInLineTests(RequestTestCase):
    """The place is the old one, however long it took."""

    @live_first
    def test_those_before_may_be_gone_by_then(self) -> None:
        self.begin()
        first, ours, last = self.three_in_line()
        withheld = self.call("", callingpres="35")
        withheld.press()
        self.world.run(1)
        first.hang_up()
        self.world.run(5)
        self.assertEqual(withheld.positions, [4, 3])
        self.assertEqual([ours.position, last.position], [1, 2])

    def test_those_behind_do_not_get_ahead(self) -> None:
        self.begin()
        withheld = self.call("", callingpres="35")
        self.world.run(1)
        withheld.press()
        self.world.run(1)
        self.call("0301111111")
        self.world.run(5)
        self.assertEqual(withheld.positions, [1, 1])

    def test_twice(self) -> None:
        self.begin()
        self.call("0301111111")
        self.world.run(10)
        withheld = self.call("", callingpres="35")
        self.world.run(10)
        self.call("0302222222")
        for _ in range(2):
            withheld.press()
            self.world.run(10)
        self.assertEqual(withheld.positions, [2, 2, 2])

    def test_the_link_was_lost_meanwhile(self) -> None:
        self.begin()
        self.call("0301111111")
        self.world.run(10)
        withheld = self.call("", callingpres="35")
        self.world.run(10)
        self.call("0302222222")
        withheld.press()
        self.world.run(1)
        self.asterisk.cut_links()
        self.world.run(5)
        self.assertEqual(withheld.positions, [2, 2])

    def test_an_agent_who_answers_makes_the_request_void_by_itself(self) -> None:
        """A caller back in line who is answered needs no callback."""
        process = self.begin()
        process.database.unavailable = "no room left"
        ours = self.call()
        ours.press()
        self.world.run(5)
        self.alice.always(Answers(after_s=1))
        self.alice.busy(False)
        self.world.run(5)
        self.assertTrue(ours.talking)
        process.database.unavailable = ""
        self.world.run(60)
        self.assertEqual(self.world.tasks(), [])
        self.assertEqual(self.originates, [])
