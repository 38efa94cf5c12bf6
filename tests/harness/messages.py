# SPDX-License-Identifier: MIT
"""Builds messages of the manager interface as Asterisk writes them."""

from __future__ import annotations

from collections.abc import Iterable

from fastagi.wire.ami import AmiMessage, Header


def message_of(headers: Iterable[Header]) -> AmiMessage:
    """Return the message with these headers."""
    return AmiMessage(b"\r\n".join(f"{name}: {it}".encode() for name, it in headers))


def written(message: AmiMessage) -> bytes:
    """Return the bytes of a message on the wire."""
    return message.raw + b"\r\n\r\n"
