# SPDX-License-Identifier: MIT
"""One installation: what is planned for Asterisk and for the service, and its end."""

from __future__ import annotations

import grp
import os
import secrets
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

import attrs

from fastagi.config.errors import ConfigErrors
from fastagi.config.load import load_settings
from fastagi.config.sections import Settings
from fastagi.domain.numbers import number_of_pattern
from fastagi.errors import Problem
from fastagi.setup.answers import Answers, Given, all_checked, doubt_outbound
from fastagi.setup.errors import Refused, SetupFailed
from fastagi.setup.found import Found, discover
from fastagi.setup.journal import DIRECTORY, Folder, Journal, journal_time
from fastagi.setup.lines import has_ours
from fastagi.setup.machine import (
    RELOADS_BY_HAND,
    USER,
    WEB_UNIT,
    Machine,
    Reload,
    needs_root,
)
from fastagi.setup.material import page
from fastagi.setup.paths import Root
from fastagi.setup.planning import SECRET, AsteriskPlan, Change, plan_asterisk
from fastagi.setup.settings_file import given_by, parsed, places_of, settings_text

SETTINGS: Final = Path("/etc/callback-queue/callback-queue.yaml")
_UNIT: Final = Path("/etc/systemd/system/callback-queue.service")
_SYSUSERS: Final = Path("/etc/sysusers.d/callback-queue.conf")
#: The same, as the package installs them: then setup writes none.
_PACKAGED: Final = {
    _UNIT: ("/usr/lib/systemd/system", "/lib/systemd/system"),
    _SYSUSERS: ("/usr/lib/sysusers.d",),
}
#: The program in the sample of the unit.
_PROGRAM: Final = "/opt/callback-queue/bin/callback-queue"
#: The secret of the sample.
_NO_SECRET: Final = "change-me"
_RELOADED: Final = {
    Reload.DONE: "Asterisk has read its files again",
    Reload.NOT_RUNNING: "Asterisk does not run: it reads the files when it starts",
    Reload.NO_ANSWER: f"Asterisk does not answer: if it runs, run: {RELOADS_BY_HAND}",
}


@attrs.frozen(kw_only=True)
class Plan:
    """Everything that is going to be done.

    Attributes:
        found: the Asterisk.
        answers: the answers.
        changes: the files, in the order in which they are written.
        by_hand: what remains to be done by hand.
        adds_user: whether the user of the service is added.
        joins: the group that the user gets, to read queue_log; empty if none is needed.
        secret: the secret that is not to be shown.
        keeps_secret: whether it is that of the settings that exist.
        settings: the settings, as they will be.
    """

    found: Found
    answers: Answers
    changes: tuple[Change, ...]
    by_hand: tuple[Problem, ...]
    adds_user: bool
    joins: str
    secret: str
    keeps_secret: bool
    settings: Settings

    @property
    def writes_nothing(self) -> bool:
        """Whether no file changes and no user is added."""
        return not self.adds_user and all(one.is_empty for one in self.changes)


class Installation:
    """The installation on one machine.

    Args:
        root: the root directory of the machine.
        config_dir: the directory of Asterisk's configuration there.
        material: the directory with the dialplan, the prompts and the samples.
    """

    def __init__(self, root: Root, config_dir: Path, material: Path) -> None:
        self.root = root
        self.machine = Machine(root, config_dir)
        self.journal = Journal(root.inside(DIRECTORY))
        self.settings_path = root.inside(SETTINGS)
        self._config_dir = config_dir
        self._material = material
        self._sample = (material / "etc/callback-queue.yaml").read_text("utf-8")

    # -- look

    def look(self) -> Found:
        """Look at Asterisk.

        Raises:
            Refused: there is none, or another program writes its files.
        """
        if problem := needs_root(self.root):
            raise Refused([problem])
        return self.look_only()

    def look_only(self) -> Found:
        """Look at Asterisk, as any user.

        Raises:
            Refused: there is none, or another program writes its files.
        """
        found = discover(
            self.root,
            self._config_dir,
            self.machine.console,
            self.machine.asterisk_runs_as,
        )
        if isinstance(found, Problem):
            raise Refused([found])
        if found.writer is not None:
            name, remedy = found.writer
            raise Refused(
                [
                    Problem(
                        str(self._config_dir),
                        f"{name} writes these files, so nothing is changed here",
                        remedy,
                    )
                ]
            )
        return found

    def existing_settings(self) -> Settings | None:
        """Return the settings that exist; None if there are none of somebody's own.

        Raises:
            Refused: they have mistakes.
        """
        text = self._settings_text()
        if text is None or text == self._sample:
            return None
        try:
            return load_settings(self.settings_path)
        except ConfigErrors as errors:
            raise Refused(errors.problems) from None

    def given_by_settings(self, settings: Settings | None) -> Given:
        """Return the answers of an earlier setup, and those that settings give.

        Raises:
            Refused: the settings have several Asterisks, and setup knows one.
        """
        given = Given()
        if settings is not None and settings.nodes:
            raise Refused(
                [
                    Problem(
                        str(self.settings_path),
                        "it has 'nodes', and setup knows only the Asterisk under 'ami',"
                        " so nothing is changed here",
                        "prepare each Asterisk by hand, see"
                        f" {page('several-asterisks.md')}",
                    )
                ]
            )
        if settings is not None:
            given = given_by(settings, self.settings_path)
        return attrs.evolve(given, offer=self.journal.read().offer or None)

    def _settings_text(self) -> str | None:
        try:
            return self.settings_path.read_text("utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise Refused(
                [
                    Problem(
                        str(self.settings_path),
                        f"it can not be read: {error}",
                        "run setup as root, or move the file away",
                    )
                ]
            ) from None

    # -- plan

    def plan(self, found: Found, answers: Answers, settings: Settings | None) -> Plan:
        """Decide what is done. Changes nothing.

        Args:
            found: what ``look`` has returned.
            answers: the answers.
            settings: what ``existing_settings`` has returned.

        Raises:
            Refused: something is not understood; the problems say what to do by hand.
        """
        theirs = self.given_by_settings(settings).own_numbers
        answers = all_checked(answers, found, theirs or ())
        secret = secrets.token_hex(16)
        keeps_secret = False
        username = "callback-queue"
        if settings is not None:
            username = settings.ami.username
            given = settings.ami.secret.get_secret_value()
            keeps_secret = given != _NO_SECRET
            secret = given if keeps_secret else secret
        places = places_of(settings) if settings is not None else None
        asterisk = plan_asterisk(
            self.root,
            found,
            answers,
            self._material,
            secret=secret,
            free_port=self.machine.free_port,
            settled=places,
            username=username,
        )
        answers = attrs.evolve(answers, queues=asterisk.queues)
        written, remarks, in_force = self._settings(
            found, answers, asterisk, secret, settings
        )
        ids = self.machine.user_ids()
        joins, more = self._group(found)
        return Plan(
            found=found,
            answers=answers,
            changes=(*asterisk.changes, *written, *self._system_files()),
            by_hand=(*_doubts(answers, found), *asterisk.by_hand, *remarks, *more),
            adds_user=ids is None,
            joins=joins,
            secret=secret,
            keeps_secret=keeps_secret,
            settings=in_force,
        )

    def _settings(
        self,
        found: Found,
        answers: Answers,
        asterisk: AsteriskPlan,
        secret: str,
        settings: Settings | None,
    ) -> tuple[list[Change], list[Problem], Settings]:
        """Plan the settings file, unless somebody else has written it."""
        text = settings_text(self._sample, answers, asterisk.places, secret, found)
        new = parsed(text, SETTINGS)
        if settings is not None and not self._wrote_settings():
            return [], list(_differences(settings, new, self.settings_path)), settings
        before = self._settings_text()
        ids = self.machine.user_ids()
        change = Change(
            path=self.settings_path,
            before=None if before is None else before.encode(),
            after=text.encode(),
            mode=SECRET,
            gid=0 if ids is None else ids[1],
            source=self._material / "etc/callback-queue.yaml",
        )
        return [change], [], new

    def _wrote_settings(self) -> bool:
        """Whether the settings file is just as setup has written it."""
        return self.journal.wrote(self.settings_path)

    def _system_files(self) -> list[Change]:
        """Plan the unit and the file for systemd-sysusers, if no package has them."""
        changes = []
        for path, places in _PACKAGED.items():
            if any(self.root.inside(Path(one, path.name)).exists() for one in places):
                continue
            sample = (
                self._material
                / "etc"
                / {
                    _UNIT: "callback-queue.service",
                    _SYSUSERS: "callback-queue.sysusers",
                }[path]
            )
            text = sample.read_text("utf-8")
            program = f"{sys.prefix}/bin/callback-queue"
            text = text.replace(f"ExecStart={_PROGRAM} ", f"ExecStart={program} ")
            text = text.replace(f"ExecReload={_PROGRAM} ", f"ExecReload={program} ")
            inside = self.root.inside(path)
            before = inside.read_bytes() if inside.exists() else None
            changes.append(
                Change(path=inside, before=before, after=text.encode(), source=sample)
            )
        return changes

    def _group(self, found: Found) -> tuple[str, list[Problem]]:
        """Return the group that reads Asterisk's logs."""
        if found.gid == 0:
            return "", [
                Problem(
                    str(found.log_dir / "queue_log"),
                    "Asterisk runs as root, so no group may read its logs",
                    "let the service read queue_log through an ACL, as"
                    f" {page('history.md')} says; else calls missed while it is stopped"
                    " are not called back",
                )
            ]
        group = self.root.group_name(found.gid)
        return ("" if USER in self.root.members(group) else group), []

    # -- do

    def apply(self, plan: Plan, now: datetime) -> list[str]:
        """Write everything and let Asterisk read it.

        Returns:
            What was done besides writing files, in sentences.

        Raises:
            SetupFailed: nothing is changed, or a command failed afterwards.
        """
        said = []
        changes = plan.changes
        is_root = os.geteuid() == 0
        if is_root and plan.adds_user:
            sysusers = self._material / "etc/callback-queue.sysusers"
            if self.machine.add_user(sysusers):
                said.append(f"the user {USER} was added")
            elif self.root.is_this_machine:
                raise SetupFailed(
                    f"there is no user {USER}, and neither systemd-sysusers nor useradd"
                    " to add it",
                    f"add a system user {USER} with a group of its own, then run setup"
                    " again",
                )
        if (ids := self.machine.user_ids()) is not None:
            changes = tuple(
                attrs.evolve(one, gid=ids[1]) if one.path == self.settings_path else one
                for one in changes
            )
        gid = 0 if ids is None else ids[1]
        folder = Folder(path=self.settings_path.parent, mode=0o750, gid=gid)
        todo = self._commands(plan, is_root)
        takes_back = [back for _, back in todo if back]
        self.journal.apply(changes, [folder], takes_back, now, offer=plan.answers.offer)
        # Before the service starts: it logs in as the new manager user.
        said.append(_RELOADED[self.machine.reload_asterisk()])
        for argv, _ in todo:
            self.machine.run(argv)
            said.append(f"ran: {' '.join(argv)}")
        return said

    def left_by_interruption(self, now: datetime) -> str:
        """Return what is done after ``apply`` at this time was interrupted."""
        book = self.journal.read()
        if book.unfinished:
            written = "some files are written"
        elif book.at == journal_time(now):
            written = "the files are written"
        else:
            return "nothing was written."
        runs = self.machine.service_runs
        service = "the service runs" if runs else "the service is not started"
        return f"{written}, {service}. Run setup again, or setup --undo."

    def _commands(
        self, plan: Plan, is_root: bool
    ) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
        """Return the commands to run after writing, each with what takes it back."""
        if not (is_root and self.root.is_this_machine):
            return []
        todo: list[tuple[tuple[str, ...], tuple[str, ...]]] = []
        if plan.joins and _group_exists(plan.joins):
            todo.append(
                (
                    ("usermod", "-a", "-G", plan.joins, USER),
                    ("gpasswd", "-d", USER, plan.joins),
                )
            )
        if not self.machine.has_systemd:
            return todo
        changed = {one.path for one in plan.changes if not one.is_empty}
        if self.root.inside(_UNIT) in changed:
            todo.append((("systemctl", "daemon-reload"), ()))
        if self.machine.service_is_active:
            if {self.root.inside(_UNIT), self.settings_path} & changed:
                todo.append((("systemctl", "restart", USER), ()))
        elif plan.answers.start:
            todo.append(
                (
                    ("systemctl", "enable", "--now", USER),
                    ("systemctl", "disable", "--now", USER),
                )
            )
        return todo

    def nothing_to_undo(self) -> str:
        """Return why nothing is taken back, if there is no journal.

        Raises:
            SetupFailed: there was one, because files have lines of setup.
        """
        directory = self.root.inside(self._config_dir)
        marked = [
            str(path)
            for path in sorted(directory.rglob("*.conf"))
            if path.is_file() and has_ours(path.read_bytes().decode("latin-1"))
        ]
        if marked:
            raise SetupFailed(
                f"setup has written into {', '.join(marked)}, but its journal"
                f" {self.journal.directory} is gone",
                "run 'callback-queue setup' again, so that it knows these lines, and"
                " then --undo; or delete them by hand",
            )
        return "there is nothing to take back: setup has written nothing"

    def undo(self) -> tuple[list[Problem], list[str]]:
        """Take everything back.

        Returns:
            What remains to be done by hand; and what was done, in sentences.

        Raises:
            SetupFailed: it is not complete; run it again.
        """
        book = self.journal.read()
        if not book.files and not book.unfinished:
            return [], [self.nothing_to_undo()]
        said = []
        if self.root.is_this_machine and os.geteuid() == 0:
            for argv in reversed(book.commands):
                try:
                    self.machine.run(argv)
                    said.append(f"ran: {' '.join(argv)}")
                except SetupFailed as failed:
                    said.append(str(failed))
        left = self.journal.undo()
        edited = [one for one in left if one.where == str(self.settings_path)]
        left = [one for one in left if one not in edited]
        if str(self.root.inside(_UNIT)) in {one.path for one in book.files} and (
            self.machine.has_systemd
        ):
            self.machine.run(["systemctl", "daemon-reload"])
        back = len(book.files) - len(left) - len(edited)
        said.append(f"{back} files are as they were before setup")
        if edited:
            said.append(
                f"{self.settings_path} stays, because you have edited it: delete it if"
                " you do not need it"
            )
        reloaded = self.machine.reload_asterisk()
        if reloaded is not Reload.NO_ANSWER:
            said.append(_RELOADED[reloaded])
        if self.machine.has_systemd and self.machine.web_is_enabled:
            said.append(
                "the web process is still enabled; to stop it: sudo systemctl disable"
                f" --now {WEB_UNIT}"
            )
        if not left:
            self.journal.forget()
        if reloaded is Reload.NO_ANSWER:
            left.append(
                Problem(
                    "Asterisk",
                    "it does not answer: if it runs, it still offers callbacks",
                    f"run: {RELOADS_BY_HAND}",
                )
            )
        return left, said


def _doubts(answers: Answers, found: Found) -> Iterator[Problem]:
    """Yield what is probably wrong with the answers."""
    doubt = doubt_outbound(answers.outbound, found)
    if doubt is not None:
        given = Given(places=answers.places)
        yield attrs.evolve(doubt, where=given.place("outbound"))


def _differences(kept: Settings, new: Settings, path: Path) -> list[Problem]:
    """Return where settings of somebody's own differ from the answers."""
    found = []
    for name in new.queues:
        if name not in kept.queues:
            found.append(
                Problem(
                    str(path),
                    f"your settings do not have the queue {name}",
                    f"write under queues: {name}: {{}}",
                )
            )
    checks: tuple[tuple[str, Callable[[Settings], object]], ...] = (
        ("number_plan.region", lambda one: one.number_plan.region),
        ("number_plan.own_numbers", _own_numbers),
        (
            "defaults.outbound_channel",
            lambda one: {queue.outbound_channel for queue in one.queues.values()},
        ),
        (
            "defaults.outbound_caller_id",
            lambda one: {
                queue.outbound_caller_id
                for queue in one.queues.values()
                if queue.outbound_caller_id
            },
        ),
    )
    own = kept.number_plan.own_numbers
    # Nothing is asked of patterns for several numbers.
    says_none = not new.number_plan.own_numbers and all(map(number_of_pattern, own))
    for name, value in checks:
        theirs, ours = value(kept), value(new)
        is_answered = bool(ours) or (value is _own_numbers and says_none)
        if is_answered and theirs != ours:
            found.append(
                Problem(
                    str(path),
                    f"your settings have another {name} than the answers",
                    "change it there, if the answer is right; setup changes no settings"
                    " that were edited",
                )
            )
    return found


def _own_numbers(settings: Settings) -> set[str]:
    """Return the own numbers, so that different forms of one number are the same."""
    return {
        settings.plan.key(number) if (number := number_of_pattern(one)) else one.pattern
        for one in settings.number_plan.own_numbers
    }


def _group_exists(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True
