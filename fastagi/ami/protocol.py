# SPDX-License-Identifier: MIT
"""One connection to the Asterisk manager, from its banner to its end.

Owns the table of actions that wait for their reply, the lists being collected, the
keep-alive and the end of the link. Must not know how to log in, when to connect again,
or who listens to which event: `fastagi.ami.session` does.
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
from fastagi.wire.ami import NEED_DATA, AmiMessage, AmiParser, Banner
from fastagi.wire.errors import LocalProtocolError, RemoteProtocolError

T = TypeVar("T")


class Waiters(Generic[T]):
    """Those who wait for the same thing, each with a Deferred of its own.

    So one who cancels or changes the result does not disturb another.
    """

    def __init__(self) -> None:
        self._waiting: list[Deferred[T]] = []

    def add(self) -> Deferred[T]:
        """Return a new Deferred; cancelling it forgets it."""
        waiter: Deferred[T] = Deferred(self._forget)
        self._waiting.append(waiter)
        return waiter

    def tell(self, tell: Callable[[Deferred[T]], None]) -> None:
        """Tell each who waits now and still does when its turn comes."""
        for waiter in list(self._waiting):
            if waiter in self._waiting:
                self._waiting.remove(waiter)
                tell(waiter)

    def _forget(self, waiter: Deferred[T]) -> None:
        if waiter in self._waiting:
            self._waiting.remove(waiter)


class OneShot(Generic[T]):
    """Something that happens once, and any number of those who wait for it."""

    def __init__(self) -> None:
        self._tell: Callable[[Deferred[T]], None] | None = None
        self._waiters: Waiters[T] = Waiters()

    def when(self) -> Deferred[T]:
        """Return a new Deferred that fires when it has happened."""
        waiter = self._waiters.add()
        if self._tell is not None:
            self._waiters.tell(self._tell)
        return waiter

    def happen(self, value: T) -> None:
        """Tell all who wait and will wait; only the first outcome counts."""
        self._settle(lambda waiter: waiter.callback(value))

    def fail(self, error: Exception) -> None:
        """Tell all who wait and will wait that it will never happen."""
        self._settle(lambda waiter: waiter.errback(error))

    def _settle(self, tell: Callable[[Deferred[T]], None]) -> None:
        if self._tell is None:
            self._tell = tell
            self._waiters.tell(tell)


@attrs.define(eq=False)
class _Waiter:
    """An action that was sent and not answered yet."""

    action: Action
    reply: Deferred[AmiMessage]
    #: What the list has so far; None for an action answered by one message.
    items: list[AmiMessage] | None = None


class AmiProtocol(protocol.Protocol):
    """One connection: actions go out, replies find those who asked, events come out.

    Args:
        clock: a steady one.
        on_event: called with each event that is no part of a list somebody asked for.
            It must not raise.
        on_end: called once, when the link can no longer be used and before anything
            that waits is failed, so that whoever is failed finds the state right.
        action_timeout_s: how long to wait for the reply to an action.
        action_id_prefix: the beginning of every ActionID. OriginateResponse goes to all
            managers with the ActionID of one of them, so ours must be like no other's.
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
        #: The error that ended it, if it was not given up on purpose.
        self.end_error: BaseException | None = None
        #: When the last bytes came, in seconds of the clock.
        self.heard_at = 0.0
        self._clock = clock
        self._on_event = on_event
        self._on_end = on_end
        self._action_timeout_s = action_timeout_s
        self._prefix = action_id_prefix or f"callback-{secrets.token_hex(4)}-"
        self._sent = 0
        self._waiters: dict[str, _Waiter] = {}
        #: Lists nobody waits for any more; what still comes of them is dropped.
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
        #: What was read together is being handed out.
        self._handing_out = False
        #: To be called when that is done.
        self._after_read: list[Callable[[], object]] = []

    @property
    def usable(self) -> bool:
        """Whether the link is open and actions can be sent."""
        return self.connected == 1 and not self.end_reason

    # -- waiting -----------------------------------------------------------------

    def when_banner(self) -> Deferred[Banner]:
        """Return a Deferred of Asterisk's first line.

        It fails with NotConnected when the link goes before.
        """
        return self._banner.when()

    def when_fully_booted(self) -> Deferred[None]:
        """Return a Deferred that fires with the event FullyBooted.

        It fails with NotConnected when the link goes before.
        """
        return self._fully_booted.when()

    def when_closed(self) -> Deferred[str]:
        """Return a Deferred that fires with the reason when the link is closed.

        It never fails, and fires only when the operating system has let go of the link.
        """
        return self._closed.when()

    def after_read(self, callback: Callable[[], object]) -> None:
        """Call ``callback()`` once all messages that were read together are handed out.

        At once, if none is being handed out.
        """
        if self._handing_out:
            self._after_read.append(callback)
        else:
            callback()

    # -- sending -----------------------------------------------------------------

    def send(
        self, action: Action, timeout_s: float | None = None
    ) -> Deferred[AmiMessage]:
        """Send an action and return a Deferred of the response.

        Cancelling it forgets the action; Asterisk may carry it out all the same.

        It fails with:
            NotConnected: the link was gone (``sent`` is False) or went while the
                action was waiting (``sent`` is True).
            ActionFailed: Asterisk refused it.
            ActionTimedOut: no response in time. A later one is dropped.
        """
        return self._send(action, None, timeout_s)

    def send_list(
        self, action: Action, timeout_s: float | None = None
    ) -> Deferred[list[AmiMessage]]:
        """Send an action and return a Deferred of the list of events it asks for.

        These events, without the response before them and the "complete" event behind
        them, go nowhere else. The time-out is for the whole list. It fails as `send`
        does, and with ActionFailed when the response announces no list.
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
        """From now on drop the link when Asterisk is silent.

        Whenever nothing came for an interval, a ping is sent; when neither its reply
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
            # Asterisk carries out one action after another: a slow one before the ping
            # delays the reply while events still come, and then the link is sound.
            if not self._heard:
                self.drop("Asterisk does not answer, not even a ping")
                return
        self._schedule_ping()

    # -- the end -----------------------------------------------------------------

    def drop(self, reason: str) -> None:
        """Give the link up at once; all that waits fails with NotConnected."""
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
        # One who is failed may cancel another, but nothing new can be sent any more.
        while self._waiters:
            waiter = self._waiters.pop(next(iter(self._waiters)))
            waiter.reply.errback(
                NotConnected(f"{waiter.action.name} was cut off: {reason}", sent=True)
            )
        self._banner.fail(NotConnected(reason))
        self._fully_booted.fail(NotConnected(reason))

    # -- what Twisted calls ------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        """Take bytes from Asterisk."""
        self._heard = True
        self.heard_at = self._clock.seconds()
        self._parser.receive_data(data)
        self._handing_out = True
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
            # Also after a mistake of our own, which ends the link: who waits for this
            # would wait for ever.
            self._end_of_reading()

    def _end_of_reading(self) -> None:
        self._handing_out = False
        waiting, self._after_read = self._after_read, []
        for callback in waiting:
            try:
                callback()
            except Exception:
                self._log.failure("what waited for the end of a reading failed")

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        """Take note that the link is closed."""
        if reason.check(ConnectionDone):
            text = "the other side closed the connection"
        else:
            text = reason.getErrorMessage().rstrip(".")
        if not self.end_reason:
            self.end_error = reason.value
        self._end(text)
        self._closed.happen(self.end_reason)

    # -- what Asterisk says ------------------------------------------------------

    def _message_received(self, message: AmiMessage) -> None:
        match message.kind:
            case "event":
                if not self._part_of_a_list(message):
                    if message.event == FullyBooted.__name__:
                        self._fully_booted.happen(None)
                    self._on_event(message)
            case "response":
                self._response_received(message)
            case "other":
                self._log.debug("Asterisk sent {message}", message=message)

    def _part_of_a_list(self, message: AmiMessage) -> bool:
        if not self._waiters and not self._given_up:
            return False
        # Not every event with one of our ActionIDs is: a UserEvent or an
        # OriginateResponse carries the id of the action that caused it.
        action_id = message.action_id
        if self._arriving and action_id != self._arriving:
            # One thread of Asterisk writes a list and the events, so no event comes in
            # the middle of a list.
            self._log.warn(
                "{name} in the middle of a list is not believed: a caller's number with"
                " line breaks in it can write it there",
                name=message.event,
            )
            return True
        last = message.action_id and message.get("EventList").lower() == "complete"
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
                "an entry of a list, {name}, has a header twice and is not believed: a"
                " caller's number with line breaks in it can do that",
                name=message.event,
            )
        else:
            waiter.items.append(message)
        return True

    def _response_received(self, message: AmiMessage) -> None:
        action_id = message.action_id
        waiter = self._waiters.get(action_id)
        # Asterisk carries out one action after another. Nobody else knows our ids.
        if waiter is not None or action_id in self._given_up:
            begins = message.get("EventList").lower() == "start"
            self._arriving = action_id if begins else ""
        if waiter is None:
            # A reply after its time-out; or, without an id, to what Asterisk could not
            # read at all, and that is worth a look.
            report = self._log.debug if action_id else self._log.warn
            report(
                "Asterisk answered nobody: {response} {text}",
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
                ActionFailed(waiter.action, message, "it is answered without a list")
            )
