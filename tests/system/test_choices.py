# SPDX-License-Identifier: MIT
"""Questions to a caller who pressed the key: nothing is stored without a yes."""

from __future__ import annotations

from typing import Any

from fastagi.config.queue_layers import QueueSettings
from fastagi.config.sections import LimitSettings
from fastagi.domain.reason import Code
from fastagi.speech.prompts import Phrase
from tests.emulator.calls import LiveCall
from tests.system.harness import (
    NUMBER,
    TALKS_10S,
    ServiceTestCase,
    queue_settings,
    settings,
)
from tests.system.test_hours import HoursTestCase, daily

ACCEPTED = "callback-queue/accepted"
CANNOT_CALL = "callback-queue/cannot-call"
HOLD_ON = "callback-queue/hold-on"
CLOSED = "callback-queue/closed"
OTHER = "0309999999"
CONFIRM = (Phrase.CONFIRM_PRESS, "1")
#: The duration of the longest dialogue, and of the way back.
LONG_S = 170


class ChoicesTestCase(ServiceTestCase):
    """The one agent is busy, so callers wait."""

    def setUp(self) -> None:
        super().setUp()
        self.alice.busy()

    def begin_with(self, **choices: Any) -> Any:
        numbers = {"deny": ["0900.*"]}
        return self.begin(queue_settings(choices=choices, numbers=numbers))

    def press(
        self,
        *answers: tuple[str, str],
        number: str = NUMBER,
        callingpres: str | None = None,
        key: str = "1",
    ) -> LiveCall:
        """A caller between two others presses the key and then these keys."""
        if callingpres is None:
            callingpres = "0" if number else "32"
        self.asterisk.call("support", "0301111111")
        self.world.run(5)
        call = self.asterisk.call(
            "support",
            number,
            callingpres=callingpres,
            answers=answers,
            talks_s=None,
        )
        self.world.run(5)
        self.asterisk.call("support", "0303333333")
        self.world.run(5)
        call.press(key)
        return call

    def assert_back(self, call: LiveCall, prompt: str = Phrase.STILL_IN_LINE) -> None:
        self.assertEqual(call.heard, [prompt])
        self.assertTrue(call.waiting)
        self.assertEqual(call.positions, [2, 2])
        self.assertEqual(self.world.tasks(), [])


class ConfirmTests(ChoicesTestCase):
    def test_number_is_read_out_and_called_after_the_key(self) -> None:
        self.begin_with(confirm_number=True)
        call = self.press(CONFIRM)
        self.world.run(1)
        self.assertEqual(self.world.tasks(), [])
        self.world.run(40)
        self.assertEqual(call.heard, [ACCEPTED])
        self.assertTrue(call.gone)
        words = [word.removeprefix("callback-queue/") for word in call.asked]
        self.assertEqual(words[0], "will-call-number")
        digits = [word for word in words if word.startswith("number-")]
        self.assertEqual(
            "".join(word.removeprefix("number-") for word in digits), NUMBER
        )
        self.assertEqual(self.world.task().number, NUMBER)
        self.client.always(TALKS_10S)
        self.alice.busy(False)
        self.world.run(120)
        self.assert_status("completed")

    def test_nothing_is_asked_by_default(self) -> None:
        self.begin_with()
        call = self.press()
        self.world.run(3)
        self.assertEqual((call.asked, call.heard), ([], [ACCEPTED]))

    def test_older_dialplan_does_not_ask(self) -> None:
        self.asterisk.can_choose = False
        self.begin_with(confirm_number=True)
        call = self.press()
        self.world.run(3)
        self.assertEqual((call.asked, call.heard), ([], [ACCEPTED]))

    def test_key_for_the_queue_leads_back_to_the_same_place(self) -> None:
        self.begin_with(confirm_number=True)
        call = self.press((Phrase.BACK_PRESS, "3"))
        self.world.run(40)
        self.assert_back(call)

    def test_caller_who_says_nothing_goes_back_to_the_same_place(self) -> None:
        self.begin_with(confirm_number=True)
        call = self.press()
        self.world.run(LONG_S)
        self.assert_back(call)

    def test_key_pressed_too_early_is_no_consent(self) -> None:
        self.begin_with(confirm_number=True)
        call = self.press((Phrase.WILL_CALL_NUMBER, "1"))
        self.world.run(LONG_S)
        self.assert_back(call)

    def test_key_for_another_number_does_nothing_without_that_choice(self) -> None:
        self.begin_with(confirm_number=True)
        call = self.press((Phrase.CONFIRM_PRESS, "2"), CONFIRM)
        self.world.run(LONG_S)
        self.assertEqual(call.heard, [ACCEPTED])
        self.assertIn(Phrase.WRONG_KEY, call.asked)
        self.assertNotIn(Phrase.OTHER_NUMBER_PRESS, call.asked)

    def test_other_keys_by_the_settings(self) -> None:
        self.begin_with(confirm_number=True, confirm_key="*", back_key="0")
        call = self.press(("callback-queue/star", "*"))
        self.world.run(40)
        self.assertEqual(call.heard, [ACCEPTED])
        self.assertIn("callback-queue/star", call.asked)

    def test_words_are_in_the_language_of_the_channel(self) -> None:
        # The model's channel speaks English; grammar is tested with the words.
        self.begin_with(confirm_number=True)
        call = self.press(CONFIRM)
        self.world.run(40)
        self.assertEqual(call.asked[0], Phrase.WILL_CALL_NUMBER)

    def test_hang_up_while_asked_is_a_missed_call_and_no_request(self) -> None:
        self.begin_with(confirm_number=True)
        call = self.press()
        self.world.run(4)
        call.hang_up()
        self.world.run(5)
        task = self.world.task()
        self.assertEqual(task.kind.value, "missed")

    def test_service_that_stops_meanwhile_leaves_the_caller_in_line(self) -> None:
        self.asterisk.keeps_requests = True
        process = self.begin_with(confirm_number=True)
        call = self.press()
        self.world.run(4)
        process.kill()
        self.world.run(5)
        self.assertEqual(call.heard, [HOLD_ON])
        self.assertTrue(call.waiting)
        # Asterisk stores no request that the caller has not confirmed.
        self.assertEqual(self.asterisk.astdb, {})

    def test_caller_of_a_closed_queue_is_not_asked(self) -> None:
        process = self.begin(
            queue_settings(
                choices={"confirm_number": True},
                opening_hours={"time_zone": "UTC", "monday": "closed"},
            )
        )
        assert process is not None
        call = self.press()
        self.world.run(5)
        self.assertEqual((call.asked, call.heard), ([], [CLOSED]))

    def test_missing_sound_file_puts_the_caller_back_in_line(self) -> None:
        self.begin_with(confirm_number=True)
        self.asterisk.missing_sounds.add(Phrase.CONFIRM_PRESS)
        call = self.press()
        self.world.run(40)
        self.assert_back(call, HOLD_ON)
        self.assert_warned("could not be asked")


class OtherNumberTests(ChoicesTestCase):
    def test_entered_number_is_read_out_confirmed_and_called(self) -> None:
        self.begin_with(other_number="shown")
        call = self.press(
            (Phrase.OTHER_NUMBER_PRESS, "2"),
            (Phrase.ENTER_NUMBER, f"{OTHER}#"),
            CONFIRM,
        )
        self.world.run(60)
        self.assertEqual(call.heard, [ACCEPTED])
        task = self.world.task()
        self.assertEqual(task.number, OTHER)
        self.assertIn(f"calling from {NUMBER}", str(task.why))

    def test_entered_number_is_not_called_without_the_key(self) -> None:
        self.begin_with(other_number="shown")
        call = self.press(
            (Phrase.OTHER_NUMBER_PRESS, "2"), (Phrase.ENTER_NUMBER, f"{OTHER}#")
        )
        self.world.run(LONG_S)
        self.assert_back(call)

    def test_refused_number_is_told_at_once_and_three_tries_are_all(self) -> None:
        self.begin_with(other_number="shown")
        call = self.press(
            (Phrase.OTHER_NUMBER_PRESS, "2"),
            (Phrase.ENTER_NUMBER, "0900123456#"),
            (Phrase.ENTER_NUMBER, "12#"),
            (Phrase.ENTER_NUMBER, "#"),
            (Phrase.ENTER_NUMBER, f"{OTHER}#"),
            CONFIRM,
        )
        self.world.run(LONG_S)
        self.assert_back(call)
        after = [word for word in call.asked if word in tuple(Phrase)]
        first = after.index(Phrase.ENTER_NUMBER)
        self.assertEqual(
            after[first:],
            [
                *(Phrase.ENTER_NUMBER, Phrase.NUMBER_NOT_CALLED),
                *(Phrase.ENTER_NUMBER, Phrase.NUMBER_WRONG),
                *(Phrase.ENTER_NUMBER, Phrase.NO_NUMBER),
            ],
        )

    def test_right_number_after_a_wrong_one(self) -> None:
        self.begin_with(other_number="shown")
        call = self.press(
            (Phrase.OTHER_NUMBER_PRESS, "2"),
            (Phrase.ENTER_NUMBER, "12#"),
            (Phrase.ENTER_NUMBER, f"{OTHER}#"),
            CONFIRM,
        )
        self.world.run(LONG_S)
        self.assertEqual(call.heard, [ACCEPTED])
        self.assertEqual(self.world.task().number, OTHER)

    def test_blocked_number_is_told_and_another_may_be_entered(self) -> None:
        self.begin_with(other_number="shown")
        self.world.ask("numbers.block", number=OTHER, reason="asked us not to")
        call = self.press(
            (Phrase.OTHER_NUMBER_PRESS, "2"),
            (Phrase.ENTER_NUMBER, f"{OTHER}#"),
            CONFIRM,
            (Phrase.ENTER_NUMBER, "0308888888#"),
            CONFIRM,
        )
        self.world.run(LONG_S)
        self.assertEqual(call.heard, [ACCEPTED])
        self.assertIn(Phrase.NUMBER_NOT_CALLED, call.asked)
        self.assertEqual(self.world.task().number, "0308888888")

    def test_withheld_number_enters_none_if_only_shown_ones_may(self) -> None:
        self.begin_with(other_number="shown")
        call = self.press((Phrase.ENTER_NUMBER, f"{OTHER}#"), CONFIRM, number="")
        self.world.run(LONG_S)
        self.assert_back(call, CANNOT_CALL)
        self.assertEqual(call.asked, [])

    def test_caller_without_a_plain_number_enters_none_either(self) -> None:
        # Such a number is not withheld: Set(CALLERID(num)=) of callback-enter makes
        # Asterisk report it as allowed to be shown.
        self.begin_with(other_number="shown")
        for number in ("unknown", "", "mallory"):
            with self.subTest(number=number):
                call = self.press(
                    (Phrase.ENTER_NUMBER, f"{OTHER}#"),
                    CONFIRM,
                    number=number,
                    callingpres="0",
                )
                self.world.run(LONG_S)
                self.assertEqual(call.asked, [])
                self.assertEqual(call.heard, [CANNOT_CALL])
                call.hang_up()
                self.world.run(1)
        self.assertEqual(self.world.tasks(), [])

    def test_withheld_number_enters_one_if_anybody_may(self) -> None:
        self.begin_with(other_number="anybody")
        call = self.press((Phrase.ENTER_NUMBER, f"{OTHER}#"), CONFIRM, number="")
        self.world.run(LONG_S)
        self.assertEqual(call.heard, [ACCEPTED])
        self.assertEqual(call.asked[0], Phrase.ENTER_NUMBER)
        self.assertEqual(self.world.task().number, OTHER)

    def test_callers_without_a_number_are_not_counted_as_one_caller(self) -> None:
        self.begin_with(other_number="anybody", other_numbers_per_day=1)
        heard = []
        for other in ("0305550001", "0305550002"):
            call = self.press(
                (Phrase.ENTER_NUMBER, f"{other}#"),
                CONFIRM,
                number="unknown",
                callingpres="0",
            )
            self.world.run(LONG_S)
            heard += call.heard
        self.assertEqual(heard, [ACCEPTED, ACCEPTED])

    def test_caller_enters_only_so_many_numbers_a_day(self) -> None:
        self.begin_with(other_number="shown", other_numbers_per_day=2)
        heard = []
        for other in ("0305550001", "0305550002", "0305550003"):
            call = self.press(
                (Phrase.OTHER_NUMBER_PRESS, "2"),
                (Phrase.ENTER_NUMBER, f"{other}#"),
                CONFIRM,
            )
            self.world.run(LONG_S)
            heard += call.heard
            call.hang_up()
            self.world.run(1)
        self.assertEqual(heard, [ACCEPTED, ACCEPTED, CANNOT_CALL])
        self.assertEqual(
            {task.number for task in self.world.tasks()},
            {"0305550001", "0305550002", NUMBER},
        )

    def test_number_with_an_open_task_gets_no_second_one(self) -> None:
        self.begin_with(other_number="shown")
        for number in ("0305550001", "0305550002"):
            call = self.press(
                (Phrase.OTHER_NUMBER_PRESS, "2"),
                (Phrase.ENTER_NUMBER, f"{OTHER}#"),
                CONFIRM,
                number=number,
            )
            self.world.run(LONG_S)
        self.assertEqual(call.heard, ["callback-queue/already-registered"])
        self.assertEqual(self.world.task().number, OTHER)

    def test_victims_number_is_called_as_often_as_any_other(self) -> None:
        self.begin(
            queue_settings(choices={"other_number": "shown"}),
            limits=LimitSettings(calls_per_number=1),
        )
        self.press(
            (Phrase.OTHER_NUMBER_PRESS, "2"),
            (Phrase.ENTER_NUMBER, f"{OTHER}#"),
            CONFIRM,
        )
        self.world.run(60)
        self.asterisk.client(OTHER).always(TALKS_10S)
        self.alice.busy(False)
        self.world.run(120)
        self.alice.busy()
        call = self.press(
            (Phrase.OTHER_NUMBER_PRESS, "2"),
            (Phrase.ENTER_NUMBER, f"{OTHER}#"),
            CONFIRM,
            number="0305550002",
        )
        self.world.run(LONG_S)
        self.assertIn(Phrase.NUMBER_TOO_OFTEN, call.asked)


#: The answers of a caller who chooses the first time of the first day.
AT_A_TIME = (Phrase.CHOOSE_TIME_PRESS, "2")
FIRST_DAY = ("callback-queue/today", "1")
FIRST_TIME = ("callback-queue/at", "1")
#: The first time again, after all were said.
LATE = (Phrase.TIMES_BACK_PRESS, "1")


def offering_times(
    queue: str = "support", hours: str = "09:00-11:00", **choices: Any
) -> QueueSettings:
    """Return the settings of a queue with slots from 9 to 11, today and tomorrow."""
    return queue_settings(
        queue,
        choices={"times": True, "per_slot": 1, "days_ahead": 1, **choices},
        opening_hours=daily(hours),
    )


class TimesTests(ChoicesTestCase, HoursTestCase):
    """Callers who choose when to be called; it is Tuesday, 8:50 in Berlin."""

    def setUp(self) -> None:
        super().setUp()
        self.go_to("2026-11-24 09:00")

    def times(self) -> list[str]:
        """Return the chosen times of the open tasks."""
        return [
            self.local(self.world.since(task.chosen_at))
            for task in self.world.tasks()
            if task.is_open and task.chosen_at is not None
        ]

    def chosen(self, *answers: tuple[str, str], number: str = NUMBER) -> LiveCall:
        """Have a caller answer; return when the dialogue has ended."""
        call = self.press(*answers, number=number)
        self.world.run(LONG_S)
        return call

    def test_client_is_called_at_the_time_that_was_chosen(self) -> None:
        self.begin(offering_times())
        call = self.chosen(AT_A_TIME, FIRST_DAY, ("callback-queue/number-10", "2"))
        self.assertEqual(
            call.heard,
            [
                "&".join(
                    f"callback-queue/{word}"
                    for word in (
                        *("will-call-time", "today", "at", "number-10", "am"),
                        "hang-up-now",
                    )
                )
            ],
        )
        self.assertTrue(call.gone)
        self.assertEqual(self.times(), ["2026-11-24 10:00:00"])
        task = self.world.task()
        self.assertEqual(task.why.code, Code.WAITS_FOR_CHOSEN_TIME)
        self.assertIn("pressed the key", task.reason)
        (line,) = [line for line in self.asterisk.queue_log if "REQUEST" in line]
        assert task.chosen_at is not None
        self.assertIn(f"|requested|{task.chosen_at.timestamp():.0f}", line)
        # The promise is for the slot.
        assert task.call_by is not None
        self.assertEqual(
            self.local(self.world.since(task.call_by)), "2026-11-24 10:30:00"
        )
        self.client.always(TALKS_10S)
        for visit in list(self.support.visits):
            visit.abandon()
        self.alice.busy(False)
        self.go_to("2026-11-24 09:59")
        self.assertEqual(self.client.rung, [])
        self.go_to("2026-11-24 10:01")
        self.assertEqual(len(self.client.rung), 1)

    def test_as_soon_as_possible_is_a_request_as_ever(self) -> None:
        self.begin(offering_times())
        call = self.chosen((Phrase.SOON_PRESS, "1"))
        self.assertEqual(call.heard, [ACCEPTED])
        self.assertIsNone(self.world.task().chosen_at)

    def test_key_for_a_time_that_was_not_said_yet_chooses_nothing(self) -> None:
        self.begin(offering_times(hours="09:00-11:00", days_ahead=0))
        call = self.chosen(AT_A_TIME, ("callback-queue/at", "3"))
        self.assert_back(call)

    def test_times_are_said_a_few_at_a_time_and_the_caller_goes_to_and_fro(
        self,
    ) -> None:
        self.begin(offering_times(days_ahead=0, time_keys="12", slot_length="10m"))
        call = self.chosen(
            AT_A_TIME,
            (Phrase.MORE_TIMES_PRESS, "8"),
            (Phrase.MORE_TIMES_PRESS, "8"),
            (Phrase.EARLIER_TIMES_PRESS, "7"),
            ("callback-queue/press", "1"),
        )
        # 9:10 9:20, 9:30 9:40, 9:50 10:00
        self.assertEqual(self.times(), ["2026-11-24 09:30:00"])
        before = call.asked[: call.asked.index(Phrase.EARLIER_TIMES_PRESS)]
        self.assertEqual(before.count("callback-queue/press"), 6)

    def test_caller_goes_back_from_the_times_to_the_days_and_to_the_question(
        self,
    ) -> None:
        self.begin(offering_times())
        call = self.chosen(
            AT_A_TIME,
            ("callback-queue/tomorrow", "2"),
            ("callback-queue/at", "9"),
            ("callback-queue/today", "9"),
            (Phrase.SOON_PRESS, "1"),
        )
        self.assertEqual(call.heard, [ACCEPTED])
        self.assertEqual(self.times(), [])

    def test_caller_goes_back_to_the_queue(self) -> None:
        self.begin(offering_times())
        self.assert_back(self.chosen((Phrase.BACK_PRESS, "3")))

    def test_caller_who_presses_nothing_at_the_times_is_back_in_line(self) -> None:
        self.begin(offering_times())
        self.assert_back(self.chosen(AT_A_TIME, FIRST_DAY))

    def test_caller_who_hangs_up_at_the_times_is_a_missed_call(self) -> None:
        self.begin(offering_times())
        call = self.press(AT_A_TIME, FIRST_DAY)
        self.world.run(8)
        self.assertIn("callback-queue/at", call.asked)
        call.hang_up()
        self.world.run(5)
        task = self.world.task()
        self.assertEqual((task.kind.value, task.chosen_at), ("missed", None))

    def test_service_that_stops_at_the_times_leaves_the_caller_in_line(self) -> None:
        process = self.begin(offering_times())
        call = self.press(AT_A_TIME, FIRST_DAY)
        self.world.run(8)
        process.kill()
        self.world.run(5)
        self.assertEqual((call.heard, call.waiting), ([HOLD_ON], True))

    def test_slot_that_is_taken_is_not_offered(self) -> None:
        self.begin(offering_times(days_ahead=0))
        self.chosen(AT_A_TIME, FIRST_TIME, number="0305550001")
        self.chosen(AT_A_TIME, FIRST_TIME, number="0305550002")
        self.assertEqual(self.times(), ["2026-11-24 09:30:00", "2026-11-24 10:00:00"])

    def test_slot_that_fills_up_meanwhile_is_told_and_others_are_offered(
        self,
    ) -> None:
        self.begin(offering_times(days_ahead=0))
        late = self.press(AT_A_TIME, LATE, FIRST_TIME)
        # The times are being said.
        self.world.run(4)
        self.world.ask("tasks.add", queue="support", number=OTHER, at="09:30")
        self.world.run(LONG_S)
        self.assertIn(Phrase.TIME_NOT_FREE, late.asked)
        self.assertEqual(self.times(), ["2026-11-24 09:30:00", "2026-11-24 10:00:00"])
        # It is no refusal: the caller has another time.
        self.assertEqual(self.world.ask("numbers.refused")["result"], [])

    def test_time_that_passes_while_the_caller_thinks_is_not_promised(self) -> None:
        self.go_to("2026-11-24 09:29:38")
        self.begin(offering_times(days_ahead=0))
        call = self.chosen(AT_A_TIME, LATE, FIRST_TIME)
        self.assertIn(Phrase.TIME_NOT_FREE, call.asked)
        self.assertEqual(self.times(), ["2026-11-24 10:00:00"])

    def test_nothing_is_asked_if_no_time_is_free(self) -> None:
        self.go_to("2026-11-24 10:40")
        self.begin(offering_times(days_ahead=0))
        call = self.chosen()
        self.assertEqual((call.asked, call.heard), ([], [ACCEPTED]))

    def test_caller_of_a_closed_queue_chooses_a_time(self) -> None:
        self.go_to("2026-11-24 12:00")
        self.begin(offering_times())
        call = self.chosen(AT_A_TIME, FIRST_TIME)
        self.assertNotIn(Phrase.SOON_PRESS, call.asked)
        self.assertEqual(self.times(), ["2026-11-25 09:00:00"])

    def test_key_for_soon_leads_to_the_times_while_the_queue_is_closed(self) -> None:
        self.go_to("2026-11-24 12:00")
        self.begin(offering_times(queue_soon_keys="1"))
        call = self.chosen(AT_A_TIME, FIRST_TIME)
        self.assertNotIn(Phrase.SOON_PRESS, call.asked)
        self.assertEqual(self.times(), ["2026-11-25 09:00:00"])

    def test_caller_of_a_closed_queue_without_a_free_time_hears_that(self) -> None:
        self.go_to("2026-11-24 12:00")
        self.begin(offering_times(days_ahead=0))
        call = self.chosen()
        self.assert_back(call, CLOSED)

    def test_number_is_confirmed_before_the_time(self) -> None:
        self.begin(offering_times(days_ahead=0, other_number="shown"))
        call = self.chosen(
            (Phrase.OTHER_NUMBER_PRESS, "2"),
            (Phrase.ENTER_NUMBER, f"{OTHER}#"),
            CONFIRM,
            AT_A_TIME,
            FIRST_TIME,
        )
        self.assertTrue(call.gone)
        self.assertEqual(self.world.task().number, OTHER)
        self.assertEqual(self.times(), ["2026-11-24 09:30:00"])

    def test_client_who_calls_again_chooses_another_time(self) -> None:
        self.begin(offering_times(days_ahead=0))
        self.chosen(AT_A_TIME, FIRST_TIME)
        call = self.chosen(AT_A_TIME, FIRST_TIME)
        self.assertEqual(self.times(), ["2026-11-24 10:00:00"])
        self.assertIn("will-call-time", call.heard[0])

    def test_client_in_line_for_whom_a_time_is_chosen_leaves_the_line(self) -> None:
        self.go_to("2026-11-24 09:10")
        self.begin(offering_times(other_number="shown"))
        self.asterisk.client(OTHER).always(TALKS_10S)
        self.chosen(CONFIRM, (Phrase.SOON_PRESS, "1"), number=OTHER)
        for visit in list(self.support.visits):
            visit.abandon()
        self.world.run(10)
        self.assertEqual(self.world.task().status.value, "calling")
        self.chosen(
            (Phrase.OTHER_NUMBER_PRESS, "2"),
            (Phrase.ENTER_NUMBER, f"{OTHER}#"),
            CONFIRM,
            AT_A_TIME,
            ("callback-queue/tomorrow", "2"),
            FIRST_TIME,
        )
        self.assertEqual(self.times(), ["2026-11-25 09:00:00"])
        self.alice.busy(False)
        self.world.run(300)
        self.assertEqual(self.asterisk.client(OTHER).rung, [])

    def test_time_that_the_caller_was_not_told_leaves_the_former_one(self) -> None:
        process = self.begin(offering_times())
        self.chosen(AT_A_TIME, FIRST_DAY, FIRST_TIME)
        process.database.takes_s = lambda name: 3.0 if name == "add" else 0.0
        call = self.chosen(AT_A_TIME, ("callback-queue/tomorrow", "2"), FIRST_TIME)
        self.assertEqual((call.heard, call.waiting), ([HOLD_ON], True))
        self.assertEqual(self.times(), ["2026-11-24 09:30:00"])

    def test_time_leaves_the_former_one_if_nobody_heard_whether_it_is_stored(
        self,
    ) -> None:
        process = self.begin(offering_times())
        self.chosen(AT_A_TIME, FIRST_DAY, FIRST_TIME)
        process.database.unheard = {"add"}
        call = self.chosen(AT_A_TIME, ("callback-queue/tomorrow", "2"), FIRST_TIME)
        self.assertEqual((call.heard, call.waiting), ([HOLD_ON], True))
        self.assertEqual(self.times(), ["2026-11-24 09:30:00"])
        task = self.world.task()
        self.assertEqual((task.due_at, task.joined_at), (task.chosen_at,) * 2)

    def test_queue_that_leaves_the_settings_meanwhile(self) -> None:
        queue = queue_settings(choices={"other_number": "shown"})
        process = self.begin(queue, queue_settings("sales"))
        call = self.press(
            (Phrase.OTHER_NUMBER_PRESS, "2"), (Phrase.ENTER_NUMBER, f"{OTHER}#")
        )
        self.world.run(2)
        process.service.settings.replace(settings(queue_settings("sales")))
        self.world.run(LONG_S)
        self.assertTrue(call.waiting)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_database_that_fails_puts_the_caller_back_in_line(self) -> None:
        process = self.begin(offering_times())
        process.database.unavailable = "disk full"
        call = self.chosen(AT_A_TIME)
        self.assert_back(call, HOLD_ON)
        self.assert_warned("which times are free")

    def test_slots_are_those_of_the_clock_on_the_wall_when_clocks_are_set(
        self,
    ) -> None:
        self.go_to("2027-03-27 23:50")
        self.begin(offering_times(hours="00:00-24:00", slot_length="1h", days_ahead=0))
        self.go_to("2027-03-28 00:10")
        # 1:00, 3:00, 4:00
        self.chosen(AT_A_TIME, ("callback-queue/number-3", "2"))
        self.assertEqual(self.times(), ["2027-03-28 03:00:00"])

    def test_key_in_the_queue_says_when(self) -> None:
        self.begin(
            offering_times(days_ahead=0, queue_soon_keys="15", queue_time_keys="2")
        )
        soon = self.press(key="5", number="0305550001")
        self.world.run(LONG_S)
        self.assertEqual((soon.asked, soon.heard), ([], [ACCEPTED]))
        at_a_time = self.press(FIRST_TIME, key="2", number="0305550002")
        self.world.run(LONG_S)
        self.assertNotIn(Phrase.CHOOSE_TIME_PRESS, at_a_time.asked)
        self.assertEqual(self.times(), ["2026-11-24 09:30:00"])
        another = self.press((Phrase.BACK_PRESS, "3"), key="7", number="0305550003")
        self.world.run(LONG_S)
        self.assertIn(Phrase.CHOOSE_TIME_PRESS, another.asked)
        self.assertTrue(another.waiting)

    def test_number_is_confirmed_after_a_key_that_says_when(self) -> None:
        self.begin(
            offering_times(days_ahead=0, queue_soon_keys="1", confirm_number=True)
        )
        call = self.chosen(CONFIRM)
        self.assertNotIn(Phrase.SOON_PRESS, call.asked)
        self.assertEqual(call.heard, [ACCEPTED])

    def test_several_keys_mean_the_same_and_the_first_is_said(self) -> None:
        self.begin(
            offering_times(
                days_ahead=0,
                soon_key="46",
                choose_time_key="57",
                time_keys="890",
                earlier_times_key="1",
                later_times_key="23",
                times_back_key="*#",
            )
        )
        call = self.chosen(
            (Phrase.CHOOSE_TIME_PRESS, "7"),
            ("callback-queue/star", "#"),
            (Phrase.CHOOSE_TIME_PRESS, "5"),
            (Phrase.TIMES_BACK_PRESS, "0"),
        )
        self.assertEqual(self.times(), ["2026-11-24 10:30:00"])
        self.assertIn("callback-queue/number-4", call.asked)
        self.assertNotIn("callback-queue/number-6", call.asked)
        self.assertIn("callback-queue/star", call.asked)
        self.assertNotIn("callback-queue/hash", call.asked)
