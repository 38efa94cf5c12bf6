# SPDX-License-Identifier: MIT
"""Carries out the commands about settings: lists those in force, tries changed ones."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Final

from attrs import frozen

from fastagi.config.listing import listed
from fastagi.config.sections import Settings
from fastagi.runtime.clock import Clock
from fastagi.runtime.programs import Programs
from fastagi.service.commands import (
    Actor,
    Busy,
    CheckSettings,
    Command,
    Handler,
    NoSuchQueue,
    SettingsChecked,
    SettingsShown,
    ShownSetting,
    ShowSettings,
    shown,
)
from fastagi.service.settings_in_force import SettingsInForce

#: Time limit to try a settings file, in seconds.
_DRY_RUN_S: Final = 20.0


class SettingsCommands:
    """Lists the settings in force, and tries a changed file."""

    def __init__(
        self,
        *,
        settings: SettingsInForce,
        clock: Clock,
        dry_run: Callable[[bytes], Awaitable[bytes]],
    ) -> None:
        """Store the parts.

        Args:
            settings: the settings in force.
            clock: the current time.
            dry_run: runs `fastagi.config.dry_run.answer`; may take long.
        """
        self._settings = settings
        self._clock = clock
        self._dry_run = dry_run
        self._loaded_at = clock.now()
        self._is_checking = False

    def handlers(self) -> Mapping[type[Command], Handler]:
        """Return the handler of each command."""
        return {ShowSettings: self.show, CheckSettings: self.check}

    def settings_changed(self, _former: Settings, _new: Settings) -> None:
        """Note when the settings were loaded."""
        self._loaded_at = self._clock.now()

    async def show(self, command: ShowSettings, _actor: Actor) -> SettingsShown:
        """Return the settings in force.

        Raises:
            NoSuchQueue: the queue is not in the settings.
        """
        settings = self._settings()
        if command.queue and command.queue not in settings.queues:
            known = ", ".join(sorted(settings.queues))
            raise NoSuchQueue(
                f"no queue {shown(command.queue)} in the settings (there are: {known})"
            )
        return SettingsShown(
            file=settings.loaded.path,
            loaded_at=self._loaded_at,
            settings=ShownSettings(settings, self._settings.at_start, command.queue),
        )

    async def check(self, command: CheckSettings, _actor: Actor) -> SettingsChecked:
        """Try a settings file, and compare it with the one in force.

        Raises:
            Busy: another one is being tried.
            ProgramFailed: it could not be tried, for example not in time.
        """
        if self._is_checking:
            raise Busy("another settings file is being checked - try again")
        self._is_checking = True
        loaded = self._settings().loaded
        given = {
            "file": loaded.path,
            "before": loaded.data.decode(),
            "after": command.text,
        }
        try:
            found = await self._dry_run(json.dumps(given).encode())
        finally:
            self._is_checking = False
        return SettingsChecked(found=json.loads(found))


def dry_run_by(programs: Programs) -> Callable[[bytes], Awaitable[bytes]]:
    """Return a function that runs the trial in a process of its own."""
    return lambda data: programs.run(
        "fastagi.config.dry_run", data=data, limit_s=_DRY_RUN_S
    )


@frozen
class ShownSettings:
    """Settings as they are shown; each is made when it is read.

    Attributes:
        settings: the settings in force.
        at_start: those with which the service started; sockets and the database are
            still as they say.
        queue: only the settings of this queue; empty: all.
    """

    settings: Settings
    at_start: Settings
    queue: str = ""

    def __iter__(self) -> Iterator[ShownSetting]:
        """Yield them in the order of the sample."""
        is_changed = self.settings is not self.at_start and not self.queue
        used = {
            setting.name: (setting.value, setting.secret)
            for setting in (listed(self.at_start) if is_changed else ())
            if setting.needs_restart
        }
        for setting in listed(self.settings, self.queue):
            value = (setting.value, setting.secret)
            yield ShownSetting(
                name=setting.name,
                value=setting.value,
                default=setting.default,
                origin=setting.origin.value,
                line=setting.line,
                file=setting.file,
                is_secret=setting.is_secret,
                needs_restart=setting.needs_restart,
                waits_for_restart=used.get(setting.name, value) != value,
            )
