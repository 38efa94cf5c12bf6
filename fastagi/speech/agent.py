# SPDX-License-Identifier: MIT
"""The prompts for an agent who answered a callback, before the client is dialled."""

from __future__ import annotations

from datetime import timedelta

from fastagi.speech.language import Language
from fastagi.speech.prompts import Phrase, Words


def asked(language: Language, ago: timedelta | None, *, missed: bool) -> Words:
    """Say that the client asked for a callback or was missed, and how long ago.

    Args:
        language: the agent's language.
        ago: the time since then; None: it is not said.
        missed: whether the client's call was missed.
    """
    phrase = Phrase.CLIENT_MISSED if missed else Phrase.CLIENT_ASKED
    return (phrase, *(() if ago is None else language.ago(ago)))


def attempt(language: Language, number: int) -> Words:
    """Say which attempt to reach the client this is."""
    return (Phrase.ATTEMPT_NUMBER, *language.cardinal(number))


def queue(recorded: str) -> Words:
    """Say the queue's name, which is a recording."""
    return (Phrase.QUEUE, recorded)


def keys(language: Language, accept: str, later: str, cannot: str) -> Words:
    """Say what each key does; an empty key is left out."""
    meanings = (
        (Phrase.ACCEPT_PRESS, accept),
        (Phrase.LATER_PRESS, later),
        (Phrase.CANNOT_PRESS, cannot),
    )
    return tuple(
        word for phrase, key in meanings if key for word in (phrase, *language.key(key))
    )
