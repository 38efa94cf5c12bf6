# SPDX-License-Identifier: MIT
"""TLS to Asterisk's manager interface: checks the certificate and explains failures.

This module does not know what is sent over the connection, or when to reconnect.

There is never a fallback to clear text: `TlsClientEndpoint` returns a connection only
after the handshake, with a trusted certificate, or none. OpenSSL checks the chain of
signatures and the dates in the handshake; the name in the certificate is checked right
after it, before any byte is read or written. ``callback-queue check`` uses the same
`ManagerTls`, so its result is the same.

OpenSSL must not call back into Python here: pyOpenSSL would have to generate code at
run time, which the systemd unit forbids (``MemoryDenyWriteExecute``).
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

#: Maximum size of a file of certificates, in bytes. A whole system store has a few
#: hundred kilobytes.
_LARGEST_FILE_BYTES: Final = 4 * 1024 * 1024
#: Maximum number of a certificate's names in an error message.
_NAMES_SHOWN: Final = 5

# openssl/x509_vfy.h
_UNKNOWN_ISSUER: Final = (2, 18, 19, 20, 21)
_NOT_YET_VALID: Final = 9
_EXPIRED: Final = 10

_TRUST: Final = (
    "set ami.tls.ca_file to the certificate of the CA that signed it; a self-signed"
    " certificate is its own CA"
)
_SEE_LOG: Final = "look into Asterisk's log"
#: OpenSSL's error for every chain that it refuses.
_NOT_TRUSTED: Final = "certificate verify failed"
#: Parts of OpenSSL's errors, with the problem and the remedy. The first match counts.
_ALERTS: Final[tuple[tuple[tuple[str, ...], str, str], ...]] = (
    (
        ("wrong version number", "packet length too long", "record layer failure"),
        "the port speaks no TLS",
        "set ami.port to the port of tlsbindaddr in manager.conf, and tlsenable = yes"
        " there",
    ),
    (
        ("unsupported protocol", "protocol version"),
        "Asterisk offers no TLS of version 1.2 or later",
        "delete tlsdisablev12 and the like from manager.conf",
    ),
)


class TlsMisconfigured(CallbackError):
    """TLS can not be set up. The text names the setting, the file and the remedy."""

    between = " - "


class TlsFailed(CallbackError):
    """The TLS connection failed, or the certificate is not that of this Asterisk."""

    between = " - "


@attrs.define(eq=False)
class Handshake:
    """One TLS handshake: OpenSSL's connection, and the check of the certificate.

    Attributes:
        connection: has no socket; its user moves the bytes. It refuses a chain that is
            not trusted.
    """

    connection: SSL.Connection
    _store: crypto.X509Store
    _server_name: str

    def confirm(self) -> None:
        """Check the name in the certificate.

        To be called right after the handshake, before anything is read or written.

        Raises:
            TlsFailed: the certificate is for another name, or there is none.
        """
        try:
            shown = self.connection.get_peer_certificate(as_cryptography=True)
            if shown is None:
                raise TlsFailed("no certificate was shown", _SEE_LOG)
            _check_name(shown, self._server_name)
        except TlsFailed:
            raise
        except Exception as error:
            # The certificate may be crafted, so every error of a library means "no".
            raise _unreadable(error) from None

    def explain(self, error: BaseException | None) -> TlsFailed:
        """Return why there is no connection, from OpenSSL's or the network's error."""
        reasons = _openssl_reasons(error)
        if _NOT_TRUSTED in reasons:
            return self._explain_chain()
        return _explain_openssl(reasons) or TlsFailed(
            "the connection was closed in the TLS handshake",
            "check that manager.conf has tlsenable = yes and this port in tlsbindaddr",
        )

    def _explain_chain(self) -> TlsFailed:
        """Verify the refused chain again, as the handshake's error has no reason."""
        try:
            return _chain_fault(self._store, self.connection.get_peer_cert_chain())
        except Exception as error:
            return _unreadable(error)


def _openssl_reasons(error: BaseException | None) -> str:
    """Return the reasons in an error of OpenSSL; "" for another error."""
    if not isinstance(error, SSL.Error) or not error.args:
        return ""
    return ", ".join(reason for *_, reason in error.args[0])


def _explain_openssl(reasons: str) -> TlsFailed | None:
    if not reasons:
        return None
    for parts, problem, remedy in _ALERTS:
        if any(part in reasons for part in parts):
            return TlsFailed(problem, remedy)
    return TlsFailed(f"the TLS handshake failed: {reasons}", _SEE_LOG)


def _unreadable(error: Exception) -> TlsFailed:
    return TlsFailed(f"its certificate can not be read: {error}", "make a new one")


class ManagerTls:
    """The TLS settings of the manager link: trusted CAs and the name of the server.

    Args:
        server_name: the host name or IP address that must be in the certificate.
        ca_file: certificates of CAs, or a self-signed one, in PEM; None for the CAs
            that the system trusts. The file is read once, now.

    Raises:
        TlsMisconfigured: the file can not be used.
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
            for certificate in _certificates(ca_file):
                store.add_cert(crypto.X509.from_cryptography(certificate))

    def begin(self) -> Handshake:
        """Return a new handshake, as the client."""
        connection = SSL.Connection(self._context, None)
        connection.set_connect_state()
        # RFC 6066 allows no IP address as the server name.
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
            f"give it the subjectAltName {kind}:{name}, or set ami.tls.server_name to"
            " the name in the certificate",
        ) from None


def _chain_fault(store: crypto.X509Store, chain: list[crypto.X509] | None) -> TlsFailed:
    if not chain:
        return TlsFailed("no certificate was shown", _SEE_LOG)
    try:
        crypto.X509StoreContext(store, chain[0], chain[1:]).verify_certificate()
    except crypto.X509StoreContextError as error:
        code, depth, _ = error.errors
        return _chain_words(error.certificate.to_cryptography(), code, depth)
    # This checks the chain only; the handshake checks more.
    return TlsFailed(
        "its certificate is not trusted: it is not for a server, or its key or"
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
            f"{whose} is valid only from {_day(certificate.not_valid_before_utc)} on",
            "check the clocks of both machines",
        )
    if code in _UNKNOWN_ISSUER:
        return TlsFailed(
            "its certificate is signed by an unknown CA:"
            f" {_shown(certificate.issuer.rfc4514_string())}",
            _TRUST,
        )
    return TlsFailed(
        f"{whose} is not trusted (X509_V_ERR {code} of OpenSSL)",
        "see the number in 'man 1 openssl-verification-options'; make a new one",
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
        tls: the trusted CAs and the name of the server.
        clock: a steady clock.
    """

    def __init__(
        self, endpoint: IStreamClientEndpoint, tls: ManagerTls, clock: IReactorTime
    ) -> None:
        self._endpoint = endpoint
        self._tls = tls
        self._clock = clock

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect, make the TLS handshake and check the certificate.

        The protocol is built only after that. Fails with the endpoint's errors, or
        with `TlsFailed` after closing the connection. Cancelling closes it, too.
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
    """Gives Twisted the OpenSSL connection of a handshake."""

    def __init__(self, handshake: Handshake) -> None:
        self._handshake = handshake

    def clientConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        return self._handshake.connection


class _UntilSecured(Factory):
    """Builds the protocol after the certificate has been checked."""

    noisy = False

    def __init__(self, factory: IProtocolFactory, handshake: Handshake) -> None:
        self._factory = factory
        self._handshake = handshake
        self._stand_in: _StandIn | None = None
        #: Fires with the protocol, or fails with the reason of the close.
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
                "check that this is the port of tlsbindaddr in manager.conf",
            )
        )
        if self._stand_in is not None and self._stand_in.transport is not None:
            self._stand_in.transport.abortConnection()


@implementer(IHandshakeListener)
class _StandIn(Protocol):
    """Receives TLS's data, and passes it to the protocol after the handshake."""

    #: A narrower type than Twisted's: TLS always gives this one.
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
        if (failed := _explain_openssl(_openssl_reasons(reason.value))) is not None:
            reason = Failure(failed)
        self._protocol.connectionLost(reason)
