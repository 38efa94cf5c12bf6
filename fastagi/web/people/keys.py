# SPDX-License-Identifier: MIT
"""Random keys that let somebody in, their hashes, and signatures."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import Final

import sqlalchemy as sa

from fastagi.web.state.schema import SECRETS

_BYTES: Final = 32
_SIGNING: Final = "signing"


def new_key() -> str:
    """Return 256 random bits as text for cookies and addresses."""
    return secrets.token_urlsafe(_BYTES)


def hash_of(key: str) -> str:
    """Return what is stored of a key; as it is random, SHA-256 is enough."""
    return hashlib.sha256(key.encode()).hexdigest()


def signing_key(conn: sa.Connection) -> bytes:
    """Return the key for signatures of this installation; make it the first time."""
    found = sa.select(SECRETS.c.value).where(SECRETS.c.name == _SIGNING)
    value: bytes | None = conn.execute(found).scalar()
    if value is None:
        value = secrets.token_bytes(_BYTES)
        conn.execute(SECRETS.insert().values(name=_SIGNING, value=value))
    return value


def signature(key: bytes, purpose: str, text: str) -> str:
    """Return the signature of a text for one purpose."""
    made = hmac.digest(key, f"{purpose}\n{text}".encode(), "sha256")
    return base64.urlsafe_b64encode(made).decode().rstrip("=")


def same(one: str, other: str) -> bool:
    """Compare two texts in a time that does not tell where they differ."""
    return hmac.compare_digest(one.encode(), other.encode())
