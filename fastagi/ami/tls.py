# SPDX-License-Identifier: MIT
"""TLS with Asterisk's manager: who is believed to be Asterisk, and why somebody is not.

Owns the certificates, the verdict on the other side's, and the words for both. Must
not know what is said over the connection, or when to connect again.

There is no way from here to a connection in clear text: `TlsClientEndpoint` hands out
a connection when the handshake is over and the certificate is believed, or none.
OpenSSL judges the chain of signatures and the dates inside the handshake; whose
certificate it is, is judged as soon as the handshake is over. So not even the first
byte is read from, or written to, somebody else. ``callback-queue check`` uses the same
`ManagerTls` and so comes to the same verdict.

Nothing here may have OpenSSL call Python: pyOpenSSL would have to make code at run
time for that, which the systemd unit forbids (``MemoryDenyWriteExecute``).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, cast

import attrs
from cryptography import x509
from OpenSSL import SSL, crypto
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import (
    verify_certificate_hostname,
    verify_certificate_ip_address,
)

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionClosed
from twisted.internet.interfaces import (
    IAddress,
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from fastagi.errors import CallbackError, Problem
from fastagi.plain_file import NoPlainFile, open_plain

#: All certificates that a system believes have some hundred kilobytes.
_LARGEST_FILE_BYTES: Final = 4 * 1024 * 1024
#: Names of a certificate that are shown when none of them is the right one.
_NAMES_SHOWN: Final = 5

# openssl/x509_vfy.h
_UNKNOWN_ISSUER: Final = (2, 18, 19, 20, 21)
_NOT_YET_VALID: Final = 9
_EXPIRED: Final = 10

_TRUST: Final = (
    "write the certificate of the CA that signed it as ami.tls.ca_file; a certificate"
    " that signed itself is its own CA"
)
_SEE_LOG: Final = "see whether Asterisk's log tells more"
#: What OpenSSL says of a chain it refuses, whatever the reason.
_NOT_BELIEVED: Final = "certificate verify failed"
#: What OpenSSL says, and what it means here. The first that fits counts.
_ALERTS: Final[tuple[tuple[tuple[str, ...], str, str], ...]] = (
    (
        ("wrong version number", "packet length too long", "record layer failure"),
        "the port speaks no TLS",
        "write as ami.port the port of tlsbindaddr in manager.conf, with tlsenable ="
        " yes there",
    ),
    (
        ("unsupported protocol", "protocol version"),
        "Asterisk offers no TLS of version 1.2 or later",
        "delete tlsdisablev12 and the like from manager.conf",
    ),
)


class TlsMisconfigured(CallbackError):
    """TLS can not be set up; the text names the setting, its file and what to do."""

    between = " - "


class TlsFailed(CallbackError):
    """There is no TLS connection with the Asterisk that was meant."""

    between = " - "


@attrs.define(eq=False)
class Handshake:
    """One try to agree on TLS: OpenSSL's side of it, and the verdict.

    Attributes:
        connection: without a socket; whoever has it moves the bytes. It refuses a
            chain that is not believed by itself.
    """

    connection: SSL.Connection
    _store: crypto.X509Store
    _server_name: str

    def confirm(self) -> None:
        """Make sure whose certificate it is that was shown.

        To be called when the handshake is over, before anything is read or written.

        Raises:
            TlsFailed: it is somebody else's.
        """
        try:
            shown = self.connection.get_peer_certificate(as_cryptography=True)
            if shown is None:
                raise TlsFailed("no certificate was shown", _SEE_LOG)
            _check_name(shown, self._server_name)
        except TlsFailed:
            raise
        except Exception as error:
            # Libraries read what a stranger made up; whatever they say means "no".
            raise _unreadable(error) from None

    def explain(self, error: BaseException | None) -> TlsFailed:
        """Tell why there is no connection, from what OpenSSL or the network said."""
        said = _said(error)
        if _NOT_BELIEVED in said:
            return self._fault_of_chain()
        return _alert(said) or TlsFailed(
            "the connection was closed in the TLS handshake",
            "see whether manager.conf says tlsenable = yes and names this port in"
            " tlsbindaddr",
        )

    def _fault_of_chain(self) -> TlsFailed:
        """Look once more at what OpenSSL refused, since it gives no reason itself."""
        try:
            return _chain_fault(self._store, self.connection.get_peer_cert_chain())
        except Exception as error:
            return _unreadable(error)


def _said(error: BaseException | None) -> str:
    """Return what OpenSSL says; "" if it says nothing."""
    if not isinstance(error, SSL.Error) or not error.args:
        return ""
    return ", ".join(reason for *_, reason in error.args[0])


def _alert(said: str) -> TlsFailed | None:
    if not said:
        return None
    for parts, problem, remedy in _ALERTS:
        if any(part in said for part in parts):
            return TlsFailed(problem, remedy)
    return TlsFailed(f"the TLS handshake failed: {said}", _SEE_LOG)


def _unreadable(error: Exception) -> TlsFailed:
    return TlsFailed(f"its certificate can not be read: {error}", "make a new one")


class ManagerTls:
    """Whom to believe to be Asterisk, and who we are.

    Args:
        server_name: the host name or IP address that must be in the certificate.
        ca_file: certificates of CAs, or one that signed itself, in PEM; None for those
            that the system believes. It is read now, and not again.

    Raises:
        TlsMisconfigured: a file can not be used.
    """

    def __init__(
        self,
        *,
        server_name: str,
        ca_file: str | None = None,
    ) -> None:
        self._name = server_name
        context = self._context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
        context.set_verify(SSL.VERIFY_PEER)
        store = context.get_cert_store()
        assert store is not None
        self._store = store
        if ca_file is None:
            context.set_default_verify_paths()
        else:
            for one in _certificates(ca_file):
                store.add_cert(crypto.X509.from_cryptography(one))

    def begin(self) -> Handshake:
        """Prepare one handshake, as the client."""
        connection = SSL.Connection(self._context, None)
        connection.set_connect_state()
        # RFC 6066: no address may stand there.
        if not _is_address(self._name):
            connection.set_tlsext_host_name(self._name.encode("ascii"))
        return Handshake(connection, self._store, self._name)


def _check_name(certificate: x509.Certificate, name: str) -> None:
    is_address = _is_address(name)
    check = verify_certificate_ip_address if is_address else verify_certificate_hostname
    try:
        check(certificate, name)
    except (VerificationError, CertificateError):
        kind = "IP" if is_address else "DNS"
        raise TlsFailed(
            f"its certificate is for {_names(certificate)} and not for {name}",
            f"give it the subjectAltName {kind}:{name}, or write as"
            " ami.tls.server_name the name it has",
        ) from None


def _chain_fault(store: crypto.X509Store, chain: list[crypto.X509] | None) -> TlsFailed:
    if not chain:
        return TlsFailed("no certificate was shown", _SEE_LOG)
    try:
        crypto.X509StoreContext(store, chain[0], chain[1:]).verify_certificate()
    except crypto.X509StoreContextError as error:
        code, depth, _ = error.errors
        return _chain_words(error.certificate.to_cryptography(), code, depth)
    # Here nothing is asked but the chain; the handshake asks for more.
    return TlsFailed(
        "its certificate is not believed: it is none for a server, or its key or"
        " signature is too weak",
        "make a new one, as docs/tls.md does",
    )


def _chain_words(certificate: x509.Certificate, code: int, depth: int) -> TlsFailed:
    whose = "its certificate" if depth == 0 else "the certificate of its CA"
    if code == _EXPIRED:
        return TlsFailed(
            f"{whose} expired on {_day(certificate.not_valid_after_utc)}",
            "renew it, then restart Asterisk",
        )
    if code == _NOT_YET_VALID:
        return TlsFailed(
            f"{whose} is valid from {_day(certificate.not_valid_before_utc)} only",
            "see whether the clocks of both machines are right",
        )
    if code in _UNKNOWN_ISSUER:
        return TlsFailed(
            "its certificate is signed by nobody whom we believe:"
            f" {_shown(certificate.issuer.rfc4514_string())}",
            _TRUST,
        )
    return TlsFailed(
        f"{whose} is not believed (X509_V_ERR {code} of OpenSSL)",
        "man 1 openssl-verification-options explains the number; make a new one",
    )


def _names(certificate: x509.Certificate) -> str:
    try:
        names = certificate.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        ).value
    except x509.ExtensionNotFound:
        return "nobody (it has no subjectAltName)"
    found = [_shown(str(name.value)) for name in names]
    return ", ".join(found[:_NAMES_SHOWN]) or "nobody"


def _shown(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text[:100])


def _day(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d}"


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


# -- files


def _certificates(path: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_read(path))
    except ValueError:
        raise TlsMisconfigured(
            Problem(
                "ami.tls.ca_file",
                f"{path} holds no certificate in PEM",
                "write the file that begins with -----BEGIN CERTIFICATE-----",
            )
        ) from None


def _read(path: str) -> bytes:
    try:
        with open_plain(path) as file:
            return file.read(_LARGEST_FILE_BYTES)
    except NoPlainFile:
        raise TlsMisconfigured(
            Problem("ami.tls.ca_file", f"{path} is no plain file", "correct the path")
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        remedy = f"correct the path, or let the service read it: chmod 644 {path}"
        if isinstance(error, PermissionError):
            remedy += (
                "; if it is in one of Asterisk's directories, which the systemd unit"
                " hides, copy it to /etc/callback-queue and write that path"
            )
        raise TlsMisconfigured(
            Problem("ami.tls.ca_file", f"{path} can not be read: {reason}", remedy)
        ) from None


# -- the endpoint


@implementer(IStreamClientEndpoint)
class TlsClientEndpoint:
    """Connects with TLS, and only with TLS.

    Args:
        endpoint: where the other side listens.
        tls: whom to believe.
        clock: a steady one.
    """

    def __init__(
        self, endpoint: IStreamClientEndpoint, tls: ManagerTls, clock: IReactorTime
    ) -> None:
        self._endpoint = endpoint
        self._tls = tls
        self._clock = clock

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect, agree on TLS and make sure who the other side is.

        The protocol is built only then. Fails with what the endpoint fails with, or
        with `TlsFailed`; then the connection is closed. Cancelling it closes it too.
        """
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        handshake = self._tls.begin()
        waiting = _UntilSecured(factory, handshake)
        creator = _Creator(handshake)
        await self._endpoint.connect(
            TLSMemoryBIOFactory(creator, True, waiting, clock=self._clock)
        )
        try:
            return await waiting.secured
        except (SSL.Error, ConnectionClosed) as error:
            raise handshake.explain(error) from None


@implementer(IOpenSSLClientConnectionCreator)
class _Creator:
    """Gives Twisted the OpenSSL connection that was made before."""

    def __init__(self, handshake: Handshake) -> None:
        self._handshake = handshake

    def clientConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        return self._handshake.connection


class _UntilSecured(Factory):
    """Builds the protocol, but not before it is sure who the other side is."""

    noisy = False

    def __init__(self, factory: IProtocolFactory, handshake: Handshake) -> None:
        self._factory = factory
        self._handshake = handshake
        self._stand_in: _StandIn | None = None
        #: Fires with the protocol, or fails with why the connection was closed.
        self.secured: Deferred[IProtocol] = Deferred(self._give_up)

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        self._stand_in = _StandIn(
            lambda: self._factory.buildProtocol(cast(IAddress, addr)),
            self._handshake,
            self.secured,
        )
        return self._stand_in

    def _give_up(self, secured: Deferred[IProtocol]) -> None:
        secured.errback(
            TlsFailed(
                "no answer to the TLS handshake",
                "see whether this is the port of tlsbindaddr in manager.conf",
            )
        )
        if self._stand_in is not None and self._stand_in.transport is not None:
            self._stand_in.transport.abortConnection()


@implementer(IHandshakeListener)
class _StandIn(Protocol):
    """What TLS talks to: nobody during the handshake, the protocol after it."""

    #: Narrower than Twisted's, as TLS has it.
    transport: TLSMemoryBIOProtocol | None = None

    def __init__(
        self,
        build: Callable[[], IProtocol | None],
        handshake: Handshake,
        secured: Deferred[IProtocol],
    ) -> None:
        self._build = build
        self._handshake = handshake
        self._secured = secured
        self._protocol: IProtocol | None = None

    def handshakeCompleted(self) -> None:
        assert self.transport is not None
        try:
            self._handshake.confirm()
        except TlsFailed:
            self.transport.failVerification(Failure())
            return
        self._protocol = self._build()
        assert self._protocol is not None
        self._protocol.makeConnection(self.transport)
        self._secured.callback(self._protocol)

    def dataReceived(self, data: bytes) -> None:
        assert self._protocol is not None
        self._protocol.dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._protocol is None:
            if not self._secured.called:
                self._secured.errback(reason)
            return
        if (words := _alert(_said(reason.value))) is not None:
            reason = Failure(words)
        self._protocol.connectionLost(reason)
