# SPDX-License-Identifier: MIT
"""What a client hears who answers a callback and is to press a key."""

from __future__ import annotations

from fastagi.speech.language import Language
from fastagi.speech.prompts import Phrase, Words


def confirm(language: Language, key: str, who: str, *, asked: bool) -> Words:
    """Say who calls, and with which key the client is connected.

    Args:
        language: of the client.
        key: the key.
        who: a recording that tells who calls; empty: none.
        asked: whether the client asked for the callback.
    """
    return (
        Phrase.YOU_ASKED if asked else Phrase.WE_CALL_BACK,
        *((who,) if who else ()),
        Phrase.CONNECT_PRESS,
        *language.key(key),
    )
