# SPDX-License-Identifier: MIT
"""Wakes the other services on a PostgreSQL when something was stored.

A notice only wakes: what has happened is in the tables. One that is lost, for example
with its connection, is made up for by the next regular look.
"""

from __future__ import annotations

import select
import threading
from collections.abc import Callable
from typing import Any, Final

import sqlalchemy as sa

from fastagi.store.backends import backend_for
from fastagi.store.errors import StoreUnavailable

_CHANNEL: Final = "callback_queue"
_SEND: Final = sa.text(f"SELECT pg_notify('{_CHANNEL}', :sender)")
#: Pause before a new connection, and the interval of looks whether to end, in seconds.
_RETRY_S: Final = 5.0
_LOOK_S: Final = 1.0


def send(conn: sa.Connection, sender: str) -> None:
    """Wake the others after the COMMIT; ``sender`` is this service's name."""
    conn.execute(_SEND, {"sender": sender})


class Notices:
    """Hears the notices of other services, in a thread with a connection of its own."""

    def __init__(
        self,
        url: str,
        *,
        name: str,
        deliver: Callable[..., object],
        heard: Callable[[], object],
    ) -> None:
        """Prepare.

        Args:
            url: the URL of the database.
            name: the name of this service, whose own notices are left out.
            deliver: runs a function on the reactor's thread.
            heard: called there after a notice of another service, and after each
                connect, as notices may have been lost before.
        """
        self._url = url
        self._name = name
        self._deliver = deliver
        self._heard = heard
        self._ended = threading.Event()

    def start(self) -> None:
        """Listen from now on."""
        threading.Thread(target=self._run, name="notices", daemon=True).start()

    def stop(self) -> None:
        """Listen no more."""
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                self._listen()
            except (sa.exc.SQLAlchemyError, StoreUnavailable, OSError):
                # The requests of this service report what is wrong.
                self._ended.wait(_RETRY_S)

    def _listen(self) -> None:
        engine = backend_for(self._url).engine
        try:
            with engine.connect().execution_options(
                isolation_level="AUTOCOMMIT"
            ) as conn:
                conn.exec_driver_sql(f"LISTEN {_CHANNEL}")
                driver: Any = conn.connection.driver_connection
                # Not select(), which takes no descriptor above 1023.
                poll = select.poll()
                poll.register(driver.fileno(), select.POLLIN)
                self._deliver(self._heard)
                while not self._ended.is_set():
                    if poll.poll(_LOOK_S * 1000) and self._take(driver.pgconn):
                        self._deliver(self._heard)
        finally:
            engine.dispose()

    def _take(self, link: Any) -> bool:
        """Read what the server has sent; return whether another service woke us.

        Raises:
            OSError: the connection is lost.
        """
        try:
            link.consume_input()
        except Exception as error:
            # The driver's own error, which this module does not import.
            raise OSError(str(error)) from error
        heard = False
        while (notice := link.notifies()) is not None:
            heard = heard or notice.extra != self._name.encode()
        return heard
