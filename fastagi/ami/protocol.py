# SPDX-License-Identifier: MIT
"""One connection to the manager interface, from the banner to the end.

This module matches replies to actions, collects lists, keeps the link alive and ends
it. Login, reconnecting and listeners are in `fastagi.ami.session`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Generic, TypeVar

import attrs

from twisted.internet import protocol
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall, IReactorTime, ITCPTransport
from twisted.logger import Logger
from twisted.python.failure import Failure

from fastagi.ami import actions
from fastagi.ami.actions import Action
from fastagi.ami.errors import ActionFailed, ActionTimedOut, NotConnected
from fastagi.ami.events import FullyBooted
from fastagi.runtime.sockets import send_without_delay
from fastagi.runtime.waiters import Waiters
from fastagi.wire.ami import NEED_DATA, AmiMessage, AmiParser, Banner
from fastagi.wire.errors import LocalProtocolError, RemoteProtocolError

T = TypeVar("T")


class OneShot(Generic[T]):
    """An event that happens once, for any number of waiting Deferreds."""

    def __init__(self) -> None:
        #: Fires a Deferred with the outcome; None as long as there is none.
        self._fire: Callable[[Deferred[T]], None] | None = None
        self._waiters: Waiters[T] = Waiters()

    @property
    def is_over(self) -> bool:
        """Whether it has happened, or never will."""
        return self._fire is not None

    def when(self) -> Deferred[T]:
        """Return a new Deferred that fires with the outcome."""
        waiter = self._waiters.add()
        if self._fire is not None:
            self._waiters.fire_all(self._fire)
        return waiter

    def happen(self, value: T) -> None:
        """Fire all Deferreds, also later ones; only the first outcome counts."""
        self._settle(lambda waiter: waiter.callback(value))

    def fail(self, error: Exception) -> None:
        """Fail all Deferreds, also later ones: the event will never happen."""
        self._settle(lambda waiter: waiter.errback(error))

    def _settle(self, fire: Callable[[Deferred[T]], None]) -> None:
        if self._fire is None:
            self._fire = fire
            self._waiters.fire_all(fire)


@attrs.define(eq=False)
class _Waiter:
    """An action that waits for its reply."""

    action: Action
    reply: Deferred[AmiMessage]
    #: The entries of the list so far; None for an action answered by one message.
    items: list[AmiMessage] | None = None


class AmiProtocol(protocol.Protocol):
    """One connection: sends actions, matches their replies, passes on events.

    Args:
        clock: a steady clock.
        on_event: called with each event that is not part of a requested list. It must
            not raise.
        on_end: called once, when the link can no longer be used. It is called before
            the waiting actions fail, so that their errbacks see the new state.
        action_timeout_s: how long to wait for the reply to an action, in seconds.
        action_id_prefix: the beginning of every ActionID. It must be unique, as
            OriginateResponse goes to all managers, with the ActionID of one of them.
    """

    #: Narrower than Twisted's: `drop` needs abortConnection.
    transport: ITCPTransport | None = None

    _log = Logger()

    def __init__(
        self,
        *,
        clock: IReactorTime,
        on_event: Callable[[AmiMessage], object],
        on_end: Callable[[], object] = lambda: None,
        action_timeout_s: float = 10.0,
        action_id_prefix: str | None = None,
    ) -> None:
        #: Why the link can no longer be used; "" while it can.
        self.end_reason = ""
        #: The error that ended the link; None if it was closed on purpose.
        self.end_error: BaseException | None = None
        #: Time of the last received bytes, in seconds of the clock.
        self.heard_at = 0.0
        self._clock = clock
        self._on_event = on_event
        self._on_end = on_end
        self._action_timeout_s = action_timeout_s
        self._prefix = action_id_prefix or f"callback-{secrets.token_hex(4)}-"
        self._sent = 0
        self._waiters: dict[str, _Waiter] = {}
        #: ActionIDs of lists that timed out or were cancelled; their entries are
        #: dropped.
        self._given_up: set[str] = set()
        #: ActionID of the list that Asterisk is sending; "" if it sends none.
        self._arriving = ""
        self._parser = AmiParser()
        self._banner: OneShot[Banner] = OneShot()
        self._fully_booted: OneShot[None] = OneShot()
        self._closed: OneShot[str] = OneShot()
        self._ping_interval_s = 0.0
        self._next_ping: IDelayedCall | None = None
        self._pinging: Deferred[None] | None = None
        #: Whether anything came since this was last set to False.
        self._heard = False
        #: Whether the messages of one read are being passed on.
        self._dispatching = False
        #: Functions to call after that.
        self._after_read: list[Callable[[], object]] = []

    @property
    def usable(self) -> bool:
        """Whether the link is open and actions can be sent."""
        return self.connected == 1 and not self.end_reason

    def connectionMade(self) -> None:
        """Turn off Nagle's delay."""
        send_without_delay(self.transport)

    # -- waiting -----------------------------------------------------------------

    def when_banner(self) -> Deferred[Banner]:
        """Return a Deferred of Asterisk's first line.

        It fails with NotConnected if the link is lost before.
        """
        return self._banner.when()

    def when_fully_booted(self) -> Deferred[None]:
        """Return a Deferred that fires with the event FullyBooted.

        It fails with NotConnected if the link is lost before.
        """
        return self._fully_booted.when()

    def when_closed(self) -> Deferred[str]:
        """Return a Deferred that fires with the reason when the link is closed.

        It never fails, and fires only when the operating system has closed the socket.
        """
        return self._closed.when()

    def after_read(self, callback: Callable[[], object]) -> None:
        """Call ``callback()`` after all messages of the current read are passed on.

        It is called at once if none are being passed on.
        """
        if self._dispatching:
            self._after_read.append(callback)
        else:
            callback()

    # -- sending -----------------------------------------------------------------

    def send(
        self, action: Action, timeout_s: float | None = None
    ) -> Deferred[AmiMessage]:
        """Send an action and return a Deferred of the response.

        Cancelling the Deferred only ends the waiting; Asterisk may still carry out the
        action.

        It fails with:
            NotConnected: there was no link (``sent`` is False), or it was lost while
                the action waited for its reply (``sent`` is True).
            ActionFailed: Asterisk refused the action.
            ActionTimedOut: no response in time. A later response is dropped.
        """
        return self._send(action, None, timeout_s)

    def send_list(
        self, action: Action, timeout_s: float | None = None
    ) -> Deferred[list[AmiMessage]]:
        """Send an action and return a Deferred of the list of events it asks for.

        The list contains neither the response nor the final event ("EventList:
        Complete"), and its events are not passed to ``on_event``. The time-out is for
        the whole list. It fails as `send` does, and with ActionFailed if the response
        announces no list.
        """
        items: list[AmiMessage] = []
        return self._send(action, items, timeout_s).addCallback(lambda _: items)

    def _send(
        self, action: Action, items: list[AmiMessage] | None, timeout_s: float | None
    ) -> Deferred[AmiMessage]:
        if not self.usable or self.transport is None:
            return fail(NotConnected(self.end_reason))
        self._sent += 1
        action_id = f"{self._prefix}{self._sent}"
        try:
            data = action.encode(action_id)
        except LocalProtocolError:
            return fail(Failure())

        def forget(_: Deferred[AmiMessage]) -> None:
            if self._waiters.pop(action_id, None) and items is not None:
                self._given_up.add(action_id)

        def timed_out(_: object, timeout_s: float) -> AmiMessage:
            raise ActionTimedOut(action, timeout_s)

        reply: Deferred[AmiMessage] = Deferred(forget)
        self._waiters[action_id] = _Waiter(action, reply, items)
        self._log.debug("sent {name}", name=action.name, action_id=action_id)
        self.transport.write(data)
        return reply.addTimeout(
            self._action_timeout_s if timeout_s is None else timeout_s,
            self._clock,
            onTimeoutCancel=timed_out,
        )

    # -- keeping alive -----------------------------------------------------------

    def keep_alive(self, interval_s: float) -> None:
        """From now on drop the link if Asterisk is silent.

        If nothing was received for an interval, a ping is sent. If neither its reply
        nor anything else comes in time, the link is dropped.
        """
        self._ping_interval_s = interval_s
        self._schedule_ping()

    def _schedule_ping(self) -> None:
        self._heard = False
        if not self.end_reason:
            self._next_ping = self._clock.callLater(
                self._ping_interval_s, self._ping_if_silent
            )

    def _ping_if_silent(self) -> None:
        self._next_ping = None
        if self._heard:
            self._schedule_ping()
        else:
            self._pinging = Deferred.fromCoroutine(self._ping())

    async def _ping(self) -> None:
        try:
            await self.send(actions.ping())
        except NotConnected:
            return
        except (ActionTimedOut, ActionFailed):
            # Asterisk carries out one action after another, so a slow action can delay
            # the reply to the ping. If events still come, the link works.
            if not self._heard:
                self.drop("Asterisk does not answer, not even a ping")
                return
        self._schedule_ping()

    # -- the end -----------------------------------------------------------------

    def drop(self, reason: str) -> None:
        """Close the link at once; all waiting actions fail with NotConnected."""
        self._end(reason)
        if self.connected and self.transport is not None:
            self.transport.abortConnection()

    def _end(self, reason: str) -> None:
        if self.end_reason:
            return
        self.end_reason = reason
        if self._next_ping is not None:
            self._next_ping.cancel()
            self._next_ping = None
        self._on_end()
        # An errback may cancel another action, but can not send a new one.
        while self._waiters:
            waiter = self._waiters.pop(next(iter(self._waiters)))
            waiter.reply.errback(
                NotConnected(f"{waiter.action.name} got no reply: {reason}", sent=True)
            )
        self._banner.fail(NotConnected(reason))
        self._fully_booted.fail(NotConnected(reason))

    # -- called by Twisted -------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        """Parse bytes from Asterisk and pass on the messages."""
        self._heard = True
        self.heard_at = self._clock.seconds()
        self._parser.receive_data(data)
        self._dispatching = True
        try:
            while (
                not self.end_reason
                and (event := self._parser.next_event()) is not NEED_DATA
            ):
                if isinstance(event, Banner):
                    self._banner.happen(event)
                elif isinstance(event, AmiMessage):
                    self._message_received(event)
        except RemoteProtocolError as error:
            self.end_error = error
            self.drop(str(error))
        finally:
            # Also after an unexpected exception, which ends the link: otherwise these
            # callbacks would never be called.
            self._end_of_reading()

    def _end_of_reading(self) -> None:
        self._dispatching = False
        waiting, self._after_read = self._after_read, []
        for callback in waiting:
            try:
                callback()
            except Exception:
                self._log.failure("a callback after reading from Asterisk failed")

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        """End the link: the socket is closed."""
        if reason.check(ConnectionDone):
            text = "the other side closed the connection"
        else:
            text = reason.getErrorMessage().rstrip(".")
        if not self.end_reason:
            self.end_error = reason.value
        self._end(text)
        self._closed.happen(self.end_reason)

    # -- received messages -------------------------------------------------------

    def _message_received(self, message: AmiMessage) -> None:
        match message.kind:
            case "event":
                if not self._part_of_a_list(message):
                    booted = self._fully_booted
                    if not booted.is_over and message.event == FullyBooted.__name__:
                        booted.happen(None)
                    self._on_event(message)
            case "response":
                self._response_received(message)
            case "other":
                self._log.debug("Asterisk sent {message}", message=message)

    def _part_of_a_list(self, message: AmiMessage) -> bool:
        if not self._waiters and not self._given_up:
            return False
        # An event with one of our ActionIDs need not belong to a list: UserEvent and
        # OriginateResponse carry the id of the action that caused them.
        action_id = message.action_id
        if self._arriving and action_id != self._arriving:
            # One thread of Asterisk writes a list and the events, so no event comes in
            # the middle of a list.
            self._log.warn(
                "{name} in the middle of a list is ignored: a caller's number with"
                " line breaks in it can write it there",
                name=message.event,
            )
            return True
        last = action_id and message.get("EventList").lower() == "complete"
        if last:
            self._arriving = ""
        if action_id in self._given_up:
            if last:
                self._given_up.discard(action_id)
            return True
        waiter = self._waiters.get(action_id)
        if waiter is None or waiter.items is None:
            return False
        if last:
            del self._waiters[action_id]
            waiter.reply.callback(message)
        elif message.is_doubtful:
            self._log.warn(
                "ignored {name}, an entry of a list: it has a header twice, as a"
                " caller's number with line breaks can forge it",
                name=message.event,
            )
        else:
            waiter.items.append(message)
        return True

    def _response_received(self, message: AmiMessage) -> None:
        action_id = message.action_id
        waiter = self._waiters.get(action_id)
        # Asterisk carries out one action after another, and no other client can know
        # the ids of this one.
        if waiter is not None or action_id in self._given_up:
            begins = message.get("EventList").lower() == "start"
            self._arriving = action_id if begins else ""
        if waiter is None:
            # With an id: a reply after its time-out. Without: Asterisk could not read
            # the action, which is worth a warning.
            report = self._log.debug if action_id else self._log.warn
            report(
                "a response belongs to no waiting action: {response} {text}",
                response=message.get("Response"),
                text=message.get("Message"),
                action_id=action_id,
            )
            if message.get("EventList").lower() != "start":
                self._given_up.discard(action_id)
        elif message.get("Response").lower() == "error":
            del self._waiters[action_id]
            waiter.reply.errback(ActionFailed(waiter.action, message))
        elif waiter.items is None:
            del self._waiters[action_id]
            waiter.reply.callback(message)
        elif message.get("EventList").lower() != "start":
            del self._waiters[action_id]
            waiter.reply.errback(
                ActionFailed(waiter.action, message, "the response announces no list")
            )
