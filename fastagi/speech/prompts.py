# SPDX-License-Identifier: MIT
"""The names of the recorded phrases; ``sounds/texts`` has their words.

Prompts that an administrator may replace are settings: ``Sounds`` in
``config/queue_layers.py``.

A phrase whose name ends in ``_PRESS`` is followed by the name of a key
(:meth:`fastagi.speech.language.Language.key`).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, TypeAlias

#: The folder in Asterisk's sounds directory.
FOLDER: Final = "callback-queue"

#: Sound files to play, one after the other.
Words: TypeAlias = tuple[str, ...]


def sound(name: str) -> str:
    """Return a sound file's name as Asterisk wants it."""
    return f"{FOLDER}/{name}"


class Phrase(StrEnum):
    """The recorded phrases. All languages have all of them."""

    # -- offering a callback; YOU_WILL_WAIT is followed by a duration
    ALL_BUSY = sound("all-busy")
    #: No agent is logged in.
    ALL_AWAY = sound("all-away")
    CLOSING = sound("closing")
    YOU_WILL_WAIT = sound("you-will-wait")
    CALL_BACK_PRESS = sound("call-back-press")
    OR_STAY = sound("or-stay")

    # -- choices after the key
    #: Followed by the number.
    WILL_CALL_NUMBER = sound("will-call-number")
    WILL_CALL_THIS_NUMBER = sound("will-call-this-number")
    CONFIRM_PRESS = sound("confirm-press")
    OTHER_NUMBER_PRESS = sound("other-number-press")
    BACK_PRESS = sound("back-press")
    ENTER_NUMBER = sound("enter-number")
    WRONG_KEY = sound("wrong-key")
    STILL_IN_LINE = sound("still-in-line")

    # -- why a number is not called
    NO_NUMBER = sound("no-number")
    NUMBER_WRONG = sound("number-wrong")
    NUMBER_NOT_CALLED = sound("number-not-called")
    NUMBER_TOO_OFTEN = sound("number-too-often")

    # -- when; each day or time is followed by PRESS and a key
    SOON_PRESS = sound("soon-press")
    CHOOSE_TIME_PRESS = sound("choose-time-press")
    EARLIER_TIMES_PRESS = sound("earlier-times-press")
    MORE_TIMES_PRESS = sound("more-times-press")
    TIMES_BACK_PRESS = sound("times-back-press")
    PRESS = sound("press")
    #: The chosen one is not.
    TIME_NOT_FREE = sound("time-not-free")
    NO_TIME_FREE = sound("no-time-free")
    #: Followed by day and time, then HANG_UP_NOW.
    WILL_CALL_TIME = sound("will-call-time")
    HANG_UP_NOW = sound("hang-up-now")

    # -- to the client who answers a callback; CONNECT_PRESS is followed by a key
    YOU_ASKED = sound("you-asked")
    WE_CALL_BACK = sound("we-call-back")
    CONNECT_PRESS = sound("connect-press")
    #: No agent answered a client who was dialled first; played by the dialplan.
    NO_AGENT_FREE = sound("no-agent-free")
    CALL_AGAIN = sound("call-again")

    # -- to the agent
    #: These two are followed by how long ago.
    CLIENT_ASKED = sound("client-asked")
    CLIENT_MISSED = sound("client-missed")
    #: Followed by a number.
    ATTEMPT_NUMBER = sound("attempt-number")
    #: Followed by a recording of the queue's name.
    QUEUE = sound("queue")
    ACCEPT_PRESS = sound("accept-press")
    LATER_PRESS = sound("later-press")
    CANNOT_PRESS = sound("cannot-press")

    #: Silence between two groups of digits.
    PAUSE = sound("pause")


#: What a caller may hear who is asked about the time, besides days and times.
CALLER_TIMES: Final = (
    Phrase.SOON_PRESS,
    Phrase.CHOOSE_TIME_PRESS,
    Phrase.EARLIER_TIMES_PRESS,
    Phrase.MORE_TIMES_PRESS,
    Phrase.TIMES_BACK_PRESS,
    Phrase.PRESS,
    Phrase.TIME_NOT_FREE,
    Phrase.NO_TIME_FREE,
    Phrase.WILL_CALL_TIME,
    Phrase.HANG_UP_NOW,
)
#: Prompts for callers who are asked about their number.
CALLER_CHOICES: Final = (
    Phrase.WILL_CALL_NUMBER,
    Phrase.WILL_CALL_THIS_NUMBER,
    Phrase.CONFIRM_PRESS,
    Phrase.OTHER_NUMBER_PRESS,
    Phrase.BACK_PRESS,
    Phrase.ENTER_NUMBER,
    Phrase.WRONG_KEY,
    Phrase.STILL_IN_LINE,
    Phrase.NO_NUMBER,
    Phrase.NUMBER_WRONG,
    Phrase.NUMBER_NOT_CALLED,
    Phrase.NUMBER_TOO_OFTEN,
    Phrase.PAUSE,
    *(sound(f"number-{digit}") for digit in range(10)),
    *(sound(name) for name in ("plus", "star", "hash")),
)
