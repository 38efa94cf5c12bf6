# SPDX-License-Identifier: MIT
"""A connection to PostgreSQL that does not wait for its server for ever.

The server's own time limits are of no use when the server itself hangs: stopped, out
of memory, on a disk that does not answer. Its machine still acknowledges what is sent
to it, so that TCP notices nothing either. Importing this needs the driver.
"""

from __future__ import annotations

import time
from typing import Any, Final, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.rows import TupleRow

T = TypeVar("T")

#: For one answer, in seconds; more than the server takes to give up by itself.
PATIENCE_S: Final = 7.0


class PatientConnection(psycopg.Connection[TupleRow]):
    """Gives a server that does not answer up; the connection is of no use then."""

    #: None: wait as long as it takes.
    patience_s: float | None = PATIENCE_S

    # Later versions of the driver pass more, which goes on as it is.
    def wait(self, gen: PQGen[T], *args: Any, **options: Any) -> T:
        """Carry out one exchange with the server.

        Raises:
            psycopg.OperationalError: the server has not answered.
        """
        if self.patience_s is not None:
            gen = _until(time.monotonic() + self.patience_s, gen)
        return super().wait(gen, *args, **options)


def _until(end: float, gen: PQGen[T]) -> PQGen[T]:
    """Pass a generator of the driver on, as long as there is time.

    The driver comes by every tenth of a second when nothing else happens.
    """
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > end:
                raise psycopg.OperationalError("the server does not answer")
            wanted = gen.send(ready)
    except StopIteration as done:
        result: T = done.value
        return result
