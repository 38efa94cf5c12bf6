# SPDX-License-Identifier: MIT
"""The process of the service: reactor, signals, log and the service itself."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ServerEndpoint,
    TCP6ServerEndpoint,
)
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IStreamClientEndpoint, IStreamServerEndpoint
from twisted.logger import Logger

from fastagi import __version__
from fastagi.ami.tls import TlsClientEndpoint, TlsMisconfigured
from fastagi.app import CallbackService, Endpoints
from fastagi.command.supervisor import ReloadRequests, notify
from fastagi.config import number_plan
from fastagi.config.errors import BETWEEN, ConfigErrors
from fastagi.config.load import load_settings
from fastagi.config.secrecy import unsafe_rights
from fastagi.config.sections import AmiSettings, FastAgiSettings, LogFormat, Settings
from fastagi.doors.control_socket import ControlSocketEndpoint
from fastagi.errors import CallbackError
from fastagi.garbage import exclude_existing_objects
from fastagi.node.manager_tls import manager_tls
from fastagi.runtime import steady_reactor
from fastagi.runtime.clock import MachineClock
from fastagi.runtime.kernel_limits import allow_open_files, files_left, longest_backlog
from fastagi.runtime.logs import Logs
from fastagi.runtime.programs import ChildPrograms
from fastagi.runtime.steady_reactor import SteadyReactor
from fastagi.runtime.threads import OwnThread
from fastagi.store import migrate
from fastagi.store.engine import Database
from fastagi.store.errors import DatabaseHeld, SchemaMismatch
from fastagi.store.leases import Ownership
from fastagi.store.notices import Notices

#: The exit code after which systemd does not restart the service, for example because
#: of wrong settings, or because another service holds the database
#: (RestartPreventExitStatus in callback-queue.service).
EXIT_NO_RESTART: Final = 2
#: From a caller's request to what follows from it besides the answer, in seconds: the
#: next caller often comes at once, and is answered first.
_MOMENT_S: Final = 0.01

_log = Logger()


def run(config: str, settings: Settings, reloads: ReloadRequests) -> int:
    """Run the service until it is stopped; return the exit code.

    Args:
        config: path of the settings file, which each reload reads again.
        settings: the settings at the start.
        reloads: the requests to reload. One that comes before the service has started
            is carried out as soon as it has.
    """
    reactor = steady_reactor.install()
    logs = Logs()
    _configure_log(logs, settings)
    logs.begin()
    _warn_of_readable_secrets(config, settings)
    _warn_of_number_plan(settings)
    _warn_of_limits(settings.fastagi)
    try:
        migrate.prepare(settings.database.url)
        endpoints = _endpoints(settings, reactor)
        _create_directory_of(settings.control.socket)
        # Before anything listens or connects to Asterisk.
        ownership = Ownership.take(
            settings.database.url, instance=settings.instance.name or ""
        )
    except (SchemaMismatch, TlsMisconfigured, DatabaseHeld) as error:
        _log.critical("{error}", error=error)
        return EXIT_NO_RESTART
    except CallbackError as error:
        # For example a database server that is not up yet: systemd tries again.
        _log.critical("{error}", error=error)
        return 1
    clock = MachineClock(reactor)
    service = CallbackService(
        settings=settings,
        database=Database(
            settings.database.url,
            deliver=reactor.callFromThread,
            at_turn_end=partial(reactor.callLater, 0),
        ),
        endpoints=endpoints,
        clock=clock,
        programs=ChildPrograms(reactor, clock),
        in_thread=OwnThread(reactor.callFromThread),
        files_left=files_left,
        in_a_moment=partial(reactor.callLater, _MOMENT_S),
        lease=ownership.lease,
        listen=lambda heard: Notices(
            settings.database.url,
            name=settings.instance.name or "",
            deliver=reactor.callFromThread,
            heard=heard,
        ),
        on_lease_lost=lambda reason: lease_lost(reason),
    )
    failed: list[int] = []

    def start() -> None:
        _ = Deferred.fromCoroutine(begin()).addErrback(could_not_start)

    async def begin() -> None:
        await service.start()
        exclude_existing_objects()
        reloads.set_action(lambda: reactor.callFromThread(reload))
        _tell_supervisor("READY=1")
        service.warm_up()

    def stop() -> Deferred[None]:
        if not failed:
            _log.info("callback-queue stops; calls in progress continue in Asterisk")
        _tell_supervisor("STOPPING=1")
        return Deferred.fromCoroutine(service.stop())

    def could_not_start(failure: Any) -> None:
        failed.append(1)
        if failure.check(CannotListenError):
            error = listen_problem(failure.value)
        else:
            error = failure.getErrorMessage()
        _log.critical("can not start: {error}", error=error)
        reactor.stop()

    def lease_lost(reason: str) -> None:
        failed.append(1)
        _log.critical("this service stops: {reason}", reason=reason)
        reactor.stop()

    def reload() -> None:
        try:
            # On the reactor's thread.
            new = load_settings(config, may_block=False)
        except ConfigErrors as errors:
            for problem in errors.problems:
                _log.error("settings: {error}", error=problem.on_one_line(BETWEEN))
            _log.error("settings: the old ones stay in force")
        else:
            _configure_log(logs, new)
            _warn_of_readable_secrets(config, new)
            _warn_of_number_plan(new)
            service.settings.replace(new)

    reactor.callWhenRunning(start)
    reactor.addSystemEventTrigger("before", "shutdown", stop)
    _log.info("callback-queue {version} starts", version=__version__, pid=os.getpid())
    reactor.run()
    ownership.release()
    return failed[0] if failed else 0


def listen_problem(error: CannotListenError) -> str:
    """Return an error message for a port or a Unix socket that is in use."""
    where = (
        error.port.decode(errors="replace")
        if isinstance(error.port, bytes)
        else f"{error.interface}:{error.port}"
    )
    return (
        f"{where} can not be listened on ({error.socketError}) - is another"
        " callback-queue running? (or another program on the port: see"
        " 'callback-queue check')"
    )


def _tell_supervisor(state: str) -> None:
    try:
        notify(state, os.environ)
    except OSError as error:
        _log.warn(
            "{state} can not be sent to NOTIFY_SOCKET: {error}",
            state=state,
            error=error,
        )


def _configure_log(logs: Logs, settings: Settings) -> None:
    logs.use(
        level=settings.log.level.value,
        as_json=settings.log.format is LogFormat.JSON,
        mask_numbers=settings.log.mask_numbers,
    )


def _warn_of_readable_secrets(config: str, settings: Settings) -> None:
    try:
        for exposed in unsafe_rights(config, settings, "callback-queue", os.environ):
            _log.warn(
                "{file}: {problem} - {remedy}",
                file=exposed.where,
                problem=exposed.what,
                remedy=exposed.remedy,
            )
    except OSError:
        # The file was changed just now; the next reload checks it.
        return


def _warn_of_number_plan(settings: Settings) -> None:
    for problem in number_plan.lacking(settings):
        _log.warn("{problem}", problem=problem.on_one_line(BETWEEN))


def _warn_of_limits(fastagi: FastAgiSettings) -> None:
    """Log a warning if the system allows less than the settings need."""
    allowed = allow_open_files(fastagi.open_files)
    if allowed < fastagi.open_files:
        _log.warn(
            "this process may have {allowed} files open, and fastagi.max_connections:"
            " {most} needs {needed}: requests are refused before that - write"
            " LimitNOFILE={needed} below [Service] (systemctl edit callback-queue), or"
            " a lower max_connections",
            allowed=allowed,
            most=fastagi.max_connections,
            needed=fastagi.open_files,
        )
    longest = longest_backlog()
    if longest < fastagi.backlog:
        _log.warn(
            "the kernel holds {longest} connections to the FastAGI port until they are"
            " accepted, and {backlog} are wanted: callers who press the key at the same"
            " moment may wait - sysctl net.core.somaxconn={backlog}",
            longest=longest,
            backlog=fastagi.backlog,
        )


def _create_directory_of(socket: str) -> None:
    try:
        Path(socket).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CallbackError(
            f"the directory of control.socket, {Path(socket).parent}, can not be"
            f" created: {error.strerror} - create it, and let the user of the service"
            " write to it"
        ) from None


def _endpoints(settings: Settings, reactor: SteadyReactor) -> Endpoints:
    return Endpoints(
        ami={node.name: _manager(node.ami, reactor) for node in settings.all_nodes},
        fastagi=_listen(settings, reactor),
        control=ControlSocketEndpoint(reactor, settings.control.socket),
    )


def _manager(ami: AmiSettings, reactor: SteadyReactor) -> IStreamClientEndpoint:
    endpoint = HostnameEndpoint(reactor, ami.host, ami.tcp_port)
    tls = manager_tls(ami)
    return endpoint if tls is None else TlsClientEndpoint(endpoint, tls, reactor)


def _listen(settings: Settings, reactor: SteadyReactor) -> IStreamServerEndpoint:
    address = settings.fastagi.listen
    kind = TCP6ServerEndpoint if ":" in address else TCP4ServerEndpoint
    return kind(
        reactor,
        settings.fastagi.port,
        backlog=settings.fastagi.backlog,
        interface=address,
    )
