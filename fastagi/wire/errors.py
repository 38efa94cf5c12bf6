# SPDX-License-Identifier: MIT
"""What can be wrong with bytes: the two halves of a protocol error.

Owns the exception types of the parsers and encoders. Knows nothing of AMI or AGI,
of transports, or of what the caller does about it.
"""

from __future__ import annotations

from fastagi.errors import CallbackError


class ProtocolError(CallbackError):
    """The rules of a protocol were broken; see the two subclasses for by whom.

    Never raised itself. Reading raises `RemoteProtocolError` and nothing else,
    encoding raises `LocalProtocolError` and nothing else: any other exception that
    comes out of `fastagi.wire` is a bug in this project.
    """


class LocalProtocolError(ProtocolError):
    """We tried to send something the peer would misread. Nothing was sent."""


class RemoteProtocolError(ProtocolError):
    """The peer sent something that breaks the rules. The link cannot be trusted."""
