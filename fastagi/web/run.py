# SPDX-License-Identifier: MIT
"""The process: its listener, its signals, its log and the server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import stat
from collections.abc import Callable, Iterator
from typing import Final

import uvicorn

from fastagi import __version__
from fastagi.errors import CallbackError
from fastagi.garbage import exclude_existing_objects
from fastagi.store.errors import StoreUnavailable
from fastagi.web import logs
from fastagi.web.app import create_app
from fastagi.web.parts import WebParts, build_parts
from fastagi.web.settings import ListenSettings, WebSettings

_log = logging.getLogger(__name__)

#: The exit code after which systemd does not restart the process.
EXIT_NO_RESTART: Final = 2
_BACKLOG: Final = 256
#: How long answers under way may take when the process stops, in seconds.
_STOP_S: Final = 5
#: Longest time without a request on an open connection, in seconds.
_KEEP_ALIVE_S: Final = 30


class CannotListen(CallbackError):
    """The address is in use, or may not be used."""


class _Server(uvicorn.Server):
    """Ends with the exit code 0 after SIGTERM; tells endless answers to end."""

    def __init__(
        self, config: uvicorn.Config, parts: WebParts, tell: Callable[[str], None]
    ) -> None:
        super().__init__(config)
        self._parts = parts
        self._tell = tell

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        yield

    def _stop(self) -> None:
        if not self.should_exit:
            _log.info("callback-queue web stops")
            self._tell("STOPPING=1")
        self.should_exit = True
        self._parts.stopping.set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            exclude_existing_objects()
            self._tell("READY=1")


def run(settings: WebSettings, tell_supervisor: Callable[[str], None]) -> int:
    """Run the process until it is stopped; return the exit code."""
    logs.begin(settings.log)
    # A change of the settings needs a restart; SIGHUP must not end the process.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        listener = listen(settings.web)
        try:
            parts = build_parts(settings)
        except BaseException:
            listener.close()
            raise
    except (StoreUnavailable, CannotListen) as error:
        # For example a database server that is not up yet: systemd tries again.
        _log.critical("can not start: %s", error)
        return 1
    except CallbackError as error:
        _log.critical("can not start: %s", error)
        return EXIT_NO_RESTART
    _log.info(
        "callback-queue web %s listens on %s, for %s",
        __version__,
        settings.web.socket or f"{settings.web.listen}:{settings.web.port}",
        settings.origin,
    )
    config = uvicorn.Config(
        create_app(parts),
        log_config=None,
        access_log=False,
        server_header=False,
        # Only the application decides whose X-Forwarded-For it believes.
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_STOP_S,
        backlog=_BACKLOG,
        ws="none",
        lifespan="on",
    )
    try:
        _Server(config, parts, tell_supervisor).run(sockets=[listener])
    finally:
        if settings.web.socket is not None:
            with contextlib.suppress(OSError):
                os.unlink(settings.web.socket)
    return 0


def listen(web: ListenSettings) -> socket.socket:
    """Listen on the address of the settings.

    Raises:
        CannotListen: it is in use, or may not be used.
    """
    if web.socket is not None:
        return _listen_on_socket(web.socket)
    family = socket.AF_INET6 if ":" in web.listen else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((web.listen, web.port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise CannotListen(
            f"{web.listen}:{web.port} can not be listened on ({error.strerror})",
            "is another callback-queue web running? See which program has the port with"
            f" 'ss -ltnp sport = :{web.port}', or set web.port",
        ) from None
    return listener


def _listen_on_socket(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _answers(path):
            raise CannotListen(
                f"{path} is in use", "is another callback-queue web running?"
            )
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISSOCK(os.lstat(path).st_mode):
                os.unlink(path)
        listener.bind(path)
        # The group of the process, in which the reverse proxy is, may connect.
        os.chmod(path, 0o660)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise CannotListen(
            f"{path} can not be listened on ({error.strerror})",
            "let the user of the process write to its directory, or set web.socket",
        ) from None
    except CannotListen:
        listener.close()
        raise
    return listener


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
        return True
