# SPDX-License-Identifier: MIT
"""To which addresses webhooks go, over real connections to this machine."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from fastagi.web.signals.addresses import (
    AddressRules,
    Answer,
    BadCertificates,
    BadUrl,
    Sender,
    check_url,
)
from tests.harness.certificates import issue

LOCAL = AddressRules((ip_network("127.0.0.0/8"),))
OK = b"HTTP/1.1 204 No Content\r\n\r\n"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "198.18.0.1",
        "::",
        "::1",
        "fe80::1",
        "fc00::1",
        "ff02::1",
        "::ffff:10.1.2.3",
        "::ffff:127.0.0.1",
        "64:ff9b::10.1.2.3",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:db8::1",
        "2001:0:4136:e378:8000:63bf:f5fe:fdfe",
    ],
)
def test_private_address_is_refused_in_every_form(address: str) -> None:
    assert not AddressRules().permits(ip_address(address), encrypted=True)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"]
)
def test_public_address_is_permitted_with_tls_only(address: str) -> None:
    assert AddressRules().permits(ip_address(address), encrypted=True)
    assert not AddressRules().permits(ip_address(address), encrypted=False)


def test_named_address_is_permitted_also_without_tls() -> None:
    rules = AddressRules((ip_network("10.1.0.0/16"), ip_network("fd00::/8")))
    for address in ("10.1.2.3", "fd00::1", "::ffff:10.1.2.3"):
        assert rules.permits(ip_address(address), encrypted=False), address
    for address in ("10.2.0.1", "fc00::1"):
        assert not rules.permits(ip_address(address), encrypted=True), address


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org/",
        "file:///etc/passwd",
        "//example.org/",
        "https:///path",
        "https://user:password@example.org/",
        "https://user@example.org/",
        "https://example.org/#part",
        "https://example.org/a b",
        "https://example.org\\@127.0.0.1/",
        "https://example.org/\r\nX-Header: 1",
        "https://exämple.org/",
        "https://example.org:0/",
        "https://example.org:99999/",
        "https://[::1/",
        "https://example.org/" + "a" * 2000,
        "",
    ],
)
def test_url_with_other_parts_is_refused(url: str) -> None:
    with pytest.raises(BadUrl):
        check_url(url)


class Server:
    """A receiver on this machine: stores what it gets, and answers as told."""

    def __init__(
        self, answer: bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]
    ):
        self.answer = answer
        self.requests: list[bytes] = []
        self.port = 0

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().partition(b"content-length: ")[2].split()[0])
                self.requests.append(head + await reader.readexactly(length))
                if callable(self.answer):
                    await self.answer(writer)
                    return
                writer.write(self.answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(
    server: Server, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Server]:
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()


async def post(
    url: str,
    rules: AddressRules = LOCAL,
    *,
    timeout_s: float = 10.0,
    ca_file: str | None = None,
    names: Callable[[str], Sequence[str]] | None = None,
) -> Answer:
    async def resolver(host: str, port: int) -> Sequence[str]:
        assert names is not None
        return names(host)

    more = {} if names is None else {"resolver": resolver}
    sender = Sender(rules, timeout_s=timeout_s, ca_file=ca_file, **more)  # type: ignore[arg-type]
    try:
        return await sender.post(url, {"webhook-id": "msg_1"}, b'{"a":1}')
    finally:
        await sender.close()


def test_message_is_posted_and_the_connection_used_again() -> None:
    async def test() -> None:
        async with serving(Server(OK)) as server:
            sender = Sender(LOCAL, timeout_s=5)
            url = f"http://127.0.0.1:{server.port}/hook?q=1"
            for _ in range(2):
                answer = await sender.post(url, {"webhook-id": "msg_1"}, b'{"a":1}')
                assert (answer.status, answer.outcome) == (204, "delivered")
            await sender.close()
            first = server.requests[0]
            assert first.startswith(b"POST /hook?q=1 HTTP/1.1\r\n")
            assert b"webhook-id: msg_1\r\n" in first
            assert b"Content-Type: application/json\r\n" in first
            assert first.endswith(b'\r\n\r\n{"a":1}')
            assert len(server.requests) == 2

    asyncio.run(test())


def test_private_address_behind_a_name_gets_no_connection() -> None:
    async def test() -> None:
        async with serving(Server(OK)) as server:
            for url in (
                f"https://localhost:{server.port}/",
                f"http://localhost:{server.port}/",
                f"https://127.0.0.1:{server.port}/",
                f"https://2130706433:{server.port}/",
            ):
                answer = await post(url, AddressRules())
                assert answer.outcome == "address_refused", url
                assert "webhooks.allowed_addresses" in answer.words
            assert not server.requests

    asyncio.run(test())


def test_name_that_leads_elsewhere_later_reaches_only_checked_addresses() -> None:
    """The name is looked up once for a connection, which goes to what was checked."""

    async def test() -> None:
        async with serving(Server(OK)) as server:
            looked_up: list[str] = []

            def names(host: str) -> Sequence[str]:
                looked_up.append(host)
                # Permitted at the first look-up, another address at any further one.
                return ["127.0.0.1"] if len(looked_up) == 1 else ["10.255.255.1"]

            url = f"http://rebind.example.org:{server.port}/"
            answer = await post(url, LOCAL, names=names)
            assert answer.is_success, answer
            assert looked_up == ["rebind.example.org"]
            # Of mixed addresses only the permitted ones are connected to.
            mixed = await post(
                url, LOCAL, names=lambda _: ["10.255.255.1", "127.0.0.1"]
            )
            assert mixed.is_success
            assert b"Host: rebind.example.org" in server.requests[0]

    asyncio.run(test())


def test_redirect_is_a_failure_and_not_followed() -> None:
    async def test() -> None:
        async with serving(Server(OK)) as other:
            to = f"http://127.0.0.1:{other.port}/".encode()
            head = b"HTTP/1.1 307 x\r\nContent-Length: 0\r\nLocation: " + to
            async with serving(Server(head + b"\r\n\r\n")) as server:
                answer = await post(f"http://127.0.0.1:{server.port}/")
                assert (answer.status, answer.outcome) == (307, "refused")
                assert not other.requests

    asyncio.run(test())


def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")

    async def test() -> None:
        async with serving(Server(OK)) as server:
            assert (await post(f"http://127.0.0.1:{server.port}/")).is_success

    asyncio.run(test())


def test_silent_and_endless_answers_are_given_up_in_time() -> None:
    async def silent(writer: asyncio.StreamWriter) -> None:
        await writer.wait_closed()

    async def endless_head(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"X-Header: 1\r\n")
            await writer.drain()

    async def endless_body(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 500 x\r\nConnection: close\r\n\r\n")
        while True:
            writer.write(b"<b>out of order</b>\r\n" * 100)
            await writer.drain()

    async def test() -> None:
        for answer, outcome, timeout_s in (
            (silent, "no_answer", 0.3),
            (endless_head, "no_answer", 0.3),
            # It ends when enough is read, long before the time is over.
            (endless_body, "refused", 20.0),
        ):
            async with serving(Server(answer)) as server:
                url = f"http://127.0.0.1:{server.port}/"
                got = await post(url, timeout_s=timeout_s)
                assert got.outcome == outcome, answer
                assert len(got.words) <= 210 and "\n" not in got.words

    asyncio.run(test())


def test_nobody_listens_is_no_answer() -> None:
    async def test() -> None:
        async with serving(Server(OK)) as server:
            port = server.port
        answer = await post(f"http://127.0.0.1:{port}/")
        assert (answer.status, answer.outcome) == (None, "no_answer")
        nowhere = await post("https://nowhere.invalid/", names=_fails)
        assert nowhere.outcome == "no_answer"

    asyncio.run(test())


@pytest.mark.parametrize(
    "host", ["a..b.invalid", f"{'a' * 64}.invalid", "[::1]", "[fe80::1]", "1.2", "-"]
)
def test_no_url_makes_the_sender_fail(host: str) -> None:
    answer = asyncio.run(post(f"https://{host}:9/", AddressRules()))
    assert answer.outcome in ("no_answer", "address_refused"), answer


def test_certificates_that_can_not_be_used_are_named(tmp_path: Path) -> None:
    missing, empty = tmp_path / "missing.pem", tmp_path / "empty.pem"
    empty.write_text("")
    for path in (missing, empty):
        with pytest.raises(BadCertificates, match=path.name):
            Sender(LOCAL, timeout_s=1, ca_file=str(path))


def _fails(_host: str) -> Sequence[str]:
    raise OSError("Name or service not known")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        ("999999999", 86_400),
        (format_datetime(datetime(2020, 1, 1, tzinfo=UTC)), 0),
        ("soon", None),
        ("-5", None),
        ("", None),
    ],
)
def test_pause_that_a_receiver_asks_for(value: str, seconds: float | None) -> None:
    assert asyncio.run(_pause_after(value)) == seconds


def test_pause_until_a_day_that_a_receiver_asks_for() -> None:
    in_nine_days = format_datetime(datetime.now(UTC) + timedelta(days=9))
    assert asyncio.run(_pause_after(in_nine_days)) == 86_400


async def _pause_after(value: str) -> float | None:
    head = f"HTTP/1.1 503 x\r\nRetry-After: {value}\r\nContent-Length: 0\r\n\r\n"
    async with serving(Server(head.encode())) as server:
        answer = await post(f"http://127.0.0.1:{server.port}/")
        return answer.retry_after_s


def _signed(folder: Path) -> tuple[str, ssl.SSLContext]:
    """Return the certificate of a signer, and the TLS of a receiver that it signed."""
    authority = issue(authority=True, common_name="CA")
    ca_file, _ = authority.save(folder, "ca")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*issue("hook.example.org", by=authority).save(folder, "server"))
    return str(ca_file), tls


def _here(_host: str) -> Sequence[str]:
    return ["127.0.0.1"]


def test_certificate_is_checked_for_the_name_of_the_url(tmp_path: Path) -> None:
    ca, tls = _signed(tmp_path)

    async def test() -> None:
        async with serving(Server(OK), tls) as server:
            url = f"https://hook.example.org:{server.port}/"
            assert (await post(url, names=_here, ca_file=ca)).is_success
            for other_url, other_ca in (
                (url, None),
                (f"https://other.example.org:{server.port}/", ca),
            ):
                answer = await post(other_url, names=_here, ca_file=other_ca)
                assert answer.outcome == "no_answer"
                assert "certificate" in answer.words
            assert len(server.requests) == 1

    asyncio.run(test())


def test_signers_of_the_system_are_read_with_the_first_encrypted_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca, tls = _signed(tmp_path)

    async def resolver(host: str, _port: int) -> Sequence[str]:
        return _here(host)

    async def test() -> None:
        sender = Sender(LOCAL, timeout_s=10, resolver=resolver)
        async with serving(Server(OK)) as server:
            url = f"http://hook.example.org:{server.port}/"
            assert (await sender.post(url, {}, b"{}")).is_success
        monkeypatch.setenv("SSL_CERT_FILE", ca)
        async with serving(Server(OK), tls) as server:
            url = f"https://hook.example.org:{server.port}/"
            assert (await sender.post(url, {}, b"{}")).is_success
        await sender.close()

    asyncio.run(test())
