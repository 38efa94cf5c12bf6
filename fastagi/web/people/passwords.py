# SPDX-License-Identifier: MIT
"""Passwords: what may be one, and their argon2id hashes.

A check takes the same work whether or not there is such a user, so that the time of the
answer does not tell. At most two checks run at a time, as each takes 64 MiB of memory.
"""

from __future__ import annotations

import base64
import secrets
import threading
import unicodedata
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from fastagi.errors import CallbackError

SHORTEST: Final = 12
LONGEST: Final = 256
_AT_A_TIME: Final = 2


class WeakPassword(CallbackError):
    """The text can not be a password."""


class Passwords:
    """Makes and checks hashes. Blocks: run it in a thread."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        """Prepare.

        Args:
            hasher: with other costs than those of RFC 9106 (3 passes over 64 MiB), for
                tests.
        """
        self._hasher = hasher or PasswordHasher(3, 64 * 1024, 4)
        #: The hash that is checked if there is no user.
        self._nobody = _hash_of_nothing(self._hasher)
        self._free = threading.BoundedSemaphore(_AT_A_TIME)

    def hash(self, password: str) -> str:
        """Return the hash of a new password."""
        with self._free:
            return self._hasher.hash(_normal(password))

    def check(self, stored: str | None, password: str) -> bool:
        """Whether a password is right; ``stored`` is None if there is no user."""
        text = _normal(password[: LONGEST + 1])
        with self._free:
            try:
                self._hasher.verify(stored or self._nobody, text)
            except (VerificationError, InvalidHashError):
                return False
        return stored is not None and len(password) <= LONGEST

    def is_outdated(self, stored: str) -> bool:
        """Whether a hash was made with other costs than today's."""
        return self._hasher.check_needs_rehash(stored)


def check_strength(password: str, user: str) -> None:
    """Check a new password.

    Raises:
        WeakPassword: it is too short, too long, or nearly the name.
    """
    text = _normal(password)
    if len(text) < SHORTEST:
        raise WeakPassword(
            f"the password has {len(text)} characters",
            f"use {SHORTEST} or more; several words are easy to remember",
        )
    if len(text) > LONGEST:
        raise WeakPassword(f"the password has more than {LONGEST} characters")
    if len(set(text)) < 5:
        raise WeakPassword(
            "the password repeats the same few characters", "use different ones"
        )
    rest = text.casefold().replace(user.casefold(), "")
    if len(rest) < SHORTEST // 2:
        raise WeakPassword("the password is nearly the user's name", "use another one")


def _hash_of_nothing(hasher: PasswordHasher) -> str:
    """Return a random hash, whose check costs as much as any other one.

    To make one from a password would cost as much as a check, at each start.
    """
    costs = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    salt, digest = (
        base64.b64encode(secrets.token_bytes(length)).decode().rstrip("=")
        for length in (hasher.salt_len, hasher.hash_len)
    )
    return f"$argon2id$v=19${costs}${salt}${digest}"


def _normal(password: str) -> str:
    """Return the same text however the keyboard composes its letters."""
    return unicodedata.normalize("NFKC", password)
