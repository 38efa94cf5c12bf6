# SPDX-License-Identifier: MIT
"""Names shared with ``dialplan/callback-queue.conf``: contexts, variables, paths.

A test holds this file against the dialplan, so neither can change alone.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

#: Subroutine before each Queue() of the admin's dialplan.
ENTER_CONTEXT: Final = "callback-enter"
#: Context the queue sends a caller to who pressed the key.
REQUEST_CONTEXT: Final = "callback-request"
#: What the member leg (``Local;2``) runs: extension ``queue`` or ``extension``.
MEMBER_CONTEXT: Final = "callback-member"
#: What the caller leg (``Local;1``) runs once the member has answered.
CALLER_CONTEXT: Final = "callback-caller"
CALLER_EXTEN: Final = "s"
#: Where Asterisk sends a call that the client's phone forwards; it is ended there.
NO_FORWARD_CONTEXT: Final = "callback-no-forward"
#: Context of the hangup handler that reports how the attempt went.
OUTCOME_CONTEXT: Final = "callback-outcome"

#: AstDB family in which the dialplan keeps how an attempt went.
OUTCOME_FAMILY: Final = "callback-outcome"
#: What is kept there from just before the client is dialled until Dial has ended.
DIALLING: Final = "DIALLING"
#: Name of the user event that says the same.
OUTCOME_EVENT: Final = "CallbackOutcome"

#: AstDB family in which the dialplan keeps requests that the service did not answer.
REQUEST_FAMILY: Final = "callback-request"
#: Name of the user event that says that there is one more.
KEPT_EVENT: Final = "CallbackKept"
#: Context and extension that forget a kept request.
FORGET_CONTEXT: Final = "callback-forget"
FORGET_REQUEST_EXTEN: Final = "request"


class Path(StrEnum):
    """FastAGI request paths."""

    REQUEST = "request"
    POSITION = "position"


class Answer(StrEnum):
    """Values of CALLBACK_STATUS, the service's answer to a request."""

    ACCEPTED = "ACCEPTED"
    #: The caller had an open task already; it keeps its place.
    ALREADY = "ALREADY"
    #: This number can not be called; the caller goes back in line.
    REFUSED = "REFUSED"
    #: The request could not be kept; the caller goes back in line.
    ERROR = "ERROR"


class Variable(StrEnum):
    """Channel variables. Those of the callback are set by Originate."""

    STATUS = "CALLBACK_STATUS"
    PROMPT = "CALLBACK_PROMPT"
    POSITION = "CALLBACK_POSITION"
    ID = "CALLBACK_ID"
    TASK = "CALLBACK_TASK"
    TARGET = "CALLBACK_TARGET"
    QUEUE_OPTIONS = "CALLBACK_QUEUE_OPTIONS"
    MEMBER_RING_TIME = "CALLBACK_MEMBER_RING_TIME"
    CALLER_RING_TIME = "CALLBACK_CALLER_RING_TIME"
    CHANNEL = "CALLBACK_CHANNEL"
    ALERT = "CALLBACK_ALERT"
    ALERT_LANGUAGE = "CALLBACK_ALERT_LANGUAGE"
    FORGET = "CALLBACK_FORGET"
    CALLERID_NUM = "CALLBACK_CALLERID_NUM"
    CALLERID_NAME = "CALLBACK_CALLERID_NAME"
