# SPDX-License-Identifier: MIT
"""The events of the manager interface: one frozen class for each event that is used.

This module knows the names of events and headers, the class of ``read`` in manager.conf
that each event needs, and how a header's text is parsed. It does not know who listens.

A field is named after its header: ``caller_id_num`` is read from ``CallerIDNum``. A
number has its unit at the end, which is not part of the header: ``wait_s`` is read from
``Wait``. A missing or malformed header becomes an empty text, 0 or False: parsing never
fails. Doubtful messages (:attr:`AmiMessage.is_doubtful`) are dropped before they are
parsed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, ClassVar, Final, TypeVar, cast

import attrs

from fastagi.wire.ami import AmiMessage

E = TypeVar("E", bound="AmiEvent")
Columns = tuple[tuple[str, str, Callable[[str], Any]], ...]

_INTEGER: Final = re.compile(r"-?[0-9]{1,10}")


def _number(text: str) -> float:
    return float(text) if text.isdecimal() else 0.0


def _integer(text: str) -> int:
    return int(text) if _INTEGER.fullmatch(text) else 0


def _flag(text: str) -> bool:
    return text == "1" or text.lower() == "true"


#: Parser of a header's text, by the type of the field.
_READERS: Final[Mapping[Any, Callable[[str], Any]]] = {
    "str": str,
    "float": _number,
    "int": _integer,
    "bool": _flag,
}


@attrs.frozen(kw_only=True)
class AmiEvent:
    """One event, or one entry of a list. The class has Asterisk's name of the event."""

    #: The class of ``read`` in manager.conf that the event needs; empty for entries of
    #: lists, which need no more than the right to ask for the list.
    read_class: ClassVar[str] = ""

    @classmethod
    def parse(cls: type[E], message: AmiMessage) -> E:
        """Return the event that a message of this kind contains."""
        get = message.first.get
        return cls(
            **{name: read(get(header, "")) for name, header, read in _columns(cls)}
        )


def _read_columns(kind: type[AmiEvent]) -> Columns:
    """Return name, header and reader of each field."""
    return tuple(
        (
            field.name,
            field.name.removesuffix("_s").replace("_", ""),
            _READERS[field.type],
        )
        for field in attrs.fields(kind)
    )


# For mypy a class whose objects have an __eq__ is not hashable itself.
_columns: Final[Callable[[type[AmiEvent]], Columns]] = cast(Any, cache(_read_columns))


def headers_of(kind: type[AmiEvent]) -> frozenset[str]:
    """Return the names of the headers that are read, in lower case."""
    return frozenset(header for _, header, _ in _columns(kind))


# -- channels -----------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Newchannel(AmiEvent):
    """A channel was created (main/manager_channels.c)."""

    read_class: ClassVar = "call"
    uniqueid: str
    linkedid: str
    #: The channel's name.
    channel: str
    context: str
    exten: str
    priority: str
    caller_id_num: str
    caller_id_name: str
    language: str


@attrs.frozen(kw_only=True)
class Hangup(AmiEvent):
    """A channel was hung up (main/manager_channels.c)."""

    read_class: ClassVar = "call"
    uniqueid: str
    context: str
    exten: str
    priority: str


@attrs.frozen(kw_only=True)
class DialBegin(AmiEvent):
    """A channel dials another (main/manager_channels.c, channel_dial_cb)."""

    read_class: ClassVar = "call"
    #: Of the channel that dials; empty for Originate, where there is none.
    uniqueid: str
    linkedid: str
    dial_string: str
    dest_uniqueid: str
    dest_caller_id_num: str


@attrs.frozen(kw_only=True)
class DialEnd(AmiEvent):
    """Dialling ended, with or without an answer (main/manager_channels.c)."""

    read_class: ClassVar = "call"
    uniqueid: str
    linkedid: str
    dial_status: str
    #: Where the dialled phone forwards the call to.
    forward: str


@attrs.frozen(kw_only=True)
class BridgeEnter(AmiEvent):
    """A channel entered a bridge (main/manager_bridges.c)."""

    read_class: ClassVar = "call"
    uniqueid: str
    linkedid: str
    channel: str
    bridge_uniqueid: str
    bridge_technology: str


@attrs.frozen(kw_only=True)
class BridgeLeave(AmiEvent):
    """A channel left a bridge (main/manager_bridges.c)."""

    read_class: ClassVar = "call"
    uniqueid: str
    bridge_uniqueid: str


@attrs.frozen(kw_only=True)
class OriginateResponse(AmiEvent):
    """The result of an Originate (main/manager.c, fast_originate)."""

    read_class: ClassVar = "call"
    #: The ``ChannelId`` of the Originate, if no channel was created.
    uniqueid: str
    response: str


@attrs.frozen(kw_only=True)
class UserEvent(AmiEvent):
    """The dialplan ran UserEvent() (main/stasis.c, multi_user_event_to_ami).

    The fields after the first three are those of our own dialplan
    (``dialplan/callback-queue.conf``).
    """

    read_class: ClassVar = "user"
    user_event: str
    uniqueid: str
    linkedid: str
    callback_id: str
    dial_status: str
    talk_ms: str
    alert_status: str
    cause: str
    sip: str
    forwarded: str
    answered_ms: str
    queue_status: str
    agent_said: str
    client_said: str


@attrs.frozen(kw_only=True)
class CoreShowChannel(AmiEvent):
    """An entry of CoreShowChannels (main/manager.c, action_coreshowchannels)."""

    uniqueid: str
    linkedid: str
    channel: str
    channel_state_desc: str
    context: str
    exten: str
    priority: str
    caller_id_num: str
    caller_id_name: str
    connected_line_num: str
    language: str
    application: str
    #: Since its creation, such as 00:12:05.
    duration: str
    #: Empty if it is in no bridge.
    bridge_id: str


# -- queues -------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class QueueCallerJoin(AmiEvent):
    """A caller joined a queue (apps/app_queue.c, queue_channel_to_ami)."""

    read_class: ClassVar = "agent"
    queue: str
    uniqueid: str
    position: float
    caller_id_num: str
    caller_id_name: str


@attrs.frozen(kw_only=True)
class QueueCallerLeave(AmiEvent):
    """A caller left a queue (apps/app_queue.c, queue_channel_to_ami)."""

    read_class: ClassVar = "agent"
    queue: str
    uniqueid: str
    context: str
    exten: str
    priority: str


@attrs.frozen(kw_only=True)
class MemberState(AmiEvent):
    """The fields of all events about a member of a queue (apps/app_queue.c)."""

    queue: str
    #: Number of a device state (include/asterisk/devicestate.h).
    status: str
    paused: bool
    #: As given to Asterisk; empty if none was.
    paused_reason: str
    #: When the member was last paused, in epoch seconds; 0 if it never was.
    last_pause: float
    in_call: bool
    #: End of the member's last call, in epoch seconds; 0 if there was none.
    last_call: float
    #: The member's own wrap-up time; 0 means the queue's.
    wrapuptime_s: float


@attrs.frozen(kw_only=True)
class MemberEvent(MemberState):
    """The fields that queue_member_to_ami writes."""

    read_class: ClassVar = "agent"
    interface: str
    member_name: str


@attrs.frozen(kw_only=True)
class QueueMemberStatus(MemberEvent):
    """The state of a member changed."""


@attrs.frozen(kw_only=True)
class QueueMemberAdded(MemberEvent):
    """A member was added to a queue."""


@attrs.frozen(kw_only=True)
class QueueMemberPause(MemberEvent):
    """A member was paused or unpaused."""


@attrs.frozen(kw_only=True)
class QueueMemberRemoved(MemberEvent):
    """A member was removed from a queue."""


@attrs.frozen(kw_only=True)
class AgentCalled(AmiEvent):
    """A queue rings a member (apps/app_queue.c, queue_multi_channel_to_ami)."""

    read_class: ClassVar = "agent"
    #: Of the caller.
    uniqueid: str
    interface: str
    #: Of the channel to the member.
    dest_uniqueid: str


@attrs.frozen(kw_only=True)
class AgentRingNoAnswer(AmiEvent):
    """A member did not answer and is not rung any more (apps/app_queue.c, rna)."""

    read_class: ClassVar = "agent"
    uniqueid: str
    interface: str
    dest_uniqueid: str


@attrs.frozen(kw_only=True)
class AgentConnect(AmiEvent):
    """A member answered (apps/app_queue.c, try_calling)."""

    read_class: ClassVar = "agent"
    queue: str
    #: Of the caller.
    uniqueid: str
    interface: str
    #: How long the phone rang, in whole seconds.
    ring_time_s: float


@attrs.frozen(kw_only=True)
class AgentComplete(AmiEvent):
    """A member is done with a call (apps/app_queue.c, send_agent_complete).

    It is sent, too, when the member has transferred the caller. The headers of the
    caller's channel may be missing if that is gone (16.28).
    """

    read_class: ClassVar = "agent"
    queue: str
    #: From the answer on, in whole seconds.
    talk_time_s: float


@attrs.frozen(kw_only=True)
class QueueParams(AmiEvent):
    """An entry of QueueStatus: a queue (apps/app_queue.c, manager_queues_status)."""

    queue: str
    #: The most callers that may wait (``maxlen``); 0: any number.
    max: int


@attrs.frozen(kw_only=True)
class QueueMember(MemberState):
    """An entry of QueueStatus: a member. Events have other names for two headers."""

    location: str
    name: str

    @property
    def interface(self) -> str:
        """The header that events call Interface."""
        return self.location

    @property
    def member_name(self) -> str:
        """The header that events call MemberName."""
        return self.name


@attrs.frozen(kw_only=True)
class QueueEntry(AmiEvent):
    """An entry of QueueStatus: a waiting caller."""

    queue: str
    uniqueid: str
    position: float
    caller_id_num: str
    caller_id_name: str
    wait_s: float
    priority: int


# -- devices, and Asterisk as a whole -----------------------------------------


@attrs.frozen(kw_only=True)
class DeviceStateChange(AmiEvent):
    """The state of a device (main/devicestate.c, devstate_to_ami).

    Also an entry of DeviceStateList (res/res_manager_devicestate.c).
    """

    read_class: ClassVar = "call"
    device: str
    state: str


@attrs.frozen(kw_only=True)
class ExtensionStatus(AmiEvent):
    """The state of a hint (main/manager.c, manager_state_cb).

    The response to ExtensionState has the same headers (action_extensionstate).
    """

    read_class: ClassVar = "call"
    exten: str
    context: str
    #: Number of an extension state (include/asterisk/pbx.h).
    status: str


@attrs.frozen(kw_only=True)
class FullyBooted(AmiEvent):
    """Asterisk has loaded its modules (main/manager.c, action_login)."""

    read_class: ClassVar = "system"


@attrs.frozen(kw_only=True)
class Reload(AmiEvent):
    """A module was reloaded (main/loader.c, publish_reload_message)."""

    read_class: ClassVar = "system"
    #: The name of the module; "All" for all modules.
    module: str


@attrs.frozen(kw_only=True)
class Shutdown(AmiEvent):
    """Asterisk stops or restarts (main/asterisk.c, really_quit)."""

    read_class: ClassVar = "system"
    restart: bool


@attrs.frozen(kw_only=True)
class DBGetResponse(AmiEvent):
    """The entry of the list that answers DBGet (main/db.c, manager_dbget)."""

    val: str


#: Every event that the service listens to; `check` looks for these.
LISTENED: Final[tuple[type[AmiEvent], ...]] = (
    AgentCalled,
    AgentComplete,
    AgentConnect,
    AgentRingNoAnswer,
    BridgeEnter,
    BridgeLeave,
    DeviceStateChange,
    DialBegin,
    DialEnd,
    ExtensionStatus,
    FullyBooted,
    Hangup,
    Newchannel,
    OriginateResponse,
    QueueCallerJoin,
    QueueCallerLeave,
    QueueMemberAdded,
    QueueMemberPause,
    QueueMemberRemoved,
    QueueMemberStatus,
    Reload,
    Shutdown,
    UserEvent,
)

#: The events that the service listens to, by the class of ``read`` that they need.
READ_CLASSES: Final[Mapping[str, tuple[str, ...]]] = {
    name: tuple(kind.__name__ for kind in LISTENED if kind.read_class == name)
    for name in sorted({kind.read_class for kind in LISTENED})
}


@attrs.frozen
class Handler:
    """A kind of event and the method that handles it; made by :func:`on`."""

    kind: type[AmiEvent]
    take: Callable[[Any], object]


def on(kind: type[E], take: Callable[[E], object]) -> Handler:
    """Return a handler that calls ``take`` with each event of a kind."""
    return Handler(kind, take)
