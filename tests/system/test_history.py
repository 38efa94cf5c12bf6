# SPDX-License-Identifier: MIT
"""Calls missed while the service was down, or without its link, are found later."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from datetime import datetime
from typing import Any
from unittest import mock

from fastagi.config.queue_layers import QueueSettings
from fastagi.config.sections import HistorySettings, MissedSettings
from tests.emulator.scenarios import NO_ANSWER
from tests.harness.world import START, ServiceProcess
from tests.system.harness import (
    ALICE,
    BOB,
    NUMBER,
    ServiceTestCase,
    live_first,
    queue_settings,
)

OTHER = "0307654321"


class HistoryTestCase(ServiceTestCase):
    """The one agent of the queue is busy; bob is an extension that is free."""

    def setUp(self) -> None:
        super().setUp()
        self.log = self.world.directory / "queue_log"
        self.asterisk.queue_log_file = self.log
        self.asterisk.log_queue("NONE", "NONE", "NONE", "QUEUESTART", "")
        self.bob = self.asterisk.phone(BOB)
        self.alice.busy()

    def begin(self, *queues: QueueSettings, **sections: Any) -> ServiceProcess:  # type: ignore[override]
        """Start the service; by default it reads queue_log."""
        sections.setdefault("history", HistorySettings(queue_log=str(self.log)))
        return super().begin(*queues, **sections)

    def stop(self) -> None:
        """Stop the service."""
        process = self.world.processes[-1]
        if not process.stopped:
            process.stop()
            self.world.run_until(lambda: process.stopped)

    def says(self, text: str) -> int:
        """Return how many warnings or errors contain this."""
        return sum(text in warning for warning in self.warnings())


class NoThreadTests(HistoryTestCase):
    """The machine has no thread left for reading a history."""

    def test_it_is_read_when_there_is_one_again(self) -> None:
        in_thread = ServiceProcess.in_thread
        tries: list[float] = []

        def refuse_once(process: ServiceProcess, work: Callable[[], Any]) -> Any:
            tries.append(self.world.t)
            if len(tries) == 1:
                raise RuntimeError("can't start new thread")
            return in_thread(process, work)

        with mock.patch.object(ServiceProcess, "in_thread", refuse_once):
            self.begin()
            self.run_to(10)
            self.assert_warned("no thread can read it: can't start new thread")
            self.asterisk.cut_links()
            self.run_to(60)
        self.assertGreater(len(tries), 1)


class DownTests(HistoryTestCase):
    """The service was down."""

    @live_first
    def test_missed_call_becomes_the_task_it_would_have_been(self) -> None:
        self.run_to(10)
        self.miss("+49 (30) 123-4567")
        self.run_to(60)
        self.begin()
        task = self.world.task()
        self.assertEqual((task.kind.value, task.number), ("missed", "+49301234567"))
        self.assertEqual(task.queue, "support")
        self.assertEqual(self.world.since(task.joined_at), 10)
        self.assertEqual(self.world.since(task.due_at), 15)
        self.assertEqual(self.world.since(task.expires_at), 15 + 300)
        self.assertEqual(
            task.reason,
            "missed call: hung up after 5 s in queue support (found in queue_log)",
        )

    def test_it_is_called_back(self) -> None:
        self.miss()
        self.begin(queue_settings(target_extension=BOB))
        self.world.run(60)
        self.assertEqual(len(self.client.rung), 1)
        self.assert_status("completed")

    def test_nothing_older_than_the_window(self) -> None:
        self.miss()
        self.run_to(200)
        self.miss(OTHER)
        self.run_to(310)
        self.begin()
        self.assertEqual(self.world.task().number, OTHER)

    def test_nobody_is_called_for_a_call_of_before_a_long_outage(self) -> None:
        """Asterisk ended during the call, and was down for days."""
        self.call()
        self.run_to(30)
        self.asterisk.kill()
        self.run_to(3 * 24 * 3600)
        self.asterisk.start()
        self.begin()
        self.assertEqual(self.world.tasks(), [])

    @live_first
    def test_call_that_asterisk_took_with_it_counts_after_a_short_outage(self) -> None:
        self.call()
        self.run_to(30)
        self.asterisk.kill()
        self.run_to(60)
        self.asterisk.start()
        self.run_to(70)
        self.begin()
        self.assert_status("pending", "in queue support until Asterisk ended")

    def forge(self, at: float) -> None:
        """Let a caller send a number with lines by which another would be served."""
        at_s = int(START + at)
        lines = (
            f"{at_s}|{at_s}.9|support|NONE|ENTERQUEUE||{NUMBER}|1\n"
            f"{at_s}|{at_s}.9|support|Alice|CONNECT|1|{at_s}.10|1\n"
            f"{at_s}|{at_s}.9|support|Alice|COMPLETECALLER|1|60"
        )
        call = self.call(f"1|1\n{lines}")
        self.world.run(1)
        call.hang_up()
        self.world.settle()

    @live_first
    def test_forged_lines_of_when_the_service_listened_serve_nobody(self) -> None:
        """The service received every call of that time. Otherwise they look valid."""
        self.begin()
        self.miss()
        self.run_to(10)
        self.forge(10)
        self.run_to(20)
        self.miss(OTHER)
        self.stop()
        self.run_to(40)
        self.begin()
        self.world.run(10)
        self.assert_status("pending")

    @live_first
    def test_forged_lines_dated_to_when_the_service_was_down_serve_nobody(
        self,
    ) -> None:
        self.begin()
        self.miss()
        self.run_to(10)
        self.forge(200)
        self.run_to(60)
        self.miss(OTHER)
        self.run_to(190)
        self.stop()
        self.run_to(220)
        self.begin()
        self.world.run(10)
        self.assert_status("pending")

    def test_broken_lines_are_told(self) -> None:
        self.run_to(10)
        self.call("1\nx").hang_up()
        self.begin()
        self.assert_warned("1 lines ENTERQUEUE are broken")
        # Times are written as at the beginning of each line.
        self.assertFalse([line for line in self.warnings() if "+00:00" in line])

    @live_first
    def test_forged_lines_serve_nobody(self) -> None:
        """A caller's number has line breaks, followed by whole lines."""
        self.begin()
        self.add()
        self.run_to(10)
        self.stop()
        at = f"{START + 20:.0f}"
        later = f"{START + 24 * 3600:.0f}"
        for when in (at, later):
            # In Asterisk's format: the number, and then the position.
            for line in (
                f"{when}|{at}.5|support|NONE|ENTERQUEUE||{NUMBER}|1",
                f"{when}|{at}.5|support|PJSIP/alice|COMPLETECALLER|3|60|1",
            ):
                with self.log.open("a") as log:
                    log.write(f"{at}|{at}.9|support|NONE|ENTERQUEUE||1\n{line}\n|1\n")
        self.run_to(60)
        self.begin(queue_settings(target_extension=BOB))
        self.world.run(60)
        self.assertEqual(len(self.client.rung), 1)
        self.assert_status("completed")

    def test_window_of_its_own_queue(self) -> None:
        self.asterisk.add_queue("sales", (ALICE,))
        self.miss()
        self.run_to(100)
        self.begin(
            queue_settings(missed_window="1m"),
            queue_settings("sales"),
        )
        self.assertEqual(self.world.tasks(), [])

    @live_first
    def test_only_what_happened_since_it_listened(self) -> None:
        self.begin()
        self.run_to(10)
        self.miss()
        task_id = self.world.task().id
        self.world.ask("tasks.cancel", id=task_id)
        self.stop()
        self.world.run(10)
        self.miss(OTHER)
        self.begin()
        self.assertEqual(
            [(task.number, task.status.value) for task in self.world.tasks()],
            [(NUMBER, "cancelled"), (OTHER, "pending")],
        )

    @live_first
    def test_each_call_is_found_once_over_many_starts(self) -> None:
        self.miss()
        for _ in range(4):
            self.begin()
            self.world.run(5)
            self.stop()
        self.assertEqual([move for _, move, _ in self.world.story()], ["create"])

    def test_client_rang_again_and_was_answered(self) -> None:
        self.miss()
        self.alice.busy(False)
        self.call(talks_s=1)
        self.run_to(60)
        self.begin(queue_settings(target_extension=BOB))
        self.world.run(60)
        self.assertEqual(self.world.tasks(), [])
        self.assertEqual(self.client.rung, [])

    @live_first
    def test_client_was_answered_and_missed_later(self) -> None:
        self.alice.busy(False)
        self.call(talks_s=1)
        self.run_to(20)
        self.alice.busy()
        self.miss()
        self.begin()
        self.assert_status("pending")

    @live_first
    def test_missed_call_of_a_client_served_meanwhile_is_served(self) -> None:
        self.begin()
        self.miss()
        self.run_to(10)
        self.stop()
        self.alice.busy(False)
        self.call(talks_s=1)
        self.run_to(60)
        self.begin(queue_settings(target_extension=BOB))
        self.assert_status("served", "rang again and Alice answered while this service")
        self.world.run(60)
        self.assertEqual(self.client.rung, [])

    @live_first
    def test_missed_call_of_a_client_served_and_missed_again(self) -> None:
        self.begin()
        self.miss()
        self.run_to(10)
        self.stop()
        self.alice.busy(False)
        self.call(talks_s=1)
        self.run_to(30)
        self.alice.busy()
        self.miss()
        self.begin()
        self.assert_status("served")
        self.assert_status("pending", task_id=2)

    @live_first
    def test_request_of_a_client_stays_that_was_made_after_being_served(self) -> None:
        """Asterisk stored it, with its time."""
        self.asterisk.keeps_requests = True
        self.alice.busy(False)
        self.call(talks_s=1)
        self.run_to(20)
        self.alice.busy()
        call = self.call()
        self.world.run(1)
        call.press()
        self.run_to(60)
        self.begin()
        self.assertEqual(self.world.task().kind.value, "requested")
        self.assert_status("pending")

    def test_request_is_not_ended_by_queue_log_alone(self) -> None:
        """A caller may be able to write into queue_log, so it cannot end a request."""
        self.begin()
        self.add()
        self.run_to(10)
        self.stop()
        self.alice.busy(False)
        self.call(talks_s=1)
        self.run_to(60)
        self.begin(queue_settings(target_extension=BOB))
        self.world.run(60)
        self.assertEqual(len(self.client.rung), 1)
        self.assert_status("completed")

    def test_client_is_being_served_whose_request_asterisk_kept(self) -> None:
        self.asterisk.keeps_requests = True
        call = self.call()
        self.world.run(1)
        call.press()
        self.run_to(20)
        self.alice.busy(False)
        self.call(talks_s=50)
        self.run_to(40)
        self.begin(
            queue_settings(target_extension=BOB), history=HistorySettings(enabled=False)
        )
        self.world.run(1)
        self.assert_status("served", "rang again and PJSIP/alice answered")

    def test_link_is_lost_while_requests_are_taken_over(self) -> None:
        """The reading is skipped, and done completely at the next connect."""
        process = self.begin()
        self.run_to(10)
        self.asterisk.cut_links()
        self.world.run_until(lambda: not process.service.node.manager.connected)
        process.database.takes_s = lambda name: 3.0 * (name == "add")
        call = self.asterisk.astdb
        call["callback-request", "x"] = f"1:1800000010:support:1:{OTHER}:en:x.1:"
        self.world.run_until(lambda: process.service.node.manager.connected)
        self.world.run(1)
        self.asterisk.cut_links()
        self.asterisk.manager.listening = False
        self.miss()
        self.world.run(20)
        process.database.takes_s = lambda name: 3.0 * (name == "open attempts")
        self.asterisk.manager.listening = True
        self.world.run_until(lambda: process.service.node.manager.connected)
        self.miss("0301111111")
        self.world.run(60)
        self.assertEqual(len(self.world.tasks()), 3)

    def test_call_whose_request_asterisk_kept_is_one_request(self) -> None:
        self.asterisk.keeps_requests = True
        call = self.call()
        self.world.run(1)
        call.press()
        self.run_to(10)
        for when in ("before ", "after "):
            process = self.begin()
            process.reading_takes_s = 3.0 if when == "after " else 0.0
            self.world.run(20)
            task = self.world.task()
            self.assertEqual(task.kind.value, "requested", self.world.story())
            self.assertGreater(self.world.since(task.expires_at), 3600)
            self.stop()

    def test_internal_caller_and_our_own_callback(self) -> None:
        self.begin()
        self.add()
        self.miss("101")
        self.alice.will(NO_ANSWER).busy(False)
        self.world.run(20)
        self.alice.busy()
        self.stop()
        self.assertIn("callback-", self.log.read_text())
        self.begin()
        self.assertEqual(len(self.world.tasks()), 1)

    def test_number_that_may_not_be_called(self) -> None:
        self.miss()
        self.begin(queue_settings(numbers={"deny": ["030.*"]}))
        self.assertEqual(self.world.tasks(), [])

    def test_queue_whose_missed_calls_do_not_count(self) -> None:
        self.miss()
        self.begin(queue_settings(missed_calls=False))
        self.assertEqual(self.world.tasks(), [])

    @live_first
    def test_asterisk_died_with_callers_in_line(self) -> None:
        self.begin()
        self.call()
        self.world.run(10)
        self.asterisk.kill()
        self.world.run(20)
        self.asterisk.start()
        self.world.run(60)
        self.assert_status("pending", "found in queue_log")

    def test_history_is_switched_off(self) -> None:
        self.miss()
        self.begin(history=HistorySettings(enabled=False, queue_log=str(self.log)))
        self.assertEqual(self.world.tasks(), [])


class LinkTests(HistoryTestCase):
    """The link was lost."""

    def lose_link(self) -> None:
        self.asterisk.cut_links()
        self.asterisk.manager.listening = False

    def find_link(self) -> None:
        self.asterisk.manager.listening = True
        self.world.run(60)

    @live_first
    def test_call_missed_without_a_link(self) -> None:
        self.begin()
        self.run_to(10)
        self.lose_link()
        self.miss()
        self.find_link()
        self.assert_status("pending", "found in queue_log")

    @live_first
    def test_call_that_was_under_way_when_the_link_was_lost(self) -> None:
        self.begin()
        call = self.call()
        self.world.run(5)
        self.lose_link()
        self.world.run(10)
        call.hang_up()
        self.find_link()
        self.assert_status("pending", "hung up after 15 s in queue support")

    @live_first
    def test_call_that_outlives_the_loss(self) -> None:
        """The live detection judges the call, although it did not see the beginning."""
        self.begin()
        call = self.call()
        self.lose_link()
        self.find_link()
        self.assertEqual(self.world.tasks(), [])
        call.hang_up()
        self.world.run(10)
        self.assert_status("pending", "found in queue_log")

    def test_call_that_outlives_the_loss_and_is_answered(self) -> None:
        self.begin()
        self.call(talks_s=30)
        self.lose_link()
        self.find_link()
        self.alice.busy(False)
        self.world.run(100)
        self.assertEqual(self.world.tasks(), [])

    @live_first
    def test_call_seen_live_is_not_found_once_more(self) -> None:
        self.begin()
        self.run_to(10)
        self.miss()
        for _ in range(3):
            self.lose_link()
            self.find_link()
        self.assertEqual([move for _, move, _ in self.world.story()], ["create"])

    def test_withheld_number_that_was_seen_live(self) -> None:
        """queue_log does not show that it was withheld."""
        self.begin()
        self.run_to(10)
        self.miss(callingpres="35")
        self.world.run(10)
        self.lose_link()
        self.find_link()
        self.stop()
        self.begin()
        self.world.run(400)
        self.assertEqual(self.world.tasks(), [])

    def test_call_that_ends_right_after_the_connect(self) -> None:
        """The calls missed without a link are not read yet at that time."""
        self.bob.busy()
        process = self.begin(queue_settings(target_extension=BOB))
        self.run_to(10)
        self.alice.busy(False)
        talk = self.call(OTHER, talks_s=500)
        self.world.run(5)
        self.lose_link()
        self.miss()
        self.world.run(20)
        process.database.takes_s = lambda name: 0.05
        self.asterisk.manager.listening = True
        self.world.run_until(lambda: process.service.node.manager.connected)
        talk.hang_up()
        self.world.run(60)
        self.assert_status("pending", "found in queue_log")

    def test_call_seen_while_it_is_asked_for_the_attempts_under_way(self) -> None:
        process = self.begin()
        self.run_to(10)
        self.lose_link()
        self.miss()
        self.world.run(20)
        process.database.takes_s = lambda name: 3.0 * (name == "open attempts")
        self.asterisk.manager.listening = True
        self.world.run_until(lambda: process.service.node.manager.connected)
        self.world.run(0.5)
        call = self.call(OTHER)
        self.world.run(1)
        call.hang_up()
        self.world.run(60)
        self.assertEqual({t.number for t in self.world.tasks()}, {NUMBER, OTHER})

    def test_link_lost_once_more_while_the_history_is_read(self) -> None:
        process = self.begin()
        self.run_to(10)
        self.lose_link()
        process.reading_takes_s = 5.0
        self.asterisk.manager.listening = True
        self.world.run_until(lambda: process.service.node.manager.connected)
        self.world.run(1)
        self.lose_link()
        self.world.run(2)
        self.miss()
        process.database.takes_s = lambda name: 3.0 * (name == "open attempts")
        self.asterisk.manager.listening = True
        self.world.run_until(lambda: process.service.node.manager.connected)
        call = self.call(OTHER)
        self.world.run(1)
        call.hang_up()
        self.world.run(60)
        self.assertEqual({t.number for t in self.world.tasks()}, {NUMBER, OTHER})

    def test_client_rings_and_is_answered_while_the_history_is_read(self) -> None:
        process = self.begin(queue_settings(target_extension=BOB))
        self.run_to(10)
        self.lose_link()
        self.miss()
        process.reading_takes_s = 8.0
        self.asterisk.manager.listening = True
        self.world.run_until(lambda: process.service.node.manager.connected)
        self.alice.busy(False)
        self.call(talks_s=2)
        self.world.run(60)
        self.assertEqual(self.client.rung, [])
        self.assertEqual([t for t in self.world.tasks() if t.is_open], [])


class WaitingTests(HistoryTestCase):
    """Who may be called before the histories are read."""

    def serve_meanwhile(self) -> None:
        """A client with an open task is answered while the service is down."""
        self.begin(queue_settings(target_extension=BOB))
        self.bob.busy()
        self.miss()
        self.run_to(10)
        self.stop()
        self.alice.busy(False)
        self.call(talks_s=1)
        self.bob.busy(False)
        self.run_to(60)

    def launch(self, takes_s: float) -> None:
        process = self.world.launch(self.world.processes[-1].service.settings())
        process.reading_takes_s = takes_s

    def test_nobody_is_called_until_it_is_read(self) -> None:
        self.serve_meanwhile()
        self.launch(9.0)
        self.world.run(60)
        self.assertEqual(self.client.rung, [])
        self.assert_status("served")

    def test_callbacks_do_not_wait_for_ever(self) -> None:
        self.begin(queue_settings(target_extension=BOB))
        self.bob.busy()
        self.add()
        self.run_to(10)
        self.stop()
        self.bob.busy(False)
        self.launch(50.0)
        self.world.run(30)
        self.assertEqual(self.originates, [20])
        self.assert_warned("the history is not read after 10 s")

    def test_what_is_read_late_is_taken_in(self) -> None:
        self.miss()
        self.begin()
        self.stop()
        self.miss(OTHER)
        self.launch(50.0)
        self.world.run(60)
        self.assertEqual([t.number for t in self.world.tasks()], [NUMBER, OTHER])

    def test_reading_that_hangs_is_begun_once(self) -> None:
        self.begin()
        self.stop()
        self.launch(3000.0)
        self.world.run(1000)
        self.assertEqual(self.says("could not be read within 60 s"), 1)
        self.assertEqual(self.says("has not come to an end"), 1)

    def test_stop_while_it_is_read(self) -> None:
        self.begin()
        self.stop()
        self.launch(50.0)
        self.world.run(3)
        self.stop()
        self.assertEqual(self.world.processes[-1].stopped, [None])

    def test_stop_before_it_is_read(self) -> None:
        """The service is told to stop before it knows since when it saw all calls."""
        self.begin()
        self.stop()
        self.launch(50.0)
        process = self.world.processes[-1]
        process.database.takes_s = lambda name: 0.5 * (name == "mark")
        self.world.run_until(lambda: process.service.node.manager.connected)
        self.world.run(0.2)
        process.stop()
        self.world.run(2)
        self.assertEqual(process.stopped, [None])


class TroubleTests(HistoryTestCase):
    """A history can not be read."""

    def test_missing_queue_log_is_said_once_and_the_service_goes_on(self) -> None:
        self.log.unlink()
        self.begin(queue_settings(target_extension=BOB))
        self.add()
        self.world.run(600)
        self.assert_status("completed")
        self.assertEqual(self.says("does not exist; correct the section 'history'"), 1)

    @live_first
    def test_it_is_read_when_it_can_be(self) -> None:
        self.miss()
        hidden = self.log.with_name("hidden")
        shutil.move(self.log, hidden)
        self.begin()
        self.world.run(30)
        self.assertEqual(self.world.tasks(), [])
        shutil.move(hidden, self.log)
        self.world.run(60)
        self.assert_status("pending", "found in queue_log")

    def test_log_is_rotated_while_we_are_down(self) -> None:
        self.miss()
        os.utime(self.log, (self.world.clock.seconds(),) * 2)
        shutil.move(self.log, self.log.with_name("queue_log.1"))
        self.run_to(20)
        self.miss(OTHER)
        self.begin()
        self.assertEqual([t.number for t in self.world.tasks()], [NUMBER, OTHER])

    def test_database_is_away_when_the_history_is_read(self) -> None:
        self.miss()
        process = self.begin()
        self.assertEqual(len(self.world.tasks()), 1)
        self.stop()
        self.world.run(10)
        self.miss(OTHER)
        process = self.world.launch(process.service.settings())
        process.database.broken["mark"] = "disk full"
        self.world.run(5)
        self.assertEqual(len(self.world.tasks()), 1)
        self.assert_warned("calls missed meanwhile are not known yet, trying again")
        del process.database.broken["mark"]
        self.world.run(70)
        self.assertEqual(len(self.world.tasks()), 2)


class LateTests(HistoryTestCase):
    """CDRs are written after the end of the call."""

    def setUp(self) -> None:
        super().setUp()
        self.cdrs = self.world.directory / "Master.csv"
        self.cdrs.touch()

    def cdr(self, at: float, number: str = NUMBER, *, answered: bool = False) -> None:
        """Write the CDR of a call of half a minute to an extension."""

        def moment(seconds: float) -> str:
            return str(datetime.fromtimestamp(START + seconds))

        values = [
            "",
            number,
            "direct",
            "inbound",
            f'""Ann"" <{number}>',
            "PJSIP/trunk-1",
            "PJSIP/bob-2",
            "Dial",
            "PJSIP/bob",
            moment(at),
            moment(at + 10) if answered else "",
            moment(at + 30),
            "30",
            "20" if answered else "0",
            "ANSWERED" if answered else "NO ANSWER",
            "DOCUMENTATION",
            f"{START + at:.0f}.77",
            "",
        ]
        with self.cdrs.open("a") as file:
            file.write(",".join(f'"{value}"' for value in values) + "\n")

    def begin_with_cdrs(self, **more: Any) -> ServiceProcess:
        return self.begin(
            queue_settings(**more),
            missed=MissedSettings.model_validate({"contexts": ["inbound"]}),
            history=HistorySettings(queue_log=str(self.log), cdr_csv=str(self.cdrs)),
        )

    @live_first
    def test_missed_call_is_found_when_it_is_written(self) -> None:
        self.run_to(100)
        self.begin_with_cdrs()
        self.world.run(10)
        self.assertEqual(self.world.tasks(), [])
        self.cdr(50)
        self.world.run(10)
        self.assert_status("pending", "direct ended unanswered after 30 s")

    @live_first
    def test_clock_is_set_forward_before_it_is_written(self) -> None:
        """The delays of later readings count in elapsed seconds."""
        self.run_to(100)
        self.begin_with_cdrs(missed_window="5h")
        self.world.run(5)
        self.world.set_wall_clock(2 * 3600)
        self.world.run(20)
        self.cdr(50)
        self.world.run(60)
        self.assert_status("pending", "direct ended unanswered after 30 s")

    @live_first
    def test_batch_of_five_minutes(self) -> None:
        self.run_to(100)
        self.begin_with_cdrs(missed_window="10m")
        self.world.run(300)
        self.cdr(50)
        self.world.run(31)
        self.assert_status("pending", "direct ended unanswered after 30 s")

    def test_call_is_answered_after_its_queue(self) -> None:
        """By queue_log alone it would be missed."""
        self.run_to(40)
        call = self.call()
        self.world.run(10)
        call.hang_up()
        self.run_to(60)
        self.cdr(51, answered=True)
        self.run_to(100)
        self.begin_with_cdrs()
        self.world.run(400)
        self.assertEqual(self.world.tasks(), [])

    @live_first
    def test_client_was_served_and_it_is_written_late(self) -> None:
        self.run_to(40)
        self.miss()
        self.run_to(100)
        self.begin_with_cdrs()
        self.world.run(1)
        self.assert_status("pending")
        self.cdr(50, answered=True)
        self.world.run(20)
        self.assert_status("served", "rang again and PJSIP/bob answered")

    def test_request_is_ended_by_cdrs(self) -> None:
        """The client's request is the last of many that Asterisk stored."""
        self.asterisk.keeps_requests = True
        for number in [*(f"030777770{i}" for i in range(5)), NUMBER]:
            call = self.call(number)
            self.world.run(1)
            call.press()
            self.world.run(3)
        self.cdr(30, answered=True)
        self.run_to(60)
        self.begin_with_cdrs(target_extension=BOB)
        self.world.run(300)
        self.assertEqual(self.client.rung, [])
        self.assert_status("served", "while this service did not listen", task_id=6)

    def test_crash_before_the_last_look(self) -> None:
        """What was not written at the first reading is found by the next run."""
        self.run_to(100)
        self.begin_with_cdrs()
        self.world.run(70)
        # A call that is seen live does not move the mark too far.
        self.miss(OTHER)
        self.world.processes[-1].kill()
        self.cdr(50)
        self.begin_with_cdrs()
        self.assertEqual(
            sorted(task.number for task in self.world.tasks()), [NUMBER, OTHER]
        )
