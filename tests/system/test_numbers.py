# SPDX-License-Identifier: MIT
"""Clients are recognised in each form of their number, by the region of the plan."""

from __future__ import annotations

from typing import Any

from fastagi.config.model import NumberPlanSettings, Settings
from tests.support.callback_scenarios import NO_ANSWER
from tests.support.fake_calls import LiveCall
from tests.system.harness import ServiceTestCase, queue_settings, settings

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

    def miss(self, number: str) -> None:
        """Somebody waits for five seconds and hangs up."""
        call = self.call(number)
        self.world.run(5)
        call.hang_up()
        self.world.settle()

    def call(self, number: str) -> LiveCall:
        """Somebody calls in and waits."""
        call = self.asterisk.call("support", number)
        self.world.settle()
        return call

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
        process.service.use(russian())
        self.world.settle()
        self.request(INTERNATIONAL)
        self.assertEqual(self.world.task().number, NATIONAL)

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
