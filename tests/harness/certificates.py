# SPDX-License-Identifier: MIT
"""Certificates for tests: a CA, certificates signed by it, and invalid ones."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtensionOID, NameOID

#: Certificates of the tests are valid from a day before to a day after now.
DAY = timedelta(days=1)


@attrs.frozen
class Identity:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    #: The certificate of its issuer; itself if it is self-signed.
    issuer: x509.Certificate

    @property
    def pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The key, without a password."""
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    @property
    def issuer_pem(self) -> bytes:
        """The certificate of the issuer."""
        return self.issuer.public_bytes(serialization.Encoding.PEM)

    def save(self, directory: Path, name: str) -> tuple[Path, Path]:
        """Write certificate and key; only the owner can read the key."""
        paths = directory / f"{name}.crt", directory / f"{name}.key"
        paths[0].write_bytes(self.pem)
        paths[1].touch(0o600)
        paths[1].write_bytes(self.key_pem)
        return paths


def issue(
    *names: str,
    by: Identity | None = None,
    common_name: str = "test",
    valid_from: timedelta = -DAY,
    valid_for: timedelta = 2 * DAY,
    authority: bool = False,
    usage: x509.ObjectIdentifier | None = None,
    alternatives: bytes | None = None,
) -> Identity:
    """Make a certificate.

    Args:
        names: host names and IP addresses in its subjectAltName; may be empty.
        by: the issuer; None: it is self-signed.
        common_name: the common name of its subject.
        valid_from: start of its validity, relative to now.
        valid_for: duration of its validity.
        authority: whether it may sign others.
        usage: its only permitted usage; None: any.
        alternatives: a subjectAltName that replaces `names`.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    begin = datetime.now(UTC) + valid_from
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + valid_for)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), True)
    )
    if names:
        builder = builder.add_extension(
            x509.SubjectAlternativeName(list(_alternatives(names))), False
        )
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), False)
    if alternatives is not None:
        oid = ExtensionOID.SUBJECT_ALTERNATIVE_NAME
        builder = builder.add_extension(
            x509.UnrecognizedExtension(oid, alternatives), False
        )
    certificate = builder.sign(by.key if by else key, hashes.SHA256())
    return Identity(certificate, key, by.certificate if by else certificate)


def authority(common_name: str = "Test CA", **validity: timedelta) -> Identity:
    """Make a CA."""
    return issue(common_name=common_name, authority=True, **validity)


def expired(*names: str, by: Identity | None = None) -> Identity:
    """Make a certificate that was valid until yesterday."""
    return issue(*names, by=by, valid_from=-3 * DAY, valid_for=2 * DAY)


def _alternatives(names: Iterable[str]) -> Iterable[x509.GeneralName]:
    for name in names:
        try:
            yield x509.IPAddress(ipaddress.ip_address(name))
        except ValueError:
            yield x509.DNSName(name)
