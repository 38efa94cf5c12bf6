# SPDX-License-Identifier: MIT
"""Runs a plan: the service, the model of Asterisk, people and trouble."""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final, Protocol, cast
from unittest import mock

import attrs

from twisted.logger import (
    ILogObserver,
    LogEvent,
    formatEvent,
    globalLogPublisher,
)

from fastagi.config.queue_layers import DAYS_OF_WEEK, QueueSettings
from fastagi.config.sections import LimitSettings, Settings
from fastagi.store import leases
from fastagi.store.errors import DatabaseHeld
from tests.emulator.manager import Header, Told
from tests.emulator.scenarios import Answers
from tests.harness.control_client import ControlClient
from tests.harness.world import (
    START,
    ServiceProcess,
    World,
    queue_settings,
    settings,
)
from tests.simulation.plan import (
    ACTION_S,
    AUTO_AGENTS,
    DENIED,
    OFFER_ANSWERS,
    PER_SLOT,
    PREFERRED_WAIT_S,
    SLACK_S,
    TALK,
    WITH_CALLBACKS,
    Death,
    Event,
    Plan,
    plan,
)
from tests.simulation.rules import BrokenRule, Rules

#: Random prefix of each link in these actions; nothing depends on it.
_ACTION_ID: Final = re.compile(r"ActionID=callback-[0-9a-f]+-")
#: Events raised outside the message bus that keeps the order of the others: see
#: `tests.system.test_fake_asterisk`.
_UNORDERED: Final = frozenset({"OriginateResponse", "AgentComplete"})
#: Events of a callback's two halves that do not affect the queues' state.
_OF_CALLBACKS: Final = frozenset(
    {"OriginateResponse", "DialBegin", "DialEnd", "BridgeEnter", "UserEvent"}
)
#: Time after the trouble within which everything must end, in seconds.
_MAX_S: Final = 2 * 3600.0
#: Time for which a second service tries to take over from a frozen one.
_GIVES_UP_S: Final = leases.LENGTH_S + 2.0
#: Time after the last end in which nothing more may happen.
_QUIET_S: Final = 120.0


def _with_short_slots(queue: QueueSettings) -> QueueSettings:
    """Let slots be shorter than the settings allow, so that some begin in the run."""
    short = {"slot_length": timedelta(seconds=SLACK_S)}
    return queue.model_copy(update={"choices": queue.choices.model_copy(update=short)})


def _clock(minute: int) -> str:
    """Return the time of day this many minutes after the beginning."""
    return f"{datetime.fromtimestamp(START + 60 * minute, UTC):%H:%M}"


@attrs.frozen
class Failed:
    """A run in which a rule was broken."""

    seed: int
    rule: str
    words: str
    story: str

    def __str__(self) -> str:
        return f"seed {self.seed}: {self.rule}\n{self.words}\n\n{self.story}"


class Playable(Protocol):
    """One run."""

    def play(self) -> None:
        """Play it.

        Raises:
            BrokenRule: a rule was broken.
        """

    def story(self) -> str:
        """Return what was planned, and what has come of it."""

    def close(self) -> None:
        """Release everything."""


def simulate(seed: int) -> Failed | None:
    """Run the plan of a seed; return the broken rule, None if there is none."""
    return play(seed, lambda seed: Simulation(plan(seed)))


def play(seed: int, new_run: Callable[[int], Playable]) -> Failed | None:
    """Play a seed; return the broken rule, None if there is none."""
    run = new_run(seed)
    try:
        run.play()
    except BrokenRule as broken:
        return Failed(seed, broken.rule, broken.words, run.story())
    except Exception as error:
        words = f"{type(error).__name__}: {error}"
        return Failed(seed, "the service runs", words, run.story())
    finally:
        run.close()
    return None


def trace(seed: int) -> str:
    """Return every event in the run of a seed."""
    simulation = Simulation(plan(seed))
    try:
        simulation.play()
    except BrokenRule as broken:
        return f"{simulation.trace()}\n{broken}"
    else:
        return simulation.trace()
    finally:
        simulation.close()


def _is_caller_half(headers: Iterable[Header]) -> bool:
    uniqueid = dict(headers).get("Uniqueid", "")
    return uniqueid.startswith("callback-") and uniqueid.endswith("-1")


def _is_of_callback(told: Told) -> bool:
    return told.name in _OF_CALLBACKS and told["Uniqueid"].startswith("callback-")


class Simulation:
    """One run."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._world = World(plan.version)
        # The service's random delays and tokens.
        random.seed(plan.seed)
        self._dice = random.Random(plan.seed)
        self._asterisk = self._world.asterisk
        self._deaths = list(plan.deaths)
        self._trouble = ""
        self._commit_s = plan.commit_s
        self._ends = False
        #: Whether the next run of the service will start by itself.
        self._reborn = False
        self._points: list[list[str]] = []
        #: The machine on which the service runs.
        self._host = "pbx"
        self._world.leases_run_out = bool(plan.freezes)
        # The database's clock.
        self._database_clock = mock.patch.object(
            leases, "now", lambda conn: self._world.clock.seconds()
        )
        self._database_clock.start()
        self._log = self._observe
        globalLogPublisher.addObserver(cast(ILogObserver, self._log))
        self._build()
        self.rules = Rules(self._world, plan)
        self._world.watchers.append(self._look_after_the_service)

    def close(self) -> None:
        """Release everything."""
        globalLogPublisher.removeObserver(cast(ILogObserver, self._log))
        self.rules.close()
        self._world.close()
        self._database_clock.stop()

    def _observe(self, event: LogEvent) -> None:
        """An unexpected failure in a living service is a broken rule."""
        if "log_failure" not in event or self._process.dead:
            return
        if event["log_namespace"].startswith(("fastagi", "tests")):
            traceback = event["log_failure"].getTraceback()
            self.rules.broken.append(
                BrokenRule("nothing fails unforeseen", formatEvent(event) + traceback)
            )

    # -- set-up --------------------------------------------------------------

    def _build(self) -> None:
        chosen, asterisk = self._plan, self._asterisk
        for name, members in chosen.queues.items():
            asterisk.add_queue(
                name,
                members,
                strategy=chosen.strategy,
                notice_s=chosen.notice_s,
                wrapuptime_s=chosen.wrapuptime_s,
                context="callback-request" if name in WITH_CALLBACKS else "",
            )
        for name, most in chosen.maxlen.items():
            asterisk.queues[name].maxlen = most
        for interface, behaviours in chosen.agents.items():
            asterisk.phone(interface).will(*behaviours).always(behaviours[-1])
        for number, behaviours in chosen.clients.items():
            asterisk.client(number).will(*behaviours).always(behaviours[-1])
        asterisk.keeps_requests = chosen.keeps_requests
        if chosen.doubled or chosen.unordered_s:
            asterisk.manager.deliver = self._deliver
        cues = (
            *chosen.cues,
            *chosen.ends_of_talks,
            *chosen.transfers,
            *chosen.cancels,
            *chosen.calls_in_talks,
            *chosen.freezes,
        )
        self._cues = [(cue, [cue.count]) for cue in cues]
        if self._cues:
            tell = asterisk.tell

            def tells(name: str, privilege: str, *headers: Header) -> None:
                self._moment_comes(name)
                if name == "BridgeEnter" and _is_caller_half(headers):
                    self._moment_comes(TALK)
                tell(name, privilege, *headers)

            asterisk.tell = tells  # type: ignore[method-assign]
        for event in (
            *chosen.events,
            *chosen.reloads,
            *chosen.times,
            *chosen.steers,
        ):
            self._world.clock.callLater(event.at, self._happen, event)

    def _deliver(self, told: Told) -> tuple[float, ...]:
        if self._ends:
            return (0.0,)
        chosen = self._plan
        first = again = 0.0
        if chosen.unordered_s and told.name in _UNORDERED:
            first = self._dice.uniform(0, chosen.unordered_s)
        if self._dice.randrange(100) >= chosen.doubled:
            return (first,)
        if chosen.doubled_after_s and _is_of_callback(told):
            again = self._dice.uniform(0, chosen.doubled_after_s)
        return (first, first + again)

    @cached_property
    def _settings(self) -> Settings:
        chosen = self._plan
        queues = [
            queue_settings(
                name,
                attempts=chosen.attempts,
                retry_delay=f"{chosen.retry_delay_s}s",
                request_expiry=f"{chosen.request_expiry_s}s",
                missed_window=f"{chosen.missed_window_s}s",
                wrapuptime=f"{chosen.wrapuptime_s}s",
                member_ring_time="30s",
                fairness="place" if chosen.keeps_places else "live_first",
                agent_keys=self._agent_keys(),
                preferred_agent={
                    "enabled": chosen.prefers_agents,
                    "wait": f"{PREFERRED_WAIT_S}s",
                },
                first=chosen.first,
                auto_agents=AUTO_AGENTS,
                client_key={"enabled": chosen.client_key, "wait": "3s"},
                amd=chosen.amd,
                choices=self._choices(),
                numbers={"deny": [DENIED]},
                offers=dict(chosen.offers),
                calls_per_hour=chosen.calls_per_hour,
                opening_hours=self._opening_hours(name),
                chosen_time={"slack": f"{SLACK_S}s"},
            )
            for name in chosen.queues
            if name in WITH_CALLBACKS
        ]
        if chosen.offers_times:
            queues = [_with_short_slots(queue) for queue in queues]
        limits = LimitSettings(
            calls_per_number=chosen.calls_per_number,
            calls_per_minute=chosen.calls_per_minute,
        )
        return settings(*queues, limits=limits)

    def _choices(self) -> dict[str, Any]:
        if self._plan.offers_times:
            return {
                "times": True,
                "slot_length": "10m",
                "per_slot": PER_SLOT,
                "days_ahead": 0,
            }
        if not self._plan.asks_callers:
            return {}
        return {"confirm_number": True, "other_number": "anybody"}

    def _agent_keys(self) -> dict[str, Any]:
        chosen = self._plan
        return {
            "enabled": chosen.asks_for_keys,
            "wait": "4s",
            "later_delay": f"{chosen.later_delay_s}s",
            "cannot_pause": f"{chosen.cannot_pause_s}s",
            "no_key": chosen.no_key,
        }

    def _opening_hours(self, queue: str) -> dict[str, str]:
        """Each day has the same hours, so a clock that is set stays within them."""
        if queue not in self._plan.closed:
            return {"time_zone": "UTC"}
        begin, end = (_clock(minute) for minute in self._plan.closed[queue])
        hours = f"00:00-{begin}, {end}-24:00"
        return {
            "time_zone": "UTC",
            "carry_over": self._plan.carry_over,
            **dict.fromkeys(DAYS_OF_WEEK, hours),
        }

    # -- the service -------------------------------------------------------

    @property
    def _process(self) -> ServiceProcess:
        return self._world.processes[-1]

    def _begin(self) -> None:
        self._reborn = False
        death = self._deaths.pop(0) if self._deaths and not self._ends else None
        kill_at = self._executioner(death)
        process = self._world.launch(self._settings, kill_at=kill_at, host=self._host)
        process.down_s = 1.0 if death is None else death.down_s  # type: ignore[attr-defined]
        self._points.append(process.points)
        self._pace(process)

    def _executioner(self, death: Death | None) -> Callable[[str], bool]:
        left = 0 if death is None else death.count

        def dies(point: str) -> bool:
            nonlocal left
            self._moment_comes(point)
            if death is None:
                return False
            left -= death.at in point
            return not self._ends and left == 0 and death.at in point

        return dies

    def _pace(self, process: ServiceProcess) -> None:
        """The database processes one request after the other, at its current speed."""
        done_at = 0.0

        def takes_s(name: str) -> float:
            nonlocal done_at
            now = self._world.clock.seconds()
            done_at = max(done_at, now) + self._dice.uniform(0.1, 1) * self._commit_s
            return done_at - now

        process.database.takes_s = takes_s
        process.database.unavailable = self._trouble

    def _look_after_the_service(self) -> None:
        """Do what systemd does."""
        for process in self._world.processes:
            if process.lease_lost and not process.dead:
                # It ends at once, and systemd does not start it again: see the unit.
                process.kill()
        process = self._process
        if (process.dead or process.stopped) and not self._reborn:
            self._reborn = True
            down_s: float = process.down_s  # type: ignore[attr-defined]
            self._world.clock.callLater(0.0 if self._ends else down_s, self._begin)

    # -- the run -------------------------------------------------------------

    def play(self) -> None:
        """Run the plan.

        Raises:
            BrokenRule: a rule was broken.
        """
        self._begin()
        self._world.run(ACTION_S)
        self._mend()
        end = self._world.t + _MAX_S
        self._world.run(60)
        while self.rules.open_tasks() and self._world.t < end:
            self._world.run(30)
        self._world.run(_QUIET_S)
        self.rules.check_the_end()
        process = self._process
        process.stop()
        self._world.run(10)
        if process.stopped != [None] or process.open_wires:
            raise BrokenRule("the service stops", f"{process.stopped}")

    def _moment_comes(self, name: str) -> None:
        for cue, left in self._cues:
            if cue.moment in name:
                left[0] -= 1
                if left[0] == 0:
                    # Never during an event of Asterisk or of the service.
                    self._later(cue.after_s, lambda e=cue.event: self._happen(e))

    def _happen(self, event: Event) -> None:
        if self._ends:
            return
        what = event.what.replace(" ", "_").replace("-", "_")
        getattr(self, f"_on_{what}")(**event.facts)

    def _mend(self) -> None:
        """End all trouble and let every agent be available."""
        self._ends = True
        asterisk = self._asterisk
        asterisk.thaw()
        self._come_back()
        if asterisk.latency_s:
            asterisk.latency_s = 0.0
            asterisk.cut_links()
        self._end_of_trouble()
        for interface in self._plan.agents:
            phone = asterisk.phone(interface)
            phone.plan.clear()
            phone.always(Answers(after_s=1)).busy(False)
            for queue in asterisk.queues.values():
                if any(m.interface == interface for m in queue.members):
                    queue.pause(interface, False)

    # -- people ------------------------------------------------------------

    def _on_call(
        self,
        queue: str,
        number: str,
        talks_s: float,
        withheld: bool,
        hangs_up_after_s: float,
        runs_out_after_s: float | None,
        presses_after_s: float | None = None,
        answers: Sequence[tuple[str, str]] = (),
        priority: str = "",
        asks_place: bool = False,
    ) -> None:
        asterisk = self._asterisk
        if not asterisk.manager.listening and not asterisk.manager.booted:
            return
        if any(
            call.number == number and call.channel.uniqueid in asterisk.channels
            for call in self.rules.calls
        ) or any(ring.ended_at is None for ring in asterisk.client(number).rung):
            # Nobody calls while already on the phone.
            return
        call = asterisk.call(
            queue,
            number,
            callingpres="32" if withheld else "0",
            talks_s=talks_s,
            queue_timeout_s=runs_out_after_s,
            meets_bot=self._meets_bot(number),
            answers=answers,
            answers_offer=self._answers_offer(number),
            priority=priority,
            asks_place=asks_place,
        )
        self.rules.calls.append(call)
        if presses_after_s is not None:
            asterisk.later(presses_after_s, call.press)
        asterisk.later(hangs_up_after_s, lambda: call.talking or call.hang_up())

    def _meets_bot(self, number: str) -> bool:
        """Return whether a caller talks to a voice bot first."""
        which = f"{self._plan.seed} {number} {len(self.rules.calls)}"
        return zlib.crc32(which.encode()) % 8 == 0

    def _answers_offer(self, number: str) -> str:
        """Return the keys of a caller who is offered a callback."""
        which = f"offer {self._plan.seed} {number} {len(self.rules.calls)}"
        return OFFER_ANSWERS[zlib.crc32(which.encode()) % len(OFFER_ANSWERS)]

    def _on_call_in_a_talk(
        self, queue: str, presses_after_s: float | None, hangs_up_after_s: float
    ) -> None:
        asterisk = self._asterisk
        talking = [
            number
            for number, phone in asterisk.clients.items()
            if any(ring.answered_at and ring.ended_at is None for ring in phone.rung)
        ]
        if not (talking and asterisk.manager.booted):
            return
        call = asterisk.call(queue, talking[0], talks_s=10)
        self.rules.calls.append(call)
        if presses_after_s is not None:
            asterisk.later(presses_after_s, call.press)
        asterisk.later(hangs_up_after_s, lambda: call.talking or call.hang_up())

    def _on_busy(self, agent: str, busy: bool) -> None:
        self._asterisk.phone(agent).busy(busy)

    def _on_pause(self, agent: str, paused: bool) -> None:
        for queue in self._asterisk.queues.values():
            if any(member.interface == agent for member in queue.members):
                queue.pause(agent, paused)

    def _on_transfer(self, queue: str) -> None:
        for callback in self._asterisk.callbacks:
            if callback.talking:
                callback.transfer(self._asterisk.queues[queue])
                return

    def _on_operator(self, command: str, **arguments: Any) -> None:
        client = ControlClient(command, arguments, hangs_up=True)
        _ = self._process.control.dial(client)

    # -- trouble -----------------------------------------------------------

    def _later(self, seconds: float, function: Callable[[], object]) -> None:
        self._world.clock.callLater(seconds, function)

    def _come_back(self) -> None:
        manager = self._asterisk.manager
        manager.listening = True
        if not manager.booted:
            self._asterisk.start()

    def _on_cut(self, down_s: float) -> None:
        self._asterisk.cut_links()
        manager = self._asterisk.manager
        if manager.booted and down_s:
            manager.listening = False
            self._later(down_s, lambda: setattr(manager, "listening", True))

    def _on_freeze(self, for_s: float, old_after_s: float) -> None:
        self._asterisk.freeze()
        self._later(for_s, lambda: self._asterisk.thaw(old_after_s))

    def _on_half_open(self) -> None:
        """The network between both sides fails without notice."""
        for wire in self._asterisk.manager_wires:
            wire.dead = True

    def _on_slow_link(self, latency_s: float) -> None:
        self._asterisk.latency_s = latency_s
        self._asterisk.cut_links()

    def _on_asterisk_dies(
        self, down_s: float, boots_s: float, at_once: bool = False
    ) -> None:
        shuts_down = self._plan.shuts_down and not at_once
        if shuts_down and self._asterisk.manager.booted:
            self._asterisk.shut_down()
        else:
            self.rules.asterisk_dies()
            self._asterisk.kill()
        self._later(down_s, lambda: self._ends or self._asterisk.start(boots_s))

    def _on_reload(self, queue: str, agent: str, changes: bool, told: bool) -> None:
        if not self._asterisk.manager.booted:
            return
        reloaded = self._asterisk.queues[queue]
        members = [member.interface for member in reloaded.members]
        if changes and agent not in members:
            members.append(agent)
        elif changes and len(members) > 1:
            members.remove(agent)
        self.rules.queues_reloaded()
        reloaded.reload(members, told=told)

    def _on_database_fails(self, for_s: float, words: str) -> None:
        self._trouble = words
        for process in self._world.processes:
            process.database.unavailable = words
        self._later(for_s, self._end_of_trouble)

    def _on_slow_database(self, for_s: float, takes_s: float) -> None:
        self._commit_s = takes_s
        self._later(for_s, self._end_of_trouble)

    def _end_of_trouble(self) -> None:
        self._trouble = ""
        self._commit_s = self._plan.commit_s
        for process in self._world.processes:
            process.database.unavailable = ""

    def _on_clock_is_set(self, by_s: float) -> None:
        self.rules.clock_steps.append((self._world.clock.seconds(), by_s))
        self._world.set_wall_clock(by_s)

    def _on_stop(self) -> None:
        self._process.stop()

    def _on_service_freezes(self, for_s: float) -> None:
        """A second service on another machine tries to take over."""
        process = self._process
        if process.dead or process.stopped or process.frozen:
            return
        process.freeze()
        self._later(for_s, process.thaw)
        self._take_over(process, until=self._world.t + _GIVES_UP_S)

    def _take_over(self, former: ServiceProcess, until: float) -> None:
        if self._process is not former or former.dead or self._world.t > until:
            return
        host = self._host
        self._host = "standby" if host == "pbx" else "pbx"
        try:
            self._begin()
        except DatabaseHeld:
            self._host = host
            self._later(1.0, lambda: self._take_over(former, until))

    def _on_agi_breaks(self) -> None:
        for run in self._asterisk.agi_runs:
            if run.wire is not None and run.wire.open:
                run.cut()

    # -- report --------------------------------------------------------------

    def story(self) -> str:
        """Return the plan and the results."""
        return f"{self._plan}\n\n{self.rules.story()}"

    def trace(self) -> str:
        """Return every event."""
        told = [_ACTION_ID.sub("", str(one)) for one in self._asterisk.told]
        points = [point for life in self._points for point in life]
        return "\n".join([*told, *points, self.story()])
