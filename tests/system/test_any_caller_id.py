# SPDX-License-Identifier: MIT
"""Callers can send any text as number and name; only plain ones are used."""

from __future__ import annotations

import io
import re
import sqlite3

from hypothesis import given, settings
from hypothesis import strategies as st

from fastagi.config.sections import LimitSettings
from fastagi.runtime.logs import LineObserver
from tests.emulator.scenarios import Answers
from tests.system.harness import NUMBER, ServiceTestCase

#: AGI and the manager end a line at these, in any caller's text.
_LINES = "\r\n\x00"
ANYTHING = st.one_of(
    st.text(st.characters(exclude_characters=_LINES, exclude_categories=["Cs"])),
    # Text with a meaning for a dialplan, a shell, SQL or the manager.
    st.lists(
        st.sampled_from(
            [
                *("0301234567", "+4930", "${EXTEN}", "$[1+1]", "%0d%0a", "PJSIP/x"),
                *("&", "|", ";", ",", '"', "'", "\\", "`", "<", ">", ")", "}", "@"),
                *("\x1b[31m", "--", "*21*#", " ", "\u2028", "\u0661", "\x85"),
            ]
        ),
        min_size=1,
        max_size=6,
    ).map("".join),
)
_ORIGINATE = b"Action: Originate\r\n"
_HEADER = re.compile(rb"[A-Za-z]+: [^\r\n\x00]*")
_CALLER_ID = re.compile(r'"[\w .,:+()/-]*" <\+?[0-9]{1,40}>')
_CHANNEL = re.compile(r"CALLBACK_CHANNEL=PJSIP/\+?[0-9]{1,40}@trunk")
_SHOWN = re.compile(r"[A-Za-z0-9+*#@._ ?-]{0,40}")


class AnyCallerIdTests(ServiceTestCase):
    """One service, to which callers send one text after another."""

    def setUp(self) -> None:
        super().setUp()
        self.sent: list[tuple[str, bytes]] = []
        self.world.listeners.append(lambda what, data: self.sent.append((what, data)))
        self.begin(limits=LimitSettings(calls_per_number=0, calls_per_minute=0))

    @given(number=ANYTHING, name=ANYTHING)
    @settings(max_examples=25, deadline=None)
    def test_only_plain_numbers_and_clean_names_go_further(
        self, number: str, name: str
    ) -> None:
        self.sent.clear()
        self.logged.clear()
        self.alice.busy()
        # Some are missed, some ask for a callback; the last one has a plain number.
        for shown, presses in ((number, False), (number, True), (NUMBER, True)):
            call = self.asterisk.call("support", shown, name=name)
            self.world.run(1)
            if presses:
                call.press()
                self.world.run(4)
            call.hang_up()
            self.world.run(1)
        for phone in self.asterisk.clients.values():
            phone.always(Answers(after_s=1, hangs_up_after_s=6))
        self.alice.busy(False)
        self.world.run(30)
        self.check_what_was_sent()
        placed = [data for _, data in self.sent if data.startswith(_ORIGINATE)]
        self.assertTrue(placed)
        self.check_what_is_kept()
        self.check_the_log()

    def check_what_was_sent(self) -> None:
        """The manager and the dialplan get headers of one line, with plain values."""
        for what, data in self.sent:
            lines = data.rstrip(b"\r\n").splitlines()
            if what == "AMI":
                for line in data.rstrip(b"\r\n").split(b"\r\n"):
                    self.assertRegex(line, b"^" + _HEADER.pattern + b"$")
            elif what == "AGI":
                self.assertEqual(len(lines), 1, data)
            if data.startswith(_ORIGINATE):
                text = data.decode()
                headers = dict(
                    line.split(": ", 1) for line in text.strip().split("\r\n")
                )
                self.assertRegex(headers["CallerID"], f"^{_CALLER_ID.pattern}$")
                self.assertRegex(text, _CHANNEL)

    def check_what_is_kept(self) -> None:
        """The database has plain numbers, and other texts in a safe form."""
        with sqlite3.connect(self.world.directory / "callback.db") as db:
            for (number,) in db.execute("SELECT number FROM task"):
                self.assertRegex(number, r"^\+?[0-9]{5,15}$")
            for (number,) in db.execute("SELECT number FROM refusal"):
                self.assertRegex(number, f"^{_SHOWN.pattern}$")
        db.close()

    def check_the_log(self) -> None:
        """Each event is one line, as text and as JSON, and none is a failure."""
        for as_json in (False, True):
            out = io.StringIO()
            observer = LineObserver(out, as_json=as_json, mask_numbers=False)
            for event in self.logged:
                self.assertNotIn("log_failure", event)
                observer(event)
            self.assertEqual(len(out.getvalue().splitlines()), len(self.logged))
