# SPDX-License-Identifier: MIT
"""What Asterisk can be asked to do: one function for each action of the manager.

Owns the spelling of actions and their headers, and the quoting inside header values.
Must not know connections, ActionIDs or replies. Times are in seconds here, whatever
Asterisk wants on the wire. Those marked "a list" are answered by a list of events:
send them with ``send_list``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Final

import attrs

from fastagi.wire.ami import Header, encode_action
from fastagi.wire.errors import LocalProtocolError

#: A plain channel variable, with the underscores that let channels inherit it. A
#: function such as CALLERID(name) is not one: setting it could run code.
_VARIABLE_NAME: Final = re.compile(r"_{0,2}[A-Za-z][A-Za-z0-9_]*")
#: main/app.c:__ast_app_separate_args gives these a meaning in ``Variable: a=1,b=2``.
_SEPARATORS: Final = re.compile(r'[\\",()\[\]]')
#: Headers no log may ever show. Key is the digest of a login, and a key of AstDB.
_SECRET_HEADERS: Final = frozenset({"secret", "key"})


def _hide_secrets(headers: tuple[Header, ...]) -> str:
    shown = [
        f"{name}: ***" if name.lower() in _SECRET_HEADERS else f"{name}: {value}"
        for name, value in headers
    ]
    return repr(shown)


@attrs.frozen
class Action:
    """One action, without the ActionID that its connection will give it.

    It is checked when it is built, so an action that exists can be sent.

    Raises:
        LocalProtocolError: Asterisk would misread it.
    """

    name: str
    headers: tuple[Header, ...] = attrs.field(default=(), repr=_hide_secrets)

    def __attrs_post_init__(self) -> None:
        """Find out now whether it can be written."""
        self.encode("check")

    def encode(self, action_id: str) -> bytes:
        """Return the bytes to send."""
        return encode_action(self.name, self.headers, action_id)

    def get(self, name: str, default: str = "") -> str:
        """Return the first value of a header, whatever the case of its name."""
        wanted = name.lower()
        for header, value in self.headers:
            if header.lower() == wanted:
                return value
        return default

    def all(self, name: str) -> list[str]:
        """Return every value of a header, in order."""
        wanted = name.lower()
        return [value for header, value in self.headers if header.lower() == wanted]


def _action(name: str, *headers: tuple[str, str | int | bool | None]) -> Action:
    """Build an action of the headers whose value is not None."""
    return Action(
        name,
        tuple((header, _text(value)) for header, value in headers if value is not None),
    )


def _text(value: str | int | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


# -- the connection itself ------------------------------------------------------


def login_challenge() -> Action:
    """Ask for the challenge of an MD5 login."""
    return _action("Challenge", ("AuthType", "MD5"))


def login_md5(username: str, secret: str, challenge: str) -> Action:
    """Log in without sending the secret itself."""
    digest = hashlib.md5((challenge + secret).encode(), usedforsecurity=False)
    return _action(
        "Login",
        ("AuthType", "MD5"),
        ("Username", username),
        ("Key", digest.hexdigest()),
    )


def login_plain(username: str, secret: str) -> Action:
    """Log in with the secret in clear: for TLS, or where MD5 is switched off."""
    return _action("Login", ("Username", username), ("Secret", secret))


def logoff() -> Action:
    """Log off; Asterisk says goodbye and closes."""
    return _action("Logoff")


def ping() -> Action:
    """Ask whether anybody is there."""
    return _action("Ping")


def events(event_mask: str) -> Action:
    """Say which classes of events to send: "on", "off", or "call,agent,user"."""
    return _action("Events", ("EventMask", event_mask))


# -- Asterisk as a whole --------------------------------------------------------


def core_settings() -> Action:
    """Ask for the version of Asterisk and its settings."""
    return _action("CoreSettings")


def core_show_channels() -> Action:
    """Ask for all channels (a list of CoreShowChannel)."""
    return _action("CoreShowChannels")


def device_state_list() -> Action:
    """Ask for the state of all devices (a list of DeviceStateChange)."""
    return _action("DeviceStateList")


def extension_state(exten: str, context: str) -> Action:
    """Ask for the state of the hint of an extension."""
    return _action("ExtensionState", ("Exten", exten), ("Context", context))


def list_commands() -> Action:
    """Ask which actions this user may send."""
    return _action("ListCommands")


def command(command: str) -> Action:
    """Run a command of the console; its output is in the Output headers."""
    return _action("Command", ("Command", command))


# -- channels -------------------------------------------------------------------


def originate(
    *,
    channel: str,
    context: str | None = None,
    exten: str | None = None,
    priority: int = 1,
    application: str | None = None,
    data: str | None = None,
    caller_id: str | None = None,
    channel_id: str | None = None,
    other_channel_id: str | None = None,
    variables: Mapping[str, str] | None = None,
    timeout_s: float = 30.0,
) -> Action:
    """Make a channel and, once it is answered, let it go on in the dialplan.

    Always asynchronous: actions of one connection run one after another, and this one
    would hold up all others until somebody answers. The reply only says that Asterisk
    has begun; how it ended is in the event OriginateResponse.

    Args:
        channel: what to call, for example Local/s@callback-member/n.
        context: where the answered channel goes on, with ``exten`` and ``priority``.
        exten: see ``context``.
        priority: see ``context``.
        application: what the answered channel runs instead.
        data: the arguments of ``application``.
        caller_id: what the called phone shows, as ``"Name" <number>``.
        channel_id: the Uniqueid of the channel, or of the first half of a Local one.
            Asterisk refuses one that is in use.
        other_channel_id: the Uniqueid of the second half of a Local channel.
        variables: channel variables to set before the call. Any text may be a value.
        timeout_s: how long the channel may ring.

    Raises:
        LocalProtocolError: the values can not be written, a variable is not a plain
            one, or neither an application nor a place in the dialplan is named.
    """
    if (application is None) == (context is None or exten is None):
        raise LocalProtocolError(
            "Originate needs either a context with an exten, or an application"
        )
    timeout_ms = round(timeout_s * 1000)
    if timeout_ms <= 0:
        raise LocalProtocolError(f"Originate can not ring for {timeout_s:g} s")
    place: list[tuple[str, str | int | None]] = (
        [("Context", context), ("Exten", exten), ("Priority", priority)]
        if application is None
        else [("Application", application), ("Data", data)]
    )
    return _action(
        "Originate",
        ("Channel", channel),
        *place,
        ("CallerID", caller_id),
        ("ChannelId", channel_id),
        ("OtherChannelId", other_channel_id),
        ("Timeout", timeout_ms),
        ("Async", True),
        *(
            ("Variable", _assignment(name, value))
            for name, value in (variables or {}).items()
        ),
    )


def _assignment(name: str, value: str) -> str:
    """Return ``name=value`` so that Asterisk reads back exactly that value."""
    if not _VARIABLE_NAME.fullmatch(name):
        raise LocalProtocolError(f"{name!a} is no name of a channel variable")
    return f"{name}={_SEPARATORS.sub(_with_backslash, value)}"


def _with_backslash(match: re.Match[str]) -> str:
    return "\\" + match[0]


def get_var(variable: str, channel: str | None = None) -> Action:
    """Ask for the Value of a variable of a channel, or of a global one."""
    return _action("Getvar", ("Channel", channel), ("Variable", variable))


def hangup(channel: str, cause: int | None = None) -> Action:
    """Hang up a channel, named by its name or its Uniqueid."""
    return _action("Hangup", ("Channel", channel), ("Cause", cause))


# -- queues ---------------------------------------------------------------------


def queue_status(queue: str | None = None, member: str | None = None) -> Action:
    """Ask for queues, members, callers (a list: QueueParams, QueueMember, QueueEntry).

    Asterisk answers a queue it does not know with an empty list.
    """
    return _action("QueueStatus", ("Queue", queue), ("Member", member))


def queue_log(
    queue: str,
    event: str,
    uniqueid: str | None = None,
    interface: str | None = None,
    message: str | None = None,
) -> Action:
    """Write a line of our own into queue_log."""
    return _action(
        "QueueLog",
        ("Queue", queue),
        ("Event", event),
        ("Uniqueid", uniqueid),
        ("Interface", interface),
        ("Message", message),
    )


# -- AstDB ----------------------------------------------------------------------


def db_get(family: str, key: str) -> Action:
    """Ask for one entry (a list with one DBGetResponse; its value is in Val).

    Asterisk refuses the action when there is no such entry.
    """
    return _action("DBGet", ("Family", family), ("Key", key))
