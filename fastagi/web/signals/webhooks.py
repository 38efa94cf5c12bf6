# SPDX-License-Identifier: MIT
"""Delivers events and alarms to the endpoints of webhooks, as Standard Webhooks.

https://github.com/standard-webhooks/standard-webhooks: the headers ``webhook-id``,
``webhook-timestamp`` and ``webhook-signature``.

Each endpoint has its own position, which is committed after a 2xx. So a message is
delivered at least once: if this process dies between the answer and the commit, it is
sent again with the same id. A message that is not accepted holds up those behind it, so
the order is kept; after three days in vain the endpoint is disabled, and nothing is
passed over.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Protocol, TypeVar, TypeVarTuple

import sqlalchemy as sa
import standardwebhooks
from attrs import evolve, frozen

from fastagi.errors import CallbackError
from fastagi.store.story_events import (
    StoryEvent,
    StoryPosition,
    lag,
    last_position,
    position_at,
)
from fastagi.web.people import audit
from fastagi.web.signals import endpoints, messages
from fastagi.web.signals.addresses import Answer, check_url
from fastagi.web.signals.alarms import AlarmChange, Storage, changes_after
from fastagi.web.signals.endpoints import Endpoint, Progress, Result
from fastagi.web.signals.feed import Reading
from fastagi.web.signals.messages import Filter, Message, Numbers

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

#: Pauses before trying again, in seconds; the last one is repeated. Each is made up to
#: a fifth longer at random, so that many do not try at the same time.
_PAUSES_S: Final = (5, 15, 60, 300, 900, 1800, 3600)
_JITTER: Final = 0.2
#: How long a message is tried.
_LONGEST: Final = timedelta(days=3)
#: Maximum number of messages read, and of deliveries at a time.
_AT_ONCE: Final = 100
_MAX_DELIVERIES: Final = 20
#: How often changes by another process, such as the command line, are looked for.
_LOOK_EVERY_S: Final = 5.0
#: Names of endpoints are parts of addresses of the API.
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_RESERVED: Final = frozenset({".", ".."})

_log = logging.getLogger(__name__)


class BadWebhook(CallbackError):
    """The webhook can not be stored."""


class NothingToReplay(CallbackError):
    """There are no events in this range."""


class Posting(Protocol):
    """Sends messages (`fastagi.web.signals.addresses.Sender`)."""

    async def post(self, url: str, headers: dict[str, str], body: bytes) -> Answer:
        """Send a message; never raises because of the receiver."""


class Feeding(Protocol):
    """The part of `fastagi.web.signals.feed.EventFeed` that deliveries need."""

    @property
    def last(self) -> StoryPosition | None:
        """The position after the last event that was seen."""

    async def read(self, position: StoryPosition, limit: int) -> list[StoryEvent]:
        """Return the events after a position."""

    async def wait(self, seen: StoryPosition | None, within_s: float | None) -> None:
        """Wait until there is another last event, or for a time."""


@frozen(kw_only=True)
class WebhookState:
    """One endpoint for people: its settings, and how its deliveries go.

    Attributes:
        waiting: how many events follow its position, whether it wants them or not;
            None: not known, as the service's database can not be read.
    """

    endpoint: Endpoint
    waiting: int | None

    @property
    def status(self) -> str:
        """``working``, ``failing`` or ``disabled``."""
        if self.endpoint.disabled_why is not None:
            return "disabled"
        return "working" if self.endpoint.failing_since is None else "failing"

    @property
    def words(self) -> str:
        """How the deliveries go, for people."""
        one = self.endpoint
        if one.disabled_why is not None:
            return f"disabled: {one.disabled_why}"
        if one.failing_since is None:
            return "working"
        return (
            f"failing since {messages.iso(one.failing_since)}, {one.failures} tries;"
            f" next try at {messages.iso(one.next_try_at or one.failing_since)}"
        )


def state_json(state: WebhookState) -> dict[str, Any]:
    """Return an endpoint as JSON values, without its secrets."""
    one = state.endpoint

    def time(at: datetime | None) -> str | None:
        return None if at is None else messages.iso(at)

    return {
        "name": one.name,
        "url": one.url,
        "events": list(one.filter.types),
        "queues": list(one.filter.queues),
        "numbers": one.numbers.value,
        "created_at": time(one.created_at),
        "status": state.status,
        "disabled_why": one.disabled_why,
        "waiting": state.waiting,
        "delivered": one.delivered,
        "last_delivered_at": time(one.delivered_at),
        "last_answer": None
        if one.answered_at is None
        else {
            "at": time(one.answered_at),
            "status": one.answer_status,
            "words": one.answer,
        },
        "failing_since": time(one.failing_since),
        "failures": one.failures,
        "next_try_at": time(one.next_try_at),
        "replay": None
        if one.replay is None
        else {"next": one.replay[0], "last": one.replay[1]},
    }


@frozen
class By:
    """Who changes an endpoint, and from where; for the audit."""

    actor: str
    #: Address of the request; ``cli`` for the command line.
    address: str = ""


@frozen
class _Delivery:
    """A message, and the progress once it is delivered; None: it is not wanted."""

    message: Message | None
    id: str
    after: Progress


class Webhooks:
    """The endpoints, and the deliveries to them."""

    def __init__(
        self,
        *,
        state: Storage,
        lease: Storage,
        records: Reading,
        feed: Feeding,
        sender: Posting,
        now: Callable[[], datetime],
        old_secret_valid: timedelta = timedelta(days=1),
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Prepare; `run` delivers.

        Args:
            state: the web process's own database.
            lease: the same; deliveries write to it only with the lease on sending.
            records: the service's database.
            feed: the events of tasks.
            sender: sends messages.
            now: the current time.
            old_secret_valid: how long both secrets are valid after a rotation.
            jitter: returns a random number from 0 to 1.
        """
        self._state = state
        self._lease = lease
        self._records = records
        self._feed = feed
        self._sender = sender
        self._now = now
        self._old_secret_valid = old_secret_valid
        self._jitter = jitter
        self._slots = asyncio.Semaphore(_MAX_DELIVERIES)
        self._woken = asyncio.Event()
        #: What could not be stored of a delivery, by endpoint.
        self._unsaved: dict[int, tuple[Progress, Result]] = {}
        #: Deliveries so far, by outcome.
        self.outcomes: Counter[str] = Counter()

    # -- for the command line, the API and pages ---------------------------

    async def add(
        self,
        name: str,
        url: str,
        *,
        types: Sequence[str] = (),
        queues: Sequence[str] = (),
        numbers: Numbers = Numbers.MASKED,
        by: By,
    ) -> str:
        """Add an endpoint, which gets what happens from now on; return its secret.

        Raises:
            CallbackError: it is refused, or a database can not be used.
        """
        if not _NAME.fullmatch(name) or name in _RESERVED:
            raise BadWebhook(
                "the name must have 1 to 64 letters, digits, dots, dashes or _",
                f"choose another one than {name[:64]!a}",
            )
        wanted = Filter(messages.check_types(types), tuple(dict.fromkeys(queues)))
        checked = check_url(url)
        position = await self._records.read(last_position)
        return await self._change(
            by,
            "webhook-made",
            name,
            endpoints.add,
            checked,
            wanted,
            numbers,
            position,
            self._now(),
        )

    async def all(self) -> list[WebhookState]:
        """Return all endpoints, by name."""
        found = await self._state.read(endpoints.all_of)
        return [WebhookState(endpoint=e, waiting=await self._waiting(e)) for e in found]

    async def get(self, name: str) -> WebhookState:
        """Return one endpoint.

        Raises:
            NoSuchWebhook: there is none of this name.
        """
        endpoint = await self._state.read(endpoints.named, name)
        return WebhookState(endpoint=endpoint, waiting=await self._waiting(endpoint))

    async def test(self, name: str) -> Answer:
        """Send a test message now, also to a disabled endpoint; return the answer.

        Raises:
            NoSuchWebhook: there is none of this name.
        """
        endpoint = await self._state.read(endpoints.named, name)
        message = messages.TestMessage(
            timestamp=self._now(), data=messages.TestData(endpoint=name)
        )
        return await self._post(
            endpoint, f"msg_{endpoint.id}_test_{secrets.token_hex(8)}", message
        )

    async def replay(
        self,
        name: str,
        since: datetime | int,
        until: datetime | int | None = None,
        *,
        by: By,
    ) -> int:
        """Send the events of a range again, with the same ids as the first time.

        They follow those that are still to be sent.

        Args:
            name: of the endpoint.
            since: the first event, or a time.
            until: the last event, or a time; None: up to now.
            by: who wants it.

        Returns:
            How many events are in the range, whether the endpoint wants them or not.

        Raises:
            NothingToReplay: there are none in this range.
            NoSuchWebhook: there is no endpoint of this name.
        """
        endpoint = await self._state.read(endpoints.named, name)
        end = await self._id_at(until)
        # What follows the position of the endpoint is sent anyway.
        last = min(endpoint.position.event_id, end or endpoint.position.event_id)
        if isinstance(since, int):
            first = since
        else:
            first = (await self._records.read(position_at, since)).event_id + 1
        if first > last:
            raise NothingToReplay(
                "no event of this range has been delivered or passed over yet",
                "what is still waiting is sent anyway",
            )
        await self._change(by, "webhook-replayed", name, endpoints.replay, first, last)
        return last - first + 1

    async def enable(self, name: str, *, from_now: bool = False, by: By) -> None:
        """Send again at once.

        Args:
            name: of the endpoint.
            from_now: whether to pass over what is waiting.
            by: who does it.

        Raises:
            NoSuchWebhook: there is none of this name.
        """
        skip_to = await self._records.read(last_position) if from_now else None
        await self._change(by, "webhook-enabled", name, endpoints.enable, skip_to)

    async def disable(self, name: str, *, by: By) -> None:
        """Send nothing more, until the endpoint is enabled."""
        await self._change(by, "webhook-disabled", name, endpoints.disable)

    async def remove(self, name: str, *, by: By) -> None:
        """Remove an endpoint with its secrets."""
        await self._change(by, "webhook-removed", name, endpoints.remove)

    async def rotate(self, name: str, *, by: By) -> str:
        """Return a new secret; the one before stays valid for a while."""
        return await self._change(
            by,
            "webhook-rotated",
            name,
            endpoints.rotate,
            self._now(),
            self._old_secret_valid,
        )

    async def _change(
        self,
        by: By,
        event: str,
        name: str,
        change: Callable[[sa.Connection, str, *Ts], T],
        *args: *Ts,
    ) -> T:
        """Change an endpoint, and note in the same transaction who did it."""
        now_s = self._now().timestamp()
        entry = audit.Entry(
            event=event, actor=by.actor, subject=name, address=by.address
        )

        def write(conn: sa.Connection) -> T:
            value = change(conn, name, *args)
            audit.note(conn, now_s, entry)
            return value

        value = await self._state.write(write)
        self.wake()
        return value

    async def _waiting(self, endpoint: Endpoint) -> int | None:
        try:
            count, _ = await self._records.read(lag, endpoint.position)
            return count
        except CallbackError:
            return None

    async def _id_at(self, at: datetime | int | None) -> int | None:
        if isinstance(at, datetime):
            position = await self._records.read(position_at, at + timedelta(seconds=1))
            return position.event_id
        return at

    # -- delivering --------------------------------------------------------

    def wake(self) -> None:
        """Look for changes of endpoints and of alarms now."""
        self._woken.set()

    async def run(self) -> None:
        """Deliver to all enabled endpoints, until it is cancelled."""
        running: dict[int, tuple[int, asyncio.Task[None]]] = {}
        try:
            while True:
                self._woken.clear()
                try:
                    wanted = await self._state.read(endpoints.revisions)
                except CallbackError as error:
                    _log.warning("the webhooks can not be read: %s", error)
                    wanted = {e: revision for e, (revision, _) in running.items()}
                for endpoint_id, (revision, task) in list(running.items()):
                    if wanted.get(endpoint_id) != revision or task.done():
                        task.cancel()
                        await asyncio.wait([task])
                        del running[endpoint_id]
                        if endpoint_id not in wanted:
                            self._unsaved.pop(endpoint_id, None)
                for endpoint_id, revision in wanted.items():
                    if endpoint_id not in running:
                        task = asyncio.create_task(
                            self._follow(endpoint_id), name=f"webhook {endpoint_id}"
                        )
                        running[endpoint_id] = revision, task
                try:
                    async with asyncio.timeout(_LOOK_EVERY_S):
                        await self._woken.wait()
                except TimeoutError:
                    continue
        finally:
            for _, task in running.values():
                task.cancel()
            if running:
                await asyncio.wait([task for _, task in running.values()])
            # Another process may deliver now, and store more than this.
            self._unsaved.clear()

    async def _follow(self, endpoint_id: int) -> None:
        """Deliver to one endpoint until it is changed, disabled or removed."""
        while True:
            seen = self._feed.last
            try:
                pause_s = await self.deliver(endpoint_id)
            except CallbackError as error:
                _log.warning("webhook %s waits: %s", endpoint_id, error)
                pause_s = _LOOK_EVERY_S
            except Exception:
                _log.exception("webhook %s failed", endpoint_id)
                pause_s = 60.0
            if pause_s is None:
                # New alarms are looked for at least this often.
                await self._feed.wait(seen, _LOOK_EVERY_S)
            else:
                await asyncio.sleep(pause_s)

    async def deliver(self, endpoint_id: int) -> float | None:
        """Deliver what waits for an endpoint, one message after another.

        Returns:
            In how many seconds to try again; None: nothing waits any more.

        Raises:
            CallbackError: a database can not be used at the moment.
        """
        while True:
            # Otherwise a disk without room would mean the same message again and again.
            if unsaved := self._unsaved.get(endpoint_id):
                await self._save(*unsaved)
            endpoint = await self._state.read(endpoints.by_id, endpoint_id)
            if endpoint is None or endpoint.disabled_why is not None:
                return None
            now = self._now()
            if endpoint.next_try_at is not None and endpoint.next_try_at > now:
                return (endpoint.next_try_at - now).total_seconds()
            batch = await self._batch(endpoint)
            if not batch:
                return None
            pause_s = await self._deliver_batch(endpoint, batch)
            if pause_s is not None:
                return pause_s

    async def _deliver_batch(
        self, endpoint: Endpoint, batch: Sequence[_Delivery]
    ) -> float | None:
        """Deliver messages; return the pause after a failure, or None."""
        progress, unsaved = _progress(endpoint), False
        failing_since, failures = endpoint.failing_since, endpoint.failures
        for delivery in batch:
            if delivery.message is None:
                progress, unsaved = delivery.after, True
                continue
            async with self._slots:
                answer = await self._post(endpoint, delivery.id, delivery.message)
            self.outcomes[answer.outcome] += 1
            result = Result(at=self._now(), status=answer.status, words=answer.words)
            if answer.is_success:
                if failures:
                    _log.info("webhook %s: messages are accepted again", endpoint.name)
                failing_since, failures = None, 0
                progress, unsaved = delivery.after, False
                if not await self._save(progress, result):
                    # An administrator has changed the endpoint.
                    return None
                continue
            failing_since = failing_since or result.at
            result = self._failed(endpoint, answer, result, failing_since, failures + 1)
            await self._save(progress, result)
            if result.next_try_at is None:
                return None
            return (result.next_try_at - result.at).total_seconds()
        if unsaved:
            await self._lease.write(endpoints.save, progress, None)
        return None

    async def _save(self, progress: Progress, result: Result) -> bool:
        """Store what came of a delivery; False: the endpoint was changed meanwhile.

        Raises:
            CallbackError: it can not be stored; it is stored before the next delivery.
        """
        self._unsaved[progress.endpoint_id] = progress, result
        saved = await self._lease.write(endpoints.save, progress, result)
        del self._unsaved[progress.endpoint_id]
        return saved

    def _failed(
        self,
        endpoint: Endpoint,
        answer: Answer,
        result: Result,
        since: datetime,
        failures: int,
    ) -> Result:
        """Return the result of a failed delivery: when it is tried again, or never."""
        now = result.at
        failed = evolve(result, failing_since=since, failures=failures)
        if answer.outcome == "gone":
            why = "the receiver answered 410: it wants nothing more"
        elif now - since >= _LONGEST:
            why = (
                f"nothing was accepted for three days; the last answer: {answer.words}"
            )
        else:
            pause_s = _PAUSES_S[min(failures, len(_PAUSES_S)) - 1] * (
                1 + _JITTER * self._jitter()
            )
            next_try = now + timedelta(
                seconds=max(pause_s, answer.retry_after_s or 0.0)
            )
            if failures == 1:
                _log.warning(
                    "webhook %s: a message was not accepted: %s",
                    endpoint.name,
                    answer.words,
                )
            # The last try is right at the end of the three days.
            return evolve(failed, next_try_at=min(next_try, max(since + _LONGEST, now)))
        _log.error("webhook %s is disabled: %s", endpoint.name, why)
        return evolve(failed, disable=why)

    async def _post(
        self, endpoint: Endpoint, message_id: str, message: Message
    ) -> Answer:
        now = self._now()
        valid = await self._state.read(endpoints.secrets_of, endpoint.id, now)
        body = messages.body_of(message)
        signatures = [
            standardwebhooks.Webhook(secret).sign(message_id, now, body)
            for secret in valid
        ]
        headers = {
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signatures),
        }
        return await self._sender.post(endpoint.url, headers, body.encode())

    # -- what is to be delivered -------------------------------------------

    async def _batch(self, endpoint: Endpoint) -> list[_Delivery]:
        """Return what is next for an endpoint: alarms, then events, then replays."""
        changes = await self._state.read(
            changes_after, endpoint.alarm_change_id, _AT_ONCE
        )
        if changes:
            return list(_alarm_deliveries(endpoint, changes))
        events = await self._feed.read(endpoint.position, _AT_ONCE)
        if events:
            return list(_event_deliveries(endpoint, events))
        if endpoint.replay is None:
            return []
        first, last = endpoint.replay
        before = StoryPosition(first - 1, float("inf"))
        again = await self._feed.read(before, _AT_ONCE)
        return list(_replays(endpoint, [one for one in again if one.id <= last]))


def _progress(endpoint: Endpoint) -> Progress:
    return Progress(
        endpoint_id=endpoint.id,
        revision=endpoint.revision,
        position=endpoint.position,
        alarm_change_id=endpoint.alarm_change_id,
        replay=endpoint.replay,
    )


def _alarm_deliveries(
    endpoint: Endpoint, changes: Sequence[AlarmChange]
) -> Iterator[_Delivery]:
    for change in changes:
        after = evolve(_progress(endpoint), alarm_change_id=change.id)
        message = alarm_message(change)
        wanted = endpoint.filter.wants(message.type, change.queue or None)
        yield _Delivery(
            message if wanted else None, f"msg_{endpoint.id}_alarm_{change.id}", after
        )


def _event_deliveries(
    endpoint: Endpoint, events: Sequence[StoryEvent]
) -> Iterator[_Delivery]:
    for event in events:
        yield _event_delivery(
            endpoint, event, evolve(_progress(endpoint), position=event.position)
        )


def _replays(endpoint: Endpoint, events: Sequence[StoryEvent]) -> Iterator[_Delivery]:
    assert endpoint.replay is not None
    _, last = endpoint.replay
    for event in events:
        more = (event.id + 1, last) if event.id < last else None
        yield _event_delivery(endpoint, event, evolve(_progress(endpoint), replay=more))
    if not events or (events[-1].id < last and len(events) < _AT_ONCE):
        # The rest of the range does not exist (any more).
        yield _Delivery(None, "", evolve(_progress(endpoint), replay=None))


def _event_delivery(
    endpoint: Endpoint, event: StoryEvent, after: Progress
) -> _Delivery:
    wanted = endpoint.filter.wants(messages.TYPES[event.move], event.queue)
    message = messages.task_message(event, endpoint.numbers) if wanted else None
    return _Delivery(message, messages.id_of(endpoint.id, event), after)


def alarm_message(change: AlarmChange) -> messages.AlarmMessage:
    """Return the message for a change of an alarm."""
    return messages.AlarmMessage(
        type="alarm.raised" if change.level else "alarm.cleared",
        timestamp=change.at,
        data=messages.AlarmData(
            alarm=change.kind.value,
            queue=change.queue or None,
            level=change.level and change.level.value,
            before=change.before and change.before.value,
            value=round(change.value, 3),
            threshold=change.threshold,
            unit=change.kind.unit,
            since=change.since,
            words=change.words,
        ),
    )
