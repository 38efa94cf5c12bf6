# SPDX-License-Identifier: MIT
"""The errors of the parsers and encoders of this package."""

from __future__ import annotations

from fastagi.errors import CallbackError


class ProtocolError(CallbackError):
    """A protocol was violated. Only its two subclasses are raised.

    Parsing raises only `RemoteProtocolError`, and encoding only `LocalProtocolError`.
    Any other exception from `fastagi.wire` is a bug.
    """


class LocalProtocolError(ProtocolError):
    """The message to send would be misread by the peer. Nothing was sent."""


class RemoteProtocolError(ProtocolError):
    """The peer violated the protocol, so the link cannot be trusted."""
