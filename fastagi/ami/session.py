# SPDX-License-Identifier: MIT
"""The session with one Asterisk manager, over any number of connections.

This module logs in, knows when the session is ready, calls listeners and reconnects. It
does not know what an action or event is used for. It never sends an action twice.

Each link goes through the same steps: connect, log in, wait until Asterisk has booted,
serve until the link is lost. One coroutine (`AmiSession._live`) contains these steps,
another (`AmiSession._run`) repeats it. Only a stop or the loss of the link interrupts
them, and both make the Deferred fail that the coroutine waits for. So no state machine
is needed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final, Literal

import attrs

from twisted.application.internet import backoffPolicy
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.error import ConnectError, ConnectingCancelledError
from twisted.internet.interfaces import (
    IAddress,
    IProtocol,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.logger import Logger

from fastagi.ami import actions
from fastagi.ami.actions import Action
from fastagi.ami.errors import ActionFailed, LoginRefused, NotConnected
from fastagi.ami.events import Shutdown
from fastagi.ami.protocol import AmiProtocol
from fastagi.ami.tls import TlsFailed
from fastagi.errors import CallbackError
from fastagi.runtime.listeners import Listeners
from fastagi.runtime.waiters import Waiters
from fastagi.wire.ami import AmiMessage

#: How long to wait for FullyBooted after the login, in seconds. Asterisk accepts logins
#: while it still loads its modules, and then does not know QueueStatus yet. Once it is
#: up, FullyBooted follows the login at once, but only for a user who may read the class
#: "system". After this time the session continues without it and logs a warning:
#: otherwise one word missing in manager.conf would stop the whole service.
FULLY_BOOTED_TIMEOUT_S: Final = 30.0
#: How long to wait for the reply to Logoff when the service stops, in seconds.
LOGOFF_TIMEOUT_S: Final = 2.0


@attrs.frozen(kw_only=True)
class Credentials:
    """A user of manager.conf."""

    username: str
    secret: str = attrs.field(repr=False)
    #: With "md5" the secret itself is never sent.
    auth: Literal["md5", "plain"] = "md5"


async def authenticate(link: AmiProtocol, user: Credentials) -> None:
    """Log in on a new link.

    Raises:
        ActionFailed: Asterisk refuses the login.
        ActionTimedOut, NotConnected: no answer.
    """
    if user.auth == "plain":
        await link.send(actions.login_plain(user.username, user.secret))
        return
    response = await link.send(actions.login_challenge())
    challenge = response.get("Challenge")
    await link.send(actions.login_md5(user.username, user.secret, challenge))


class _LinkFactory(Factory):
    """Builds the protocol of a new link."""

    noisy = False

    def __init__(self, build: Callable[[], AmiProtocol]) -> None:
        self._build = build

    def buildProtocol(self, addr: IAddress | None) -> AmiProtocol:
        return self._build()


def _fire(waiter: Deferred[None]) -> None:
    waiter.callback(None)


class AmiSession(Service):
    """Keeps a logged-in connection to the manager, and reconnects without end.

    Args:
        endpoint: where the manager listens.
        clock: a steady clock.
        credentials: the manager user to log in as.
        backoff: returns the seconds to wait before the next connect, from the number
            of failures in a row (1, 2, ...). A refused connection and a refused login
            count alike; the loss of a link after its login counts as the first failure.
        ping_interval_s: time without received data after which a ping is sent.
        action_timeout_s: how long to wait for the reply to an action, for a connection
            and for Asterisk's first line, in seconds.
        event_mask: the classes of events to ask for, such as "call,agent,user"; "on"
            for all that the user may read.
        fully_booted_timeout_s: see `FULLY_BOOTED_TIMEOUT_S`.
        address: the name of the other side in the log.
        is_trial: whether somebody only tries to log in, and tells the result: then the
            log says nothing of it.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        endpoint: IStreamClientEndpoint,
        clock: IReactorTime,
        credentials: Credentials,
        backoff: Callable[[int], float] | None = None,
        ping_interval_s: float = 15.0,
        action_timeout_s: float = 10.0,
        event_mask: str = "on",
        fully_booted_timeout_s: float = FULLY_BOOTED_TIMEOUT_S,
        address: str = "Asterisk",
        is_trial: bool = False,
    ) -> None:
        #: The version of Asterisk, as of the last login; "" if it is unknown.
        self.asterisk_version = ""
        #: ``systemname`` in asterisk.conf; None: not known.
        self.system_name: str | None = None
        #: Why there is no connection, in words; "" if there is one.
        self.last_error = ""
        self._endpoint = endpoint
        self._clock = clock
        self._credentials = credentials
        self._backoff = backoff or backoffPolicy(
            initialDelay=0.5, maxDelay=30.0, factor=1.5
        )
        self._ping_interval_s = ping_interval_s
        self._action_timeout_s = action_timeout_s
        self._event_mask = event_mask
        self._fully_booted_timeout_s = fully_booted_timeout_s
        self._address = address
        self._is_trial = is_trial
        self._listeners: dict[str, Listeners[[AmiMessage]]] = {}
        self._on_connected: Listeners[[]] = Listeners("the connection")
        self._on_disconnected: Listeners[[]] = Listeners("the loss of the connection")
        #: The current link, from the connect on; there is never more than one.
        self._link: AmiProtocol | None = None
        self._heard_at = 0.0
        self._ready = False
        #: Number of links that were logged in, including the current one.
        self._links = 0
        #: The shutdown that Asterisk announced on this link, in words.
        self._announced = ""
        #: The connect or the pause that is waited for while there is no link.
        self._waiting_for: Deferred[IProtocol] | Deferred[None] | None = None
        self._pausing = False
        #: Whether the coroutine `_run` is running.
        self._alive = False
        self._loop: Deferred[None] | None = None
        self._logging_off: Deferred[None] | None = None
        self._awaiting_stop: Waiters[None] = Waiters()

    # -- public ------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether actions can be sent: logged in, and Asterisk has booted."""
        return self._ready

    @property
    def heard_at(self) -> float:
        """Time of the last received bytes, in seconds of the clock.

        Asterisk sends events in order, so every event before this time was received.
        """
        return self._heard_at if self._link is None else self._link.heard_at

    @property
    def link_number(self) -> int:
        """The number of the current link, or of the last one; each link has its own."""
        return self._links

    def is_up(self, link_number: int) -> bool:
        """Whether the link with this number is up; otherwise its work must end."""
        return self._ready and link_number == self._links

    async def send(self, action: Action, timeout_s: float | None = None) -> AmiMessage:
        """Send an action and return Asterisk's response.

        Raises:
            NotConnected: there is no connection, or it was lost before the reply came
                (its ``sent`` tells which).
            ActionFailed: Asterisk refused the action.
            ActionTimedOut: no reply in time; it is unknown what Asterisk did.
        """
        return await self._ready_link().send(action, timeout_s)

    async def send_list(
        self, action: Action, timeout_s: float | None = None
    ) -> list[AmiMessage]:
        """Send an action and return the list of events that answers it.

        These events do not go to the listeners. Raises what `send` raises.
        """
        return await self._ready_link().send_list(action, timeout_s)

    def after_read(self, callback: Callable[[], object]) -> None:
        """Call ``callback()`` after all messages of the current read are passed on.

        Asterisk reports one change in several events; code that needs all of them
        waits for the last. It is called at once if nothing is being passed on.
        """
        if self._link is None:
            callback()
        else:
            self._link.after_read(callback)

    def listen(
        self, event_name: str, callback: Callable[[AmiMessage], object]
    ) -> Callable[[], None]:
        """Call ``callback(message)`` for each event of that name; "*" means every one.

        Listeners stay over any number of connections. Events come in Asterisk's order,
        and only between the calls of `on_connected` and `on_disconnected`. If a
        listener raises, this is logged; the other listeners are called all the same.

        Returns:
            A function that removes the listener.
        """
        if event_name not in self._listeners:
            self._listeners[event_name] = Listeners(f"the event {event_name}")
        return self._listeners[event_name].add(callback)

    def on_connected(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call ``callback()`` on each login; also now if there is a connection."""
        if self._ready:
            now: Listeners[[]] = Listeners("the connection")
            now.add(callback)
            now.call()
        return self._on_connected.add(callback)

    def on_disconnected(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call ``callback()`` on each end of a connection that was logged in.

        It is called before the waiting actions fail.
        """
        return self._on_disconnected.add(callback)

    @property
    def is_pausing(self) -> bool:
        """Whether it waits before it connects again."""
        return self._pausing

    def connect_now(self) -> None:
        """Connect again at once, if it waits before that."""
        if self._pausing and self._waiting_for is not None:
            self._waiting_for.cancel()

    def _ready_link(self) -> AmiProtocol:
        if self._link is None or not self._ready:
            raise NotConnected(
                f"not connected to {self._address}: {self.last_error}"
                if self.last_error
                else ""
            )
        return self._link

    # -- start and stop ----------------------------------------------------------

    def startService(self) -> None:
        """Begin to connect."""
        super().startService()
        if not self._alive:
            self._alive = True
            self._loop = Deferred.fromCoroutine(self._run())

    def stopService(self) -> Deferred[None]:
        """Log off; the Deferred fires when the link is closed."""
        super().stopService()
        stopped = self._awaiting_stop.add()
        if not self._alive:
            self._awaiting_stop.fire_all(_fire)
        elif self._waiting_for is not None:
            self._waiting_for.cancel()
        elif self._link is not None and self._ready:
            self._logging_off = Deferred.fromCoroutine(self._log_off(self._link))
        elif self._link is not None and self._logging_off is None:
            self._link.drop("the service stops")
        return stopped

    async def _log_off(self, link: AmiProtocol) -> None:
        reply = link.send(actions.logoff(), LOGOFF_TIMEOUT_S)
        self._not_ready("the service stops")
        try:
            await reply
        except CallbackError as error:
            self._log.debug("Asterisk did not answer Logoff: {error}", error=error)
        link.drop("the service stops")

    # -- one link after another --------------------------------------------------

    async def _run(self) -> None:
        failures = 0
        while self.running:
            served, problem = await self._live()
            failures = 1 if served else failures + 1
            self.last_error = str(problem)
            if self.running:
                await self._pause(self._backoff(failures), problem)
        self._alive = False
        self._logging_off = None
        self._report(self._log.info, "disconnected from {address}")
        self._awaiting_stop.fire_all(_fire)

    async def _live(self) -> tuple[bool, CallbackError]:
        """Connect and serve until the link is closed.

        Returns:
            Whether the login succeeded, and why the link ended.
        """
        self._announced = ""
        served = False
        try:
            link = self._link = await self._connect()
            try:
                await self._log_in(link)
                served = True
                self._become_ready(link)
                reason = await link.when_closed()
            finally:
                # With two links each event would come twice, so wait until this one
                # is closed before the next connect.
                link.drop("not logged in")
                await link.when_closed()
                self._heard_at = link.heard_at
                self._link = None
        except CallbackError as error:
            return served, error
        except Exception as error:
            # Whatever the error, the loop in `_run` must reconnect.
            self._log.failure("the manager session failed")
            return served, CallbackError(
                f"the manager session failed: {type(error).__name__}: {error}. This is"
                " a bug of the service; see its log"
            )
        return served, CallbackError(
            f"lost the connection to {self._address}: {self._announced or reason}"
        )

    async def _connect(self) -> AmiProtocol:
        connecting = self._endpoint.connect(_LinkFactory(self._build_link)).addTimeout(
            self._action_timeout_s, self._clock
        )
        self._waiting_for = connecting
        try:
            link = await connecting
        except TlsFailed as error:
            raise NotConnected(f"no TLS with {self._address}: {error}") from error
        except (
            ConnectError,
            ConnectingCancelledError,
            CancelledError,
            TimeoutError,
            OSError,
        ) as error:
            words = str(error).rstrip(".") or type(error).__name__
            if isinstance(error, ConnectError) and isinstance(error.osError, int):
                words = os.strerror(error.osError).lower()
            raise NotConnected(
                f"can not connect to {self._address}: {words}. Is Asterisk running,"
                " does manager.conf say enabled = yes, and are host and port right"
                " (ami.host and ami.port in the settings)?"
            ) from error
        finally:
            self._waiting_for = None
        assert isinstance(link, AmiProtocol)
        return link

    def _build_link(self) -> AmiProtocol:
        return AmiProtocol(
            clock=self._clock,
            on_event=self._event_received,
            on_end=self._link_ended,
            action_timeout_s=self._action_timeout_s,
        )

    async def _log_in(self, link: AmiProtocol) -> None:
        try:
            await link.when_banner().addTimeout(self._action_timeout_s, self._clock)
        except TimeoutError:
            raise NotConnected(
                f"{self._address} takes the connection but says nothing in"
                f" {self._action_timeout_s:g} s. Either Asterisk hangs, or this is not"
                " its manager port, or one where it speaks TLS (ami.tls)"
            ) from None
        except NotConnected as error:
            raise NotConnected(
                f"{self._address} did not greet as an Asterisk manager: {error}. Check"
                " host and port"
            ) from None
        await self._authenticate(link)
        try:
            await link.when_fully_booted().addTimeout(
                self._fully_booted_timeout_s, self._clock
            )
        except TimeoutError:
            self._report(
                self._log.warn,
                "no FullyBooted from {address} in {seconds:g} s, continuing without it."
                " Either Asterisk is still starting, or the user {username} lacks"
                ' "system" in the line "read" of manager.conf.',
                seconds=self._fully_booted_timeout_s,
                username=self._credentials.username,
            )
        if self._event_mask != "on":
            await link.send(actions.events(self._event_mask))
        try:
            settings = await link.send(actions.core_settings())
        except ActionFailed:
            # CoreSettings needs "system" or "reporting" in the line "write".
            self.asterisk_version = ""
            self.system_name = None
        else:
            self.asterisk_version = settings.get("AsteriskVersion")
            self.system_name = settings.get("SystemName")

    async def _authenticate(self, link: AmiProtocol) -> None:
        user = self._credentials
        try:
            await authenticate(link, user)
        except ActionFailed as error:
            if error.shutting_down:
                raise NotConnected(
                    f"{self._address} takes no login: {error.response.get('Message')}"
                ) from None
            raise LoginRefused(
                f"{self._address} refused the login of {user.username}:"
                f" {error.response.get('Message')}. The section [{user.username}] of"
                " manager.conf must have the secret of the settings (ami.secret), and"
                " its permit and deny lines must allow this machine; then run"
                " 'manager reload' in Asterisk"
            ) from None
        except NotConnected as error:
            raise NotConnected(
                f"the login of {user.username} to {self._address} failed: {error}"
            ) from None

    def _become_ready(self, link: AmiProtocol) -> None:
        self._ready = True
        self._links += 1
        self.last_error = ""
        self._report(
            self._log.info,
            "connected to {address} as {username}: Asterisk {version}",
            username=self._credentials.username,
            version=self.asterisk_version or "of unknown version",
        )
        link.keep_alive(self._ping_interval_s)
        self._on_connected.call()

    async def _pause(self, delay_s: float, problem: CallbackError) -> None:
        refused = isinstance(problem, LoginRefused)
        self._report(
            self._log.error if refused else self._log.warn,
            "{problem} (next try in {delay_s:.1f} s)",
            problem=str(problem),
            delay_s=delay_s,
        )
        pause: Deferred[None] = deferLater(self._clock, delay_s)
        self._waiting_for = pause
        self._pausing = True
        try:
            await pause
        except CancelledError:
            return
        finally:
            self._waiting_for = None
            self._pausing = False

    def _report(
        self, report: Callable[..., None], words: str, **values: object
    ) -> None:
        """Tell something of the address, by a method of the logger."""
        if self._is_trial:
            report = self._log.debug
        report(words, address=self._address, **values)

    # -- called by the link ------------------------------------------------------

    def _event_received(self, message: AmiMessage) -> None:
        if not self._ready:
            return
        name = message.event
        if name == Shutdown.__name__:
            restarts = Shutdown.parse(message).restart
            self._announced = f"Asterisk {'restarts' if restarts else 'is stopped'}"
        listeners, of_all = self._listeners.get(name), self._listeners.get("*")
        if listeners is None and of_all is None:
            return
        if message.is_doubtful:
            self._log.warn(
                "ignored {name}: it has a header twice, as a caller's number with line"
                " breaks can forge it",
                name=name,
            )
            return
        if listeners is not None:
            listeners.call(message)
        if of_all is not None:
            of_all.call(message)

    def _link_ended(self) -> None:
        if self._link is not None:
            self._not_ready(self._link.end_reason)

    def _not_ready(self, reason: str) -> None:
        if self._ready:
            self._ready = False
            self.last_error = reason
            self._on_disconnected.call()
