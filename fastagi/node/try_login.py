# SPDX-License-Identifier: MIT
"""Tries whether an Asterisk that another service holds takes a login from here."""

from __future__ import annotations

from typing import Final

from fastagi.ami.session import FULLY_BOOTED_TIMEOUT_S, AmiSession
from fastagi.runtime.background import Background

#: Number of looks whether the login was taken, and their interval in seconds. A session
#: may wait for FullyBooted first.
_LOOK_S: Final = 0.1
_LOOKS: Final = int((FULLY_BOOTED_TIMEOUT_S + 15) / _LOOK_S)


async def try_login(session: AmiSession, background: Background) -> str:
    """Log in and log off; return what is wrong, or "".

    Args:
        session: a session that was not started.
        background: ends the pauses when the service stops.
    """
    session.startService()
    try:
        for _ in range(_LOOKS):
            if session.connected or session.last_error:
                break
            await background.pause(_LOOK_S)
        if session.connected:
            return ""
        return session.last_error or "Asterisk does not answer"
    finally:
        await session.stopService()
