# SPDX-License-Identifier: MIT
"""Questions to a caller who pressed the key: nothing is stored without a yes."""

from __future__ import annotations

from typing import Any

from fastagi.config.sections import LimitSettings
from fastagi.speech.prompts import Phrase
from tests.emulator.calls import LiveCall
from tests.system.harness import NUMBER, TALKS_10S, ServiceTestCase, queue_settings

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
        call.press()
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
