# SPDX-License-Identifier: MIT
"""The actions of the manager interface: one function for each action that is used.

This module writes the names and headers of actions, and quotes header values. It does
not know connections, ActionIDs or replies. All times are in seconds, whatever the unit
on the wire. Actions marked "a list" are answered by a list of events: send them with
``send_list``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Final

import attrs

from fastagi.wire.ami import Header, encode_action
from fastagi.wire.errors import LocalProtocolError

#: The name of a channel variable, with the underscores that let channels inherit it.
#: Functions such as CALLERID(name) are not allowed: setting one could run code.
_VARIABLE_NAME: Final = re.compile(r"_{0,2}[A-Za-z][A-Za-z0-9_]*")
#: Characters with a meaning in ``Variable: a=1,b=2`` (main/app.c,
#: __ast_app_separate_args).
_SEPARATORS: Final = re.compile(r'[\\",()\[\]]')
#: Headers that are never logged. Key is the digest of a login (and a key of AstDB).
_SECRET_HEADERS: Final = frozenset({"secret", "key"})


def _hide_secrets(headers: tuple[Header, ...]) -> str:
    shown = [
        f"{name}: ***" if name.lower() in _SECRET_HEADERS else f"{name}: {value}"
        for name, value in headers
    ]
    return repr(shown)


@attrs.frozen
class Action:
    """One action, without the ActionID, which the connection adds.

    The constructor checks the action, so every instance can be sent.

    Raises:
        LocalProtocolError: the headers can not be sent so that Asterisk reads them
            back unchanged.
    """

    name: str
    headers: tuple[Header, ...] = attrs.field(default=(), repr=_hide_secrets)

    def __attrs_post_init__(self) -> None:
        """Raise LocalProtocolError if the action can not be encoded."""
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
    """Return an action with the headers whose value is not None."""
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
    """Log in with an MD5 digest in place of the secret."""
    digest = hashlib.md5((challenge + secret).encode(), usedforsecurity=False)
    return _action(
        "Login",
        ("AuthType", "MD5"),
        ("Username", username),
        ("Key", digest.hexdigest()),
    )


def login_plain(username: str, secret: str) -> Action:
    """Log in with the secret in clear text: for TLS, or if MD5 is switched off."""
    return _action("Login", ("Username", username), ("Secret", secret))


def logoff() -> Action:
    """Log off; Asterisk answers and closes the connection."""
    return _action("Logoff")


def ping() -> Action:
    """Ask for a sign of life."""
    return _action("Ping")


def events(event_mask: str) -> Action:
    """Set the classes of events to be sent: "on", "off", or "call,agent,user"."""
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
    """Run a command of Asterisk's CLI; the output is in the headers ``Output``."""
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
    """Create a channel that runs the dialplan, or an application, once it is answered.

    The action is always asynchronous: Asterisk runs the actions of one connection one
    after another, so a synchronous Originate would delay all others until somebody
    answers. The reply only says that Asterisk has begun; the result comes in the event
    OriginateResponse.

    Args:
        channel: what to call, for example Local/s@callback-member/n.
        context: where the answered channel continues, with ``exten`` and ``priority``.
        exten: see ``context``.
        priority: see ``context``.
        application: the application that the answered channel runs, in place of
            ``context``.
        data: the arguments of ``application``.
        caller_id: what the called phone shows, as ``"Name" <number>``.
        channel_id: the Uniqueid of the channel, or of the first half of a Local
            channel. Asterisk refuses an id that is in use.
        other_channel_id: the Uniqueid of the second half of a Local channel.
        variables: channel variables to set before the call. A value may be any text.
        timeout_s: how long the channel may ring, in seconds.

    Raises:
        LocalProtocolError: a value can not be sent, a name is not that of a channel
            variable, or there is not exactly one of ``context`` (with ``exten``) and
            ``application``.
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
    """Ask for a channel variable or a global one; the value is in ``Value``."""
    return _action("Getvar", ("Channel", channel), ("Variable", variable))


def set_var(channel: str, variable: str, value: str) -> Action:
    """Set a variable of a channel, which is given by its name or Uniqueid."""
    return _action(
        "Setvar", ("Channel", channel), ("Variable", variable), ("Value", value)
    )


def hangup(channel: str, cause: int | None = None) -> Action:
    """Hang up a channel.

    Args:
        channel: its name or Uniqueid.
        cause: the hangup cause (Q.850); None for Asterisk's default.
    """
    return _action("Hangup", ("Channel", channel), ("Cause", cause))


def press_key(channel: str, key: str) -> Action:
    """Have Asterisk receive a key from a channel, as if the caller had pressed it.

    Args:
        channel: its name or Uniqueid.
        key: one of 0 to 9, *, #, A to D.
    """
    return _action("PlayDTMF", ("Channel", channel), ("Digit", key), ("Receive", True))


# -- queues ---------------------------------------------------------------------


def queue_status(queue: str | None = None, member: str | None = None) -> Action:
    """Ask for queues, members, callers (a list: QueueParams, QueueMember, QueueEntry).

    If there is no such queue, the list is empty.
    """
    return _action("QueueStatus", ("Queue", queue), ("Member", member))


def queue_log(
    queue: str,
    event: str,
    uniqueid: str | None = None,
    interface: str | None = None,
    message: str | None = None,
) -> Action:
    """Write a line into queue_log."""
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
    """Ask for one entry (a list with one DBGetResponse; the value is in ``Val``).

    Asterisk refuses the action if there is no such entry.
    """
    return _action("DBGet", ("Family", family), ("Key", key))
