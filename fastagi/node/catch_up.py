# SPDX-License-Identifier: MIT
"""Finds calls that were missed, or served, while the service or its link was down.

After each connect, Asterisk's histories are read from the mark in the store on, and
create the same tasks as the live detection. All calls that ended before the mark are
known: they were seen live, or the histories were read for them for the last time. A
call that is seen both ways makes one task, as the ids of known calls are stored.

The histories are read in a thread, and judged in :mod:`fastagi.history`; this module
stores the results.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Final

from attrs import evolve, frozen
from pydantic import SecretStr

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.logger import Logger

from fastagi.config.sections import Settings
from fastagi.domain.attempt import DEFAULT_NODE
from fastagi.domain.contacts import Contact, PastContact, served_after
from fastagi.domain.counting import Ended
from fastagi.errors import Problem
from fastagi.history.judge import Judged, judge
from fastagi.history.sources import (
    CdrDatabase,
    CdrFile,
    Past,
    QueueLog,
    QueueLogDatabase,
    Source,
    read_all,
)
from fastagi.node.call_tracker import CallTracker, client_key, is_own
from fastagi.runtime.background import Background, Stopping
from fastagi.runtime.clock import Clock
from fastagi.runtime.threads import InThread
from fastagi.runtime.waiters import Waiters, release
from fastagi.runtime.worker import Worker
from fastagi.service.missed_calls import queue_of, request_of
from fastagi.service.requests import Accepted, Known, Repeated, Requests
from fastagi.service.served import ServedClients
from fastagi.store.errors import StoreUnavailable
from fastagi.store.store import TaskStore

#: Name of the mark of the only Asterisk in the store.
_MARK: Final = "history"
#: How long callbacks wait for the histories after a connect, in seconds.
HOLD_S: Final = 10.0
#: Time limit of one reading, in seconds.
_READ_S: Final = 60.0
#: When to read again after a connect, in seconds. Asterisk may write a CDR late: with
#: batch = yes in cdr.conf up to 300 s later, unless ``time`` there is longer.
_LATER_READINGS_S: Final = (15.0, 60.0, 330.0)
#: Pause before reading again if something could not be read, in seconds.
_RETRY_S: Final = 60.0
#: A timer may fire this much early, in seconds.
_TIMER_TOLERANCE_S: Final = 0.001
#: Time from the end of a call until its lines are in the histories, in seconds.
_WRITTEN_S: Final = 2.0
#: How far before the mark to read, in seconds, as histories have whole seconds.
_SLACK_S: Final = 2.0
#: Maximum number of remembered calls that are not called back.
_MAX_REJECTED: Final = 5000


def mark_of(node: str) -> str:
    """Return the name of the mark of a node in the store."""
    return _MARK if node == DEFAULT_NODE else f"{_MARK}:{node}"


def sources_of(settings: Settings) -> list[Source]:
    """Return the configured histories; if two differ, the earlier one counts."""
    history = settings.history
    people = settings.missed.technologies
    sources: list[Source] = []
    if history.queue_log_file:
        file = Path(history.queue_log_file)
        sources.append(QueueLog(file, history.rotated_into, people))
    if history.queue_log_url is not None:
        sources.append(
            QueueLogDatabase(
                history.queue_log_url,
                history.queue_log_table,
                _plain(history.queue_log_password),
                people,
            )
        )
    if history.cdr_csv is not None:
        file = Path(history.cdr_csv)
        sources.append(CdrFile(file, history.cdr_columns, history.rotated_into, people))
    if history.cdr_url is not None:
        sources.append(
            CdrDatabase(
                history.cdr_url,
                history.cdr_table,
                _plain(history.cdr_password),
                people,
            )
        )
    return sources


def _plain(password: SecretStr | None) -> str | None:
    return None if password is None else password.get_secret_value()


@frozen
class Found:
    """The result of reading the histories."""

    judged: Judged
    #: What the admin should know.
    remarks: tuple[Problem, ...] = ()
    #: What could not be read.
    troubles: tuple[Problem, ...] = ()
    #: Contacts that only the histories of other Asterisks have.
    elsewhere: tuple[PastContact, ...] = ()


def find(
    settings: Settings, since: float, until: float, elsewhere: Iterable[Settings] = ()
) -> Found:
    """Read and judge the histories. This blocks.

    Args:
        settings: the settings: which histories to read, and which calls count.
        since: epoch seconds; calls that ended before are ignored.
        until: now, in epoch seconds; lines with a later time are ignored.
        elsewhere: the settings of other Asterisks, on which clients may have been
            served; each of these reports what can not be read there.
    """
    judged, past = _judge(settings, since, until)
    return Found(
        judged,
        tuple(past.remarks),
        tuple(trouble.problem for trouble in past.troubles),
        tuple(
            contact
            for other in elsewhere
            for contact in _judge(other, since, until)[0].contacts
        ),
    )


def _judge(settings: Settings, since: float, until: float) -> tuple[Judged, Past]:
    past = read_all(sources_of(settings), since, until)
    judged = judge(
        past.calls,
        settings.counting_rules,
        client_key=cache(partial(client_key, settings)),
        is_own=is_own,
    )
    return judged, past


class CatchUp:
    """Reads the histories after each connect, and again when more may be in them."""

    _log = Logger()

    def __init__(
        self,
        *,
        store: TaskStore,
        call_tracker: CallTracker,
        requests: Requests,
        served: ServedClients,
        clock: Clock,
        background: Background,
        settings: Callable[[], Settings],
        in_thread: InThread,
        node: str = DEFAULT_NODE,
        histories_elsewhere: Callable[[], Sequence[Settings]] = tuple,
        contacts_elsewhere: Callable[[], Sequence[PastContact]] = tuple,
    ) -> None:
        self._mark = mark_of(node)
        #: Returns the settings of other Asterisks that have a history.
        self._histories_elsewhere = histories_elsewhere
        #: Returns the contacts that other Asterisks told.
        self._contacts_elsewhere = contacts_elsewhere
        self._store = store
        self._call_tracker = call_tracker
        self._requests = requests
        self._served = served
        self._clock = clock
        self._background = background
        self._settings = settings
        self._in_thread = in_thread
        #: Times of the next readings by the steady clock, in order. The mark does not
        #: move while there are any.
        self._due: list[float] = []
        #: Until this time of the steady clock a failed reading is repeated.
        self._give_up_at = 0.0
        self._in_progress = False
        self._worker = Worker(
            self._read_if_due,
            what="reading the histories",
            background=background,
            clock=clock,
            retry_s=_RETRY_S,
        )
        #: Whether events were missed, and no reading for them is in ``_due`` yet.
        self._gap = True
        self._stopped = False
        #: Whether the thread still reads, perhaps after its time limit.
        self._thread_busy = False
        self._waiting: Deferred[Found] | None = None
        #: Who waits for the next reading.
        self._waiters: Waiters[None] = Waiters()
        self._marking = False
        #: Problems that were logged and still last.
        self._reported: set[str] = set()
        #: Uniqueids of missed calls that are not called back, and were logged.
        self._rejected: deque[str] = deque(maxlen=_MAX_REJECTED)

    async def run(self) -> None:
        """Read what happened since the live detection stopped, after a connect.

        Returns when missed calls are stored and the tasks of served clients have ended.
        If the histories can not be read within `HOLD_S`, this is logged, and they are
        read again later.
        """
        if self._stopped:
            return
        if not self._settings().history.enabled:
            self._gap = False
            return
        looked = self._waiters.add()
        self._schedule([0.0, *self._later_readings()])
        self._gap = False
        try:
            await looked.addTimeout(HOLD_S, self._clock.timers)
        except TimeoutError:
            self._log.error(
                "the history is not read after {limit_s:g} s; callbacks continue"
                " without it, and its missed calls follow when it is read",
                limit_s=HOLD_S,
            )

    def disconnected(self) -> None:
        """Remember that events are missed from now on, until :meth:`run`."""
        self._gap = True

    def stop(self) -> None:
        """Read no more, and release who waits in :meth:`run`."""
        self._stopped = True
        self._due.clear()
        self._worker.stop()
        if self._waiting is not None:
            self._waiting.cancel()
        release(self._waiters)

    # -- when to read ------------------------------------------------------

    def call_ended(self, ended: Ended, seen: bool) -> None:
        """Move the mark after a call, or read the histories for it.

        Args:
            ended: the call.
            seen: whether the live detection saw the call from its beginning.
        """
        if self._stopped or not self._settings().history.enabled:
            return
        if seen:
            self._move_mark()
        else:
            # It was in progress at the connect, so only the histories know all of it.
            self._schedule([_WRITTEN_S, *self._later_readings()[1:]])

    def _later_readings(self) -> Sequence[float]:
        """Return in how many seconds to read again, for CDRs that are written late."""
        history = self._settings().history
        late = history.cdr_csv is not None or history.cdr_url is not None
        return _LATER_READINGS_S if late else ()

    def _schedule(self, in_s: Iterable[float]) -> None:
        now = self._clock.steady()
        self._give_up_at = now + _LATER_READINGS_S[-1]
        # One reading is enough for all times shortly before it.
        due = sorted({*self._due, *(now + seconds for seconds in in_s)})
        self._due = [
            at
            for at, following in zip(due, [*due[1:], float("inf")], strict=True)
            if at <= now or following - at > _WRITTEN_S
        ]
        self._worker.wake_in(self._due[0] - now)

    # -- reading -----------------------------------------------------------

    async def _read_if_due(self) -> float | None:
        """Read if it is time; return the seconds until the next reading, if any."""
        began_at = self._clock.steady()
        if self._due and self._due[0] <= began_at + _TIMER_TOLERANCE_S:
            await self._read_and_apply(began_at)
        if not self._due:
            return None
        return self._due[0] - self._clock.steady()

    async def _read_and_apply(self, began_at: float) -> None:
        waiters, self._waiters = self._waiters, Waiters()
        self._in_progress = failed = True
        try:
            since = await self._since(self._clock.epoch_s())
            if self._stopped:
                raise Stopping
            found = await self._read(since)
            if found is not None:
                self._report([*found.troubles, *found.remarks])
                await self._apply(found.judged, found.elsewhere, since)
                failed = bool(found.troubles)
        except StoreUnavailable as error:
            self._log.error(
                "calls missed meanwhile are not known yet, trying again: {error}",
                error=error,
            )
        finally:
            self._in_progress = False
            self._due = [at for at in self._due if at > began_at + _TIMER_TOLERANCE_S]
            if failed and not self._due and began_at < self._give_up_at:
                self._due.append(self._clock.steady() + _RETRY_S)
            self._move_mark()
            release(waiters)

    async def _since(self, now: float) -> float:
        at = datetime.fromtimestamp(now, UTC)
        windows = [
            queue.expiry_rules.missed_since(at).timestamp()
            for queue in self._settings().queues.values()
            if queue.missed_calls
        ]
        oldest = min(windows, default=now)
        mark = await self._store.mark(self._mark)
        if mark is None:
            return oldest
        return max(oldest, min(mark.timestamp(), now) - _SLACK_S)

    async def _read(self, since: float) -> Found | None:
        """Read and judge the histories; return None if that failed or took too long."""
        if self._thread_busy:
            self._report_unread("an earlier reading has not come to an end")
            return None
        self._thread_busy = True
        found: Deferred[Found] = Deferred()

        def done(result: object) -> None:
            self._thread_busy = False
            if not found.called:
                found.callback(result)  # type: ignore[arg-type]

        try:
            until = self._clock.epoch_s()
            elsewhere = self._histories_elsewhere()
            work = partial(find, self._settings(), since, until, elsewhere)
            _ = self._in_thread(work).addBoth(done)
        except RuntimeError as error:
            self._thread_busy = False
            self._report_unread(f"no thread can read it: {error}")
            return None
        self._waiting = found
        try:
            return await found.addTimeout(_READ_S, self._clock.timers)
        except CancelledError:
            raise Stopping from None
        except TimeoutError:
            self._report_unread(f"it could not be read within {_READ_S:g} s")
            return None
        finally:
            self._waiting = None

    def _report_unread(self, what: str) -> None:
        self._report([Problem("the history", what)])

    def _report(self, problems: Iterable[Problem]) -> None:
        """Log each problem once while it lasts, and log when all are over."""
        words = [str(problem) for problem in problems]
        for text in words:
            if text not in self._reported:
                self._log.error("history: {text}", text=text)
        if self._reported and not words:
            self._log.info("history: everything can be read again")
        self._reported = set(words)

    # -- storing the results -----------------------------------------------

    async def _apply(
        self, judged: Judged, elsewhere: Iterable[PastContact], since: float
    ) -> None:
        contacts: dict[str, list[PastContact]] = {}
        not_seen_live = _not_seen_live(judged.contacts, since)
        for contact in [*not_seen_live, *self._call_tracker.contacts]:
            contacts.setdefault(contact.key, []).append(contact)
        missed = [
            _with_latest_end(ended, since)
            for ended in judged.missed
            if ended.ended_at >= since
            and not self._call_tracker.knows(ended.ids)
            and ended.uniqueid not in self._rejected
        ]
        asked_at = {
            one: datetime.fromtimestamp(ended.ended_at, UTC)
            for ended in judged.missed
            for one in ended.ids
        }
        await self._served.serve_all(contacts, asked_at)
        # Tasks that exist are ended by those who saw these.
        elsewhere = _not_seen_live(elsewhere, since)
        for contact in [*elsewhere, *self._contacts_elsewhere()]:
            contacts.setdefault(contact.key, []).append(contact)
        kept = 0
        for ended in missed:
            if self._was_served(ended, contacts.get(ended.key, [])):
                self._rejected.append(ended.uniqueid)
                continue
            request = request_of(ended, self._settings())
            answer = await self._requests.ask_until_stored(request)
            kept += isinstance(answer, Accepted | Repeated)
            if not isinstance(answer, Accepted | Repeated | Known):
                self._rejected.append(ended.uniqueid)
        if missed:
            begin = datetime.fromtimestamp(since, UTC).astimezone()
            self._log.info(
                "the history since {since} contains {missed} missed calls; {kept} of"
                " them were not known and are called back",
                since=f"{begin:%Y-%m-%d %H:%M:%S}",
                missed=len(missed),
                kept=kept,
            )
        if kept:
            self._call_tracker.end_tasks_of_talking_clients(asked_at)

    def _was_served(self, ended: Ended, contacts: Iterable[PastContact]) -> bool:
        """Return whether the client was served after the call; if so, log it."""
        queue = queue_of(ended, self._settings())
        if queue is None:
            return False
        contact = served_after(ended.ended_at, contacts, queue.success_duration_s)
        if contact is None:
            return False
        self._log.info(
            "missed call of {number} in queue {queue} is not called back: {words} since"
            " ({how})",
            number=ended.number,
            queue=queue.name,
            words=contact.why,
            how=ended.how,
            linkedid=ended.uniqueid,
        )
        return True

    # -- the mark ----------------------------------------------------------

    def _move_mark(self) -> None:
        """Store the mark, unless another reading is still to come."""
        if not (self._in_progress or self._marking or self._holds_mark):
            self._marking = True
            self._background.start(
                "storing the mark of the history", self._store_mark()
            )

    async def _store_mark(self) -> None:
        until: float | None = None
        try:
            while until != self._call_tracker.heard_until and not self._holds_mark:
                until = self._call_tracker.heard_until
                with suppress(StoreUnavailable):
                    at = datetime.fromtimestamp(until, UTC)
                    await self._store.set_mark(self._mark, at)
        finally:
            self._marking = False

    @property
    def _holds_mark(self) -> bool:
        return bool(self._due or self._gap or self._stopped)


def _not_seen_live(contacts: Iterable[PastContact], since: float) -> list[PastContact]:
    """Return the contacts after ``since``, which the live detection did not see.

    It saw all earlier ones. A further one in a history may have been forged by a
    caller.
    """
    return [
        contact
        for contact in contacts
        if contact.at + contact.talk_s * (contact.contact is Contact.CALLED) >= since
    ]


def _with_latest_end(ended: Ended, since: float) -> Ended:
    """Correct the end of a call that ended because Asterisk stopped.

    Its end becomes the last time at which Asterisk is known to have run. Otherwise a
    caller of three days ago would seem to have waited until Asterisk's next start.

    Args:
        ended: the call.
        since: until when the live detection received events (epoch seconds).
    """
    if ended.cut_off_after is None:
        return ended
    at = min(ended.ended_at, max(ended.cut_off_after, since))
    return evolve(ended, ended_at=at)
