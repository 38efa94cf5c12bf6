# SPDX-License-Identifier: MIT
"""A model of Asterisk on a fake clock, with what this service uses of it.

It has queues with members, live callers, callbacks through
``dialplan/callback-queue.conf``, agents and clients with scripted behaviour, AstDB, the
manager port and AGI. Per channel it sends the same events in the same order as a real
Asterisk, with the headers that somebody reads (`test_fake_asterisk.py` compares it with
recordings). Everything runs on one `twisted.internet.task.Clock` at its exact due time,
so a test can check times to the second.

Shares no code with the service.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import attrs

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock

from tests.emulator.calls import FENCES, FORGETS, AgiRun, Callback, LiveCall
from tests.emulator.manager import (
    Action,
    Answer,
    FakeManager,
    Handler,
    Header,
    Told,
    User,
    error,
    listed,
    success,
)
from tests.emulator.phones import (
    CAUSES,
    NO_CAUSE,
    NORMAL,
    UNKNOWN,
    Bridge,
    Channel,
    Phone,
)
from tests.emulator.queues import Queue, Visit
from tests.emulator.scenarios import NO_ANSWER
from tests.emulator.wires import (
    ClientEndpoint,
    Door,
    End,
    Net,
    OnWrite,
    ServerEndpoint,
    Wire,
    just_write,
)


class FakeAsterisk:
    """One Asterisk.

    Args:
        clock: the clock of the whole test.
        net: the network that carries its connections.
        version: the version that it reports.
        user: its only manager user.
    """

    def __init__(
        self,
        clock: Clock,
        net: Net,
        *,
        version: str = "22.10.1",
        user: User | None = None,
    ) -> None:
        self.clock = clock
        self.net = net
        self.queues: dict[str, Queue] = {}
        self.phones: dict[str, Phone] = {}
        self.clients: dict[str, Phone] = {}
        self.channels: dict[str, Channel] = {}
        self.callbacks: list[Callback] = []
        self.astdb: dict[tuple[str, str], str] = {}
        #: What DIALPLAN_EXISTS finds. An older callback-queue.conf has fewer contexts.
        self.dialplan_has = {
            "DIALPLAN_EXISTS(callback-member,place,1)",
            "DIALPLAN_EXISTS(callback-offer,s,1)",
            "DIALPLAN_EXISTS(callback-agent,s,1)",
            "DIALPLAN_EXISTS(callback-only,s,1)",
            "DIALPLAN_EXISTS(callback-confirm,s,1)",
            "DIALPLAN_EXISTS(callback-member,client,1)",
            "DIALPLAN_EXISTS(callback-fence,s,1)",
        }
        #: PJSIP endpoints that it does not have.
        self.missing_endpoints: set[str] = set()
        #: Endpoints that it has, but whose state is not known.
        self.stateless_endpoints: set[str] = set()
        #: Whether callback-queue.conf lets the service ask the caller (version 7).
        self.can_choose = True
        #: Whether CALLBACK_WHEN_DOWN is "keep".
        self.keeps_requests = False
        #: All events that were raised, including those sent to nobody.
        self.told: list[Told] = []
        self.agi_runs: list[AgiRun] = []
        #: Durations of the alert to the agent and of a prompt to the caller (seconds).
        self.alert_s = 1.0
        self.prompt_s = 2.0
        self.missing_sounds: set[str] = set()
        #: Whether an OriginateResponse comes before the last UserEvent of its call. On
        #: a real Asterisk this happens sometimes, as different threads send them.
        self.responds_early = False
        #: Called with each prompt that a caller begins to hear.
        self.on_prompt: Callable[[LiveCall, str], object] = lambda call, sound: None
        #: Called when the service presses a key on behalf of a channel.
        self.on_key: Callable[[Channel, str], object] = lambda channel, key: None
        #: Called when a queue begins to ring agents for a waiting caller.
        self.on_ring: Callable[[Visit], object] = lambda visit: None
        #: Error of the machine's clock, in seconds.
        self.skew_s = 0.0
        #: ``systemname`` in asterisk.conf: the beginning of each uniqueid.
        self.system_name = ""
        #: What the address of the service ends with in CALLBACK_AGI.
        self.agi_node = ""
        self.manager_wires: list[Wire] = []
        #: Whether the manager is frozen, and the delay of bytes sent to it.
        self.frozen = False
        self.latency_s = 0.0
        #: How many addresses CALLBACK_AGI has; all lead to the one below.
        self.addresses = 1
        #: The address that AGI() connects to; a service listens there.
        self.agi = ServerEndpoint(net)
        #: The addresses of several services; empty: those above.
        self.doors: Sequence[Door] = ()
        self._numbers = 0
        self._locals = 0
        self._bridges = 0
        self._life = 0
        handlers: dict[str, Handler] = {
            "CoreSettings": self._core_settings,
            "CoreShowChannels": self._core_show_channels,
            "DBDel": self._db_del,
            "DBGet": self._db_get,
            "DBPut": self._db_put,
            "DeviceStateList": self._device_state_list,
            "Getvar": self._get_var,
            "Hangup": self._hangup,
            "Originate": self._originate,
            "Ping": self._ping,
            "Setvar": self._set_var,
            "PlayDTMF": self._play_dtmf,
            "QueueLog": self._queue_log,
            "QueueStatus": self._queue_status,
        }
        #: The queue_log lines that the manager was asked to write, without their time.
        self.queue_log: list[str] = []
        #: The file for queue_log; None: no file.
        self.queue_log_file: Path | None = None
        self.manager = FakeManager(clock, version, handlers, user or User())
        #: Hangup cause of a caller who hangs up in a queue.
        self.abandon_cause = NORMAL if version.startswith("16.") else NO_CAUSE

    # -- set-up -------------------------------------------------------------

    def add_queue(
        self, name: str, members: Iterable[str] = (), **options: object
    ) -> Queue:
        """Add a queue with the interfaces of its members."""
        queue = Queue(pbx=self, name=name, **options)  # type: ignore[arg-type]
        self.queues[name.lower()] = queue
        for interface in members:
            queue.add(interface, dynamic=False)
        return queue

    def phone(self, interface: str) -> Phone:
        """Return the phone of an agent. A new one answers at once and talks."""
        if interface not in self.phones:
            self.phones[interface] = Phone(self, interface)
        return self.phones[interface]

    def client(self, number: str) -> Phone:
        """Return the phone of a client. A new one is never answered."""
        if number not in self.clients:
            self.clients[number] = Phone(
                self, "PJSIP/trunk", watched=False, otherwise=NO_ANSWER
            )
        return self.clients[number]

    def manager_endpoint(self, on_write: OnWrite = just_write) -> ClientEndpoint:
        """Return an endpoint that connects to the manager port."""
        return ClientEndpoint(self.net, self.manager.accept, self._connected, on_write)

    def _connected(self, wire: Wire) -> None:
        self.manager_wires.append(wire)
        wire.server.frozen = self.frozen
        if self.latency_s:
            wire.delay(self.clock, self.latency_s)

    # -- what people do ----------------------------------------------------

    def call(
        self,
        queue: str,
        number: str = "0301234567",
        *,
        name: str = "",
        callingpres: str = "0",
        talks_s: float | None = 30.0,
        queue_timeout_s: float | None = None,
        meets_bot: bool = False,
        priority: str = "",
        asks_place: bool = False,
        answers_offer: str = "",
        answers: Sequence[tuple[str, str]] = (),
    ) -> LiveCall:
        """Somebody calls in, perhaps talks to a voice bot, and enters a queue.

        A caller who is offered a callback presses the keys ``answers_offer``.
        ``answers``: what the caller presses when the service asks, see `AsteriskAgi`.
        """
        return LiveCall(
            self,
            queue,
            number=number,
            name=name,
            callingpres=callingpres,
            talks_s=talks_s,
            queue_timeout_s=queue_timeout_s,
            meets_bot=meets_bot,
            priority=priority,
            asks_place=asks_place,
            answers_offer=answers_offer,
            answers=answers,
        )

    # -- what breaks -------------------------------------------------------

    def cut_links(self) -> None:
        """Break all manager connections; Asterisk keeps running."""
        for wire in self.manager_wires:
            wire.cut()

    def freeze(self) -> None:
        """Freeze the manager: it neither reads nor writes; calls continue."""
        self.frozen = True
        for wire in self.manager_wires:
            wire.server.frozen = True

    def thaw(self, old_after_s: float = 0.0) -> None:
        """Let a frozen manager continue.

        On a real Asterisk each connection has its own thread. So a connection whose
        client is gone may read later than the others what was sent to it.
        """
        self.frozen = False
        for wire in self.manager_wires:
            if wire.client.closed and old_after_s:
                self.later(old_after_s, partial(_thaw, wire.server))
            else:
                _thaw(wire.server)

    def shut_down(self, *, restarts: bool = True) -> None:
        """``core restart now``: hang up all channels, send Shutdown, and end."""
        for callback in list(self.callbacks):
            callback.cut_off()
        for channel in list(self.channels.values()):
            if channel.uniqueid in self.channels:
                channel.hung_up()
        self.tell(
            "Shutdown",
            "system",
            ("Shutdown", "Cleanly"),
            ("Restart", str(restarts)),
        )
        self.kill()

    def kill(self) -> None:
        """Kill the process: no events, calls or connections. AstDB stays."""
        self._life += 1
        self.manager.close_all()
        self.manager.listening = False
        self.manager.booted = False
        for run in self.agi_runs:
            if run.wire is not None:
                run.wire.client.vanish()
        for channel in self.channels.values():
            channel.hung_up = lambda: None
        self.channels.clear()
        self.callbacks.clear()
        for queue in self.queues.values():
            queue.visits.clear()
            queue.members = [member for member in queue.members if not member.dynamic]
            for member in queue.members:
                member.in_call = member.paused = False
                member.last_call = member.calls_taken = 0
        for phone in (*self.phones.values(), *self.clients.values()):
            for fact in phone.rung:
                if fact.ended_at is None:
                    fact.ended_at = self.now
            phone.channels.clear()
            phone.told = phone.state

    def start(self, boots_s: float = 0.0) -> None:
        """Start again after :meth:`kill`; loading the modules takes a while."""
        self.log_queue("NONE", "NONE", "NONE", "QUEUESTART", "")
        self.manager.listening = True
        self.later(boots_s, self.manager.boot)

    # -- used by the other modules of the model -------------------------------

    @property
    def now(self) -> float:
        """The current time of the test."""
        return float(self.clock.seconds())

    @property
    def wall_clock(self) -> int:
        """The machine's time in whole seconds, like ``time(NULL)``."""
        return int(self.now + self.skew_s)

    def log_queue(self, *fields: str) -> None:
        """Write a line into queue_log."""
        if self.queue_log_file is not None:
            with self.queue_log_file.open("a") as file:
                file.write("|".join((str(self.wall_clock), *fields)) + "\n")

    def later(self, seconds: float, function: Callable[[], object]) -> IDelayedCall:
        """Run a function later, unless the process ends before."""
        life = self._life

        def run() -> None:
            if life == self._life:
                function()

        call: IDelayedCall = self.clock.callLater(seconds, run)
        return call

    def visits(self) -> Iterable[Visit]:
        """Return every visit of every queue."""
        return [visit for queue in self.queues.values() for visit in queue.visits]

    def next_number(self) -> int:
        """Return the number of the next channel of a technology."""
        self._numbers += 1
        return self._numbers - 1

    def next_local(self) -> int:
        """Return the number of the next pair of Local channels."""
        self._locals += 1
        return self._locals - 1

    def new_channel(
        self,
        name: str,
        *,
        uniqueid: str = "",
        linkedid: str = "",
        state: str = "Down",
        context: str = "",
        exten: str = "",
        number: str = UNKNOWN,
        caller: str = UNKNOWN,
    ) -> Channel:
        """Create a channel and send its event."""
        prefix = f"{self.system_name}-" if self.system_name else ""
        uniqueid = uniqueid or f"{prefix}{int(self.now)}.{self.next_number()}"
        channel = Channel(
            name=name,
            uniqueid=uniqueid,
            linkedid=linkedid or uniqueid,
            since=self.now,
            state=state,
            context=context,
            exten=exten,
            number=number,
            caller=caller,
        )
        self.channels[uniqueid] = channel
        self.tell("Newchannel", "call", *channel.headers())
        return channel

    def hang_up(self, channel: Channel, cause: int) -> None:
        """Remove a channel and send its event."""
        del self.channels[channel.uniqueid]
        self.tell(
            "Hangup",
            "call",
            *channel.headers(),
            ("Cause", str(cause)),
            ("Cause-txt", CAUSES[cause]),
        )

    def dial(
        self, channel: Channel, dest: Channel, name: str, *headers: Header
    ) -> None:
        """Send DialBegin or DialEnd."""
        self.tell(name, "call", *channel.headers(), *dest.headers("Dest"), *headers)

    def dial_end(self, channel: Channel, dest: Channel, status: str) -> None:
        """Send DialEnd."""
        self.dial(channel, dest, "DialEnd", ("DialStatus", status))

    def bridge(self, *channels: Channel) -> None:
        """Put channels into one bridge."""
        self._bridges += 1
        bridge = Bridge(f"bridge-{self._bridges}")
        for channel in channels:
            bridge.channels.append(channel)
            channel.bridge = bridge
            self._tell_bridge("BridgeEnter", bridge, channel)

    def unbridge(self, *channels: Channel) -> None:
        """Take channels out of their bridge, in this order."""
        for channel in channels:
            bridge = channel.bridge
            if bridge is not None:
                bridge.channels.remove(channel)
                channel.bridge = None
                self._tell_bridge("BridgeLeave", bridge, channel)

    def _tell_bridge(self, name: str, bridge: Bridge, channel: Channel) -> None:
        self.tell(
            name,
            "call",
            ("BridgeUniqueid", bridge.uniqueid),
            ("BridgeType", "basic"),
            ("BridgeTechnology", "simple_bridge"),
            ("BridgeCreator", UNKNOWN),
            ("BridgeName", UNKNOWN),
            ("BridgeNumChannels", str(len(bridge.channels))),
            ("BridgeVideoSourceMode", "none"),
            *channel.headers(),
        )

    def device_changed(self, phone: Phone) -> None:
        """Send a phone's state if it has changed."""
        state = phone.state
        if state == phone.told:
            return
        phone.told = state
        if not phone.watched:
            return
        self.tell(
            "DeviceStateChange", "call", ("Device", phone.interface), ("State", state)
        )
        for queue in self.queues.values():
            for member in queue.members:
                if member.phone is phone:
                    self.tell("QueueMemberStatus", "agent", *member.headers(queue.name))
                    queue.look(queue.notice_s)

    def forget(self, family: str) -> None:
        """Remove a family from AstDB."""
        self.astdb = {key: v for key, v in self.astdb.items() if key[0] != family}

    def tell(self, name: str, privilege: str, *headers: Header) -> None:
        """Raise an event."""
        told = Told(self.now, name, privilege, tuple(headers))
        self.told.append(told)
        self.manager.tell(told)

    def originate_response(
        self,
        action: Action,
        response: str,
        *,
        channel: str,
        uniqueid: str,
        number: str = UNKNOWN,
        caller: str = UNKNOWN,
    ) -> None:
        """Send the OriginateResponse."""
        self.tell(
            "OriginateResponse",
            "call",
            ("ActionID", action.get("ActionID")),
            ("Response", response),
            ("Channel", channel),
            ("Context", action.get("Context")),
            ("Exten", action.get("Exten")),
            ("Reason", "4" if response == "Success" else "0"),
            ("Uniqueid", uniqueid),
            ("CallerIDNum", number),
            ("CallerIDName", caller),
        )

    def events(self, *names: str) -> list[Told]:
        """Return the events of these names so far."""
        return [told for told in self.told if told.name in names]

    def told_of(self, name: str, uniqueid: str) -> list[Told]:
        """Return the events of this name about channels whose id has this beginning."""
        return [t for t in self.events(name) if t["Uniqueid"].startswith(uniqueid)]

    # -- actions -----------------------------------------------------------

    def _ping(self, action: Action) -> Answer:
        stamp = f"{self.now:.6f}"
        return Answer((("Response", "Success"), ("Ping", "Pong"), ("Timestamp", stamp)))

    def _queue_log(self, action: Action) -> Answer:
        if not (action.get("Queue") and action.get("Event")):
            return error("Need 'Queue' and 'Event' parameters.")
        uniqueid = action.get("Uniqueid") or "NONE"
        agent = action.get("Interface") or "NONE"
        fields = (uniqueid, action.get("Queue"), agent, action.get("Event"))
        self.queue_log.append("|".join([*fields, action.get("Message")]))
        return success("Event added successfully")

    def _core_settings(self, action: Action) -> Answer:
        return Answer(
            (
                ("Response", "Success"),
                ("AMIversion", "11.0.0"),
                ("AsteriskVersion", self.manager.version),
                ("SystemName", self.system_name),
            )
        )

    def _core_show_channels(self, action: Action) -> Answer:
        return listed(
            "Channels will follow",
            [
                ("CoreShowChannel", self._shown(channel))
                for channel in self.channels.values()
            ],
            "CoreShowChannelsComplete",
        )

    def _shown(self, channel: Channel) -> tuple[Header, ...]:
        age = int(self.now - channel.since)
        return (
            *channel.headers(),
            ("Application", channel.application),
            ("ApplicationData", channel.data),
            ("Duration", f"{age // 3600:02}:{age // 60 % 60:02}:{age % 60:02}"),
            ("BridgeId", channel.bridge.uniqueid if channel.bridge else ""),
        )

    def _device_state_list(self, action: Action) -> Answer:
        return listed(
            "Device State Changes will follow",
            [
                (
                    "DeviceStateChange",
                    (("Device", phone.interface), ("State", phone.state)),
                )
                for phone in self.phones.values()
            ],
            "DeviceStateListComplete",
        )

    def _queue_status(self, action: Action) -> Answer:
        wanted = action.get("Queue").lower()
        items: list[tuple[str, tuple[Header, ...]]] = []
        if self.manager.booted:
            for name, queue in self.queues.items():
                if not wanted or name == wanted:
                    items += self._queue_items(queue)
        return listed("Queue status will follow", items, "QueueStatusComplete")

    def _queue_items(self, queue: Queue) -> list[tuple[str, tuple[Header, ...]]]:
        params: tuple[Header, ...] = (
            ("Queue", queue.name),
            ("Max", str(queue.maxlen)),
            ("Strategy", queue.strategy),
            ("Calls", str(len(queue.visits))),
        )
        items = [("QueueParams", params)]
        for member in queue.members:
            headers = dict(member.headers(queue.name))
            # The same facts as in QueueMemberStatus, under other names.
            renamed = {"MemberName": "Name", "Interface": "Location"}
            del headers["Ringinuse"]
            items.append(
                (
                    "QueueMember",
                    tuple((renamed.get(name, name), v) for name, v in headers.items()),
                )
            )
        for visit in queue.visits:
            channel = visit.channel
            items.append(
                (
                    "QueueEntry",
                    (
                        ("Queue", queue.name),
                        ("Position", str(visit.position)),
                        ("Channel", channel.name),
                        ("Uniqueid", channel.uniqueid),
                        ("CallerIDNum", channel.number),
                        ("CallerIDName", channel.caller),
                        ("ConnectedLineNum", channel.number),
                        ("ConnectedLineName", channel.caller),
                        ("Wait", str(int(self.now - visit.joined_at))),
                        ("Priority", str(visit.priority)),
                    ),
                )
            )
        return items

    def _channel(self, action: Action) -> Channel | None:
        wanted = action.get("Channel")
        by_name = (one for one in self.channels.values() if one.name == wanted)
        return next(by_name, None) or self.channels.get(wanted)

    def _get_var(self, action: Action) -> Answer:
        variable = action.get("Variable")
        if variable.startswith("DB_KEYS("):
            family = variable.removeprefix("DB_KEYS(").removesuffix(")")
            keys = ",".join(key for of, key in self.astdb if of == family)
            return success("Success", Variable=variable, Value=keys[:1023])
        if variable == "EPOCH":
            epoch = f"{self.clock.seconds() + self.skew_s:.0f}"
            return success("Success", Variable=variable, Value=epoch)
        if variable.startswith("DIALPLAN_EXISTS("):
            found = variable in self.dialplan_has
            return success("Success", Variable=variable, Value=str(int(found)))
        if variable.startswith("DEVICE_STATE(PJSIP/"):
            endpoint = variable.removeprefix("DEVICE_STATE(PJSIP/").removesuffix(")")
            unknown = self.missing_endpoints | self.stateless_endpoints
            state = "INVALID" if endpoint in unknown else "NOT_INUSE"
            return success("Success", Variable=variable, Value=state)
        if variable.startswith("PJSIP_ENDPOINT("):
            named = variable.removeprefix("PJSIP_ENDPOINT(").removesuffix(")")
            endpoint = named.partition(",")[0]
            if endpoint in self.missing_endpoints:
                return error("No such channel")
            return success("Success", Variable=variable, Value="inbound")
        if variable.startswith("QUEUE_EXISTS("):
            queue = variable.removeprefix("QUEUE_EXISTS(").removesuffix(")")
            names = {name.lower() for name in self.queues}
            found = queue.lower() in names
            return success("Success", Variable=variable, Value=str(int(found)))
        if not action.get("Channel"):
            # The name of a global variable, which may be unset.
            return success("Success", Variable=variable, Value="")
        channel = self._channel(action)
        if channel is None:
            return error("No such channel")
        if variable == "QUEUE_PRIO":
            priority = channel.queue_priority
            return success("Success", Variable=variable, Value=priority)
        return success("Success", Variable=variable, Value=channel.presentation)

    def _set_var(self, action: Action) -> Answer:
        channel = self._channel(action)
        if channel is None:
            return error("No such channel")
        for callback in self.callbacks:
            if callback.caller_half is channel:
                callback.set_variable(action.get("Variable"), action.get("Value"))
        return success("Variable Set")

    def _hangup(self, action: Action) -> Answer:
        channel = self._channel(action)
        if channel is None:
            return error("No such channel")
        self.later(0, channel.hung_up)
        return success("Channel Hungup")

    def _play_dtmf(self, action: Action) -> Answer:
        assert action.get("Receive") == "true", "it would be sent to the phone"
        channel = self._channel(action)
        if channel is None:
            return error("Channel not found")
        key = action.get("Digit")
        self.on_key(channel, key)
        self.later(0, lambda: channel.key_pressed(key))
        return success("DTMF successfully queued")

    def _db_get(self, action: Action) -> Answer:
        family, key = action.get("Family"), action.get("Key")
        value = self.astdb.get((family, key))
        if value is None:
            return error("Database entry not found")
        headers = (("Family", family), ("Key", key), ("Val", value))
        return listed(
            "Result will follow", [("DBGetResponse", headers)], "DBGetComplete"
        )

    def _db_put(self, action: Action) -> Answer:
        self.astdb[action.get("Family"), action.get("Key")] = action.get("Val")
        return success("Updated database successfully")

    def _db_del(self, action: Action) -> Answer:
        if self.astdb.pop((action.get("Family"), action.get("Key")), None) is None:
            return error("Database entry could not be deleted")
        return success("Key deleted successfully")

    def _originate(self, action: Action) -> Answer:
        assert action.get("Async").lower() == "true", "it would block the session"
        return attrs.evolve(
            success("Originate successfully queued"),
            then=lambda: self.later(0, lambda: self._make(action)),
        )

    def _make(self, action: Action) -> None:
        if action.get("Channel").startswith(FORGETS):
            self._forget_request(action)
            return
        if action.get("Channel").startswith(FENCES):
            self._store_epoch(action)
            return
        ids = (action.get("ChannelId"), action.get("OtherChannelId"))
        if any(uniqueid in self.channels for uniqueid in ids):
            self.originate_response(
                action, "Failure", channel=action.get("Channel"), uniqueid=ids[0]
            )
            return
        self.callbacks.append(Callback(self, action))

    def _store_epoch(self, action: Action) -> None:
        for assignment in action.all("Variable"):
            name, _, value = assignment.partition("=")
            if name == "CALLBACK_EPOCH":
                self.astdb["callback-fence", "epoch"] = value
        self.originate_response(
            action,
            "Failure",
            channel=action.get("Channel"),
            uniqueid=action.get("ChannelId"),
        )

    def _forget_request(self, action: Action) -> None:
        for assignment in action.all("Variable"):
            name, _, key = assignment.partition("=")
            if name == "__CALLBACK_FORGET":
                self.astdb.pop(("callback-request", key), None)
        self.originate_response(
            action,
            "Failure",
            channel=action.get("Channel"),
            uniqueid=action.get("ChannelId"),
        )


def _thaw(end: End) -> None:
    end.frozen = False
