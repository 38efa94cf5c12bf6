# SPDX-License-Identifier: MIT
"""Runs the checks of all areas; an error in one does not stop the others."""

from __future__ import annotations

import subprocess
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime

from fastagi.checks.asterisk_machine import AsteriskMachine
from fastagi.checks.database import check_database
from fastagi.checks.dialplan import check_dialplan
from fastagi.checks.files import check_program, check_settings_file
from fastagi.checks.finding import Finding, Notes
from fastagi.checks.history import check_history
from fastagi.checks.hours import check_hours, have_hours
from fastagi.checks.interfaces import check_interfaces, interfaces_of
from fastagi.checks.link import LinkFailed, ManagerLink
from fastagi.checks.manager import check_manager, explain_failure, log_in
from fastagi.checks.modules import check_modules, need_modules
from fastagi.checks.network import check_control, check_fastagi
from fastagi.checks.nodes import NotTold, check_nodes, system_name
from fastagi.checks.numbers import check_numbers
from fastagi.checks.process import (
    User,
    running_service,
    service_user,
)
from fastagi.checks.queues import check_queues
from fastagi.checks.service import check_service
from fastagi.checks.sounds import check_sounds
from fastagi.checks.unused import note_unused
from fastagi.config.errors import ConfigErrors
from fastagi.config.load import load_settings
from fastagi.config.sections import Settings
from fastagi.doors.client import SocketRefused
from fastagi.errors import CallbackError


def run(config: str) -> list[Finding]:
    """Run all checks.

    Args:
        config: path of the settings.

    Returns:
        The findings by area; an area without problems has one finding that says ok.
    """
    try:
        settings = load_settings(config)
    except ConfigErrors as errors:
        return list(_wrong_settings(config, errors))
    return [finding for notes in _findings(config, settings) for finding in notes]


def _wrong_settings(config: str, errors: ConfigErrors) -> Notes:
    notes = Notes("settings")
    for problem in errors.problems:
        notes.note(problem)
    notes.warn(
        config,
        "nothing else was checked: it depends on the settings",
        "put them right and run this check again",
    )
    return notes


def _findings(config: str, settings: Settings) -> Iterator[Notes]:
    machine = AsteriskMachine(settings)
    running, control_refused = None, False
    try:
        running = running_service(settings.control.socket)
    except SocketRefused:
        control_refused = True
    user = service_user(running)
    yield _area("settings", lambda: _check_settings(config, settings, user))
    yield _area("program", lambda: check_program(user))
    yield _area("numbers", lambda: check_numbers(settings))
    yield _area(
        "database",
        lambda: check_database(
            settings.database.url,
            user,
            running=running,
            nodes=[node.name for node in settings.all_nodes],
            instance=settings.instance.name,
        ),
    )
    names: dict[str, str | NotTold | None] = {}
    agents: dict[str, Mapping[str, Collection[str]]] = {}
    for node in settings.all_nodes:
        here = settings.of_node(node)
        is_one_of_several = len(settings.all_nodes) > 1
        name = node.name if is_one_of_several else ""
        machine_there = AsteriskMachine(here)
        for notes in _of_node(here, machine_there, user, name, names, agents):
            if is_one_of_several:
                notes.say_of(name)
            yield notes
    if len(names) > 1:
        yield _area("nodes", lambda: check_nodes(names))
        yield _area("nodes", lambda: check_interfaces(agents))
        yield from _look_at_hours(settings)
    yield _area(
        "FastAGI",
        lambda: check_fastagi(
            settings.fastagi, machine, running, user, control_refused=control_refused
        ),
    )
    yield _area(
        "control socket",
        lambda: check_control(
            settings.control.socket, running, user, control_refused=control_refused
        ),
    )
    yield _area(
        "service",
        lambda: check_service(running, control_refused=control_refused),
    )


def _of_node(
    settings: Settings,
    machine: AsteriskMachine,
    user: User,
    name: str,
    names: dict[str, str | NotTold | None],
    agents: dict[str, Mapping[str, Collection[str]]],
) -> Iterator[Notes]:
    """Check one Asterisk.

    Args:
        settings: those of this Asterisk.
        machine: its machine.
        user: the user of the service.
        name: its node, if there are several.
        names: receives its systemname.
        agents: receives the interfaces of its queues.
    """
    names[name] = None
    try:
        link = log_in(settings.ami)
    except LinkFailed as error:
        failed = error
        yield _area("manager", lambda: explain_failure(failed, settings.ami, machine))
        yield from _look_at_asterisk(None, settings, machine, name)
    else:
        with link:
            yield _area("manager", lambda: check_manager(link, settings, machine))
            yield from _look_at_asterisk(link, settings, machine, name)
            if name:
                names[name] = system_name(link)
                agents[name] = interfaces_of(link, settings)
    yield _area("history", lambda: check_history(settings, machine, user))
    yield _area("sounds", lambda: check_sounds(settings, machine))


def _check_settings(config: str, settings: Settings, user: User) -> Notes:
    notes = check_settings_file(config, settings, user)
    note_unused(settings, notes)
    return notes


def _look_at_asterisk(
    link: ManagerLink | None, settings: Settings, machine: AsteriskMachine, node: str
) -> Iterator[Notes]:
    queues = settings.queues
    keeps_places = any(queue.keeps_place for queue in queues.values())
    yield _area(
        "dialplan",
        lambda: check_dialplan(
            link,
            settings.fastagi,
            machine,
            queues,
            keeps_places=keeps_places,
            node=node,
        ),
    )
    yield _area("queues", lambda: check_queues(link, settings, machine))
    if link is not None and need_modules(settings):
        yield _area("modules", lambda: check_modules(link, settings))
    if not node:
        yield from _look_at_hours(settings)


def _look_at_hours(settings: Settings) -> Iterator[Notes]:
    if have_hours(settings):
        yield _area("opening hours", lambda: check_hours(settings, datetime.now(UTC)))


def _area(name: str, look: Callable[[], Notes]) -> Notes:
    notes = Notes(name)
    try:
        return look()
    except (OSError, CallbackError, subprocess.SubprocessError) as error:
        notes.skip(name, f"not checked: {error}", "run this check as root")
    except Exception as error:
        # Without its text, which may contain a part of a password.
        place = traceback.extract_tb(error.__traceback__)[-1]
        notes.fault(
            name,
            f"not checked: {type(error).__name__} in {place.filename}:{place.lineno}",
            "look for what is special in the settings of this area; it is a mistake of"
            " this program, too: please report it",
        )
    return notes
