# SPDX-License-Identifier: MIT
"""The PJSIP endpoint through which clients are called."""

from __future__ import annotations

import re
from typing import Final

#: PJSIP/{number}@ENDPOINT or PJSIP/ENDPOINT/sip:{number}@HOST
_PJSIP: Final = re.compile(
    r"PJSIP/(?:([^/{}@$&,]+)/[^&]*|[^/@&]*\{number\}[^/@&]*@([^/@{}$&,]+))",
    re.IGNORECASE,
)
#: What Asterisk says of the state of a device that it does not know.
UNKNOWN_DEVICE: Final = "INVALID"


def trunk_of(channel: str) -> str:
    """Return the endpoint that an outbound_channel names; "" if it names none.

    None is named by a channel of another technology, by one with a variable, and by
    several channels.
    """
    found = _PJSIP.fullmatch(channel)
    return (found[1] or found[2]) if found else ""


def device_state(trunk: str) -> str:
    """Return the function that tells whether Asterisk knows an endpoint."""
    return f"DEVICE_STATE(PJSIP/{trunk})"


def endpoint_option(trunk: str, name: str) -> str:
    """Return the function that tells an option of an endpoint."""
    return f"PJSIP_ENDPOINT({trunk},{name})"
