# SPDX-License-Identifier: MIT
"""Which server the service and ``check`` accept as Asterisk."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from fastagi.ami.session import Credentials
from fastagi.ami.tls import ManagerTls, TlsClientEndpoint, TlsFailed, TlsMisconfigured
from fastagi.checks.link import LinkFailed, ManagerLink, Trouble, Where
from tests.harness.certificates import DAY, Identity, authority, expired, issue

NAME = "pbx.example.com"
BANNER = b"Asterisk Call Manager/11.0.0\r\n"
CA = authority()
GOOD = issue(NAME, "192.0.2.1", "2001:db8::1", by=CA)


class Peer:
    """The other side of a connection, with TLS of the standard library.

    Args:
        files: with its certificate and its key.
    """

    def __init__(self, files: tuple[Path, Path]) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=True)
        self._open = False
        #: What the client said inside TLS.
        self.heard = b""

    def greeting(self) -> bytes:
        return b""

    def answer(self, data: bytes) -> bytes:
        """Take bytes and return what is to be sent."""
        self._in.write(data)
        try:
            if not self._open:
                self._tls.do_handshake()
                self._open = True
                self._tls.write(BANNER)
            self.heard += self._tls.read()
        except (ssl.SSLWantReadError, ssl.SSLError):
            pass
        return self._out.read()


class PlainPeer:
    """A manager that speaks no TLS: it greets at once."""

    heard = b""

    def greeting(self) -> bytes:
        return BANNER

    def answer(self, data: bytes) -> bytes:
        self.heard += data
        return b""


class SilentPeer(PlainPeer):
    """Takes the connection and says nothing."""

    def greeting(self) -> bytes:
        return b""


class ClosingPeer(SilentPeer):
    """Closes at the first byte."""


AnyPeer = Peer | PlainPeer


# -- as the service and `check` connect


class PeerTransport(StringTransport):
    """Passes bytes between the client and the peer."""

    def __init__(self, protocol: IProtocol, peer: AnyPeer) -> None:
        super().__init__()
        self.peer, self.protocol = peer, protocol
        self.closed = False
        self._aborting = False

    def carry(self) -> None:
        """Move bytes until nobody has more to say."""
        self._deliver(self.peer.greeting())
        while not self.closed and (data := self.value()) and not self._aborting:
            self.clear()
            if isinstance(self.peer, ClosingPeer):
                self._lose(ConnectionDone())
                return
            self._deliver(self.peer.answer(data))
            if self.disconnecting:
                self._lose(ConnectionDone())
        if self._aborting:
            self._lose(ConnectionAborted())

    def _deliver(self, data: bytes) -> None:
        if data and not self.closed:
            self.protocol.dataReceived(data)

    def abortConnection(self) -> None:
        # As a reactor's: the protocol is told in a turn of its own.
        self._aborting = True

    def _lose(self, reason: Exception) -> None:
        if not self.closed:
            self.closed = True
            self.protocol.connectionLost(Failure(reason))


class PeerEndpoint:
    def __init__(self, peer: AnyPeer) -> None:
        self.peer = peer
        self.transport: PeerTransport | None = None

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        protocol = factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 5039))
        assert protocol is not None
        self.transport = PeerTransport(protocol, self.peer)
        protocol.makeConnection(self.transport)
        return succeed(protocol)


class Heard(Protocol):
    """Stores what it receives."""

    def __init__(self) -> None:
        self.data = b""
        self.lost: list[Failure] = []

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.append(reason)


class Client:
    """The service's side of one connection."""

    def __init__(self, peer: AnyPeer, tls: ManagerTls) -> None:
        self.built: list[Heard] = []
        self.endpoint = PeerEndpoint(peer)
        self.result: object = None
        self.clock = Clock()
        endpoint = TlsClientEndpoint(
            cast(Any, self.endpoint), tls, cast(Any, self.clock)
        )
        self.connecting = endpoint.connect(
            cast(Any, Factory.forProtocol(cast(Any, self._build)))
        )
        self.connecting.addBoth(self._ended)
        assert self.endpoint.transport is not None
        self.transport = self.endpoint.transport
        self.transport.carry()

    def _build(self) -> Heard:
        self.built.append(Heard())
        return self.built[-1]

    def _ended(self, result: object) -> None:
        self.result = result


def served(peer: AnyPeer, tls: ManagerTls) -> bytes:
    """Connect as the service does; return the greeting."""
    client = Client(peer, tls)
    if isinstance(client.result, Failure):
        assert client.built == []
        assert client.transport.closed
        client.result.raiseException()
    if client.result is None:
        raise TimeoutError
    (protocol,) = client.built
    assert client.result is protocol
    assert protocol.transport is not None
    protocol.transport.write(b"Action: Logoff\r\n\r\n")
    client.clock.advance(0)
    client.transport.carry()
    if protocol.lost:
        protocol.lost[0].raiseException()
    return protocol.data


@pytest.fixture
def believes(tmp_path: Path) -> Callable[..., ManagerTls]:
    """Return a function that builds the TLS settings: trusted CAs and a name."""

    def make(
        issuer: Identity | None = CA, name: str = NAME, **files: str
    ) -> ManagerTls:
        path = tmp_path / "ca.crt"
        path.write_bytes(b"" if issuer is None else issuer.pem)
        return ManagerTls(
            server_name=name, ca_file=str(path) if issuer else None, **files
        )

    return make


def refused(peer: AnyPeer, tls: ManagerTls) -> TlsFailed:
    """Return why there is no connection; the peer must have received no byte."""
    with pytest.raises(TlsFailed) as raised:
        served(peer, tls)
    assert b"Action" not in peer.heard
    return raised.value


@pytest.mark.parametrize("name", [NAME, "192.0.2.1", "2001:db8::1"])
def test_asterisk_with_the_right_certificate_is_believed(
    name: str, believes: Callable[..., ManagerTls], tmp_path: Path
) -> None:
    peer = Peer(GOOD.save(tmp_path, "peer"))
    assert served(peer, believes(name=name)) == BANNER
    assert peer.heard == b"Action: Logoff\r\n\r\n"


def test_certificate_that_signed_itself_is_believed_if_it_is_the_one_given(
    believes: Callable[..., ManagerTls], tmp_path: Path
) -> None:
    alone = issue(NAME)
    assert served(Peer(alone.save(tmp_path, "peer")), believes(alone)) == BANNER
    other = issue(NAME)
    failed = refused(Peer(other.save(tmp_path, "peer")), believes(alone))
    assert failed.problem.what == (
        "its certificate is signed by an unknown CA: CN=test"
    )
    assert "ami.tls.ca_file" in failed.problem.remedy


@pytest.mark.parametrize(
    ("identity", "name", "problem"),
    [
        (
            issue("other.example.com", "192.0.2.9", by=CA),
            NAME,
            "its certificate is for other.example.com, 192.0.2.9 and not for"
            " pbx.example.com",
        ),
        (GOOD, "192.0.2.2", f"its certificate is for {NAME}, 192.0.2.1, 2001:db8::1"),
        # The subject's name is not checked by any modern client.
        (
            issue(by=CA, common_name=NAME),
            NAME,
            "its certificate is for nobody (it has no subjectAltName)",
        ),
        (issue(by=CA), "192.0.2.1", "its certificate is for nobody"),
        (expired(NAME, by=CA), NAME, "its certificate expired on "),
        (
            issue(NAME, by=CA, valid_from=DAY),
            NAME,
            "its certificate is valid only from ",
        ),
        (
            issue(NAME, by=authority("Somebody's CA")),
            NAME,
            "its certificate is signed by an unknown CA: CN=Somebody's CA",
        ),
        # Signed by a certificate that may not sign.
        (issue(NAME, by=GOOD), NAME, "its certificate is signed by an unknown CA"),
        (
            issue(NAME, by=CA, usage=ExtendedKeyUsageOID.CLIENT_AUTH),
            NAME,
            "its certificate is not trusted: it is not for a server",
        ),
        # A host name of bytes that are no text.
        (
            issue(by=CA, alternatives=b"\x30\x05\x82\x03\xff\xfea"),
            NAME,
            "its certificate can not be read: ",
        ),
    ],
)
def test_who_is_not_believed(
    identity: Identity,
    name: str,
    problem: str,
    believes: Callable[..., ManagerTls],
    tmp_path: Path,
) -> None:
    failed = refused(Peer(identity.save(tmp_path, "peer")), believes(name=name))
    assert failed.problem.what.startswith(problem)
    assert failed.problem.remedy


def test_ca_that_expired_vouches_for_nobody(
    believes: Callable[..., ManagerTls], tmp_path: Path
) -> None:
    old = authority(
        valid_from=-3
        * (GOOD.certificate.not_valid_after_utc - GOOD.certificate.not_valid_before_utc)
    )
    failed = refused(Peer(issue(NAME, by=old).save(tmp_path, "peer")), believes(old))
    assert failed.problem.what.startswith("the certificate of its CA expired on ")


def test_without_a_ca_file_those_of_the_system_count(
    believes: Callable[..., ManagerTls], tmp_path: Path
) -> None:
    failed = refused(Peer(GOOD.save(tmp_path, "peer")), believes(None))
    assert "signed by an unknown CA" in failed.problem.what


def test_port_without_tls_is_named_and_nothing_is_said_to_it(
    believes: Callable[..., ManagerTls],
) -> None:
    failed = refused(PlainPeer(), believes())
    assert failed.problem.what == "the port speaks no TLS"
    assert "tlsbindaddr" in failed.problem.remedy


def test_connection_closed_in_the_handshake(
    believes: Callable[..., ManagerTls],
) -> None:
    failed = refused(ClosingPeer(), believes())
    assert failed.problem.what == "the connection was closed in the TLS handshake"


def test_silence_in_the_handshake_ends_with_the_time_limit_of_check(
    believes: Callable[..., ManagerTls],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = Where(
            host="127.0.0.1",
            port=silent.getsockname()[1],
            timeout_s=0.05,
            tls=believes(),
        )
        with pytest.raises(LinkFailed) as raised:
            ManagerLink(where, Credentials(username="u", secret="s"))
    assert raised.value.trouble is Trouble.NO_TLS
    assert str(raised.value) == "no answer to the TLS handshake within 0.05 s"
    assert "tlsbindaddr" in raised.value.problem.remedy


def test_silence_in_the_handshake_ends_with_the_time_limit_of_the_service(
    believes: Callable[..., ManagerTls],
) -> None:
    client = Client(SilentPeer(), believes())
    assert client.result is None
    client.connecting.cancel()
    client.transport.carry()
    assert isinstance(client.result, Failure)
    assert client.result.check(TlsFailed)
    assert client.result.value.problem.what == "no answer to the TLS handshake"
    assert client.transport.closed


# -- files


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda path: None, "can not be read: No such file or directory"),
        (lambda path: path.write_text("hello"), "holds no certificate in PEM"),
        (lambda path: path.write_text(""), "holds no certificate in PEM"),
        (lambda path: path.write_bytes(GOOD.key_pem), "holds no certificate in PEM"),
        (lambda path: path.mkdir(), "is no plain file"),
        (lambda path: os.mkfifo(path), "is no plain file"),
    ],
)
def test_file_that_can_not_be_used_is_named_with_its_setting(
    prepare: Callable[[Path], object], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    prepare(path)
    with pytest.raises(TlsMisconfigured) as raised:
        ManagerTls(server_name=NAME, ca_file=str(path))
    assert str(raised.value).startswith(f"ami.tls.ca_file: {path} {words}")
    assert " - " in str(raised.value)


def test_one_of_several_certificates_in_the_file_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "ca.crt"
    path.write_bytes(authority("Another CA").pem + CA.pem)
    tls = ManagerTls(server_name=NAME, ca_file=str(path))
    assert served(Peer(GOOD.save(tmp_path, "peer")), tls) == BANNER


def test_commands_of_the_documentation_make_a_certificate_that_is_believed(
    tmp_path: Path,
) -> None:
    text = (Path(__file__).parents[2] / "docs/tls.md").read_text()
    block = text.partition("```sh\n")[2].partition("```")[0]
    command = block[block.index("openssl req") : block.index("sudo chown")]
    command = command.replace("/etc/asterisk/keys", str(tmp_path))
    command = command.replace("rsa:3072", "rsa:2048")
    subprocess.run(command, shell=True, check=True, capture_output=True, timeout=60)
    certificate = tmp_path / "manager.crt"
    for name in (NAME, "192.168.10.2"):
        tls = ManagerTls(server_name=name, ca_file=str(certificate))
        peer = Peer((certificate, tmp_path / "manager.key"))
        assert served(peer, tls) == BANNER
