# SPDX-License-Identifier: MIT
"""Takes over the requests that Asterisk kept while this service did not answer.

The dialplan (``callback-keep``) writes one entry to AstDB and says so in a user event.
An entry is forgotten only after the COMMIT of its task, so it may be read twice; the
call it came from tells that it is the same. Owns the form of an entry. What strangers
typed is in it, and goes through the same rules as a request that was answered.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime
from typing import Final, Self
from urllib.parse import unquote

from attrs import frozen

from twisted.internet.defer import Deferred, TimeoutError
from twisted.logger import Logger

from fastagi import dialplan
from fastagi.ami import actions
from fastagi.ami.errors import ActionFailed, ActionTimedOut, NotConnected
from fastagi.ami.events import Handler, UserEvent, on
from fastagi.ami.session import AmiSession
from fastagi.config.model import Settings
from fastagi.dialplan import Variable
from fastagi.domain.numbers import printable, shown_number
from fastagi.domain.reason import Code, because
from fastagi.runtime.background import Background
from fastagi.runtime.clock import Clock
from fastagi.runtime.worker import Worker
from fastagi.service.promises import Promises
from fastagi.service.requests import (
    KEPT_BY_ASTERISK,
    CallbackRequest,
    Refused,
    Requests,
)
from fastagi.store.errors import StoreUnavailable

#: Pause before retrying when the database or Asterisk did not answer, in seconds.
_RETRY_S: Final = 5.0
#: Callbacks wait so long for kept requests after a connect, in seconds.
HOLD_S: Final = 10.0
#: How long an entry of a queue that is not in the settings is left, in seconds.
_STRANGE_S: Final = 24 * 3600.0
#: How long the channel may live that forgets an entry; it needs no time.
_FORGET_S: Final = 5.0
#: An answer of so many characters may be cut off: it has no more.
_MOST_SHOWN: Final = 1023
#: What the dialplan needs to delete what is given up, in seconds.
_ROOM_S: Final = 0.5
#: Characters of a queue's name that are kept when it is given up.
_LONGEST_QUEUE: Final = 80
#: Encoded by the dialplan's URIENCODE().
_KEY: Final = re.compile(r"[A-Za-z0-9._~!*'()%-]{1,200}")


@frozen(kw_only=True)
class KeptRequest:
    """One entry: ``1:time:queue:position:number:language:linkedid:name``."""

    at: datetime
    queue: str
    #: 0 if it is not known.
    position: int
    number: str
    language: str
    linkedid: str
    name: str

    @classmethod
    def read(cls, value: str) -> Self:
        """Read an entry.

        Raises:
            ValueError: the dialplan did not write this.
        """
        version, at, queue, position, *texts = value.split(":")
        number, language, linkedid, name = map(unquote, texts)
        if version != "1" or not (at.isdecimal() and len(at) < 12):
            raise ValueError(f"not an entry of version 1: {value[:60]!a}")
        return cls(
            at=datetime.fromtimestamp(int(at), UTC),
            queue=unquote(queue),
            position=int(position) if position.isdecimal() else 0,
            number=number,
            language=language[:40],
            linkedid=linkedid[:150],
            name=name,
        )


class AstDbRequests:
    """Empties the AstDB family ``callback-request`` into the store."""

    _log = Logger()

    def __init__(
        self,
        *,
        manager: AmiSession,
        requests: Requests,
        promises: Promises,
        clock: Clock,
        background: Background,
        settings: Callable[[], Settings],
        new_channel_id: Callable[[], str],
    ) -> None:
        self._manager = manager
        self._requests = requests
        self._promises = promises
        self._clock = clock
        self._background = background
        self._settings = settings
        self._new_channel_id = new_channel_id
        #: Entries that need no second look while they are still there.
        self._seen: set[str] = set()
        self._waiters: list[Deferred[None]] = []
        #: When what was taken over since the connect was asked for, by linkedid.
        self._asked_at: dict[str, datetime] = {}
        self._worker = Worker(
            self._take_over,
            what="taking over kept requests",
            background=background,
            clock=clock,
            trouble="requests that Asterisk keeps are not taken over yet, trying again",
            passing=(ActionTimedOut, StoreUnavailable),
            retry_s=_RETRY_S,
        )

    def handlers(self) -> Iterator[Handler]:
        """Yield what takes in each event that this part needs."""
        yield on(UserEvent, self._user_event)

    @property
    def remembered(self) -> int:
        """How many entries are known that Asterisk may still have."""
        return len(self._seen)

    async def take_over(self) -> dict[str, datetime]:
        """Take over what Asterisk has kept, after a connect.

        Finishes when all of it is stored; or when that is not possible, or not in time:
        the log says so, and what comes later is taken in then.

        Returns:
            When what is stored was asked for, by the linkedids of the calls.
        """
        self._asked_at.clear()
        done: Deferred[None] = Deferred(lambda gone: self._waiters.remove(gone))
        self._waiters.append(done)
        self.wake()
        try:
            await done.addTimeout(HOLD_S, self._clock.timers)
        except TimeoutError:
            self._log.error(
                "what requests Asterisk keeps is not known after {limit_s:g} s;"
                " callbacks go on without them",
                limit_s=HOLD_S,
            )
        return dict(self._asked_at)

    def wake(self) -> None:
        """Look for entries; those of queues that were unknown get a second look."""
        self._seen.clear()
        self._worker.wake()

    def stop(self) -> None:
        """Take over nothing any more; who waits for it waits no longer."""
        self._worker.stop()
        self._tell_waiters()

    def _user_event(self, event: UserEvent) -> None:
        if event.user_event == dialplan.KEPT_EVENT:
            self._promises.kept_by_asterisk(event.uniqueid, event.linkedid)
            self._worker.wake()

    async def _take_over(self) -> float | None:
        """Take over every entry; return in how many seconds to try again, if at all."""
        if self._manager.connected:
            try:
                await self._take_all()
            except NotConnected:
                # The next connect begins anew.
                pass
            except ActionFailed as error:
                if error.shutting_down:
                    return _RETRY_S
                self._log.error(
                    "what requests Asterisk keeps is not known: {error}; give the"
                    " manager user the classes of the example",
                    error=error,
                )
        if not self._worker.woken:
            self._tell_waiters()
        return None

    def _tell_waiters(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.callback(None)

    async def _take_all(self) -> None:
        given_up: set[str] = set()
        # Asterisk answers with 1,023 characters at most: the rest comes next.
        while True:
            keys, is_cut = await self._keys()
            # Those that Asterisk has forgotten need not be remembered.
            self._seen &= set(keys)
            fresh = [key for key in keys if key not in self._seen]
            for key in fresh:
                if await self._take(key):
                    await self._forget(key)
                self._seen.add(key)
            if fresh:
                continue
            stale = await self._make_room(set(keys) - given_up) if is_cut else set()
            if not stale:
                return
            given_up |= stale
            await self._background.pause(_ROOM_S)

    async def _keys(self) -> tuple[list[str], bool]:
        """Return the keys of the first entries, and whether there are more."""
        keys = actions.get_var(f"DB_KEYS({dialplan.REQUEST_FAMILY})")
        value = (await self._manager.send(keys)).get("Value")
        found = [key for key in value.split(",") if _KEY.fullmatch(key)]
        return found, len(value) >= _MOST_SHOWN

    async def _make_room(self, keys: Collection[str]) -> set[str]:
        """Give up requests for unknown queues, which hide those behind them.

        Returns:
            The keys of those.
        """
        given_up = set()
        for key in sorted(keys):
            try:
                kept = KeptRequest.read(await self._value(key))
            except ValueError:
                continue
            if kept.queue in self._settings().queues:
                continue
            given_up.add(key)
            if not await self._forget(key):
                continue
            why = because(Code.UNKNOWN_QUEUE)
            self._log.error(
                "Asterisk keeps too many requests: the one for queue {queue!r} is given"
                " up: {reason}",
                queue=kept.queue,
                reason=why,
                number=shown_number(kept.number),
                linkedid=kept.linkedid,
            )
            self._requests.store_refusal(
                _request(kept, kept.at), printable(kept.queue[:_LONGEST_QUEUE]), why
            )
        return given_up

    async def _value(self, key: str) -> str:
        try:
            answers = await self._manager.send_list(
                actions.db_get(dialplan.REQUEST_FAMILY, key)
            )
        except ActionFailed as error:
            if error.shutting_down:
                raise
            # Gone, or the last of a list that was cut off.
            return ""
        return next((answer.get("Val") for answer in answers), "")

    async def _take(self, key: str) -> bool:
        """Make a task of an entry; tell whether the entry is of no more use."""
        value = await self._value(key)
        if not value:
            return False
        try:
            kept = KeptRequest.read(value)
        except ValueError as error:
            self._log.error(
                "AstDB {family}/{key} is no request and is deleted: {error}",
                family=dialplan.REQUEST_FAMILY,
                key=key,
                error=error,
            )
            return True
        if kept.queue not in self._settings().queues:
            return self._is_strange(kept)
        # Asterisk's clock may be ahead of ours.
        asked_at = min(kept.at, self._clock.now())
        answer = await self._requests.ask(_request(kept, asked_at))
        if self._waiters and not isinstance(answer, Refused):
            self._asked_at[kept.linkedid] = asked_at
        return True

    def _is_strange(self, kept: KeptRequest) -> bool:
        """Say that the queue is unknown; tell whether to wait for it no longer."""
        old = (self._clock.now() - kept.at).total_seconds() >= _STRANGE_S
        self._log.error(
            "Asterisk keeps a request for queue {queue!r}, which is not in the"
            " settings; {what}",
            queue=kept.queue,
            what="it is older than a day and deleted"
            if old
            else "add it under 'queues' and load the settings again",
            number=kept.number,
            linkedid=kept.linkedid,
        )
        return old

    async def _forget(self, key: str) -> bool:
        """Have the dialplan delete an entry; our right to do so would allow more.

        Returns:
            False if Asterisk does not do it; the log says so.
        """
        channel_id = self._new_channel_id()
        try:
            await self._manager.send(
                actions.originate(
                    channel=f"Local/{dialplan.FORGET_REQUEST_EXTEN}"
                    f"@{dialplan.FORGET_CONTEXT}/n",
                    application="Hangup",
                    channel_id=f"{channel_id}-1",
                    other_channel_id=f"{channel_id}-2",
                    variables={f"__{Variable.FORGET}": key},
                    timeout_s=_FORGET_S,
                )
            )
        except ActionFailed as error:
            self._log.error(
                "AstDB {family}/{key} is of no more use, but stays there: {error};"
                " give the manager user the classes of the example",
                family=dialplan.REQUEST_FAMILY,
                key=key,
                error=error,
            )
            return False
        return True


def _request(kept: KeptRequest, asked_at: datetime) -> CallbackRequest:
    return CallbackRequest(
        source=KEPT_BY_ASTERISK,
        queue=kept.queue,
        number=kept.number,
        name=kept.name,
        language=kept.language,
        asked_at=asked_at,
        linkedid=kept.linkedid,
        params={"position": kept.position} if kept.position else {},
    )
