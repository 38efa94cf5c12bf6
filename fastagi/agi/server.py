# SPDX-License-Identifier: MIT
"""The FastAGI server: admits connections and runs the script for each path.

This module owns the listening port and the running scripts. It does not know what a
script does, and reads no settings file.

If a session can not be served, the server sends ``failure`` at once (see
`fastagi.agi.protocol`, rule 3). So the dialplan continues with AGISTATUS=FAILURE, and
no caller waits in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from ipaddress import ip_network
from typing import Any, Final

from attrs import frozen

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, maybeDeferred
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IListeningPort,
    IReactorTime,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from fastagi.agi.errors import (
    AgiConnectionLost,
    AgiError,
    AgiHungUp,
    AgiMisunderstood,
    AgiTimedOut,
)
from fastagi.agi.peers import Admission, Network, Peers, RateLimitedReport
from fastagi.agi.protocol import FAILURE_LINE, AgiLimits, AgiProtocol, abort
from fastagi.agi.session import AgiSession
from fastagi.runtime.waiters import Waiters, release
from fastagi.wire.agi import AgiRequest

Script = Callable[[AgiSession], Coroutine[Any, Any, None]]


@frozen
class LongScript:
    """A script that waits for a person.

    Attributes:
        run: the script.
        limit_s: time limit of its session, in seconds, in place of the usual one.
    """

    run: Script
    limit_s: float


#: Number of file descriptors that are kept for the rest of the process.
RESERVED_FILES: Final = 24
#: Maximum number of refused connections that wait for Asterisk to close.
_MAX_LINGERING: Final = 64
#: Interval of the checks whether there are file descriptors again, in seconds.
_FILE_CHECK_S: Final = 1.0

LOOPBACK: Final[tuple[Network, ...]] = (
    ip_network("127.0.0.0/8"),
    ip_network("::1/128"),
)


class FastAgiServer(Service):
    """Runs one script for each connection from Asterisk.

    Args:
        endpoint: Where to listen.
        scripts: Scripts by path, as in ``AGI(agi://HOST/PATH)`` without the query. Long
            scripts get at most half of the connections, and half of each peer's, so
            that short ones, whose callers wait for an answer within a second, always
            find one.
        clock: A steady clock for all time limits.
        max_connections: Maximum number of sessions at a time. Further connections are
            answered with ``failure``.
        max_connections_per_peer: Maximum number of sessions of one peer, so that one
            peer can not use up all sessions; None for no limit.
        max_rate_per_peer: Maximum number of connections that one peer may make in a
            second. Further ones are answered with ``failure``. None for no limit.
        header_timeout_s: Time limit for the header block.
        command_timeout_s: Time limit for a reply, unless the verb has its own.
        session_timeout_s: Time limit for the session of a script that is not long.
        stop_timeout_s: How long `stopService` waits for running scripts.
        allowed_peers: Networks whose connections are served. Others are closed without
            an answer.
        files_left: Returns how many files the process may still open; None: do not
            check. If fewer than `RESERVED_FILES` are left, a connection is answered
            with ``failure``, so that the database and the log can still open files.
        remedy: What to do about a request for a script that does not exist, for the
            log.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        endpoint: IStreamServerEndpoint,
        scripts: Mapping[str, Script | LongScript],
        clock: IReactorTime,
        max_connections: int = 200,
        max_connections_per_peer: int | None = None,
        max_rate_per_peer: int | None = None,
        header_timeout_s: float = 3.0,
        command_timeout_s: float = 5.0,
        session_timeout_s: float = 30.0,
        stop_timeout_s: float = 5.0,
        allowed_peers: tuple[Network, ...] = LOOPBACK,
        files_left: Callable[[], int] | None = None,
        remedy: str = "",
    ) -> None:
        self._endpoint = endpoint
        self._scripts = dict(scripts)
        self._remedy = remedy
        self._clock = clock
        self._max_connections = max_connections
        self._max_per_peer = max_connections_per_peer
        self._limits = AgiLimits(
            header_timeout_s=header_timeout_s,
            command_timeout_s=command_timeout_s,
            session_timeout_s=session_timeout_s,
        )
        self._stop_timeout_s = stop_timeout_s
        self._peers = Peers(
            clock=clock,
            allowed=allowed_peers,
            max_at_once=max_connections_per_peer,
            max_per_second=max_rate_per_peer,
        )
        self._reports = {
            Admission.NOT_ALLOWED: RateLimitedReport(clock, self._warn_of_not_allowed),
            Admission.TOO_MANY: RateLimitedReport(clock, self._warn_of_too_many),
            Admission.TOO_FAST: RateLimitedReport(clock, self._warn_of_too_fast),
        }
        self._listening: IListeningPort | None = None
        self._starting = False
        self._listen_failure: Failure | None = None
        #: Connections that count as sessions: not closed, or their script not ended.
        self._links: set[AgiProtocol] = set()
        self._running: dict[AgiProtocol, Deferred[None]] = {}
        #: Sessions of long scripts.
        self._long: set[AgiProtocol] = set()
        self._long_full = False
        self._refusals: set[_Refusal] = set()
        self._full = False
        self._files_left = files_left
        #: Runs while too few file descriptors are left; otherwise None.
        self._file_check: LoopingCall | None = None
        self._all_ended: Waiters[None] = Waiters()

    # -- start and stop

    @property
    def active(self) -> int:
        """Number of sessions now."""
        return len(self._links)

    @property
    def port(self) -> int:
        """The TCP port; 0 if the server does not listen."""
        if self._listening is None:
            return 0
        return int(getattr(self._listening.getHost(), "port", 0))

    def startService(self) -> None:
        """Begin to listen.

        Raises:
            Exception: The endpoint can not listen, for example
                `twisted.internet.error.CannotListenError`. If the endpoint fails
                later, the error is logged.
        """
        super().startService()
        failure = self._listen()
        if failure is not None:
            self.running = False
            failure.raiseException()

    def stopService(self) -> Deferred[None]:
        """Stop listening, let the running scripts end, then close what is left.

        Returns:
            A Deferred that fires when no connection is left, at the latest 2 x
            ``linger_s`` after the stop time-out. Never fails.
        """
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    def _listen(self) -> Failure | None:
        self._starting, self._listen_failure = True, None
        listening = self._endpoint.listen(FastAgiFactory(self))
        _ = listening.addCallbacks(self._listens, self._cannot_listen)
        self._starting = False
        return self._listen_failure

    def _listens(self, port: IListeningPort) -> None:
        self._listening = port
        if not self.running:
            # stopService was called before the port was there.
            self._listening = None
            port.stopListening()

    def _cannot_listen(self, failure: Failure) -> None:
        self._listen_failure = failure
        if not self._starting:
            self._log.failure("cannot listen for FastAGI", failure)

    async def _stop(self) -> None:
        self._stop_checking_files()
        port, self._listening = self._listening, None
        if port is not None:
            await maybeDeferred(port.stopListening)
        stopping = AgiConnectionLost("The service is stopping.")
        for link in self._links - self._running.keys():
            link.give_up(stopping)
        for refusal in list(self._refusals):
            refusal.abort()
        if await self._wait_for_end(self._stop_timeout_s):
            return
        self._log.warn(
            "{count} FastAGI scripts did not end in time and are dropped",
            count=len(self._running),
        )
        for link in list(self._links):
            link.give_up(stopping)
        for script in list(self._running.values()):
            script.cancel()
        if await self._wait_for_end(2 * self._limits.linger_s):
            return
        for link in list(self._links):
            link.abort()

    async def _wait_for_end(self, timeout_s: float) -> bool:
        if not self._links:
            return True
        try:
            await self._all_ended.add().addTimeout(timeout_s, self._clock)
        except TimeoutError:
            return False
        return True

    # -- new connections

    def accept(self, address: IAddress | None) -> Protocol | None:
        """Return the protocol for a new connection; None closes it unanswered."""
        host = getattr(address, "host", "")
        if not self.running:
            return None
        admission = self._peers.admit(host)
        if admission is not Admission.ADMITTED:
            self._reports[admission].add(host)
            return None if admission is Admission.NOT_ALLOWED else self._refusal()
        if len(self._links) >= self._max_connections:
            self._peers.release(host)
            self._warn_of_being_full()
            return self._refusal()
        if self._lacks_files():
            self._peers.release(host)
            # Close at once: a connection that lingers needs a file descriptor, too.
            return _Refusal(self._clock, 0.0, self._refusals)
        if 2 * len(self._links) <= self._max_connections:
            self._full = False
        link = AgiProtocol(
            owner=self, clock=self._clock, limits=self._limits, peer=host
        )
        self._links.add(link)
        return link

    def _lacks_files(self) -> bool:
        """Return whether too few file descriptors are left; log when that changes."""
        if self._files_left is None:
            return False
        left = self._files_left()
        if left < RESERVED_FILES and self._file_check is None:
            self._log.error(
                "no file descriptors are left for more FastAGI connections, with"
                " {count} open: requests are refused - raise LimitNOFILE in the"
                " systemd unit (systemctl edit callback-queue), or lower"
                " fastagi.max_connections",
                count=len(self._links),
            )
            self._file_check = LoopingCall(self._check_files)
            self._file_check.clock = self._clock
            _ = self._file_check.start(_FILE_CHECK_S, now=False)
        return left < RESERVED_FILES

    def _check_files(self) -> None:
        assert self._files_left is not None
        # Twice the limit, so that the two log lines do not alternate.
        if self._file_check is None or self._files_left() < 2 * RESERVED_FILES:
            return
        self._log.info("there are file descriptors for FastAGI connections again")
        self._stop_checking_files()

    def _stop_checking_files(self) -> None:
        looking, self._file_check = self._file_check, None
        if looking is not None and looking.running:
            looking.stop()

    def _warn_of_being_full(self) -> None:
        if not self._full:
            self._full = True
            self._log.warn(
                "all {count} FastAGI connections are in use, more are refused",
                count=self._max_connections,
            )

    def _warn_of_not_allowed(self, count: int, peer: str) -> None:
        self._log.warn(
            "{count} FastAGI connections were closed unanswered, the latest from"
            " {peer}: it is not in fastagi.allowed_peers",
            count=count,
            peer=peer,
        )

    def _warn_of_too_many(self, count: int, peer: str) -> None:
        self._log.warn(
            "{count} FastAGI connections were refused, the latest from {peer}: it has"
            " fastagi.max_connections_per_peer of them",
            count=count,
            peer=peer,
        )

    def _warn_of_too_fast(self, count: int, peer: str) -> None:
        self._log.warn(
            "{count} FastAGI connections were refused, the latest from {peer}: it made"
            " more in a second than fastagi.max_rate_per_peer",
            count=count,
            peer=peer,
        )

    def _refusal(self) -> Protocol:
        # Refused connections that Asterisk does not close are limited, too.
        linger = len(self._refusals) < min(self._max_connections, _MAX_LINGERING)
        linger_s = self._limits.linger_s if linger else 0.0
        return _Refusal(self._clock, linger_s, self._refusals)

    # -- called by connections

    def request_received(self, link: AgiProtocol, request: AgiRequest) -> None:
        """Start the script that the request asks for."""
        script = self._scripts.get(request.script)
        if script is None:
            self._log.warn(
                "FastAGI request for {script!r} refused: there is no such"
                " script{remedy}",
                script=request.script,
                remedy=self._remedy,
                uniqueid=request.uniqueid,
            )
            link.give_up(AgiError("There is no such script."))
            return
        if isinstance(script, LongScript):
            if not self._admit_long(link):
                link.give_up(AgiError("There are too many long sessions."))
                return
            link.limit_session(script.limit_s)
            script = script.run
        running = Deferred.fromCoroutine(self._run(link, request, script))
        self._running[link] = running
        _ = running.addBoth(self._script_ended, link)

    def _admit_long(self, link: AgiProtocol) -> bool:
        peers = [one.peer for one in self._long]
        most = max(1, self._max_connections // 2)
        most_of_peer = max(1, (self._max_per_peer or self._max_connections) // 2)
        if len(peers) >= most:
            self._warn_of_long(most, "fastagi.max_connections")
            return False
        if peers.count(link.peer) >= most_of_peer:
            self._warn_of_long(most_of_peer, "fastagi.max_connections_per_peer")
            return False
        if 2 * len(peers) <= min(most, most_of_peer):
            self._long_full = False
        self._long.add(link)
        return True

    def _warn_of_long(self, count: int, setting: str) -> None:
        if not self._long_full:
            self._long_full = True
            self._log.warn(
                "{count} FastAGI connections are in use by callers who are being"
                " asked, more callers are not asked - raise {setting}, half of which"
                " they may use",
                count=count,
                setting=setting,
            )

    def session_expired(self, link: AgiProtocol) -> None:
        """Cancel the script of a session whose time is over."""
        script = self._running.get(link)
        if script is not None:
            script.cancel()

    def link_closed(self, link: AgiProtocol) -> None:
        """End the session, unless its script is still running."""
        self._release(link)

    async def _run(
        self, link: AgiProtocol, request: AgiRequest, script: Script
    ) -> None:
        try:
            session = AgiSession(request=request, link=link, unread_s=link.unread_s)
            await script(session)
        except AgiHungUp:
            link.finish()
        except AgiMisunderstood as error:
            self._warn(request, str(error))
        except AgiConnectionLost as error:
            self._log.debug(
                "script {script!r} ended early: {reason!s}",
                script=request.script,
                uniqueid=request.uniqueid,
                reason=error,
            )
            link.give_up(error)
        except (AgiTimedOut, CancelledError) as error:
            self._warn(request, str(error) or "it took too long")
            link.give_up(AgiTimedOut())
        except Exception:
            self._log.failure(
                "script {script!r} failed",
                script=request.script,
                uniqueid=request.uniqueid,
            )
            link.give_up(AgiError("The script failed."))
        else:
            link.finish()

    def _warn(self, request: AgiRequest, reason: str) -> None:
        self._log.warn(
            "script {script!r} given up: {reason}",
            script=request.script,
            uniqueid=request.uniqueid,
            reason=reason,
        )

    def _script_ended(self, result: object, link: AgiProtocol) -> None:
        del self._running[link]
        self._release(link)
        if isinstance(result, Failure):
            self._log.failure("a FastAGI session failed", result)

    def _release(self, link: AgiProtocol) -> None:
        if not link.closed or link in self._running:
            return
        if link in self._links:
            self._links.remove(link)
            self._long.discard(link)
            self._peers.release(link.peer)
        if not self._links:
            release(self._all_ended)


class FastAgiFactory(Factory):
    """Passes each new connection to the server."""

    noisy = False

    def __init__(self, server: FastAgiServer) -> None:
        self._server = server

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        return self._server.accept(addr)


class _Refusal(Protocol):
    """A refused connection: sends ``failure``, drops what comes, closes.

    With ``linger_s`` 0 it closes at once. Linux still delivers the line; other systems
    may send a reset in its place.
    """

    def __init__(
        self, clock: IReactorTime, linger_s: float, refusals: set[_Refusal]
    ) -> None:
        self._clock = clock
        self._linger_s = linger_s
        self._refusals = refusals
        self._timer: IDelayedCall | None = None

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(FAILURE_LINE)
        if not self._linger_s:
            self.transport.loseConnection()
            return
        self._refusals.add(self)
        self._timer = self._clock.callLater(self._linger_s, self.abort)

    def abort(self) -> None:
        abort(self.transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._refusals.discard(self)
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
