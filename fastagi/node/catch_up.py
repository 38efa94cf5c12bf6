# SPDX-License-Identifier: MIT
"""Finds what happened while nobody listened: the service was down, or its link lost.

Each time the manager is connected, Asterisk's histories are read from where the live
detection stopped, and lead to the same tasks. Where that was is kept as a mark in the
store. It is moved only when all before it is known: what ended before the mark was
seen live, or has been looked for in the histories for the last time. What is seen both
ways makes one task, as the ids of its call are known.

The reading is done in a thread; what follows from it, here. What a history means is
judged in :mod:`fastagi.history`.
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

from fastagi.config.model import Settings
from fastagi.domain.contacts import Contact, PastContact, served_after
from fastagi.domain.counting import Ended
from fastagi.errors import Problem
from fastagi.history.judge import Judged, judge
from fastagi.history.sources import (
    CdrDatabase,
    CdrFile,
    QueueLog,
    QueueLogDatabase,
    Source,
    read_all,
)
from fastagi.node.call_tracker import CallTracker, client_key, is_own
from fastagi.runtime.background import Background, Stopping
from fastagi.runtime.clock import Clock
from fastagi.runtime.threads import InThread
from fastagi.runtime.worker import Worker
from fastagi.service.missed_calls import queue_of, request_of
from fastagi.service.requests import Accepted, Known, Repeated, Requests
from fastagi.service.served import ServedClients
from fastagi.store.errors import StoreUnavailable
from fastagi.store.store import TaskStore

#: Name of the mark.
MARK: Final = "history"
#: Callbacks wait so long for the history after a connect, in seconds.
HOLD_S: Final = 10.0
#: A reading that takes longer is given up, in seconds.
_READ_S: Final = 60.0
#: When to look again, in seconds. Asterisk may write a CDR late: with batch = yes in
#: cdr.conf after 300 s at most, unless its ``time`` says otherwise.
_LATER_S: Final = (15.0, 60.0, 330.0)
#: When something can not be read, in seconds.
_RETRY_S: Final = 60.0
_HAIR_S: Final = 0.001
#: From the end of a call to its lines in the histories, in seconds.
_WRITTEN_S: Final = 2.0
#: Histories tell times in whole seconds.
_SLACK_S: Final = 2.0
#: How many calls are remembered of which was said that they are not called back.
_MOST_TOLD: Final = 5000


def sources_of(settings: Settings) -> list[Source]:
    """Return the histories there are, the one that is believed first before others."""
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
                _shown(history.queue_log_password),
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
                _shown(history.cdr_password),
                people,
            )
        )
    return sources


def _shown(password: SecretStr | None) -> str | None:
    return None if password is None else password.get_secret_value()


@frozen
class Found:
    """What the histories tell."""

    judged: Judged
    #: What the admin should know.
    remarks: tuple[Problem, ...] = ()
    #: What could not be read.
    troubles: tuple[Problem, ...] = ()


def find(settings: Settings, since: float, until: float) -> Found:
    """Read and judge the histories; blocks.

    Args:
        settings: which histories, and which calls count.
        since: epoch seconds; what ended before is not of interest.
        until: now, in epoch seconds; what is dated later is not believed.
    """
    past = read_all(sources_of(settings), since, until)
    judged = judge(
        past.calls,
        settings.counting_rules,
        client_key=cache(partial(client_key, settings)),
        is_own=is_own,
    )
    return Found(
        judged,
        tuple(past.remarks),
        tuple(trouble.problem for trouble in past.troubles),
    )


class History:
    """Looks into the histories after each connect, and again when it may help."""

    _log = Logger()

    def __init__(
        self,
        *,
        store: TaskStore,
        missed: CallTracker,
        requests: Requests,
        served: ServedClients,
        clock: Clock,
        background: Background,
        settings: Callable[[], Settings],
        in_thread: InThread,
    ) -> None:
        self._store = store
        self._missed = missed
        self._requests = requests
        self._served = served
        self._clock = clock
        self._background = background
        self._settings = settings
        self._in_thread = in_thread
        #: When to look, by the steady clock, the earliest first. While there are such
        #: times the mark stays.
        self._due: list[float] = []
        #: What can not be read until then, by the steady clock, is given up.
        self._give_up_at = 0.0
        self._looking = False
        self._worker = Worker(
            self._look_if_due,
            what="looking into the history",
            background=background,
            clock=clock,
            retry_s=_RETRY_S,
        )
        #: Something happened that nobody heard, and no look for it is in ``_due`` yet.
        self._gap = True
        self._stopped = False
        #: A thread is still at work, perhaps for nobody any more.
        self._reading = False
        self._waiting: Deferred[Found] | None = None
        self._waiters: list[Deferred[None]] = []
        self._marking = False
        #: Of what was told already: troubles and remarks, and calls.
        self._said: set[str] = set()
        self._told: deque[str] = deque(maxlen=_MOST_TOLD)

    async def catch_up(self) -> None:
        """Look what happened since the live detection stopped, after a connect.

        Returns when what was missed is stored and who was served is known; or when the
        histories could not be read, or not in time: the log says so, and they are
        looked at again later.
        """
        if self._stopped:
            return
        if not self._settings().history.enabled:
            self._gap = False
            return
        looked: Deferred[None] = Deferred()
        self._waiters.append(looked)
        self._look_at([0.0, *self._later()])
        self._gap = False
        try:
            await looked.addTimeout(HOLD_S, self._clock.timers)
        except TimeoutError:
            self._log.error(
                "the history is not read after {limit_s:g} s; callbacks go on without"
                " it, and what it tells is taken in when it comes",
                limit_s=HOLD_S,
            )

    def disconnected(self) -> None:
        """From now on things happen that nobody hears, until :meth:`catch_up`."""
        self._gap = True

    def stop(self) -> None:
        """Look no more; who waits for it waits no longer."""
        self._stopped = True
        self._due.clear()
        self._worker.stop()
        if self._waiting is not None:
            self._waiting.cancel()
        self._tell_waiters()

    # -- when to look ------------------------------------------------------

    def call_ended(self, ended: Ended, seen: bool) -> None:
        """A call of a client has ended before the eyes of the live detection."""
        if self._stopped or not self._settings().history.enabled:
            return
        if seen:
            self._move_mark()
        else:
            # It was under way at the connect: what it was only the histories know.
            self._look_at([_WRITTEN_S, *self._later()[1:]])

    def _later(self) -> Sequence[float]:
        """Return in how many seconds to look again, for what is written late."""
        history = self._settings().history
        late = history.cdr_csv is not None or history.cdr_url is not None
        return _LATER_S if late else ()

    def _look_at(self, in_s: Iterable[float]) -> None:
        now = self._clock.steady()
        self._give_up_at = now + _LATER_S[-1]
        # One look serves all that it comes after.
        due = sorted({*self._due, *(now + seconds for seconds in in_s)})
        self._due = [
            at
            for at, following in zip(due, [*due[1:], float("inf")], strict=True)
            if at <= now or following - at > _WRITTEN_S
        ]
        self._worker.wake_in(self._due[0] - now)

    # -- looking -----------------------------------------------------------

    async def _look_if_due(self) -> float | None:
        """Look; return in how many seconds to look again, None if not at all."""
        began_at = self._clock.steady()
        if self._due and self._due[0] <= began_at + _HAIR_S:
            await self._look(began_at)
        if not self._due:
            return None
        return self._due[0] - self._clock.steady()

    async def _look(self, began_at: float) -> None:
        waiters, self._waiters = self._waiters, []
        self._looking = failed = True
        try:
            since = await self._since(self._clock.epoch_s())
            if self._stopped:
                raise Stopping
            found = await self._read(since)
            if found is not None:
                self._say([*found.troubles, *found.remarks])
                await self._use(found.judged, since)
                failed = bool(found.troubles)
        except StoreUnavailable as error:
            self._log.error(
                "what happened meanwhile is not known, trying again: {error}",
                error=error,
            )
        finally:
            self._looking = False
            self._due = [at for at in self._due if at > began_at + _HAIR_S]
            if failed and not self._due and began_at < self._give_up_at:
                self._due.append(self._clock.steady() + _RETRY_S)
            self._move_mark()
            for waiter in waiters:
                if not waiter.called:
                    waiter.callback(None)

    async def _since(self, now: float) -> float:
        at = datetime.fromtimestamp(now, UTC)
        windows = [
            queue.expiry_rules.missed_since(at).timestamp()
            for queue in self._settings().queues.values()
            if queue.missed_calls
        ]
        oldest = min(windows, default=now)
        mark = await self._store.mark(MARK)
        if mark is None:
            return oldest
        return max(oldest, min(mark.timestamp(), now) - _SLACK_S)

    async def _read(self, since: float) -> Found | None:
        """Read and judge; None if it could not be done in time."""
        if self._reading:
            self._say_unread("what began to read it has not come to an end")
            return None
        self._reading = True
        found: Deferred[Found] = Deferred()

        def done(result: object) -> None:
            self._reading = False
            if not found.called:
                found.callback(result)  # type: ignore[arg-type]

        try:
            until = self._clock.epoch_s()
            work = partial(find, self._settings(), since, until)
            _ = self._in_thread(work).addBoth(done)
        except RuntimeError as error:
            self._reading = False
            self._say_unread(f"nothing can read it: {error}")
            return None
        self._waiting = found
        try:
            return await found.addTimeout(_READ_S, self._clock.timers)
        except CancelledError:
            raise Stopping from None
        except TimeoutError:
            self._say_unread(f"it could not be read within {_READ_S:g} s")
            return None
        finally:
            self._waiting = None

    def _say_unread(self, what: str) -> None:
        self._say([Problem("the history", what)])

    def _say(self, problems: Iterable[Problem]) -> None:
        """Log what is wrong, once for as long as it is so."""
        words = [str(problem) for problem in problems]
        for text in words:
            if text not in self._said:
                self._log.error("history: {text}", text=text)
        if self._said and not words:
            self._log.info("history: all of it can be read again")
        self._said = set(words)

    # -- using what was found ----------------------------------------------

    async def _use(self, judged: Judged, since: float) -> None:
        contacts: dict[str, list[PastContact]] = {}
        unheard = _unheard(judged.contacts, since)
        for contact in [*unheard, *self._missed.contacts]:
            contacts.setdefault(contact.key, []).append(contact)
        missed = [
            _ended_at_the_latest(ended, since)
            for ended in judged.missed
            if ended.ended_at >= since
            and not self._missed.knows(ended.ids)
            and ended.uniqueid not in self._told
        ]
        asked_at = {
            one: datetime.fromtimestamp(ended.ended_at, UTC)
            for ended in judged.missed
            for one in ended.ids
        }
        await self._served.serve_all(contacts, asked_at)
        kept = 0
        for ended in missed:
            if self._was_served(ended, contacts.get(ended.key, [])):
                self._told.append(ended.uniqueid)
                continue
            request = request_of(ended, self._settings())
            answer = await self._requests.ask_until_stored(request)
            kept += isinstance(answer, Accepted | Repeated)
            if not isinstance(answer, Accepted | Repeated | Known):
                self._told.append(ended.uniqueid)
        if missed:
            self._log.info(
                "the history since {since} tells of {missed} missed calls; {kept} are"
                " called back that were not known",
                since=datetime.fromtimestamp(since, UTC).isoformat(" ", "seconds"),
                missed=len(missed),
                kept=kept,
            )
        if kept:
            self._missed.meet_again(asked_at)

    def _was_served(self, ended: Ended, contacts: Iterable[PastContact]) -> bool:
        """Tell whether the client was served since, and say so."""
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
        """Keep until when all is known, unless a look is still to come."""
        if not (self._looking or self._marking or self._holds_mark):
            self._marking = True
            self._background.start("keeping the mark of the history", self._keep_mark())

    async def _keep_mark(self) -> None:
        until: float | None = None
        try:
            while until != self._missed.heard_until and not self._holds_mark:
                until = self._missed.heard_until
                with suppress(StoreUnavailable):
                    await self._store.set_mark(MARK, datetime.fromtimestamp(until, UTC))
        finally:
            self._marking = False

    @property
    def _holds_mark(self) -> bool:
        return bool(self._due or self._gap or self._stopped)

    def _tell_waiters(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.called:
                waiter.callback(None)


def _unheard(contacts: Iterable[PastContact], since: float) -> list[PastContact]:
    """Return the contacts that nobody heard of live.

    The live detection followed all others as they came about: what a history tells of
    that time besides, a caller may have written into it.
    """
    return [
        contact
        for contact in contacts
        if contact.at + contact.talk_s * (contact.contact is Contact.CALLED) >= since
    ]


def _ended_at_the_latest(ended: Ended, since: float) -> Ended:
    """Put the end of a call that Asterisk took with it to where it was last alive.

    Else a caller of three days ago would seem to have waited until Asterisk's start.

    Args:
        ended: the call.
        since: until then the live detection heard Asterisk.
    """
    if ended.cut_off_after is None:
        return ended
    at = min(ended.ended_at, max(ended.cut_off_after, since))
    return evolve(ended, ended_at=at)
