# SPDX-License-Identifier: MIT
"""To which addresses webhooks may be sent, and how they are reached.

An administrator may be fooled into adding an address inside the network, and a name may
lead to another address at each look-up. So a name is resolved once for each connection,
the addresses found are checked, and the connection goes to one of those.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Any, Final, Protocol, TypeAlias
from urllib.parse import SplitResult, urlsplit

import httpcore
from attrs import frozen

from fastagi import __version__
from fastagi.errors import CallbackError

Network: TypeAlias = IPv4Network | IPv6Network
Address: TypeAlias = IPv4Address | IPv6Address

#: IPv6 addresses that stand for an IPv4 address in their last 32 bits (RFC 6052).
_NAT64: Final = ip_network("64:ff9b::/96")
_LONGEST_URL: Final = 2000
#: Time limit to resolve a name, in seconds.
_RESOLVE_S: Final = 5.0
#: How much of an answer is read, in bytes; the rest is ignored.
_MOST_READ: Final = 16 * 1024
#: How much of an answer is shown, in characters.
_SHOWN: Final = 200
#: Longest pause that a receiver may ask for, in seconds.
_LONGEST_RETRY_AFTER_S: Final = 24 * 3600.0
_KEEP_S: Final = 5.0


class BadUrl(CallbackError):
    """Webhooks can not be sent to this URL."""


class BadCertificates(CallbackError):
    """The file with certificates of signers can not be used."""


class AddressRefused(CallbackError):
    """Webhooks may not be sent to this address."""


def check_url(url: str) -> str:
    """Return the URL of an endpoint if webhooks may be sent to such a one.

    The address behind its name is checked each time it is used.

    Raises:
        BadUrl: it is no URL of HTTP, or has parts that are not allowed.
    """
    if len(url) > _LONGEST_URL or not url.isascii() or not url.isprintable():
        raise BadUrl(
            "the URL must be printable ASCII, up to 2000 characters",
            "write other characters as %XX, and a name as its xn-- form",
        )
    parts = _split(url)
    if parts.scheme not in ("https", "http"):
        raise BadUrl("the URL must begin with https://")
    if parts.username is not None or parts.password is not None:
        raise BadUrl(
            "the URL must not hold a user or a password",
            "the receiver recognises this service by the signature",
        )
    if parts.fragment or " " in url or "\\" in url:
        raise BadUrl("the URL must not hold #, a blank or a backslash")
    return url


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise BadUrl(f"it is no URL: {error}") from None
    if not host or port == 0:
        raise BadUrl("the URL must have a host, such as https://example.org/hook")
    return parts


@frozen
class AddressRules:
    """Which addresses may be reached.

    Attributes:
        allowed: private networks that are allowed.
    """

    allowed: tuple[Network, ...] = ()

    def permits(self, address: Address, *, encrypted: bool) -> bool:
        """Say whether a webhook may be sent there."""
        reached = _reached(address)
        if any(
            reached.version == network.version and reached in network
            for network in self.allowed
        ):
            return True
        return encrypted and all(_is_public(one) for one in (reached, *_inner(reached)))


def _reached(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address is only another form of."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _inner(address: Address) -> list[Address]:
    """Return the IPv4 addresses to which an IPv6 address leads through a tunnel."""
    if isinstance(address, IPv4Address):
        return []
    tunnelled = [] if address.sixtofour is None else [address.sixtofour]
    return [*tunnelled, *(address.teredo or ())]


def _is_public(address: Address) -> bool:
    return address.is_global and not (address.is_multicast or address.is_reserved)


class Resolver(Protocol):
    """Resolves a name to addresses."""

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """Return the addresses of a host; raise OSError if there are none."""


async def resolve(host: str, port: int) -> Sequence[str]:
    """Resolve a name with the machine's resolver."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class _CheckedBackend(httpcore.AsyncNetworkBackend):
    """Connects only to addresses that the rules permit."""

    def __init__(
        self, rules: AddressRules, resolver: Resolver, *, encrypted: bool
    ) -> None:
        self._rules = rules
        self._resolver = resolver
        self._encrypted = encrypted
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Resolve the host, check each address, and connect to one of them."""
        try:
            async with asyncio.timeout(_RESOLVE_S):
                found = await self._resolver(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(
                f"{host} can not be resolved: {error}"
            ) from None
        permitted = [one for one in found if self._permits(one)]
        if not permitted:
            raise AddressRefused(
                f"webhooks may not be sent to {', '.join(found) or host}"
                + ("" if self._encrypted else " without TLS"),
                "name it under webhooks.allowed_addresses if it is meant",
            )
        last: httpcore.ConnectError | httpcore.ConnectTimeout | None = None
        for address in permitted:
            try:
                return await self._inner.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                last = error
        assert last is not None
        raise last

    def _permits(self, text: str) -> bool:
        try:
            # A scope such as in fe80::1%eth0 is always local.
            return self._rules.permits(ip_address(text), encrypted=self._encrypted)
        except ValueError:
            return False


@frozen(kw_only=True)
class Answer:
    """What came of one delivery.

    Attributes:
        status: the HTTP status; None: there was no answer.
        words: what happened, for people.
        outcome: one of a few words for metrics: delivered, refused (a status other than
            2xx), no_answer, address_refused, gone (410).
        retry_after_s: the pause that the receiver asked for.
        took_s: how long it took.
    """

    status: int | None
    words: str
    outcome: str
    retry_after_s: float | None = None
    took_s: float = 0.0

    @property
    def is_success(self) -> bool:
        """Whether the receiver has accepted the message."""
        return self.outcome == "delivered"


OUTCOMES: Final = ("delivered", "refused", "no_answer", "address_refused", "gone")


def trusting(ca_file: str | None) -> ssl.SSLContext:
    """Return a TLS context that also trusts the signers in a file.

    Raises:
        BadCertificates: the file can not be used.
    """
    context = ssl.create_default_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except OSError as error:
            raise BadCertificates(
                f"the certificates in {ca_file} can not be used:"
                f" {error.strerror or error}",
                "correct ca_file in web.yaml: a file with certificates as PEM, readable"
                " by the user of callback-queue-web",
            ) from None
    return context


class Sender:
    """Posts messages, without following redirects, and without any proxy."""

    def __init__(
        self,
        rules: AddressRules,
        *,
        timeout_s: float,
        ca_file: str | None = None,
        resolver: Resolver = resolve,
    ) -> None:
        """Prepare; connections are opened when they are needed.

        Args:
            rules: which addresses may be reached.
            timeout_s: time limit for one delivery, in seconds.
            ca_file: certificates that are trusted besides the usual ones.
            resolver: resolves names.

        Raises:
            BadCertificates: the file can not be used.
        """
        self._timeout_s = timeout_s
        self._rules = rules
        self._resolver = resolver
        #: Whom to trust; None: those of the system, who are not read yet.
        self._context = None if ca_file is None else trusting(ca_file)
        self._pools: dict[str, httpcore.AsyncConnectionPool] = {}

    async def _pool(self, scheme: str) -> httpcore.AsyncConnectionPool:
        if scheme == "https" and self._context is None:
            # They are many: most processes never need them.
            self._context = await asyncio.to_thread(trusting, None)
        if scheme not in self._pools:
            self._pools[scheme] = httpcore.AsyncConnectionPool(
                ssl_context=self._context,
                keepalive_expiry=_KEEP_S,
                network_backend=_CheckedBackend(
                    self._rules, self._resolver, encrypted=scheme == "https"
                ),
            )
        return self._pools[scheme]

    async def close(self) -> None:
        """Close all connections."""
        for pool in self._pools.values():
            await pool.aclose()

    async def post(self, url: str, headers: dict[str, str], body: bytes) -> Answer:
        """Send a message; never raises because of the receiver."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        answer = await self._post(url, headers, body)
        return Answer(
            status=answer.status,
            words=answer.words,
            outcome=answer.outcome,
            retry_after_s=answer.retry_after_s,
            took_s=loop.time() - began,
        )

    async def _post(self, url: str, headers: dict[str, str], body: bytes) -> Answer:
        try:
            parts = _split(check_url(url))
            async with asyncio.timeout(self._timeout_s):
                return await self._exchange(parts.scheme, url, headers, body)
        except (AddressRefused, BadUrl) as error:
            return Answer(status=None, words=str(error), outcome="address_refused")
        except TimeoutError:
            words = f"no complete answer within {self._timeout_s:g} s"
        except (
            httpcore.NetworkError,
            httpcore.TimeoutException,
            httpcore.ProtocolError,
            OSError,
        ) as error:
            words = str(error) or type(error).__name__
        return Answer(status=None, words=_shown(words), outcome="no_answer")

    async def _exchange(
        self, scheme: str, url: str, headers: dict[str, str], body: bytes
    ) -> Answer:
        sent = {
            "Content-Type": "application/json",
            "User-Agent": f"callback-queue/{__version__}",
            "Accept-Encoding": "identity",
            **headers,
        }
        timeouts = dict.fromkeys(("connect", "read", "write", "pool"), self._timeout_s)
        pool = await self._pool(scheme)
        async with pool.stream(
            "POST",
            url,
            headers=list(sent.items()),
            content=body,
            extensions={"timeout": timeouts},
        ) as response:
            read = b""
            async for piece in response.aiter_stream():
                read += piece[: _MOST_READ - len(read)]
                if len(read) >= _MOST_READ:
                    break
            fields = {name.lower(): value for name, value in response.headers}
            return _judged(
                response.status, read, fields.get(b"retry-after", b"").decode("latin-1")
            )


def _judged(status: int, body: bytes, retry_after: str) -> Answer:
    text = _shown(body.decode("utf-8", "replace"))
    words = f"{status}: {text}" if text else str(status)
    if 200 <= status < 300:
        return Answer(status=status, words=str(status), outcome="delivered")
    if status == 410:
        return Answer(status=status, words="410: gone", outcome="gone")
    if 300 <= status < 400:
        words = f"{status}: redirects are not followed"
    return Answer(
        status=status,
        words=words,
        outcome="refused",
        retry_after_s=_retry_after_s(retry_after, datetime.now(UTC)),
    )


def _retry_after_s(value: str, now: datetime) -> float | None:
    """Parse the header Retry-After: seconds, or a date."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(float(value[:9]), _LONGEST_RETRY_AFTER_S)
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return min(max((until - now).total_seconds(), 0.0), _LONGEST_RETRY_AFTER_S)


def _shown(text: str) -> str:
    clean = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(clean.split())[:_SHOWN]
