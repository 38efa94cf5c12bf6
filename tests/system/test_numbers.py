# SPDX-License-Identifier: MIT
"""Clients are recognised by each form of their number, by the region of the plan."""

from __future__ import annotations

from typing import Any

from fastagi.config.sections import NumberPlanSettings, Settings
from tests.emulator.scenarios import NO_ANSWER
from tests.system.harness import (
    ANSWERS,
    BOB,
    ServiceTestCase,
    live_first,
    queue_settings,
    settings,
)

#: One client, as four networks show the number.
NATIONAL, INTERNATIONAL, OLD, PLAIN = (
    "89031234567",
    "+79031234567",
    "0079031234567",
    "79031234567",
)


def russian(**queue: Any) -> Settings:
    """Return settings of an Asterisk in Russia."""
    return settings(
        queue_settings(**queue), number_plan=NumberPlanSettings(region="RU")
    )


class NumberPlanTests(ServiceTestCase):
    """The one agent is busy, so callers wait."""

    def setUp(self) -> None:
        super().setUp()
        self.alice.busy()

    def test_each_form_of_a_number_is_the_same_client(self) -> None:
        self.world.begin(russian())
        self.miss(NATIONAL)
        for number in (INTERNATIONAL, OLD, PLAIN):
            self.request(number)
        task = self.world.task()
        self.assertEqual((task.kind.value, task.number), ("requested", NATIONAL))
        answer = self.world.ask("tasks.list", number="+7 (903) 123-45-67")
        self.assertEqual([one["id"] for one in answer["result"]], [task.id])

    def test_without_a_region_they_are_strangers(self) -> None:
        self.begin()
        self.request(NATIONAL)
        self.request(INTERNATIONAL)
        self.assertEqual(len(self.world.tasks()), 2)

    @live_first
    def test_a_client_who_rings_under_another_form_is_served(self) -> None:
        self.world.begin(russian())
        self.miss(NATIONAL)
        self.alice.busy(False)
        self.call(INTERNATIONAL)
        self.world.run(60)
        self.assert_status("served", "rang again")
        self.assertEqual(self.originates, [])

    def test_a_number_is_dialled_in_the_form_that_is_set(self) -> None:
        self.world.begin(russian(numbers={"dial_as": "e164"}))
        self.asterisk.client(INTERNATIONAL).always(NO_ANSWER)
        self.request(NATIONAL)
        self.alice.busy(False)
        self.world.run(20)
        self.assertEqual(len(self.asterisk.clients[INTERNATIONAL].rung), 1)

    def test_a_new_region_holds_for_the_open_tasks_too(self) -> None:
        process = self.begin()
        self.request(NATIONAL)
        process.service.settings.replace(russian())
        self.world.settle()
        self.request(INTERNATIONAL)
        self.assertEqual(self.world.task().number, NATIONAL)

    @live_first
    def test_tasks_that_a_new_region_shows_to_be_of_one_client(self) -> None:
        process = self.begin()
        self.request(NATIONAL)
        self.request(INTERNATIONAL)
        process.stop()
        self.world.run(5)
        self.world.begin(russian())
        self.world.settle()
        self.assert_status("pending", task_id=1)
        self.assert_status("cancelled", "the same client as that of task 1", task_id=2)

    def test_a_client_who_talks_with_us_when_the_region_changes(self) -> None:
        """The client is not rung in any form of the number, even by a slow database."""
        for takes_s, asks_as, rings_as in (
            (0.0, INTERNATIONAL, NATIONAL),
            (2.0, NATIONAL, INTERNATIONAL),
        ):
            with self.subTest(takes_s):
                process = self.begin(queue_settings(target_extension=BOB))
                bob = self.asterisk.phone(BOB).always(ANSWERS).busy()
                self.request(asks_as)
                self.alice.busy(False)
                call = self.asterisk.call("support", rings_as, talks_s=60)
                self.world.run(10)
                process.database.takes_s = lambda name, s=takes_s: s
                process.service.settings.replace(russian(target_extension=BOB))
                bob.busy(False)
                self.world.run(20)
                self.assertEqual(self.asterisk.client(asks_as).rung, [])
                self.assertEqual(bob.rung, [])
                self.assertFalse(call.gone)
            self.again()
            self.alice.busy()

    def test_a_client_who_talks_is_about_to_be_called_when_the_region_changes(
        self,
    ) -> None:
        process = self.begin(queue_settings(target_extension=BOB))
        bob = self.asterisk.phone(BOB).always(ANSWERS).busy()
        self.request(NATIONAL)
        self.alice.busy(False)
        self.asterisk.call("support", INTERNATIONAL, talks_s=60)
        self.world.run(10)
        process.database.takes_s = lambda name: 2.0
        bob.busy(False)
        self.world.settle()
        process.service.settings.replace(russian(target_extension=BOB))
        self.world.run(20)
        self.assertEqual(bob.rung, [])
        self.assertEqual(self.dispositions(), ["WITHDRAWN"])

    def test_a_client_rings_in_whose_callback_began_before_the_region(self) -> None:
        process = self.begin(queue_settings(target_extension=BOB))
        self.asterisk.phone(BOB).always(NO_ANSWER)
        self.request(NATIONAL)
        self.world.run(5)
        process.service.settings.replace(russian(target_extension=BOB))
        self.world.run(1)
        self.call(INTERNATIONAL)
        self.world.run(2)
        self.assertEqual(self.dispositions(), ["WITHDRAWN"])
        self.assertIn("rang in meanwhile", self.world.attempts()[0].reason)
