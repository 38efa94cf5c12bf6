# SPDX-License-Identifier: MIT
"""Operators move tasks in line, assign them, write notes, and change many at once."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, ClassVar
from unittest import mock

from fastagi.config.queue_layers import DAYS_OF_WEEK
from fastagi.domain.reason import Code, actor_in
from fastagi.domain.turns import Fairness
from fastagi.service.commands import COMMANDS
from fastagi.store import lifecycle
from fastagi.store.errors import NoSuchTask
from tests.emulator.scenarios import NO_ANSWER, Answers, Refuses
from tests.system.harness import (
    ALICE,
    BOB,
    NUMBER,
    TALKS_10S,
    ServiceTestCase,
    live_first,
    queue_settings,
    settings,
)

A, B, C = (f"030111111{n}" for n in "123")
LIVE = "0309999999"
LIVE_FIRST = queue_settings(fairness=Fairness.LIVE_FIRST)
IN_LINE = queue_settings(fairness=Fairness.PLACE)


class SteeringTestCase(ServiceTestCase):
    """Three clients wait, and no agent is free."""

    members: tuple[str, ...] = (ALICE,)

    def setUp(self) -> None:
        super().setUp()
        for number in (A, B, C):
            self.asterisk.client(number).always(TALKS_10S)

    def wait(self, queue: Any, *, busy: bool = True) -> None:
        """Let the clients ask one after the other, while the agents are busy."""
        self.begin(queue)
        for interface in self.members:
            self.asterisk.phone(interface).busy(busy)
        for number in (A, B, C):
            self.add(number)
            self.world.run(1)

    def ask(self, command: str, **fields: Any) -> Any:
        """Return the answer to a command that is carried out."""
        answer = self.world.ask(command, **fields)
        assert answer["ok"], answer
        return answer["result"]

    def error(self, command: str, **fields: Any) -> str:
        """Return why a command is refused."""
        answer = self.world.ask(command, **fields)
        assert not answer["ok"], answer
        return str(answer["error"])

    def free(self) -> None:
        for interface in self.members:
            self.asterisk.phone(interface).busy(False)

    def called(self) -> list[str]:
        """Return the clients in the order in which they were called."""
        rung = [
            (ring.at, number)
            for number in (A, B, C)
            for ring in self.asterisk.client(number).rung
        ]
        return [number for _, number in sorted(rung)]


class MoveTests(SteeringTestCase):
    """``tasks move``."""

    def test_task_moved_to_the_front_is_called_next(self) -> None:
        for queue in (LIVE_FIRST, IN_LINE):
            with self.subTest(fairness=queue.fairness):
                self.again()
                self.wait(queue)
                task = self.ask("tasks.move", id=3, front=True, actor="eve")["task"]
                self.assertTrue(task["moved"])
                self.assertEqual(task["joined_at"][:19], task["created_at"][:19])
                self.world.run(3)
                self.free()
                self.world.run(90)
                self.assertEqual(self.called(), [C, A, B])

    def test_task_is_called_right_after_another_one(self) -> None:
        for queue in (LIVE_FIRST, IN_LINE):
            with self.subTest(fairness=queue.fairness):
                self.again()
                self.wait(queue)
                # The first one waits in line as a placeholder already.
                self.ask("tasks.move", id=1, behind=2)
                self.world.run(3)
                self.free()
                self.world.run(90)
                self.assertEqual(self.called(), [B, A, C])

    def test_client_in_front_is_before_callers_who_wait(self) -> None:
        self.begin(IN_LINE)
        self.alice.busy()
        self.asterisk.call("support", LIVE, talks_s=10)
        self.run_to(5)
        self.add(A)
        self.run_to(7)
        self.assertEqual(self.ask("tasks.show", id=1)["task"]["position"], None)
        self.ask("tasks.move", id=1, front=True)
        self.run_to(10)
        self.assertEqual(self.ask("tasks.show", id=1)["task"]["position"], 1)
        self.alice.busy(False)
        self.run_to(60)
        self.assertEqual(len(self.alice.rung), 2)
        self.assertLess(self.asterisk.client(A).rung[0].at, self.alice.rung[1].at)
        withdrawn = self.dispositions(1)
        self.assertEqual(withdrawn[-1], "ANSWERED")

    def test_placeholder_leaves_the_line_and_loses_no_attempt(self) -> None:
        self.wait(IN_LINE)
        self.ask("tasks.move", id=1, behind=3)
        self.world.run(5)
        self.assertEqual(self.dispositions(1), ["WITHDRAWN"])
        self.assertEqual(self.ask("tasks.show", id=1)["task"]["attempts"], 0)
        self.assertEqual(self.reasons(1), ["place_changed"])

    def test_placeholder_that_is_first_already_stays(self) -> None:
        self.wait(IN_LINE)
        self.ask("tasks.move", id=1, front=True)
        self.world.run(5)
        self.assertEqual(len(self.world.attempts(1)), 1)
        self.assertEqual(self.ask("tasks.show", id=1)["task"]["position"], 1)

    def test_call_under_way_is_not_moved(self) -> None:
        self.begin(LIVE_FIRST)
        self.alice.always(Answers(after_s=20))
        self.add(A)
        self.run_to(5)
        self.assertIn(
            "has its turn already", self.error("tasks.move", id=1, front=True)
        )

    def test_task_that_waits_for_its_next_try_is_called_at_once(self) -> None:
        for queue in (LIVE_FIRST, IN_LINE):
            with self.subTest(fairness=queue.fairness):
                self.again()
                self.asterisk.client(A).will(Refuses.BUSY).always(TALKS_10S)
                self.begin(queue)
                self.add(A)
                self.run_to(30)
                self.assertEqual(self.called(), [A])
                self.ask("tasks.move", id=1, front=True)
                self.run_to(45)
                self.assertEqual(self.called(), [A, A])

    def test_limits_opening_hours_and_chosen_times(self) -> None:
        from fastagi.config.sections import LimitSettings

        self.asterisk.client(A).always(Refuses.BUSY)
        self.begin(LIVE_FIRST, limits=LimitSettings(calls_per_number=1))
        self.add(A)
        self.run_to(30)
        self.ask("tasks.move", id=1, front=True)
        self.run_to(90)
        self.assertEqual(self.called(), [A])
        self.assertIn("called once within 24 hours", self.world.task().reason)
        self.ask("tasks.add", queue="support", number=B, at="+2h")
        moved = self.ask("tasks.move", id=2, front=True)["task"]
        self.assertIsNone(moved["chosen_at"])
        self.run_to(150)
        self.assertEqual(self.called(), [A, B])

    def test_what_can_not_be_moved_is_told_why(self) -> None:
        self.wait(LIVE_FIRST)
        self.assertIn("give either front", self.error("tasks.move", id=1))
        self.assertIn("no task 9", self.error("tasks.move", id=9, front=True))
        self.assertIn("not another open task", self.error("tasks.move", id=1, behind=1))
        self.ask("tasks.cancel", id=1)
        self.assertEqual(
            self.error("tasks.move", id=1, front=True),
            "a task that is cancelled can not be moved in line",
        )


class AssignTests(SteeringTestCase):
    """``tasks assign``."""

    members = (ALICE, BOB)

    def setUp(self) -> None:
        super().setUp()
        self.support.strategy = "linear"
        self.bob = self.asterisk.phone(BOB).always(Answers(after_s=2))

    def rung(self) -> tuple[int, int]:
        """Return how often alice and bob were rung."""
        return len(self.alice.rung), len(self.bob.rung)

    def test_only_that_agent_is_rung(self) -> None:
        for queue in (LIVE_FIRST, IN_LINE):
            with self.subTest(fairness=queue.fairness):
                self.again()
                self.wait(queue)
                task = self.ask("tasks.assign", id=1, agent="pjsip/BOB")["task"]
                self.assertEqual(task["assigned_to"], BOB)
                self.alice.busy(False)
                self.world.run(60)
                # Alice talks to the others, and nobody waits for bob behind it.
                self.assertEqual(self.called(), [B, C])
                self.bob.busy(False)
                self.world.run(40)
                self.assertEqual(self.called(), [B, C, A])
                self.assertEqual(self.rung(), (2, 1))

    def test_attempt_that_rings_another_agent_ends(self) -> None:
        self.begin(LIVE_FIRST)
        self.alice.always(NO_ANSWER)
        self.add(A)
        self.run_to(5)
        self.ask("tasks.assign", id=1, agent=BOB)
        self.run_to(30)
        self.assertEqual(self.rung(), (1, 1))
        self.assertEqual(self.called(), [A])
        self.assertEqual(self.dispositions(1), ["WITHDRAWN", "ANSWERED"])

    def test_any_agent_is_asked_when_the_time_is_over_or_the_task_is_released(
        self,
    ) -> None:
        for queue in (LIVE_FIRST, IN_LINE):
            for release in (False, True):
                with self.subTest(fairness=queue.fairness, release=release):
                    self.again()
                    self.begin(queue)
                    self.bob.busy()
                    self.alice.busy()
                    self.add(A)
                    self.run_to(5)
                    self.ask("tasks.assign", id=1, agent=BOB, duration="1m")
                    self.alice.busy(False)
                    self.run_to(40)
                    self.assertEqual(self.called(), [])
                    if release:
                        self.ask("tasks.assign", id=1, release=True)
                        self.run_to(60)
                    self.run_to(90)
                    self.assertEqual(self.called(), [A])
                    self.assertEqual(self.rung(), (1, 0))

    def test_time_of_an_agent_begins_when_the_task_may_be_called(self) -> None:
        self.begin(LIVE_FIRST)
        self.alice.busy()
        self.bob.busy()
        self.add(A)
        self.run_to(5)
        self.ask("tasks.reschedule", id=1, at="+10m")
        told = self.ask("tasks.assign", id=1, agent=BOB, duration="1m")["task"]
        self.assertEqual(
            datetime.fromisoformat(told["assigned_until"])
            - datetime.fromisoformat(told["due_at"]),
            timedelta(minutes=1),
        )
        self.alice.busy(False)
        self.run_to(600)
        self.assertEqual(self.called(), [])
        self.run_to(630)
        self.assertEqual(self.called(), [])
        self.bob.busy(False)
        self.run_to(640)
        self.assertEqual(self.rung(), (0, 1))

    def test_agent_is_found_without_the_technology_if_only_one_is_meant(self) -> None:
        for member in self.support.members:
            member.name = member.interface
        self.wait(LIVE_FIRST)
        short = BOB.partition("/")[2]
        task = self.ask("tasks.assign", id=1, agent=short)["task"]
        self.assertEqual(task["assigned_to"], BOB)
        said = self.error("tasks.assign", id=1, agent=short[1:])
        self.assertIn("has no agent", said)

    def test_agent_who_is_paused_keeps_the_task(self) -> None:
        for queue in (LIVE_FIRST, IN_LINE):
            with self.subTest(fairness=queue.fairness):
                self.again()
                self.begin(queue)
                self.bob.busy()
                self.alice.busy()
                self.add(A)
                self.ask("tasks.assign", id=1, agent=BOB)
                self.run_to(5)
                self.support.pause(BOB, True)
                self.bob.busy(False)
                self.alice.busy(False)
                self.run_to(60)
                self.assertEqual(self.called(), [])
                self.support.pause(BOB, False)
                self.run_to(90)
                self.assertEqual(self.called(), [A])
                self.assertEqual(self.rung(), (0, 1))

    @live_first
    def test_assignment_survives_a_restart(self) -> None:
        self.wait(LIVE_FIRST)
        self.ask("tasks.assign", id=1, agent=BOB)
        self.restart(LIVE_FIRST)
        self.alice.busy(False)
        self.world.run(60)
        self.assertEqual(self.called(), [B, C])
        self.bob.busy(False)
        self.world.run(30)
        self.assertEqual(self.rung()[1], 1)

    def test_what_can_not_be_assigned_is_told_why(self) -> None:
        self.wait(LIVE_FIRST)
        self.assertIn(
            "no agent 'carol'", self.error("tasks.assign", id=1, agent="carol")
        )
        self.assertIn("give an agent", self.error("tasks.assign", id=1))
        self.assertIn(
            "duration must be a time",
            self.error("tasks.assign", id=1, agent=BOB, duration="soon"),
        )
        self.assertIn(
            "assigned to nobody", self.error("tasks.assign", id=1, release=True)
        )
        self.asterisk.cut_links()
        self.asterisk.manager.listening = False
        self.assertIn("not connected", self.error("tasks.assign", id=1, agent=BOB))


class BulkTests(SteeringTestCase):
    """``tasks bulk``, lists and notes."""

    def bulk(self, action: str, **fields: Any) -> Any:
        return self.ask("tasks.bulk", action=action, **fields)

    def transactions(self, takes_s: float) -> int:
        """Return in how many transactions three tasks get a note."""
        seen: list[str] = []

        def takes(name: str) -> float:
            seen.append(name)
            return takes_s if name == "change" else 0.0

        database = self.world.processes[-1].database
        database.takes_s = takes
        self.bulk("note", ids="1,2,3", note="x")
        return seen.count("change")

    def test_with_a_distant_database_fewer_are_changed_at_a_time(self) -> None:
        self.wait(LIVE_FIRST)
        self.assertEqual(self.transactions(0.0), 2)
        self.assertEqual(self.transactions(0.15), 3)
        notes = [one.why.code for one in self.world.history(2)]
        self.assertEqual(notes.count(Code.NOTE), 2)

    def test_tasks_that_are_changed_before_the_database_fails_are_called(self) -> None:
        self.wait(LIVE_FIRST)
        for task_id in (1, 2, 3):
            self.ask("tasks.reschedule", id=task_id, at="+2h")
        self.free()
        self.world.run(5)
        database = self.world.processes[-1].database
        asked: list[str] = []

        def takes(name: str) -> float:
            asked.append(name)
            if asked.count("change") == 2:
                database.broken["change"] = "the disk is full"
            return 0.0

        database.takes_s = takes
        self.error("tasks.bulk", action="reschedule", now=True, ids="1,2,3")
        self.world.run(1)
        self.assertEqual(
            [task.status.value for task in self.world.tasks()][:1], ["calling"]
        )

    def test_preview_shows_what_is_changed_and_changes_nothing(self) -> None:
        self.wait(LIVE_FIRST)
        self.ask("tasks.cancel", id=2)
        before = self.world.tasks()
        preview = self.bulk("cancel", queue="support", all=True, preview=True)
        self.assertEqual((preview["selected"], preview["changed"]), (3, 2))
        self.assertEqual(self.world.tasks(), before)
        self.assertEqual(
            [row["refused"] for row in preview["results"]],
            ["", "a task that is cancelled can not be cancelled", ""],
        )
        self.add(NUMBER)
        changed = self.error(
            "tasks.bulk",
            action="cancel",
            queue="support",
            all=True,
            expect=preview["fingerprint"],
        )
        self.assertIn("other tasks match now", changed)
        done = self.bulk("cancel", ids="1,2,3", expect=preview["fingerprint"])
        self.assertEqual(done["results"], preview["results"])
        self.assertEqual(
            [task.status.value for task in self.world.tasks()],
            ["cancelled", "cancelled", "cancelled", "pending"],
        )

    def test_many_are_changed_in_small_transactions(self) -> None:
        process = self.begin(LIVE_FIRST)
        self.alice.busy()
        for number in range(60):
            self.add(f"0302222{number:03}")
        done = self.bulk("note", queue="support", note="too many calls", actor="eve")
        self.assertEqual(done["changed"], 60)
        # The first one changes one task, and tells how long that takes.
        self.assertEqual(process.points.count("after COMMIT of change"), 4)
        event = self.world.history(60)[-1]
        self.assertEqual(event.text, "note: too many calls (eve)")

    def test_several_moved_to_the_front_keep_their_order(self) -> None:
        self.wait(LIVE_FIRST)
        self.bulk("move", ids="3,2")
        self.free()
        self.world.run(90)
        self.assertEqual(self.called(), [B, C, A])

    def test_each_action_changes_what_its_command_changes(self) -> None:
        self.wait(LIVE_FIRST)
        self.bulk("assign", ids="1,9", agent=ALICE, duration="5m")
        self.assertEqual(self.world.tasks()[0].assigned_to, ALICE)
        self.bulk("release", ids="1")
        self.assertIsNone(self.world.tasks()[0].assigned_to)
        self.bulk("reschedule", ids="1", at="+2h")
        self.assertIsNotNone(self.world.tasks()[0].chosen_at)
        self.bulk("cancel", number=A, reason="called twice")
        self.assertEqual(self.world.tasks()[0].reason, "called twice")
        self.bulk("retry", status="cancelled")
        self.assertEqual(self.world.tasks()[0].status.value, "pending")

    def test_note_of_a_change_is_stored_with_it_or_not_at_all(self) -> None:
        self.wait(LIVE_FIRST)
        changes: dict[str, Any] = {
            "tasks.move": {"front": True},
            "tasks.assign": {"agent": ALICE},
            "tasks.reschedule": {"at": "+2h"},
            "tasks.retry": {},
        }
        for command, fields in changes.items():
            self.ask(command, id=1, **fields, note=command, actor="eve")
            last = self.world.history(1)[-1]
            self.assertEqual(last.text, f"note: {command} (eve)")
        self.ask("tasks.assign", id=1, release=True, note="free")
        self.assertEqual(self.world.history(1)[-1].text, "note: free")
        self.bulk("move", ids="2", note="first")
        self.assertEqual(self.world.history(2)[-1].text, "note: first")
        self.bulk("move", ids="3", note="first", preview=True)
        with mock.patch.object(lifecycle, "note", side_effect=NoSuchTask("no")):
            self.error("tasks.move", id=3, front=True, note="lost")
        self.assertIsNone(self.world.tasks()[2].place_at)
        self.assertEqual(len(self.world.history(3)), 1)

    def test_selection_must_be_said_and_be_small(self) -> None:
        self.begin(LIVE_FIRST)
        self.assertIn("ids or a filter", self.error("tasks.bulk", action="cancel"))
        self.assertIn("no action", self.error("tasks.bulk", action="burn", all=True))
        both = self.error("tasks.bulk", action="cancel", ids="1", queue="support")
        self.assertIn("either ids or a filter", both)
        many = self.error(
            "tasks.bulk", action="cancel", ids=",".join(map(str, range(1, 1002)))
        )
        self.assertIn("more than the 1,000", many)

    def test_lists_are_filtered(self) -> None:
        self.wait(LIVE_FIRST)
        self.ask("tasks.cancel", id=2)
        self.ask("tasks.add", queue="support", number="0304444444", name="Ада Лавлейс")

        def ids(**wanted: Any) -> list[int]:
            return [row["id"] for row in self.ask("tasks.list", **wanted)]

        self.assertEqual(ids(status="pending,cancelled"), [4, 3, 2, 1])
        self.assertEqual(ids(status="cancelled"), [2])
        self.assertEqual(ids(kind="missed"), [])
        self.assertEqual(ids(kind="manual,missed"), [4, 3, 1])
        self.assertEqual(ids(text="ада"), [4])
        self.assertEqual(ids(text="ЛАВ"), [4])
        self.assertEqual(ids(text="111111", all=True), [3, 2, 1])
        self.assertEqual(ids(text="%"), [])
        self.assertEqual(ids(reason_code="cancelled_by_hand", all=True), [2])
        created = self.world.tasks()[2].created_at.isoformat()
        self.assertEqual(ids(created_from=created), [4, 3])
        self.assertEqual(ids(created_to=created), [1])
        self.assertEqual(ids(created_from="2020-01-01", created_to="2020-02-01"), [])
        self.assertIn("is no time", self.error("tasks.list", created_to="soon"))
        self.assertIn("no kind", self.error("tasks.list", kind="x"))
        self.assertIn("docs/reasons.md", self.error("tasks.list", reason_code="x"))


class NumberTests(SteeringTestCase):
    """``numbers check``."""

    def check(self, number: str) -> Any:
        return self.ask("numbers.check", queue="support", number=number)

    def test_number_is_checked_as_before_a_call(self) -> None:
        from fastagi.config.sections import LimitSettings

        limits = LimitSettings(calls_per_number=1, calls_per_minute=5)
        self.asterisk.client(A).always(Refuses.BUSY)
        self.begin(
            queue_settings(fairness=Fairness.LIVE_FIRST, calls_per_hour=1),
            limits=limits,
        )
        found = self.check(A)
        self.assertTrue(found["may_be_called"])
        self.assertEqual(found["dialled"], A)
        self.assertIn(A, found["dial_string"])
        self.add(A)
        self.run_to(30)
        found = self.check(A)
        self.assertFalse(found["may_be_called"])
        codes = [why["reason_code"] for why in found["why_not"]]
        self.assertEqual(codes, ["called_too_often", "limit_reached"])
        self.assertEqual([use["used"] for use in found["limits"]], [1, 1, 1])
        self.assertIsNotNone(found["limits"][0]["free_at"])
        self.assertEqual(found["open_task"]["id"], 1)
        self.ask("numbers.block", number=B, reason="asked us")
        found = self.check(B)
        self.assertEqual(found["blocked"]["reason"], "asked us")
        self.assertEqual((found["dialled"], found["dial_string"]), ("", ""))
        self.asterisk.call("support", "12").press()
        self.world.run(5)
        found = self.check("12")
        self.assertEqual(found["why_not"][0]["reason_code"], "too_few_digits")
        self.assertEqual(found["last_refusal"]["number"], "12")
        self.assertIn("no queue", self.error("numbers.check", queue="x", number=A))

    def test_check_says_what_keeps_the_queue_from_calling_now(self) -> None:
        hours = {"time_zone": "UTC", **dict.fromkeys(DAYS_OF_WEEK, "09:00-17:00")}
        process = self.begin(queue_settings(opening_hours=hours))
        found = self.check(A)
        self.assertTrue(found["may_be_called"])
        self.assertEqual(found["not_now"]["code"], "closed_until")
        process.service.settings.replace(settings(LIVE_FIRST))
        self.world.settle()
        self.assertIsNone(self.check(A)["not_now"])
        self.alice.busy()
        self.world.settle()
        self.assertEqual(self.check(A)["not_now"]["code"], "agents_busy")

    def test_blocked_numbers_are_listed_on_from_where_the_list_ended(self) -> None:
        self.begin(LIVE_FIRST)
        for number in (A, B, C):
            self.ask("numbers.block", number=number)
        first = self.ask("numbers.list", limit=2)
        rest = self.ask("numbers.list", before=first[-1]["number"])
        found = [row["number"] for row in first + rest]
        self.assertEqual(sorted(found), [A, B, C])
        self.assertEqual(len(found), 3)


class ActorTests(SteeringTestCase):
    """Who changed what is in the history."""

    #: The fields with which each command changes task 1, which waits.
    CHANGES: ClassVar[dict[str, Any]] = {
        "tasks.cancel": {"id": 1},
        "tasks.retry": {"id": 1},
        "tasks.reschedule": {"id": 1, "at": "+2h"},
        "tasks.move": {"id": 1, "front": True},
        "tasks.assign": {"id": 1, "agent": ALICE},
        "tasks.note": {"id": 1, "note": "x"},
        "tasks.bulk": {"action": "cancel", "ids": "1"},
        "tasks.add": {"queue": "support", "number": A},
        "numbers.block": {"number": A},
        "numbers.erase": {"number": A},
    }
    #: Those that change only tasks that have ended.
    OF_ENDED: ClassVar[set[str]] = {"numbers.erase"}
    #: Commands that change no task.
    OTHERS: ClassVar[set[str]] = {
        "status",
        "tasks.list",
        "tasks.show",
        "numbers.list",
        "numbers.refused",
        "numbers.check",
        "numbers.unblock",
        "numbers.export",
    }

    def test_each_change_stores_its_actor(self) -> None:
        changing = set(COMMANDS) - self.OTHERS
        steering = {
            name for name in changing if name.startswith(("tasks.", "numbers."))
        }
        self.assertEqual(steering, set(self.CHANGES))
        for command, fields in self.CHANGES.items():
            with self.subTest(command=command):
                self.again()
                self.wait(LIVE_FIRST)
                if command in self.OF_ENDED:
                    self.ask("tasks.cancel", id=1)
                events = len(self.world.history(1))
                self.ask(command, **fields, actor="eve")
                written = self.world.history(1)[events:]
                self.assertEqual([actor_in(one.why) for one in written], ["eve"])
        self.again()
        self.wait(LIVE_FIRST)
        self.ask("tasks.assign", id=1, agent=ALICE, actor="eve")
        self.ask("tasks.assign", id=1, release=True, actor="eve")
        last = self.world.history(1)[-1].why
        self.assertEqual((last.code, actor_in(last)), (Code.RELEASED_BY_HAND, "eve"))
