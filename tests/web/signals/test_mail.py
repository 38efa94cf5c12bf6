# SPDX-License-Identifier: MIT
"""Alarms by e-mail, sent to a real SMTP server on this machine."""

from __future__ import annotations

import asyncio
import email
import email.policy
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session
from attrs import define, field

from fastagi.config.errors import ConfigErrors
from fastagi.store.errors import StoreUnavailable
from fastagi.web.settings import parse
from fastagi.web.signals.addresses import BadCertificates
from fastagi.web.signals.alarms import (
    Alarm,
    AlarmChange,
    AlarmKind,
    store_changes,
)
from fastagi.web.signals.mail import AlarmMail, Mailer, MailFailed
from fastagi.web.signals.settings import Level, MailSettings
from tests.harness.certificates import issue
from tests.store.harness import at
from tests.web.signals.harness import World, in_world


@define
class Mailbox:
    """What the server accepted, and what it refuses."""

    mails: list[EmailMessage] = field(factory=list)
    recipients: list[list[str]] = field(factory=list)
    refuse: str = ""
    #: The answers for addresses that are refused.
    refused: dict[str, str] = field(factory=dict)
    arrived: asyncio.Event = field(factory=asyncio.Event)

    async def handle_RCPT(
        self,
        _server: SMTP,
        _session: Session,
        envelope: Envelope,
        address: str,
        _options: list[str],
    ) -> str:
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        if self.refuse:
            return self.refuse
        assert isinstance(envelope.content, bytes)
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        self.recipients.append(list(envelope.rcpt_tos))
        self.arrived.set()
        return "250 OK"


def _login(_server: Any, _session: Any, _envelope: Any, _how: Any, data: Any) -> Any:
    good = (data.login, data.password) == (b"cbq", b"s3cret")
    return AuthResult(success=good)


@define
class Certificates:
    ca_file: Path
    context: ssl.SSLContext


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("certificates")
    authority = issue(authority=True, common_name="CA")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*issue("127.0.0.1", by=authority).save(folder, "server"))
    return Certificates(authority.save(folder, "ca")[0], context)


@asynccontextmanager
async def serving(
    mailbox: Mailbox,
    *,
    starttls: ssl.SSLContext | None = None,
    tls: ssl.SSLContext | None = None,
    login: bool = False,
) -> AsyncIterator[int]:
    """Run a server; yield its port."""
    loop = asyncio.get_running_loop()
    more: dict[str, Any] = (
        {"authenticator": _login, "auth_required": True} if login else {}
    )
    server = await loop.create_server(
        lambda: SMTP(
            mailbox,
            hostname="mail.test",
            loop=loop,
            tls_context=starttls,
            require_starttls=starttls is not None,
            **more,
        ),
        "127.0.0.1",
        0,
        ssl=tls,
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def settings(port: int, more: str = "security: none") -> MailSettings:
    text = f"host: 127.0.0.1, port: {port}, to: [boss@test.org, duty@test.org], {more}"
    return parse(f"mail: {{{text}}}").mail


def change(
    kind: AlarmKind, seconds: float, level: Level | None, **more: Any
) -> AlarmChange:
    values = {"queue": "support", "value": 3600.0, "threshold": 3600.0, "before": None}
    return AlarmChange(
        id=0, at=at(seconds), since=at(seconds), kind=kind, level=level, **values | more
    )


@define
class On:
    """The alarms that are on."""

    alarms: tuple[Alarm, ...] = ()

    def current(self) -> tuple[Alarm, ...]:
        return self.alarms

    async def wait(self, within_s: float | None) -> None:
        await asyncio.Event().wait()


def in_mail_world(
    tmp_path: Path,
    test: Callable[[World, AlarmMail, Mailbox, On], Awaitable[None]],
    more: str = "security: none",
) -> None:
    async def run(world: World) -> None:
        mailbox, on = Mailbox(), On()
        async with serving(mailbox) as port:
            mail = AlarmMail(
                settings(port, more),
                state=world.lease,
                alarms=on,
                mailer=Mailer(settings(port, more), now=world.clock),
                now=world.clock,
                address="https://callback.test",
            )
            # The first start: nothing older is mailed.
            await world.state.write(
                store_changes, [change(AlarmKind.NO_AGENTS, -999, Level.RED)]
            )
            assert await mail.send_due() is None
            await test(world, mail, mailbox, on)

    in_world(tmp_path, run)


def text_of(mail: EmailMessage) -> str:
    return str(mail.get_content())


def test_many_changes_make_one_mail(tmp_path: Path) -> None:
    async def test(world: World, mail: AlarmMail, mailbox: Mailbox, on: On) -> None:
        changes = [
            change(AlarmKind.OLDEST_TASK, 0, Level.RED),
            change(AlarmKind.FAILURES, 10, Level.YELLOW, value=6.0),
            change(AlarmKind.LINK_DOWN, 20, Level.RED, queue="", value=130.0),
            change(AlarmKind.OLDEST_TASK, 30, None, before=Level.RED, value=0.0),
        ]
        await world.state.write(store_changes, changes)
        assert await mail.send_due() == 60
        world.clock.advance(60)
        assert await mail.send_due() is None
        (sent,) = mailbox.mails
        assert mailbox.recipients == [["boss@test.org", "duty@test.org"]]
        assert sent["From"] == "callback-queue <boss@test.org>"
        assert sent["Auto-Submitted"] == "auto-generated"
        assert sent["Subject"] == "callback-queue: all alarms have ended"
        text = text_of(sent)
        assert "12:00:00  RED     queue support: the oldest callback has waited" in text
        assert "12:00:20  RED     the service has had no link to Asterisk" in text
        assert (
            "12:00:30  ended   queue support: callbacks no longer wait too long" in text
        )
        # Only red alarms are mailed, and not what is older than the first start.
        assert "failed or expired" not in text and "no agent" not in text
        assert "https://callback.test" in text
        assert await mail.send_due() is None
        assert len(mailbox.mails) == 1

    in_mail_world(tmp_path, test)


def test_flood_of_alarms_makes_few_mails(tmp_path: Path) -> None:
    async def test(world: World, mail: AlarmMail, mailbox: Mailbox, on: On) -> None:
        for minute in range(60):
            now = minute * 60
            await world.state.write(
                store_changes,
                [
                    change(AlarmKind.OLDEST_TASK, now, Level.RED, queue=f"q{number}")
                    for number in range(10)
                ],
            )
            await mail.send_due()
            world.clock.advance(60)
        assert len(mailbox.mails) == 4
        assert mail.outcomes == {"sent": 4}
        assert "... and 100 more changes" in text_of(mailbox.mails[-1])
        assert len(text_of(mailbox.mails[-1]).splitlines()) < 70

    in_mail_world(tmp_path, test)


def test_change_is_not_lost_while_the_mail_server_refuses(tmp_path: Path) -> None:
    async def test(world: World, mail: AlarmMail, mailbox: Mailbox, on: On) -> None:
        first = change(AlarmKind.OLDEST_TASK, 0, Level.RED)
        await world.state.write(store_changes, [first])
        world.clock.advance(60)
        for answer in ("451 try later", "554 no"):
            mailbox.refuse = answer
            with pytest.raises(MailFailed, match=answer[4:]):
                await mail.send_due()
        mailbox.refuse = ""
        mailbox.refused = {"boss@test.org": "550 no", "duty@test.org": "450 later"}
        with pytest.raises(MailFailed, match=r"duty@test\.org: later"):
            await mail.send_due()
        mailbox.refused.clear()
        assert await mail.send_due() is None
        assert mailbox.recipients == [["boss@test.org", "duty@test.org"]]

    in_mail_world(tmp_path, test)


@pytest.mark.parametrize(
    ("answers", "later", "outcomes"),
    [
        (["550 no such user"], [], {"sent": 1, "failed": 1}),
        (["450 try later"], [["duty@test.org"]], {"sent": 1}),
        (["450 later", "550 no such user"], [], {"sent": 1, "failed": 1}),
        (["450 try later"] * 4, [], {"sent": 1, "failed": 1}),
    ],
)
def test_address_that_is_refused_does_not_repeat_the_mail_to_the_others(
    tmp_path: Path,
    answers: list[str],
    later: list[list[str]],
    outcomes: dict[str, int],
) -> None:
    async def test(world: World, mail: AlarmMail, mailbox: Mailbox, on: On) -> None:
        first = change(AlarmKind.OLDEST_TASK, 0, Level.RED)
        await world.state.write(store_changes, [first])
        world.clock.advance(60)
        for answer in [*answers, ""]:
            mailbox.refused = {"duty@test.org": answer} if answer else {}
            assert await mail.send_due() is None
            assert await mail.send_due() is None
            world.clock.advance(601)
        assert mailbox.recipients == [["boss@test.org"], *later]
        assert mail.outcomes == outcomes

    in_mail_world(tmp_path, test)


def test_mail_for_a_refused_address_is_kept_whatever_stops_the_next_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()

    async def hang(*_: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    async def fail(*_: object) -> None:
        raise BadCertificates("ca.pem can not be read", "let it be read")

    async def test(world: World, mail: AlarmMail, mailbox: Mailbox, on: On) -> None:
        first = change(AlarmKind.OLDEST_TASK, 0, Level.RED)
        await world.state.write(store_changes, [first])
        world.clock.advance(60)
        mailbox.refused = {"duty@test.org": "450 try later"}
        await mail.send_due()
        mailbox.refused.clear()
        world.clock.advance(601)
        monkeypatch.setattr(Mailer, "send", fail)
        await mail.send_due()
        world.clock.advance(601)
        monkeypatch.setattr(Mailer, "send", hang)
        # As when the lease on sending is lost.
        trying = asyncio.create_task(mail.send_due())
        await begun.wait()
        trying.cancel()
        await asyncio.wait({trying})
        monkeypatch.undo()
        await mail.send_due()
        assert mailbox.recipients == [["boss@test.org"], ["duty@test.org"]]

    in_mail_world(tmp_path, test)


def test_mail_is_not_repeated_while_its_position_can_not_be_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_room(*_: object) -> None:
        raise StoreUnavailable("no room left for web.sqlite3", "make room on its disk")

    async def test(world: World, mail: AlarmMail, mailbox: Mailbox, on: On) -> None:
        first = change(AlarmKind.OLDEST_TASK, 0, Level.RED)
        await world.state.write(store_changes, [first])
        world.clock.advance(60)
        monkeypatch.setattr(world.state, "write", no_room)
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                await mail.send_due()
        assert len(mailbox.mails) == 1
        monkeypatch.undo()
        assert await mail.send_due() is None
        second = change(AlarmKind.FAILURES, 70, Level.RED)
        await world.state.write(store_changes, [second])
        # The pause between two mails holds, too.
        assert await mail.send_due() == 900
        assert len(mailbox.mails) == 1

    in_mail_world(tmp_path, test)


def test_mail_goes_out_by_itself_and_sending_can_be_stopped(tmp_path: Path) -> None:
    async def test(world: World, mail: AlarmMail, mailbox: Mailbox, on: On) -> None:
        await world.state.write(
            store_changes, [change(AlarmKind.OLDEST_TASK, 0, Level.YELLOW)]
        )
        running = asyncio.create_task(mail.run())
        await mailbox.arrived.wait()
        running.cancel()
        await asyncio.wait([running])
        assert len(mailbox.mails) == 1

    in_mail_world(tmp_path, test, "security: none, level: yellow, gather: 0")


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_mail_is_sent_encrypted_with_a_login(
    tmp_path: Path, certificates: Certificates, security: str
) -> None:
    password = tmp_path / "password"
    password.write_text("s3cret\n")
    password.chmod(0o600)

    async def test(world: World) -> None:
        mailbox = Mailbox()
        context = certificates.context
        where = {"starttls": context} if security == "starttls" else {"tls": context}
        # aiosmtpd counts a connection as encrypted only after STARTTLS.
        login = security == "starttls"
        async with serving(mailbox, login=login, **where) as port:

            async def send(more: str) -> None:
                full = settings(port, f"security: {security}, timeout: 1s, {more}")
                await Mailer(full, now=world.clock).send("Test", "Text")

            good = f"ca_file: {certificates.ca_file}, sender: cbq@test.org"
            as_user = f", username: cbq, password_file: {password}" if login else ""
            await send(good + as_user)
            assert mailbox.mails[0]["From"] == "callback-queue <cbq@test.org>"
            with pytest.raises(MailFailed, match="certificate"):
                await send("sender: cbq@test.org" + as_user)
            if login:
                with pytest.raises(MailFailed, match="did not take the mail"):
                    await send(good + ", username: cbq, password: wrong")
            assert len(mailbox.mails) == 1

    in_world(tmp_path, test)


def test_server_without_encryption_gets_neither_password_nor_mail(
    tmp_path: Path,
) -> None:
    async def test(world: World) -> None:
        mailbox = Mailbox()
        async with serving(mailbox) as port:
            mailer = Mailer(
                settings(port, "username: cbq, password: s3cret"), now=world.clock
            )
            with pytest.raises(MailFailed, match="STARTTLS"):
                await mailer.send("Test", "Text")
        assert not mailbox.mails
        with pytest.raises(MailFailed, match=r"mail\.host and mail.to are not set"):
            await Mailer(MailSettings(), now=world.clock).send("Test", "Text")

    in_world(tmp_path, test)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("to: [boss]", "mail.to: must be an address such as ops@example.org"),
        ("to: ['Boss <boss@test.org>']", "must be an address"),
        ('to: ["a@b.org\\r\\nBcc: x@y.org"]', "must be an address"),
        ("sender: '@test.org'", "mail.sender: must be an address"),
        ("security: ssl", "mail.security"),
    ],
)
def test_wrong_setting_is_named(text: str, message: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        parse(f"mail: {{{text}}}")
    assert message in str(caught.value)


def test_a_mail_waits_for_the_pause_after_the_one_before(tmp_path: Path) -> None:
    async def test(world: World, mail: AlarmMail, mailbox: Mailbox, on: On) -> None:
        await world.state.write(
            store_changes, [change(AlarmKind.OLDEST_TASK, 0, Level.RED)]
        )
        world.clock.advance(60)
        await mail.send_due()
        later = change(AlarmKind.NO_AGENTS, 70, Level.RED)
        await world.state.write(store_changes, [later])
        assert await mail.send_due() == timedelta(minutes=15).total_seconds()

    in_mail_world(tmp_path, test)
