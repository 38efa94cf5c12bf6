# SPDX-License-Identifier: MIT
"""Sends changes of alarms by e-mail: many changes in one mail, and few mails.

Mail is one more reader of the stored changes. Its position is committed after the mail
server has accepted a mail for at least one address, so a crash may repeat a mail, but a
change is never lost. For an address that is refused for the moment the mail is tried
again a few times; those who have it do not get it again.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from typing import Final, Protocol

import aiosmtplib
import sqlalchemy as sa
from attrs import define, frozen

from fastagi.errors import CallbackError
from fastagi.plain_file import NoPlainFile, open_plain
from fastagi.store.rows import moment
from fastagi.web.signals.addresses import trusting
from fastagi.web.signals.alarms import Alarm, AlarmChange, Storage, changes_after
from fastagi.web.signals.endpoints import last_alarm_change
from fastagi.web.signals.settings import Level, MailSecurity, MailSettings
from fastagi.web.state.schema import READERS

#: The reader's name in the table of positions.
_READER: Final = "mail"
#: Maximum number of changes in one mail; further ones are only counted.
_MAX_LINES: Final = 50
_AT_ONCE: Final = 1000
#: Pauses before trying again, in seconds; the last one is repeated.
_PAUSES_S: Final = (30.0, 120.0, 600.0)
#: The longest time between two looks for changes, in seconds.
_LOOK_EVERY_S: Final = 5.0
_LONGEST_PASSWORD: Final = 4096

_log = logging.getLogger(__name__)


class MailFailed(CallbackError):
    """The mail server did not accept the mail, or can not be reached."""


@frozen
class Refusal:
    """The answer of the mail server for an address that it refuses."""

    code: int
    words: str

    @property
    def is_final(self) -> bool:
        """Whether the same mail is refused each time (RFC 5321: the codes 5xx)."""
        return self.code >= 500


@define
class _Late:
    """A mail that was refused for some addresses, to be tried again."""

    subject: str
    text: str
    to: tuple[str, ...]
    next_at: datetime
    tries: int = 1


class Alarming(Protocol):
    """The part of `fastagi.web.signals.alarms.Alarms` that mail needs."""

    def current(self) -> tuple[Alarm, ...]:
        """Return the alarms that are on."""

    async def wait(self, within_s: float | None) -> None:
        """Wait for the next change, or for a time."""


class Mailer:
    """Sends one mail."""

    def __init__(self, settings: MailSettings, *, now: Callable[[], datetime]) -> None:
        """Prepare; a connection is opened for each mail."""
        self._settings = settings
        self._now = now

    async def send(
        self, subject: str, text: str, to: Sequence[str] = ()
    ) -> dict[str, Refusal]:
        """Send a mail.

        Args:
            subject: the subject.
            text: the text.
            to: some of the addresses of the settings; empty: all.

        Returns:
            The addresses that the mail server refuses, perhaps all.

        Raises:
            MailFailed: the mail server does not accept it for any address.
            BadCertificates: ``mail.ca_file`` can not be used.
        """
        settings = self._settings
        if settings.host is None or not settings.to:
            raise MailFailed(
                "no mail is sent: mail.host and mail.to are not set",
                "set both in web.yaml, and restart callback-queue-web",
            )
        sender = settings.sender or settings.to[0]
        mail = EmailMessage()
        mail["From"] = f"callback-queue <{sender}>"
        mail["To"] = ", ".join(settings.to)
        mail["Subject"] = subject
        mail["Date"] = format_datetime(self._now())
        mail["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2])
        # So that no machine answers it.
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(text)
        where = f"{settings.host}:{settings.port}"
        try:
            answers, _ = await aiosmtplib.send(
                mail,
                recipients=list(dict.fromkeys(to or settings.to)),
                hostname=settings.host,
                port=settings.port,
                username=settings.username,
                password=self._password(),
                use_tls=settings.security is MailSecurity.TLS,
                start_tls=settings.security is MailSecurity.STARTTLS,
                tls_context=self._tls(),
                timeout=settings.timeout.total_seconds(),
            )
        except aiosmtplib.SMTPRecipientsRefused as error:
            return {
                one.recipient: Refusal(one.code, one.message)
                for one in error.recipients
            }
        except (aiosmtplib.SMTPException, OSError) as error:
            remedy = (
                "try 'callback-queue web mail test' after each change of the settings"
            )
            raise MailFailed(
                f"{where} did not take the mail: {error}", remedy
            ) from None
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            # asyncio.wait_for of Python 3.11, which the library uses, may lose this.
            raise asyncio.CancelledError
        return {to: Refusal(one.code, one.message) for to, one in answers.items()}

    def refused(self, refused: Mapping[str, Refusal]) -> MailFailed:
        """Return the error that names the addresses that were refused."""
        answers = "; ".join(f"{to}: {one.words}" for to, one in refused.items())
        return MailFailed(
            f"{self._settings.host}:{self._settings.port} did not take the mail for"
            f" {answers}",
            "see mail.to in web.yaml, and what the mail server says",
        )

    def _password(self) -> str | None:
        settings = self._settings
        if settings.password is not None:
            return settings.password.get_secret_value()
        if settings.password_file is None:
            return None
        try:
            with open_plain(settings.password_file) as file:
                return file.read(_LONGEST_PASSWORD).decode().strip()
        except (OSError, NoPlainFile, UnicodeDecodeError) as error:
            raise MailFailed(
                f"the password in {settings.password_file} can not be read: {error}",
                "let the user of callback-queue-web read the file",
            ) from None

    def _tls(self) -> ssl.SSLContext | None:
        if self._settings.security is MailSecurity.NONE:
            return None
        return trusting(self._settings.ca_file)


class AlarmMail:
    """Sends digests of changes of alarms."""

    def __init__(
        self,
        settings: MailSettings,
        *,
        state: Storage,
        alarms: Alarming,
        mailer: Mailer,
        now: Callable[[], datetime],
        address: str = "",
    ) -> None:
        """Prepare; `run` sends.

        Args:
            settings: when mails are sent.
            state: the web process's own database.
            alarms: the alarms that are on.
            mailer: sends one mail.
            now: the current time.
            address: the address of the console, for the text.
        """
        self._settings = settings
        self._state = state
        self._alarms = alarms
        self._mailer = mailer
        self._now = now
        self._address = address
        self._failures = 0
        #: The last change that is mailed, and when, also if that is not stored yet.
        self._mailed = (0, 0.0)
        #: The mails that some addresses do not have yet.
        self._late: list[_Late] = []
        #: Mails so far, by outcome: sent, failed.
        self.outcomes: Counter[str] = Counter()

    async def run(self) -> None:
        """Send mails until it is cancelled."""
        if not self._settings.is_wanted:
            await asyncio.Event().wait()
        while True:
            try:
                pause_s = await self.send_due()
            except MailFailed as error:
                self.outcomes["failed"] += 1
                pause_s = _PAUSES_S[min(self._failures, len(_PAUSES_S) - 1)]
                self._failures += 1
                _log.warning("%s; next try in %g s", error, pause_s)
                await asyncio.sleep(pause_s)
                continue
            except CallbackError as error:
                _log.warning("alarms can not be mailed now: %s", error)
                pause_s = _LOOK_EVERY_S
            if pause_s is None:
                await self._alarms.wait(_LOOK_EVERY_S)
            else:
                await asyncio.sleep(pause_s)

    async def send_due(self) -> float | None:
        """Send a mail if one is due.

        Returns:
            In how many seconds one will be due; None: there is nothing to tell.

        Raises:
            MailFailed: the mail server accepted it for nobody.
            CallbackError: the database can not be used.
        """
        late_s = await self._send_late()
        due_s = await self._send_new()
        return due_s if due_s is None or late_s is None else min(due_s, late_s)

    async def _send_late(self) -> float | None:
        """Try refused addresses again; return when the next try is due, in seconds."""
        now = self._now()
        for mail in [one for one in self._late if one.next_at <= now]:
            try:
                refused = await self._mailer.send(mail.subject, mail.text, mail.to)
            except CallbackError as error:
                _log.warning("%s", error)
                self._try_later(mail.subject, mail.text, mail.to, mail.tries + 1)
            else:
                self._note_refused(mail.subject, mail.text, refused, mail.tries + 1)
            # Not before: the process may lose the lease on sending meanwhile.
            self._late.remove(mail)
        left = [(one.next_at - now).total_seconds() for one in self._late]
        return min(left, default=None)

    def _note_refused(
        self, subject: str, text: str, refused: Mapping[str, Refusal], tries: int = 1
    ) -> None:
        final = {to: one for to, one in refused.items() if one.is_final}
        if final:
            self.outcomes["failed"] += 1
            _log.error("%s", self._mailer.refused(final))
        self._try_later(subject, text, [to for to in refused if to not in final], tries)

    def _try_later(
        self, subject: str, text: str, to: Sequence[str], tries: int
    ) -> None:
        if not to:
            return
        if tries > len(_PAUSES_S):
            self.outcomes["failed"] += 1
            _log.error("the mail server has not taken a mail for %s", ", ".join(to))
            return
        next_at = self._now() + timedelta(seconds=_PAUSES_S[tries - 1])
        self._late.append(_Late(subject, text, tuple(to), next_at, tries))

    async def _send_new(self) -> float | None:
        """Send what has changed if that is due; return when it will be, in seconds."""
        position = await self._state.read(_mail_position)
        if position is None:
            # Alarms that are older than the first start with mail are not mailed.
            await self._state.write(_begin)
            return None
        # Otherwise a disk without room would mean the same mail again and again.
        read_to, sent_at = max(position, self._mailed)
        if (read_to, sent_at) != position:
            await self._state.write(_set_mail_position, read_to, sent_at)
        changes = await self._state.read(changes_after, read_to, _AT_ONCE)
        told = [change for change in changes if self._is_told(change)]
        if not told:
            if changes:
                await self._state.write(_set_mail_position, changes[-1].id, sent_at)
            return None
        due = max(
            told[0].at + self._settings.gather,
            moment(sent_at) + self._settings.at_most_every,
        )
        now = self._now()
        if now < due:
            return (due - now).total_seconds()
        subject, text = self._mail(told, now)
        refused = await self._mailer.send(subject, text)
        if refused.keys() >= set(self._settings.to or ()):
            raise self._mailer.refused(refused)
        self._note_refused(subject, text, refused)
        self._mailed = (changes[-1].id, now.timestamp())
        await self._state.write(_set_mail_position, changes[-1].id, now.timestamp())
        self.outcomes["sent"] += 1
        self._failures = 0
        return None

    def _is_told(self, change: AlarmChange) -> bool:
        rank = self._settings.level.rank
        return any(
            level is not None and level.rank >= rank
            for level in (change.level, change.before)
        )

    def _mail(self, told: Sequence[AlarmChange], now: datetime) -> tuple[str, str]:
        """Return the subject and the text."""
        current = self._alarms.current()
        red = sum(one.level is Level.RED for one in current)
        yellow = len(current) - red
        subject = (
            f"callback-queue: {red} red and {yellow} yellow alarms"
            if current
            else "callback-queue: all alarms have ended"
        )
        lines = ["What has changed (times are UTC):", ""]
        lines += [
            f"{change.at:%Y-%m-%d %H:%M:%S}  {_mark(change.level)}  {change.words}"
            for change in told[:_MAX_LINES]
        ]
        if len(told) > _MAX_LINES:
            lines.append(f"... and {len(told) - _MAX_LINES} more changes")
        lines += ["", "Alarms at this time:" if current else "No alarm is on now."]
        lines += [
            f"  {_mark(one.level)}  since {one.since:%Y-%m-%d %H:%M}  {one.words}"
            for one in current[:_MAX_LINES]
        ]
        if len(current) > _MAX_LINES:
            lines.append(f"  ... and {len(current) - _MAX_LINES} more")
        if self._address:
            lines += ["", f"The console: {self._address}"]
        lines += ["", f"Sent at {now:%Y-%m-%d %H:%M} UTC by callback-queue web."]
        return subject, "\n".join(lines) + "\n"


def _mark(level: Level | None) -> str:
    return "ended " if level is None else f"{level.value.upper():6}"


def _mail_position(conn: sa.Connection) -> tuple[int, float] | None:
    """Return the last change that is mailed, and when the last mail was sent."""
    row = conn.execute(sa.select(READERS).where(READERS.c.name == _READER)).first()
    return None if row is None else (row.event_id, row.at)


def _begin(conn: sa.Connection) -> None:
    if _mail_position(conn) is None:
        _set_mail_position(conn, last_alarm_change(conn), 0.0)


def _set_mail_position(conn: sa.Connection, change_id: int, sent_at: float) -> None:
    conn.execute(sa.delete(READERS).where(READERS.c.name == _READER))
    conn.execute(
        sa.insert(READERS).values(
            name=_READER, event_id=change_id, at=sent_at, task_id=0
        )
    )
