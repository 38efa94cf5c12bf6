# SPDX-License-Identifier: MIT
"""Takes over the requests that Asterisk stored while this service did not answer.

The dialplan (``callback-keep``) writes one entry to AstDB and sends a user event. An
entry is deleted only after the COMMIT of its task, so it may be read twice; its
linkedid shows that it is the same request. This module knows the format of an entry.
Entries contain text from callers, so the same rules apply as to a request over FastAGI.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime
from typing import Final, Self
from urllib.parse import unquote

from attrs import frozen

from twisted.internet.defer import TimeoutError
from twisted.logger import Logger

from fastagi import dialplan
from fastagi.ami import actions
from fastagi.ami.errors import ActionFailed, ActionTimedOut, NotConnected
from fastagi.ami.events import Handler, UserEvent, on
from fastagi.ami.session import AmiSession
from fastagi.config.sections import Settings
from fastagi.dialplan import Variable
from fastagi.domain.numbers import printable, shown_number
from fastagi.domain.reason import Code, because
from fastagi.domain.turns import parse_priority
from fastagi.runtime.background import Background
from fastagi.runtime.clock import Clock
from fastagi.runtime.waiters import Waiters, release
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
#: How long callbacks wait for these requests after a connect, in seconds.
HOLD_S: Final = 10.0
#: How long an entry of a queue that is not in the settings is kept, in seconds.
_UNKNOWN_QUEUE_S: Final = 24 * 3600.0
#: Time limit of the channel that deletes an entry, in seconds; it takes no time.
_DELETE_TIMEOUT_S: Final = 5.0
#: Maximum length of Getvar's answer, in characters: a longer one is cut off.
_MAX_GETVAR_CHARS: Final = 1023
#: How long to wait until the dialplan has deleted entries, in seconds.
_DELETE_PAUSE_S: Final = 0.5
#: Maximum length of an unknown queue's name in a refusal, in characters.
_LONGEST_QUEUE: Final = 80
#: The key of an entry, as the dialplan's URIENCODE() writes it.
_KEY: Final = re.compile(r"[A-Za-z0-9._~!*'()%-]{1,200}")


@frozen(kw_only=True)
class KeptRequest:
    """One entry: ``1:time:queue:position:number:language:linkedid:name``.

    The position may be followed by a slash and the priority. A service that does not
    know of priorities reads such an entry, too; with one more field it would not.
    """

    at: datetime
    queue: str
    #: The caller's position in the queue; 0 if unknown.
    position: int
    #: The caller's priority in the queue.
    priority: int
    number: str
    language: str
    linkedid: str
    name: str

    @classmethod
    def read(cls, value: str) -> Self:
        """Return the request in an entry.

        Raises:
            ValueError: the entry was not written by the dialplan.
        """
        version, at, queue, place, *texts = value.split(":")
        position, _, priority = place.partition("/")
        number, language, linkedid, name = map(unquote, texts)
        if version != "1" or not (at.isdecimal() and len(at) < 12):
            raise ValueError(f"not an entry of version 1: {value[:60]!a}")
        return cls(
            at=datetime.fromtimestamp(int(at), UTC),
            queue=unquote(queue),
            position=int(position) if position.isdecimal() else 0,
            priority=parse_priority(priority),
            number=number,
            language=language[:40],
            linkedid=linkedid[:150],
            name=name,
        )


class AstDbRequests:
    """Moves the requests in the AstDB family ``callback-request`` into the store."""

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
        #: Keys of entries that were handled, and may still be in AstDB.
        self._seen: set[str] = set()
        self._waiters: Waiters[None] = Waiters()
        #: Times of the requests taken over since the connect, by linkedid.
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
        """Yield the handler of each event that this tracker needs."""
        yield on(UserEvent, self._user_event)

    @property
    def remembered(self) -> int:
        """Number of handled entries that may still be in AstDB."""
        return len(self._seen)

    async def take_over(self) -> dict[str, datetime]:
        """Take over the requests in AstDB, after a connect.

        Returns when all are stored. If that fails or takes longer than `HOLD_S`, this
        is logged, and the requests are taken over later.

        Returns:
            The times of the stored requests, by the linkedids of their calls.
        """
        self._asked_at.clear()
        done = self._waiters.add()
        self.wake()
        try:
            await done.addTimeout(HOLD_S, self._clock.timers)
        except TimeoutError:
            self._log.error(
                "the requests in AstDB are not read after {limit_s:g} s; callbacks"
                " continue without them",
                limit_s=HOLD_S,
            )
        return dict(self._asked_at)

    def wake(self) -> None:
        """Look for entries, also again for those of unknown queues."""
        self._seen.clear()
        self._worker.wake()

    def stop(self) -> None:
        """Take over no more requests, and release who waits in :meth:`take_over`."""
        self._worker.stop()
        release(self._waiters)

    def _user_event(self, event: UserEvent) -> None:
        if event.user_event == dialplan.KEPT_EVENT:
            self._promises.kept_by_asterisk(event.uniqueid, event.linkedid)
            self._worker.wake()

    async def _take_over(self) -> float | None:
        """Take over every entry; return the pause before a retry, None for no retry."""
        if self._manager.connected:
            try:
                await self._store_entries()
            except NotConnected:
                # The next connect starts again.
                pass
            except ActionFailed as error:
                if error.shutting_down:
                    return _RETRY_S
                self._log.error(
                    "the requests in AstDB can not be read: {error}; give the manager"
                    " user the classes in the example of manager.conf",
                    error=error,
                )
        if not self._worker.woken:
            release(self._waiters)
        return None

    async def _store_entries(self) -> None:
        given_up: set[str] = set()
        # Getvar returns at most 1,023 characters of keys: repeat it for the rest.
        while True:
            keys, is_cut = await self._read_keys()
            # Forget keys that are not in AstDB any more.
            self._seen &= set(keys)
            fresh = [key for key in keys if key not in self._seen]
            for key in fresh:
                if await self._store_entry(key):
                    await self._delete(key)
                self._seen.add(key)
            if fresh:
                continue
            stale = (
                await self._give_up_unknown_queues(set(keys) - given_up)
                if is_cut
                else set()
            )
            if not stale:
                return
            given_up |= stale
            await self._background.pause(_DELETE_PAUSE_S)

    async def _read_keys(self) -> tuple[list[str], bool]:
        """Return the keys of the first entries, and whether there are more."""
        keys = actions.get_var(f"DB_KEYS({dialplan.REQUEST_FAMILY})")
        value = (await self._manager.send(keys)).get("Value")
        found = [key for key in value.split(",") if _KEY.fullmatch(key)]
        return found, len(value) >= _MAX_GETVAR_CHARS

    async def _give_up_unknown_queues(self, keys: Collection[str]) -> set[str]:
        """Delete requests for unknown queues, to make room for keys in Getvar's answer.

        Returns:
            The keys of these requests.
        """
        given_up = set()
        for key in sorted(keys):
            try:
                kept = KeptRequest.read(await self._read_value(key))
            except ValueError:
                continue
            if kept.queue in self._settings().queues:
                continue
            given_up.add(key)
            if not await self._delete(key):
                continue
            why = because(Code.UNKNOWN_QUEUE)
            self._log.error(
                "Asterisk keeps too many requests: the one for queue {queue!r} is"
                " deleted: {reason}",
                queue=kept.queue,
                reason=why,
                number=shown_number(kept.number),
                linkedid=kept.linkedid,
            )
            self._requests.store_refusal(
                _request(kept, kept.at), printable(kept.queue[:_LONGEST_QUEUE]), why
            )
        return given_up

    async def _read_value(self, key: str) -> str:
        try:
            answers = await self._manager.send_list(
                actions.db_get(dialplan.REQUEST_FAMILY, key)
            )
        except ActionFailed as error:
            if error.shutting_down:
                raise
            # The entry is gone, or this key was cut off at the end of Getvar's answer.
            return ""
        return next((answer.get("Val") for answer in answers), "")

    async def _store_entry(self, key: str) -> bool:
        """Store the request of an entry; return whether the entry can be deleted."""
        value = await self._read_value(key)
        if not value:
            return False
        try:
            kept = KeptRequest.read(value)
        except ValueError as error:
            self._log.error(
                "AstDB {family}/{key} is not a request and is deleted: {error}",
                family=dialplan.REQUEST_FAMILY,
                key=key,
                error=error,
            )
            return True
        if kept.queue not in self._settings().queues:
            return self._report_unknown_queue(kept)
        # Asterisk's clock may be ahead of this machine's.
        asked_at = min(kept.at, self._clock.now())
        answer = await self._requests.ask(_request(kept, asked_at))
        if self._waiters and not isinstance(answer, Refused):
            self._asked_at[kept.linkedid] = asked_at
        return True

    def _report_unknown_queue(self, kept: KeptRequest) -> bool:
        """Log that the queue is unknown; return whether the entry can be deleted."""
        old = (self._clock.now() - kept.at).total_seconds() >= _UNKNOWN_QUEUE_S
        self._log.error(
            "Asterisk keeps a request for queue {queue!r}, which is not in the"
            " settings; {what}",
            queue=kept.queue,
            what="the request is older than a day and is deleted"
            if old
            else "add it under 'queues' and reload the settings",
            number=kept.number,
            linkedid=kept.linkedid,
        )
        return old

    async def _delete(self, key: str) -> bool:
        """Let the dialplan delete an entry, as the action DBDel needs too many rights.

        Returns:
            False if Asterisk refuses that, which is logged.
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
                    timeout_s=_DELETE_TIMEOUT_S,
                )
            )
        except ActionFailed as error:
            self._log.error(
                "AstDB {family}/{key} is not needed any more but can not be deleted:"
                " {error}; give the manager user the classes in the example of"
                " manager.conf",
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
        priority=kept.priority,
        linkedid=kept.linkedid,
        params={"position": kept.position} if kept.position else {},
    )
