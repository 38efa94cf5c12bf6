# SPDX-License-Identifier: MIT
"""Names shared with ``dialplan/callback-queue.conf``: contexts, variables, paths.

A test compares this file with the dialplan.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

#: Subroutine before each Queue() of the admin's dialplan.
ENTER_CONTEXT: Final = "callback-enter"
#: Subroutine that gives a client who calls again the place of the open task.
PLACE_CONTEXT: Final = "callback-place"
#: Context to which the queue sends a caller who pressed the key.
REQUEST_CONTEXT: Final = "callback-request"
#: Context in which a caller who waits is offered a callback; since version 7.
OFFER_CONTEXT: Final = "callback-offer"
#: The key that the service presses in a caller's place, so that the queue sends the
#: caller to the offer. Telephones do not have it.
OFFER_KEY: Final = "D"
#: Context of the leg to the agent (``Local;2``): one of the extensions below.
MEMBER_CONTEXT: Final = "callback-member"
#: Extension that rings the members of a queue.
QUEUE_EXTEN: Final = "queue"
#: Extension that waits in a queue at a position; since version 7 of the dialplan.
PLACE_EXTEN: Final = "place"
#: Extension that dials the client before an agent; since version 8.
CLIENT_EXTEN: Final = "client"
#: Context in which a client who was dialled first waits for an agent; since version 8.
LINE_CONTEXT: Final = "callback-line"
#: Extension that rings one device.
EXTENSION_EXTEN: Final = "extension"
#: Context of the leg to the client (``Local;1``), after the agent has answered.
CALLER_CONTEXT: Final = "callback-caller"
CALLER_EXTEN: Final = "s"
#: Context in which the agent accepts a callback by a key; since version 7.
AGENT_CONTEXT: Final = "callback-agent"
#: Context that keeps Queue() from ringing some members; since version 7.
SKIP_CONTEXT: Final = "callback-skip"
#: Context that keeps Queue() from ringing any member but one; since version 8.
ONLY_CONTEXT: Final = "callback-only"
#: Context in which the client presses a key before being connected; since version 8.
CONFIRM_CONTEXT: Final = "callback-confirm"
#: Context for calls that the client's phone forwards; it ends them.
NO_FORWARD_CONTEXT: Final = "callback-no-forward"
#: Context of the hangup handler that reports the outcome of an attempt.
OUTCOME_CONTEXT: Final = "callback-outcome"

#: AstDB family in which the dialplan stores the outcome of an attempt.
OUTCOME_FAMILY: Final = "callback-outcome"
#: Value in that family from just before Dial() of the client until its end.
DIALLING: Final = "DIALLING"
#: Name of the user event with the outcome.
OUTCOME_EVENT: Final = "CallbackOutcome"

#: Name of the user event for a callback in line that its queue sent away.
LEFT_LINE_EVENT: Final = "CallbackLeftLine"

#: Name of the user event for a client who has pressed the key to be connected.
CONFIRMED_EVENT: Final = "CallbackConfirmed"

#: AstDB family in which the dialplan stores requests that the service did not answer.
REQUEST_FAMILY: Final = "callback-request"
#: Name of the user event for a new entry in that family.
KEPT_EVENT: Final = "CallbackKept"
#: Context that ends a callback of a service that does not hold this Asterisk any more.
FENCE_CONTEXT: Final = "callback-fence"
#: Its extension that stores the epoch of the service that has taken this Asterisk, and
#: where AstDB has it.
FENCE_SET_EXTEN: Final = "set"
FENCE_FAMILY: Final = "callback-fence"
FENCE_KEY: Final = "epoch"
#: Name of the user event for a callback that was ended there.
STALE_EVENT: Final = "CallbackStale"

#: Context and extension that delete a stored request from AstDB.
FORGET_CONTEXT: Final = "callback-forget"
FORGET_REQUEST_EXTEN: Final = "request"


class Path(StrEnum):
    """FastAGI request paths."""

    #: A caller pressed the key: may there be a callback?
    REQUEST = "request"
    #: At which position does a caller who goes back to the queue join again?
    POSITION = "position"
    #: Does this client have an open request, and at which place in line?
    PLACE = "place"
    #: What is a waiting caller to hear who is offered a callback?
    OFFER = "offer"
    #: The caller did not accept the offer: back to the queue, at which position?
    OFFERED = "offered"
    #: Ask the caller about the callback (setting "choices"), for at most 270 seconds.
    CHOOSE = "choose"


#: Fifth argument of `Path.REQUEST`: the dialplan can let the caller choose. Since
#: version 7. The sixth argument is the key that the caller pressed, since version 8.
CAN_CHOOSE: Final = "choices"


class Answer(StrEnum):
    """Values of CALLBACK_STATUS, the service's answer to a request."""

    #: The request is stored; the caller hears so and may hang up.
    ACCEPTED = "ACCEPTED"
    #: The client already had an open task; it keeps its place.
    ALREADY = "ALREADY"
    #: This number cannot be called; the caller goes back in line.
    REFUSED = "REFUSED"
    #: The caller is to be asked: the dialplan sends the request "choose".
    CHOOSE = "CHOOSE"
    #: The caller does not want or confirm a callback, and goes back in line.
    BACK = "BACK"
    #: The request could not be stored; the caller goes back in line.
    ERROR = "ERROR"
    #: The answer to every path but "request" and "choose": all other variables are set.
    DONE = "DONE"


class AgentSaid(StrEnum):
    """Values of CALLBACK_AGENT_SAID: what the agent said by a key."""

    ACCEPTED = "ACCEPTED"
    #: The task is to come again later.
    LATER = "LATER"
    #: Another agent is to be asked.
    CANNOT = "CANNOT"
    #: No key was pressed in time.
    NOTHING = "NOTHING"


class ClientSaid(StrEnum):
    """Values of CALLBACK_CLIENT_SAID: what came of asking the client for a key."""

    CONFIRMED = "CONFIRMED"
    #: The key was not pressed.
    NOTHING = "NOTHING"
    #: An answering machine answered; followed by "-" and AMDCAUSE.
    MACHINE = "MACHINE"
    #: The client hung up before the question.
    GONE = "GONE"
    #: The agent hung up meanwhile.
    AGENT_GONE = "AGENT_GONE"


class Variable(StrEnum):
    """Channel variables; Originate sets those of a callback."""

    STATUS = "CALLBACK_STATUS"
    PROMPT = "CALLBACK_PROMPT"
    POSITION = "CALLBACK_POSITION"
    PLACE = "CALLBACK_PLACE"
    PRIORITY = "CALLBACK_PRIORITY"
    OFFER = "CALLBACK_OFFER"
    OFFER_TIME = "CALLBACK_OFFER_TIME"
    OFFER_KEYS = "CALLBACK_OFFER_KEYS"
    ID = "CALLBACK_ID"
    TASK = "CALLBACK_TASK"
    TARGET = "CALLBACK_TARGET"
    QUEUE_OPTIONS = "CALLBACK_QUEUE_OPTIONS"
    MEMBER_RING_TIME = "CALLBACK_MEMBER_RING_TIME"
    CALLER_RING_TIME = "CALLBACK_CALLER_RING_TIME"
    CHANNEL = "CALLBACK_CHANNEL"
    ALERT = "CALLBACK_ALERT"
    ALERT_LANGUAGE = "CALLBACK_ALERT_LANGUAGE"
    AGENT_KEYS = "CALLBACK_AGENT_KEYS"
    AGENT_WAIT = "CALLBACK_AGENT_WAIT"
    SKIP = "CALLBACK_SKIP"
    ONLY = "CALLBACK_ONLY"
    AGAIN = "CALLBACK_AGAIN"
    AMD = "CALLBACK_AMD"
    FIRST = "CALLBACK_FIRST"
    CLIENT_KEY = "CALLBACK_CLIENT_KEY"
    CLIENT_PROMPTS = "CALLBACK_CLIENT_PROMPTS"
    CLIENT_LANGUAGE = "CALLBACK_CLIENT_LANGUAGE"
    CLIENT_WAIT = "CALLBACK_CLIENT_WAIT"
    CLIENT_TIMES = "CALLBACK_CLIENT_TIMES"
    FORGET = "CALLBACK_FORGET"
    EPOCH = "CALLBACK_EPOCH"
    NOT_AFTER = "CALLBACK_NOT_AFTER"
    CALLERID_NUM = "CALLBACK_CALLERID_NUM"
    CALLERID_NAME = "CALLBACK_CALLERID_NAME"
