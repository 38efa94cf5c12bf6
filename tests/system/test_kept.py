# SPDX-License-Identifier: MIT
"""Requests that Asterisk stores while the service does not answer."""

from __future__ import annotations

from datetime import UTC, datetime

from fastagi.domain.reason import Code, because
from fastagi.domain.task import Move, TaskEvent
from fastagi.store import requests
from tests.emulator.calls import LiveCall
from tests.emulator.manager import Action, Answer, error
from tests.emulator.scenarios import Answers
from tests.system.harness import (
    NUMBER,
    ServiceTestCase,
    live_first,
    queue_settings,
    settings,
)

NOTED = "callback-queue/noted"
FAMILY = "callback-request"


class KeptTestCase(ServiceTestCase):
    """The one agent is busy, and Asterisk is set to store requests."""

    def setUp(self) -> None:
        super().setUp()
        self.alice.busy()
        self.asterisk.keeps_requests = True

    def press(self, number: str = NUMBER, **more: str) -> LiveCall:
        """Let somebody wait for ten seconds, press 1, and get no answer in time."""
        call = self.asterisk.call("support", number, **more)  # type: ignore[arg-type]
        self.world.run(10)
        call.press()
        self.world.run(5)
        return call

    @property
    def kept(self) -> list[str]:
        """The requests stored in Asterisk."""
        return [key for family, key in self.asterisk.astdb if family == FAMILY]

    def texts(self, task_id: int = 1) -> list[str]:
        """Return the texts of a task's events."""
        events: list[TaskEvent] = self.world.history(task_id)
        return [event.text for event in events]


class ServiceDownTests(KeptTestCase):
    """The service is down when the key is pressed."""

    @live_first
    def test_the_next_start_makes_a_task_of_it(self) -> None:
        call = self.press("+49 30 123456", name="Ann: 50% & more")
        self.assertEqual(call.heard, [NOTED])
        self.assertTrue(call.gone)
        self.assertEqual(len(self.kept), 1)
        self.world.run(600)
        self.begin(queue_settings(request_expiry="1h"))
        task = self.world.task()
        self.assertEqual(task.number, "+4930123456")
        self.assertEqual(task.name, "Ann: 50 more")
        self.assertEqual(task.kind.value, "requested")
        self.assertEqual(self.world.since(task.joined_at), 10)
        self.assertEqual(self.world.since(task.expires_at), 10 + 3600)
        self.assertIn("Asterisk kept the request", task.reason)
        self.world.run(1)
        self.assertEqual(self.kept, [])

    def test_priority_is_kept(self) -> None:
        self.press(priority="5")
        self.press("0301111111")
        self.begin()
        priorities = {task.number: task.priority for task in self.world.tasks()}
        self.assertEqual(priorities, {NUMBER: 5, "0301111111": 0})

    def test_entry_of_an_older_dialplan_has_no_priority(self) -> None:
        entry = f"1:1800000000:support:3:{NUMBER}:en:call-1:"
        self.asterisk.astdb[FAMILY, "1"] = entry
        self.begin()
        task = self.world.task()
        self.assertEqual(task.priority, 0)
        self.assertIn("position 3", self.texts()[0])

    def test_the_client_is_called(self) -> None:
        self.press()
        self.begin()
        self.alice.busy(False)
        self.world.run(60)
        self.assert_status("completed")

    def test_more_than_one_answer_of_the_manager_can_hold(self) -> None:
        for i in range(1, 91):
            key = f"{i}-{'x' * 20}"
            value = f"1:1800000000:support:1:0301{i:06}:en:call-{i}:"
            self.asterisk.astdb[FAMILY, key] = value
        self.begin()
        self.world.run(5)
        self.assertEqual(len(self.world.tasks()), 90)
        self.assertEqual(self.kept, [])

    def test_requests_for_an_unknown_queue_do_not_hide_the_others(self) -> None:
        for i in range(80):
            key = f"{1700000000 + i}.{'1' * 20}"
            value = f"1:1800000000:elsewhere:1:0302{i:06}:en:call-{i}:"
            self.asterisk.astdb[FAMILY, key] = value
        self.press()
        self.begin()
        self.world.run(5)
        self.assertEqual([task.number for task in self.world.tasks()], [NUMBER])
        # Some were refused, with a list of which.
        refused = self.world.ask("numbers.refused", queue="elsewhere", limit=100)
        self.assertEqual(len(refused["result"]) + len(self.kept), 80)
        self.assertGreater(len(self.kept), 5)
        self.assert_warned("Asterisk keeps too many requests")

    def test_one_that_asterisk_does_not_delete_hides_no_other(self) -> None:
        for number in (NUMBER, "0302222222"):
            self.press(number)
        handlers = self.asterisk.manager.handlers
        originate = handlers["Originate"]

        def refuse(action: Action) -> Answer:
            if "callback-forget" in action.get("Channel"):
                return error("Permission denied")
            return originate(action)

        handlers["Originate"] = refuse
        self.begin()
        self.world.run(5)
        self.assertEqual(len(self.world.tasks()), 2)
        self.assert_warned("Permission denied; give the manager user")

    @live_first
    def test_it_is_read_twice_and_makes_one_task(self) -> None:
        self.press()
        entry = dict(self.asterisk.astdb)
        process = self.begin()
        self.world.run(1)
        process.kill()
        # As if the process had died between the COMMIT and the deletion.
        self.asterisk.astdb.update(entry)
        self.begin()
        self.world.run(1)
        self.assertEqual(len(self.world.tasks()), 1)
        self.assertEqual(self.kept, [])
        self.assertEqual(len(self.texts()), 1)

    def test_it_is_read_again_after_its_task_has_ended(self) -> None:
        self.press()
        entry = dict(self.asterisk.astdb)
        process = self.begin()
        self.alice.busy(False)
        self.world.run(60)
        self.assert_status("completed")
        process.kill()
        self.asterisk.astdb.update(entry)
        self.begin()
        self.world.run(60)
        self.assertEqual(len(self.world.tasks()), 1)
        self.assertEqual(len(self.originates), 1)

    def test_it_stays_until_the_database_takes_it(self) -> None:
        self.press()
        process = self.world.launch(settings(queue_settings()))
        process.database.broken["add"] = "no room left"
        self.world.run(30)
        self.assertEqual(self.world.tasks(), [])
        self.assertEqual(len(self.kept), 1)
        self.assert_warned("not taken over yet")
        process.database.broken.clear()
        self.world.run(10)
        self.assertEqual(len(self.world.tasks()), 1)
        self.assertEqual(self.kept, [])

    def test_callbacks_do_not_wait_for_it_for_ever(self) -> None:
        self.press()
        process = self.world.launch(settings(queue_settings()))
        process.database.broken["add"] = "no room left"
        self.world.run(30)
        self.assert_warned("are not read after 10 s; callbacks continue")
        self.alice.busy(False)
        process.database.broken.clear()
        self.world.run(60)
        self.assert_status("completed")

    def test_one_that_is_too_old_ends_with_a_reason_and_nobody_is_rung(self) -> None:
        self.press()
        self.world.run(7200)
        self.alice.busy(False)
        self.begin(queue_settings(request_expiry="1h"))
        self.world.run(60)
        self.assert_status("expired", "too old")
        self.assertEqual(self.alice.rung, [])

    def test_a_number_that_may_not_be_called_is_not(self) -> None:
        self.press()
        self.begin(queue_settings(numbers={"deny": [NUMBER]}))
        self.world.run(1)
        self.assertEqual(self.world.tasks(), [])
        self.assertEqual(self.kept, [])
        self.assert_warned("is not called back: the number is on the list")

    def test_a_queue_that_is_not_in_the_settings_waits_for_them(self) -> None:
        self.press()
        process = self.begin(queue_settings("sales"))
        self.world.run(1)
        self.assertEqual(len(self.kept), 1)
        self.assert_warned("'support', which is not in the settings")
        process.service.settings.replace(settings(queue_settings()))
        self.world.run(1)
        self.assertEqual(len(self.world.tasks()), 1)
        self.assertEqual(self.kept, [])

    def test_what_the_dialplan_did_not_write_is_deleted_and_said(self) -> None:
        values = ("", "x", "2:1:support:1:030123456:en:x:", "1:é::::::")
        for i, value in enumerate(values):
            self.asterisk.astdb[FAMILY, f"bad-{i}"] = value
        self.begin()
        self.world.run(1)
        self.assertEqual(self.world.tasks(), [])
        self.assertEqual(self.kept, ["bad-0"])
        self.assert_warned("is not a request and is deleted")


class LateTests(KeptTestCase):
    """The service runs, but its answer comes too late for the caller."""

    def late(self, *, add_takes_s: float) -> LiveCall:
        """Let a caller press while the connection stalls and the database is slow."""
        process = self.begin()
        takes_s = {"add": add_takes_s, "take_back": 2.0}
        process.database.takes_s = lambda name: takes_s.get(name, 0.0)
        call = self.asterisk.call("support", NUMBER)
        self.world.run(10)
        call.press()
        self.world.run(0.1)
        self.asterisk.agi_runs[-1].cut()
        self.world.run(20)
        return call

    @live_first
    def test_stored_in_time_but_not_told(self) -> None:
        call = self.late(add_takes_s=0.5)
        self.assertEqual(call.heard, [NOTED])
        self.assert_status("pending")
        self.assertEqual(len(self.world.tasks()), 1)
        self.assertEqual(self.kept, [])

    def test_stored_when_the_request_had_been_given_up(self) -> None:
        for add_takes_s in (0.9, 1.5, 3.0):
            with self.subTest(add_takes_s):
                self.late(add_takes_s=add_takes_s)
                open_tasks = [task for task in self.world.tasks() if task.is_open]
                self.assertEqual(len(open_tasks), 1, self.world.tasks())
                self.assertEqual(self.kept, [])
            self.again()

    def test_taken_back_before_it_is_known_that_asterisk_keeps_it(self) -> None:
        self.asterisk.keeps_requests = False
        process = self.begin()
        process.database.takes_s = lambda name: 3.0 if name == "add" else 0.0
        call = self.asterisk.call("support", NUMBER)
        self.world.run(10)
        call.press()
        self.world.run(10)
        self.assert_status("cancelled", "back in line")
        process.database.takes_s = lambda name: 0.0
        call.hang_up()
        self.asterisk.keeps_requests = True
        # The same call, as the dialplan stores it.
        value = f"1:1800000010:support:1:{NUMBER}:en:{call.channel.uniqueid}:"
        self.asterisk.astdb[FAMILY, "x"] = value
        process.kill()
        self.begin()
        self.world.run(1)
        open_tasks = [task for task in self.world.tasks() if task.is_open]
        self.assertEqual(len(open_tasks), 1)
        self.assertEqual(self.kept, [])

    @live_first
    def test_taken_back_while_its_call_was_under_way(self) -> None:
        """The end of that call adds its reason to the one for taking it back."""
        self.asterisk.keeps_requests = False
        process = self.begin()
        call = self.asterisk.call("support", NUMBER)
        self.world.run(10)
        call.press()
        self.world.run(5)
        self.client.always(Answers(after_s=1, hangs_up_after_s=3))
        self.alice.busy(False)
        self.world.run_until(
            lambda: self.client.rung and self.client.rung[0].answered_at
        )
        now = datetime.fromtimestamp(self.world.clock.seconds(), UTC)
        process.database.run("take_back", requests.take_back, 1, now)
        self.world.run(60)
        self.assert_status("cancelled", "they talked for 3.0 s")
        self.alice.busy()
        value = f"1:1800000010:support:1:{NUMBER}:en:{call.channel.uniqueid}:"
        self.asterisk.astdb[FAMILY, "x"] = value
        process.kill()
        self.begin()
        self.world.run(1)
        self.assert_status("pending", "Asterisk kept the request", task_id=2)

    def test_an_operator_who_cancels_in_the_same_words_takes_nothing_back(self) -> None:
        """Only the service takes requests back, whatever an operator's reason says."""
        self.asterisk.keeps_requests = False
        process = self.begin()
        call = self.asterisk.call("support", NUMBER)
        self.world.run(10)
        call.press()
        self.world.run(5)
        words = str(because(Code.TAKEN_BACK))
        self.world.ask("tasks.cancel", id=1, reason=words)
        self.world.run(1)
        self.assert_status("cancelled", words)
        self.assertEqual(self.world.history(1)[-1].move, Move.CANCEL)
        value = f"1:1800000010:support:1:{NUMBER}:en:{call.channel.uniqueid}:"
        self.asterisk.astdb[FAMILY, "x"] = value
        process.kill()
        self.begin()
        self.world.run(1)
        self.assertEqual([task.id for task in self.world.tasks()], [1])
        self.assertEqual(self.kept, [])


class LinkTests(KeptTestCase):
    """Trouble with the link meanwhile."""

    def test_what_asterisk_has_forgotten_is_not_remembered(self) -> None:
        process = self.begin()
        for number in range(5):
            call = self.asterisk.call("support", f"030123456{number}")
            self.world.run(10)
            call.press()
            self.asterisk.agi_runs[-1].cut()
            self.world.run(3)
        self.assertEqual(len(self.world.tasks()), 5)
        self.assertEqual(self.kept, [])
        self.assertLessEqual(process.service.node.astdb_requests.remembered, 1)

    def test_a_request_kept_while_connected_is_taken_over_at_once(self) -> None:
        self.begin()
        call = self.asterisk.call("support", NUMBER)
        self.world.run(10)
        call.press()
        self.asterisk.agi_runs[-1].cut()
        self.world.run(3)
        self.assertEqual(call.heard, [NOTED])
        self.assertEqual(len(self.world.tasks()), 1)
        self.assertEqual(self.kept, [])

    def test_the_process_is_killed_at_every_step_of_taking_over(self) -> None:
        for kill_at in range(1, 150):
            with self.subTest(kill_at):
                self.press()
                process = self.begin(kill_at=kill_at)
                self.world.run(3)
                died = process.dead
                process.kill()
                self.begin()
                self.world.run(3)
                self.assertEqual(len(self.world.tasks()), 1)
                self.assertEqual(self.kept, [])
            self.again()
            if not died:
                break
        else:
            self.fail("there are more steps than that")
