# SPDX-License-Identifier: MIT
"""Which Asterisks this process holds, if it is one of several on one database.

Each Asterisk is held by one process, by a lease. This one takes those it prefers as
soon as they are free, and others when nobody has renewed their lease for a moment
longer. It then resumes the work there like after a start: it asks that Asterisk for the
results of the attempts that it finds in the database. When it has lost a lease, it
leaves that Asterisk and forgets all about it; what it still does is refused by the
database.

If another process holds one that this one is to take first, by its name in the
settings, it asks for it when it has been well for a while. The holder then passes it on
at a quiet moment: no callback is between its beginning and the talk. Two processes
whose settings name the same one leave it where it is.

A holder that has had no link to an Asterisk for a while tells that to the others. One
that can log in there asks for it, whatever the settings name; the holder tries once
more, and passes it on at once, as it can do nothing there. If nobody can log in, all
stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from typing import Final, Protocol

from attrs import evolve, frozen

from twisted.logger import Logger

from fastagi.domain.reason import Code, because
from fastagi.domain.task import CallbackTask
from fastagi.node.node import Node
from fastagi.node.nodes import Nodes
from fastagi.runtime.background import Background
from fastagi.runtime.clock import Clock
from fastagi.runtime.worker import Worker
from fastagi.store.errors import StoreUnavailable
from fastagi.store.leases import Held, Lease, local_time
from fastagi.store.store import TaskStore
from fastagi.store.together import NO_EVENTS
from fastagi.store.told import Key, What

#: Interval of looks for Asterisks that are free, in seconds.
LOOK_S: Final = 0.5
#: How much longer than its lease lasts an Asterisk must have been free before an
#: instance takes it that does not prefer it, in seconds.
_LATER_S: Final = 1.0
#: How long the database must have answered regularly before the lease of another
#: service counts as run out, in seconds: that one could not renew it either. And the
#: longest interval of regular answers.
_ANSWERS_S: Final = 4.0
_REGULAR_S: Final = 3.0
#: Longer than any lease has run out that was not given back, in seconds.
_NEVER_S: Final = 1e9
#: Least interval of notices to the others, in seconds.
_TOGETHER_S: Final = 0.1
#: Least interval of telling others what has changed on an Asterisk, in seconds.
_TELL_S: Final = 0.05
#: Interval of looks for due tasks, even if nothing has changed, in seconds. It is also
#: that of looks whether two Asterisks have one systemname.
_LOOK_AT_TASKS_S: Final = 5.0
#: How long this process must have been well before it asks another one for an Asterisk,
#: in seconds. If it has left that one for want of a link, it must have been able to log
#: in there for so long.
WELL_S: Final = 60.0
#: The pause before it tries again to log in to an Asterisk that another one holds, in
#: seconds: the longest pause of a holder between its own tries.
TRY_AGAIN_S: Final = 30.0
#: How long a holder has had no link before others may have the Asterisk, in seconds. By
#: then it has tried about seven times, and an Asterisk that was restarted is back.
LINK_LOST_S: Final = 20.0
#: How long the holder waits for its last try to connect, in seconds.
_LAST_TRY_S: Final = 5.0
#: Pause before it asks again, as the wish was not stored, in seconds.
_ASK_AGAIN_S: Final = 5.0
#: How long the holder waits for a quiet moment, in seconds.
QUIET_S: Final = 30.0
#: How long it then waits for what has just begun to be done, and the interval of looks,
#: in seconds.
_LAST_S: Final = 2.0
_LAST_LOOK_S: Final = 0.02


@frozen
class Made:
    """A node, and the owner of its work, which ends when the node is left."""

    node: Node
    store: TaskStore
    background: Background


class Ears(Protocol):
    """Hears when other services have stored something."""

    def start(self) -> None:
        """Listen from now on."""

    def stop(self) -> None:
        """Listen no more."""


#: Returns what calls a function when another service has stored something.
Listen = Callable[[Callable[[], object]], Ears]
#: Builds the node of an Asterisk. The lease is that on the Asterisk; without one the
#: node is never started, and only answers requests. The function is called when the
#: lease is lost.
Build = Callable[[str, Lease | None, Callable[[str], None]], Made]
#: Tries to log in to the manager of an Asterisk; returns what is wrong, or "".
TryLogin = Callable[[str], Awaitable[str]]


class Holdings:
    """Takes Asterisks that are free, and leaves those whose lease is lost."""

    _log = Logger()

    def __init__(
        self,
        *,
        names: Sequence[str],
        preferred: Collection[str],
        lease: Lease,
        nodes: Nodes,
        store: TaskStore,
        clock: Clock,
        background: Background,
        tasks_changed: Callable[[], None],
        build: Build,
        try_login: TryLogin,
        named: Collection[str] = (),
        listen: Listen | None = None,
    ) -> None:
        """Prepare; :meth:`start` takes Asterisks.

        Args:
            names: of all Asterisks of the settings.
            preferred: those that this instance takes as soon as they are free.
            lease: the lease of this process.
            nodes: has a node for each Asterisk, held or not.
            store: takes and releases the leases.
            clock: the clocks.
            background: the owner of the work.
            tasks_changed: called when another service may have changed tasks.
            build: builds nodes.
            try_login: tries to log in to an Asterisk that another instance holds.
            named: of the preferred ones those that the settings name. They are asked
                for, and passed on to nobody.
            listen: hears the other services; None: this one only looks regularly.
        """
        self._names = tuple(names)
        self._preferred = frozenset(preferred)
        self._named = frozenset(named)
        self._lease = lease
        self._nodes = nodes
        self._store = store
        self._clock = clock
        self._background = background
        self._tasks_changed = tasks_changed
        self._build = build
        self._try_login = try_login
        nodes.claim_name = self._claim_name
        self._calls = Worker(
            self._store_calls,
            what="storing who is in a call",
            background=background,
            clock=clock,
            trouble="other services do not know who is in a call",
            passing=StoreUnavailable,
            retry_s=LOOK_S,
        )
        self._looks = Worker(
            self._look_at_all,
            what="looking for Asterisks that are free, and at other services",
            background=background,
            clock=clock,
            trouble="it is not known what other services do",
            passing=StoreUnavailable,
            retry_s=LOOK_S,
        )
        self._waking = Worker(
            self._wake_others,
            what="waking other services",
            background=background,
            clock=clock,
            trouble="other services are not woken",
            passing=StoreUnavailable,
            retry_s=LOOK_S,
        )
        self._ears = None if listen is None else listen(self._looks.wake)
        #: Whether others have changed what is told to this service now.
        self._tells_of_others = False
        #: The keys of clients in a call that are stored, by Asterisk.
        self._stored_calls: dict[str, frozenset[str]] = {}
        #: What else is told of each.
        self._told: dict[str, dict[Key, str]] = {}
        #: The last events of all tasks that were seen, and when tasks were last looked
        #: at, by the steady clock.
        self._last_events = NO_EVENTS
        self._looked_at = 0.0
        self._made: dict[str, Made] = {}
        self._held: dict[str, Lease] = {}
        self._is_stopping = False
        #: Since when this process has been well, by the steady clock; None: it is not.
        self._well_since: float | None = None
        #: The Asterisks that are being asked for now, and when each may be asked for
        #: again, by the steady clock.
        self._asking: set[str] = set()
        self._ask_at: dict[str, float] = {}
        #: The Asterisks that were left for want of a link: since when it has been
        #: possible to log in there again, by the steady clock; None: it is not.
        self._reached_since: dict[str, float | None] = {}
        #: Why it was not possible to log in to an Asterisk, as it was logged last.
        self._why_no_login: dict[str, str] = {}
        #: The Asterisks held without a link, as others were told, with the epoch of the
        #: lease: a database that was set back does not know it any more.
        self._without_link: dict[str, int] = {}
        #: Since when another instance asks for an Asterisk, by the steady clock; and
        #: those that are being passed on now.
        self._wanted_since: dict[str, float] = {}
        self._leaving: set[str] = set()
        #: When it was looked last whether names are taken, by the steady clock.
        self._looked_at_names = 0.0
        #: Since when the database has answered regularly, and its last answer, by the
        #: clock of the lease.
        self._answers_since = -math.inf
        self._answered_at = math.inf

    def make(self) -> None:
        """Make a node for each Asterisk; none is held yet."""
        for name in self._names:
            self._made[name] = made = self._build(name, None, lambda _reason: None)
            self._nodes.add(made.node)

    def start(self) -> None:
        """Take Asterisks from now on."""
        self._looks.wake()
        if self._ears is not None:
            self._ears.start()

    def take_no_more(self) -> None:
        """Take no further Asterisk, as the service stops.

        Others are told who is in a call, and heard, as long as calls are followed.
        """
        self._is_stopping = True

    def wake_others(self) -> None:
        """Let other services look at what this one has changed."""
        if self._ears is not None and not self._tells_of_others:
            self._waking.wake()

    async def _wake_others(self) -> None:
        await self._store.wake_others(self._lease.held.instance)
        # Changes of the next moment are told together.
        await self._background.pause(_TOGETHER_S)

    def look_no_more(self) -> None:
        """Neither tell others anything nor look at them, as no call is followed."""
        for worker in (self._calls, self._looks, self._waking):
            worker.stop()
        if self._ears is not None:
            self._ears.stop()

    async def stop(self) -> None:
        """Leave all Asterisks, and let other instances take them at once."""
        for name, made in self._made.items():
            await made.background.stop()
            if (lease := self._held.pop(name, None)) is None:
                continue
            try:
                await self._store.release_lease(lease.held)
            except StoreUnavailable as error:
                # Others take it when it has run out.
                self._log.warn(
                    "the lease of the Asterisk {name} is not released: {error}",
                    name=name,
                    error=error,
                )

    async def _look_at_all(self) -> float:
        await self._look()
        self._calls.wake()
        await self._look_at_others()
        await self._look_at_names()
        await self._tell_of_links()
        await self._pass_on_wanted()
        return LOOK_S

    async def _look(self) -> None:
        asked_at = self._lease.seconds()
        wanted = {
            name: self._waits_for(name, asked_at)
            for name in self._names
            if name not in self._held and name not in self._leaving
        }
        self._note_whether_well(is_well=self._lease.is_sure)
        if not wanted or self._is_stopping:
            return
        try:
            found = await self._store.take_nodes(wanted)
        except StoreUnavailable as error:
            # The lease of this process is watched elsewhere.
            self._log.debug("no Asterisk can be taken: {error}", error=error)
            self._note_whether_well(is_well=False)
            return
        self._nodes.held_elsewhere = {
            name: _words_of_holder(instance, held)
            for name, (instance, held) in found.others.items()
        }
        for name, held in found.taken.items():
            lease = Lease(held, self._lease.seconds, asked_at)
            self._held[name] = lease
            if not self._is_stopping:
                self._take(name, lease)
        for name, (instance, other) in found.others.items():
            if self._may_ask_for(name, other):
                self._asking.add(name)
                what = f"asking for the Asterisk {name}"
                ask = self._ask_for(name, instance or "?", other)
                self._background.start(what, ask)

    def _waits_for(self, name: str, now: float) -> float:
        """Return how long ago a lease must have run out to be taken, in seconds."""
        does_answer = now - self._answered_at <= _REGULAR_S
        if not does_answer or now - self._answers_since < _ANSWERS_S:
            # Only one that was given back, or whose holder has certainly ended.
            return _NEVER_S
        if name in self._reached_since and self._reached_since[name] is None:
            # Others may reach it.
            return 2 * _LATER_S
        return 0.0 if name in self._preferred else _LATER_S

    def _take(self, name: str, lease: Lease) -> None:
        self._log.info(
            "this instance holds the Asterisk {name} now",
            name=name,
            epoch=lease.held.epoch,
        )
        self._reached_since.pop(name, None)
        self._why_no_login.pop(name, None)
        node = self._replace(name, lease).node
        node.call_tracker.client_is_busy.add(lambda _key, _why: self._calls.wake())
        node.call_tracker.client_is_free.add(self._calls.wake)
        node.changed.add(self._calls.wake)
        self._nodes.watch(node)
        node.start()
        self._nodes.look_for_gone()

    def _lost(self, name: str, reason: str) -> None:
        """Leave an Asterisk that another process has taken."""
        if self._held.pop(name, None) is None:
            return
        self._log.error(
            "this instance leaves the Asterisk {name}, whose calls it follows no more:"
            " {reason}",
            name=name,
            reason=reason,
        )
        former = self._leave(name)
        self._background.start(f"leaving the Asterisk {name}", _end(former))

    def _leave(self, name: str) -> Made:
        """Put a node that is not held in the place of one that is; return that one."""
        self._stored_calls.pop(name, None)
        self._wanted_since.pop(name, None)
        self._without_link.pop(name, None)
        self._told.pop(name, None)
        former = self._made[name]
        self._replace(name, None)
        return former

    # -- to the instance that is to take it first, or that reaches it ------------

    def _note_whether_well(self, *, is_well: bool) -> None:
        if not is_well or self._is_stopping:
            self._well_since = None
        elif self._well_since is None:
            self._well_since = self._clock.steady()

    def _may_ask_for(self, name: str, of: Held) -> bool:
        """Whether to ask the holder of an Asterisk for it now."""
        now = self._clock.steady()
        if (
            name in self._asking
            or of.wanted_by == self._lease.held.token
            or self._well_since is None
            or now < self._ask_at.get(name, 0.0)
        ):
            return False
        if of.link_lost_at is not None:
            return not of.wanted_by
        return name in self._named and now - self._well_since >= WELL_S

    async def _ask_for(self, name: str, instance: str, of: Held) -> None:
        has_no_link = of.link_lost_at is not None
        try:
            problem = await self._try_login(name)
            now = self._clock.steady()
            self._ask_at[name] = now + TRY_AGAIN_S
            if problem:
                self._can_not_log_in(name, instance, problem, either=has_no_link)
                return
            self._why_no_login.pop(name, None)
            if not has_no_link and not self._reaches_for_long(name, now):
                return
            self._ask_at[name] = now + _ASK_AGAIN_S
            if await self._store.ask_for_node(of):
                self._log.info(
                    "the instance {instance}, which holds the Asterisk {name} and has"
                    " no link to it, is asked for it: this one can log in there"
                    if has_no_link
                    else "the instance {instance}, which holds the Asterisk {name}, is"
                    " asked for it",
                    instance=instance,
                    name=name,
                )
        except StoreUnavailable as error:
            self._log.debug("no Asterisk can be asked for: {error}", error=error)
        finally:
            self._asking.discard(name)

    def _can_not_log_in(
        self, name: str, instance: str, problem: str, *, either: bool
    ) -> None:
        """Say why another instance keeps an Asterisk; not again for the same reason."""
        if name in self._reached_since:
            self._reached_since[name] = None
        if self._why_no_login.get(name) == problem:
            return
        self._why_no_login[name] = problem
        self._log.warn(
            "the Asterisk {name} stays with the instance {instance}, which has no link"
            " to it, as this one can not log in there either: {problem}"
            if either
            else "the Asterisk {name} stays with another instance, as this one can not"
            " log in there: {problem}",
            name=name,
            instance=instance,
            problem=problem,
        )

    def _reaches_for_long(self, name: str, now: float) -> bool:
        """Whether each login to an Asterisk that was left has succeeded for a while."""
        if name not in self._reached_since:
            return True
        since = self._reached_since[name]
        if since is None:
            self._reached_since[name] = since = now
            self._log.info(
                "this instance can log in to the Asterisk {name} again, and asks for it"
                " when it could for {seconds:.0f} s",
                name=name,
                seconds=WELL_S,
            )
        return now - since >= WELL_S

    async def _tell_of_links(self) -> None:
        """Tell the others which Asterisks are held without a link, and may be had."""
        for name, lease in list(self._held.items()):
            lost_s = self._made[name].node.link_lost_s
            is_lost = lost_s is not None and lost_s >= LINK_LOST_S
            to_tell = lease.held.epoch if is_lost else None
            if name in self._leaving or to_tell == self._without_link.get(name):
                continue
            try:
                await self._store.tell_link(lease.held, lost_s if is_lost else None)
            except StoreUnavailable as error:
                self._log.debug("no link can be told of: {error}", error=error)
                return
            if self._held.get(name) is lease:
                self._told_of_link(name, lease, is_lost=is_lost)

    def _told_of_link(self, name: str, lease: Lease, *, is_lost: bool) -> None:
        if is_lost:
            self._without_link[name] = lease.held.epoch
            self._log.warn(
                "there has been no link to the Asterisk {name} for {seconds:.0f} s:"
                " another instance that can log in there may have it",
                name=name,
                seconds=LINK_LOST_S,
            )
            return
        self._without_link.pop(name, None)
        self._wanted_since.pop(name, None)
        lease.held = evolve(lease.held, wanted_by="")
        self._log.info(
            "there is a link to the Asterisk {name} again: it stays with this instance",
            name=name,
        )

    async def _pass_on_wanted(self) -> None:
        """Pass on what another instance asks for, if it is the moment for that."""
        for name, lease in list(self._held.items()):
            if (
                not lease.held.wanted_by
                or name in self._leaving
                or self._is_stopping
                or not self._is_moment_to_pass_on(name)
            ):
                continue
            is_wanted = await self._store.is_node_wanted(lease.held)
            if name in self._without_link and self._made[name].node.manager.connected:
                continue
            if is_wanted:
                self._leaving.add(name)
                what = f"passing on the Asterisk {name}"
                self._background.start(what, self._pass_on(name, lease))
            else:
                lease.held = evolve(lease.held, wanted_by="")
                self._wanted_since.pop(name, None)

    def _is_moment_to_pass_on(self, name: str) -> bool:
        """Whether to pass on an Asterisk now that another instance asks for.

        That is at a quiet moment, if there is one. One without a link is passed on as
        soon as another try to connect has failed: the Asterisk may just be back.
        """
        node, now = self._made[name].node, self._clock.steady()
        has_link = name not in self._without_link
        if has_link and name in self._named:
            return False
        is_new = name not in self._wanted_since
        since = self._wanted_since.setdefault(name, now)
        if has_link:
            return node.is_quiet or now - since >= QUIET_S
        if is_new:
            node.manager.connect_now()
            return False
        return not node.manager.connected and (
            node.manager.is_pausing or now - since >= _LAST_TRY_S
        )

    async def _pass_on(self, name: str, lease: Lease) -> None:
        node = self._made[name].node
        has_link = name not in self._without_link
        try:
            await node.finish_calls(0)
            end = self._clock.steady() + _LAST_S
            while (
                not node.is_quiet if has_link else node.scheduler.is_placing
            ) and self._clock.steady() < end:
                await self._background.pause(_LAST_LOOK_S)
            if self._held.get(name) is not lease:
                # It was lost meanwhile.
                return
            del self._held[name]
            former = self._leave(name)
            await _end(former)
            # Callers with whom it is still talking are promised a callback all the
            # same. Not so if the lease was lost: then they may be talking to nobody.
            former.store.node_is_left()
            heir = await self._store.pass_node_on(lease.held)
            if heir:
                if not has_link:
                    self._reached_since[name] = None
                    self._ask_at[name] = self._clock.steady() + TRY_AGAIN_S
                self._log.info(
                    "this instance leaves the Asterisk {name} to the instance {heir},"
                    " which {why}",
                    name=name,
                    heir=heir,
                    why="is to take it first" if has_link else "can log in there",
                )
            self.wake_others()
        except StoreUnavailable as error:
            # Whoever holds it by the database goes on there: the next look shows that.
            self._log.warn(
                "the Asterisk {name} is not passed on: {error}", name=name, error=error
            )
        finally:
            self._leaving.discard(name)
            self._looks.wake()

    # -- the systemname ----------------------------------------------------------

    async def _claim_name(self, node: Node) -> str:
        """Return the other Asterisk that has the systemname of a node; empty: none."""
        if (lease := self._held.get(node.name)) is None:
            return ""
        name = None if node.is_gone else node.manager.system_name
        return await self._store.claim_name(lease.held, name)

    async def _look_at_names(self) -> None:
        """Look whether other Asterisks have the systemnames of those held here."""
        now = self._clock.steady()
        is_time = now - self._looked_at_names >= _LOOK_AT_TASKS_S
        if is_time:
            self._looked_at_names = now
        for name in list(self._held):
            node = self._made[name].node
            if (is_time or node.why_not_here is not None) and (
                node.manager.connected or node.is_gone
            ):
                try:
                    await self._nodes.learn_name(node)
                except StoreUnavailable as error:
                    self._log.debug("no systemname is known: {error}", error=error)
                    return
                if node.manager.connected:
                    node.name_may_be_taken()

    # -- what others do, and what they must know -------------------------------

    async def _look_at_others(self) -> None:
        running = [
            one.task.id
            for name in self._held
            for one in self._made[name].node.dialer.running.values()
        ]
        try:
            seen = await self._store.look_at_others(
                list(self._held), running, self._last_events
            )
        except StoreUnavailable as error:
            self._log.debug("others can not be looked at: {error}", error=error)
            return
        answered_at = self._lease.seconds()
        if answered_at - self._answered_at > _REGULAR_S:
            self._answers_since = answered_at
        self._answered_at = answered_at
        self._nodes.unanswered_elsewhere = seen.unanswered
        self._nodes.dialled_elsewhere = seen.dialled
        self._look_at_tasks(seen.in_progress)
        for task in seen.moved:
            # The last in line may have to make way; tasks are looked at below.
            self._nodes.task_moved(task)
        if self._nodes.agents_elsewhere.are(seen.agents):
            self._nodes.agents_elsewhere_changed()
        begun, freed = (
            seen.busy - self._nodes.busy_elsewhere,
            self._nodes.busy_elsewhere - seen.busy,
        )
        self._nodes.busy_elsewhere = seen.busy
        for key in begun:
            self._nodes.withdraw(key, because(Code.CLIENT_RANG_IN))
        now = self._clock.steady()
        is_time = now - self._looked_at >= _LOOK_AT_TASKS_S
        if freed or seen.last_events != self._last_events or is_time:
            self._last_events = seen.last_events
            self._looked_at = now
            self._tells_of_others = True
            try:
                self._tasks_changed()
            finally:
                self._tells_of_others = False

    def _look_at_tasks(self, in_progress: Iterable[CallbackTask]) -> None:
        """Apply what others have changed of tasks that are in progress here."""
        now = self._clock.now()
        for task in in_progress:
            if task.cancel_requested:
                self._nodes.withdraw_task(task.id, task.why)
            elif task.waits_for_chosen_time(now):
                self._nodes.withdraw_unanswered(task.id, task.why)
            else:
                self._nodes.task_changed_elsewhere(task)

    async def _store_calls(self) -> None:
        for name, lease in list(self._held.items()):
            made = self._made[name]
            busy = self._busy(made.node)
            stored = self._stored_calls.get(name)
            if busy is None or busy == stored:
                continue
            # If it fails, nobody knows what is stored.
            self._stored_calls.pop(name, None)
            if stored is None:
                await made.store.put_calls(busy, None)
            else:
                await made.store.put_calls(busy - stored, stored - busy)
            if self._held.get(name) is lease:
                self._stored_calls[name] = busy
            self.wake_others()
        for name, lease in list(self._held.items()):
            await self._tell(name, lease)
        # Each event wakes it: those of the next moment are told together.
        await self._background.pause(_TELL_S)

    async def _tell(self, name: str, lease: Lease) -> None:
        """Tell the others of the agents and callers on an Asterisk."""
        made = self._made[name]
        if not made.node.has_learned_calls:
            return
        now = made.node.for_others()
        told = self._told.get(name)
        if now == told:
            return
        # If it fails, nobody knows what is stored.
        self._told.pop(name, None)
        if told is None:
            await made.store.tell(now, None)
        else:
            changed = {key: now[key] for key in now if now[key] != told.get(key)}
            await made.store.tell(changed, told.keys() - now.keys())
        if self._held.get(name) is lease:
            self._told[name] = now
        if _agents(now) != _agents(told or {}):
            self.wake_others()

    @staticmethod
    def _busy(node: Node) -> frozenset[str] | None:
        """Return who is in a call on an Asterisk; None: what is stored counts."""
        if node.is_gone:
            return frozenset()
        return frozenset(node.call_tracker.busy()) if node.has_learned_calls else None

    def _replace(self, name: str, lease: Lease | None) -> Made:
        made = self._build(name, lease, lambda reason: self._lost(name, reason))
        self._made[name] = made
        self._nodes.replace(made.node)
        return made


def _words_of_holder(instance: str, held: Held) -> str:
    """Return who holds an Asterisk, for the status."""
    words = f"it is held by the instance {instance or '?'}: {held}"
    if (lost_at := held.link_lost_at) is None:
        return words
    return f"{words}; that one has no link to it since {local_time(lost_at)}"


def _agents(told: Mapping[Key, str]) -> dict[Key, str]:
    """Return what is told of agents."""
    return {key: text for key, text in told.items() if key[0] is What.AGENTS}


async def _end(made: Made) -> None:
    made.node.scheduler.disable()
    await made.node.stop()
    await made.background.stop()
