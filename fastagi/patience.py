# SPDX-License-Identifier: MIT
"""A connection to PostgreSQL that limits each wait for the server.

The server's own time-outs do not help if the server hangs: stopped, out of memory, or
waiting for its disk. Its machine still acknowledges packets, so TCP notices nothing
either. This module imports the driver.
"""

from __future__ import annotations

import time
from typing import Any, Final, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.rows import TupleRow

T = TypeVar("T")

#: Time-out for one answer, in seconds; longer than the server's own time-outs.
PATIENCE_S: Final = 7.0


class PatientConnection(psycopg.Connection[TupleRow]):
    """Fails if the server does not answer; the connection cannot be used after that."""

    #: None: no time-out.
    patience_s: float | None = PATIENCE_S

    # Later versions of the driver pass more arguments, which are passed on.
    def wait(self, gen: PQGen[T], *args: Any, **options: Any) -> T:
        """Carry out one exchange with the server.

        Raises:
            psycopg.OperationalError: the server did not answer in time.
        """
        if self.patience_s is not None:
            gen = _until(time.monotonic() + self.patience_s, gen)
        return super().wait(gen, *args, **options)


def _until(end: float, gen: PQGen[T]) -> PQGen[T]:
    """Pass on what a generator of the driver yields, until the time-out.

    The driver resumes the generator at least every tenth of a second.
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
