# SPDX-License-Identifier: MIT
"""Decides what is written where. Writes nothing.

Each plan is made from Asterisk's files without the lines of an earlier setup, so that
a second run gives the same files. At the end the changed files are read as Asterisk
would read them: if a line does not have its effect there, nothing is written.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import attrs

from fastagi import dialplan
from fastagi.checks import dialplan as dialplan_check
from fastagi.checks.conf import Conf, Option, Section, stripped_lines
from fastagi.checks.queues import takes_key
from fastagi.domain.names import folded
from fastagi.errors import Problem
from fastagi.setup import lines as edit
from fastagi.setup.answers import DEFAULT_OFFER, NO_OFFER, Answers
from fastagi.setup.errors import Refused
from fastagi.setup.found import Found, FoundQueue, Style, conf_of, why_no_queue
from fastagi.setup.material import page
from fastagi.setup.paths import Root
from fastagi.setup.queue_lines import (
    QueueLine,
    queue_lines,
    steps,
    through_callback_enter,
)
from fastagi.setup.settings_file import AGI_PORT, LOOPBACK, Places

#: The name extension of our prompts.
PROMPT: Final = ".wav"
#: The seconds between two announcements.
_FREQUENCY: Final = "30"
_MANAGER_FILE: Final = "manager.d/callback-queue.conf"
#: A line of our own files: a file without it is not ours.
_OUR_DIALPLAN: Final = "; Queue callback: dialplan."
_AGI: Final = re.compile(r"h?agi://(?P<host>\[[^\]]*\]|[^:/]*)(?::(?P<port>\d+))?.*")
_EVERYWHERE: Final = ("0.0.0.0", "::", "")
#: All contexts of our dialplan that an administrator does not write.
_OUR_CONTEXTS: Final = frozenset(
    {*dialplan_check.CONTEXTS, dialplan_check.VERSION_CONTEXT}
)
#: Mode of a new file that everybody may read, and of one with a secret.
PUBLIC: Final = 0o644
SECRET: Final = 0o640


@attrs.frozen(kw_only=True)
class Change:
    """One file as it is and as it will be.

    Attributes:
        path: the file, on this machine.
        before: its contents; None if there is no such file.
        after: its new contents.
        mode: the mode of a new file; an existing one keeps its own, unless the whole
            file is ours and has a secret.
        uid: the owner of such a file.
        gid: the group of such a file.
        clean: the file without the lines between the markers; None if the whole file
            is ours.
        source: the file of the material that it is made from, if there is one.
    """

    path: Path
    before: bytes | None
    after: bytes
    mode: int = PUBLIC
    uid: int = 0
    gid: int = 0
    clean: bytes | None = None
    source: Path | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing changes."""
        return self.before == self.after


@attrs.frozen(kw_only=True)
class AsteriskPlan:
    """What is written on Asterisk's side.

    Attributes:
        changes: the files; those that others include come first.
        by_hand: what remains to be done by hand.
        places: the addresses for the settings.
        queues: the names of the queues as Asterisk has them.
    """

    changes: tuple[Change, ...]
    by_hand: tuple[Problem, ...]
    places: Places
    queues: tuple[str, ...]


def plan_asterisk(
    root: Root,
    found: Found,
    answers: Answers,
    material: Path,
    *,
    secret: str,
    free_port: Callable[[], int],
    settled: Places | None,
    username: str = "callback-queue",
) -> AsteriskPlan:
    """Decide what is written into Asterisk's directories.

    Args:
        root: the root directory of its machine.
        found: what was found there.
        answers: the administrator's.
        material: the directory with the dialplan and the prompts.
        secret: that of the manager user.
        free_port: returns a port for the FastAGI server.
        settled: the addresses of settings that exist.
        username: the name of the manager user.

    Raises:
        Refused: something is not understood, or would have no effect.
    """
    planner = _Planner(root, found, answers, material)
    places = planner.manager(secret, settled, username)
    queues = planner.queues()
    places = planner.dialplan(places, queues, free_port, settled)
    planner.prompts()
    planner.check_links()
    if not planner.problems:
        planner.verify(queues, username, secret, places)
    if planner.problems:
        raise Refused(dict.fromkeys(planner.problems))
    return AsteriskPlan(
        changes=tuple(planner.changes()),
        by_hand=tuple(dict.fromkeys(planner.by_hand)),
        places=places,
        queues=tuple(queue.name for queue in queues),
    )


class _Planner:
    """Collects the changes of one plan."""

    def __init__(
        self, root: Root, found: Found, answers: Answers, material: Path
    ) -> None:
        self._root = root
        self._found = found
        self._answers = answers
        self._material = material
        self._directory = root.inside(found.config_dir)
        #: Changed files without our lines, by the path under which they are included.
        self._clean: dict[Path, str] = {}
        self._edits: dict[Path, list[edit.Edit]] = {}
        self._whole: list[Change] = []
        self.problems: list[Problem] = []
        self.by_hand: list[Problem] = []

    # -- the files as they are without us

    def _conf(self, name: str) -> Conf | None:
        """Return a file as Asterisk reads it, without the lines of an earlier setup."""
        conf = conf_of(self._root, self._found.config_dir, name)
        if conf is None:
            if (self._directory / name).exists():
                self.problems.append(
                    Problem(
                        str(self._directory / name),
                        "it can not be read",
                        "run setup as root",
                    )
                )
            return None
        for path in conf.files:
            self._clean_text(path)
        changed = {path: _bytes(text) for path, text in self._clean.items()}
        conf = conf_of(self._root, self._found.config_dir, name, changed)
        assert conf is not None
        self.problems += [stop.problem for stop in conf.stops]
        self.problems += [
            Problem(
                gap,
                "setup does not know what is there",
                f"do by hand what {page('install.md')} says, or let setup read the"
                " file",
            )
            for gap in conf.gaps
        ]
        return conf

    def _clean_text(self, path: Path) -> str:
        """Return a file without the lines of an earlier setup."""
        if path not in self._clean:
            text = _text(_read(path) or b"")
            try:
                self._clean[path] = edit.without_ours(text)
            except edit.Misplaced as misplaced:
                self.problems.append(misplaced.problem(path))
                self._clean[path] = text
        return self._clean[path]

    def _insert(self, path: Path, after: int, *new: str) -> None:
        self._edits.setdefault(path, []).append(edit.Insert(after, new))

    def _append(self, path: Path, *new: str) -> None:
        self._insert(path, edit.number_of_lines(self._clean_text(path)), *new)

    def _copy(self, path: Path, source: Path, mode: int = PUBLIC) -> None:
        self._new(path, source.read_bytes(), mode, 0, source)

    def _new(self, path: Path, after: bytes, mode: int, gid: int, source: Path) -> None:
        before = _read(path)
        self._whole.append(
            Change(
                path=path,
                before=before,
                after=after,
                mode=mode,
                gid=gid,
                source=source,
            )
        )

    # -- manager.conf

    def manager(self, secret: str, settled: Places | None, username: str) -> Places:
        """Plan the manager user, and return where the manager interface is."""
        file = self._directory / _MANAGER_FILE
        conf = self._conf("manager.conf")
        for section in conf.sections if conf else ():
            if folded(section.name) == folded(username) and not _is_in(section, file):
                self.problems.append(
                    Problem(
                        section.where,
                        f"there is a manager user [{username}] already",
                        "delete this section: setup writes its own one into"
                        f" {_MANAGER_FILE}",
                    )
                )
        for header in edit.headers(_text(_read(file) or b"")):
            if folded(header.name) not in (folded(username), "callback-queue"):
                self.problems.append(
                    Problem(
                        f"{file}:{header.line}",
                        f"setup writes this whole file, and [{header.name}] would be"
                        " lost",
                        "move this section into another file, which manager.conf"
                        " includes",
                    )
                )
        general = conf.section("general") if conf else None
        enabled = general is not None and _is_on(general, "enabled")
        address = _value(general, "bindaddr") if enabled else LOOPBACK[0]
        port = _value(general, "port")
        elsewhere = "" if address in (*LOOPBACK, *_EVERYWHERE) else address
        places = settled or Places(
            ami_host=elsewhere or LOOPBACK[0],
            ami_port=int(port) if port.isdecimal() else Places().ami_port,
            permit=elsewhere,
        )
        path = self._directory / "manager.conf"
        if not enabled:
            wanted = ["enabled = yes"]
            bound = _value(general, "bindaddr")
            if bound not in LOOPBACK:
                # Only this machine may log in, whoever else has a user there.
                wanted.append(f"bindaddr = {LOOPBACK[0]}")
            self._add_to_section(path, "general", wanted)
        sample = self._material / "etc/asterisk" / _MANAGER_FILE
        self._new(
            file,
            manager_user(sample.read_text(), username, secret, places.permit),
            SECRET,
            self._found.gid,
            sample,
        )
        self._include_once(path, conf, file, _MANAGER_FILE)
        return places

    def _include_once(
        self, path: Path, conf: Conf | None, file: Path, name: str
    ) -> None:
        """Include a new file, unless a line includes it already."""
        changed = {one: _bytes(text) for one, text in self._clean.items()}
        changed[file] = b"[callback-queue-setup]\nincluded = yes\n"
        read = conf_of(self._root, self._found.config_dir, path.name, changed)
        if read is None or file not in read.files:
            self._append(path, f'#include "{name}"')

    def _add_to_section(self, path: Path, name: str, wanted: Sequence[str]) -> None:
        """Add lines behind the last option of a section, or a section at the end."""
        header = edit.last_header(self._clean_text(path), name)
        if header is None:
            self._append(path, f"[{name}]", *wanted)
        else:
            self._insert(path, header.last, *wanted)

    # -- queues.conf

    def queues(self) -> list[FoundQueue]:
        """Plan the options of each queue, and return the queues."""
        conf = self._conf("queues.conf")
        known = {folded(one.name): one for one in self._found.queues}
        chosen = []
        for name in dict.fromkeys(self._answers.queues):
            queue = known.get(folded(name))
            if queue is None and self._found.realtime and not self._found.runs:
                queue = FoundQueue(name)
            if queue is None:
                self.problems += why_no_queue(self._root, self._found.config_dir)
                continue
            chosen.append(queue)
            section = conf.section(queue.name) if conf and queue.where else None
            if section is None:
                self.by_hand.append(_realtime_remark(queue.name, self._answers.offer))
            else:
                self._queue(section)
        return chosen

    def _queue(self, section: Section) -> None:
        path, header = self._place_of(section)
        if header is None:
            return
        wanted = []
        if not _value(section, "context"):
            wanted.append(f"context = {dialplan.REQUEST_CONTEXT}")
        if not _is_on(section, "setqueuevar"):
            wanted.append("setqueuevar = yes")
        offer = self._answers.offer
        if offer != NO_OFFER:
            said = _prompts(section)
            often = _value(section, "periodic-announce-frequency").strip("0 ")
            if offer not in said:
                prompts = ",".join([*said, offer])
                wanted.append(f"periodic-announce = {prompts}")
            if not often:
                wanted.append(f"periodic-announce-frequency = {_FREQUENCY}")
            if not _is_on(section, "announce-to-first-user"):
                wanted.append("announce-to-first-user = yes")
        if wanted:
            self._insert(path, header.last, *map(_latin, wanted))

    def _place_of(self, section: Section) -> tuple[Path, edit.Header | None]:
        """Return the file of a section's last header, and that header."""
        conf = self._conf_again("queues.conf")
        for path in reversed(conf.files if conf else []):
            header = edit.last_header(self._clean_text(path), _latin(section.name))
            if header is not None:
                return path, header
        self.problems.append(
            Problem(
                section.where,
                f"the lines of [{section.name}] are not found",
                f"add by hand what {page('install.md')} says about queues.conf",
            )
        )
        return Path(), None

    def _conf_again(self, name: str) -> Conf | None:
        changed = {path: _bytes(text) for path, text in self._clean.items()}
        return conf_of(self._root, self._found.config_dir, name, changed)

    # -- extensions.conf

    def dialplan(
        self,
        places: Places,
        queues: Sequence[FoundQueue],
        free_port: Callable[[], int],
        settled: Places | None,
    ) -> Places:
        """Plan the dialplan, and return the addresses with the one for FastAGI."""
        path = self._directory / "extensions.conf"
        ours = self._directory / dialplan_check.FILE
        conf = self._conf("extensions.conf")
        if Style.CONF not in self._found.styles:
            self.by_hand.append(
                Problem(
                    str(self._found.config_dir / "extensions.conf"),
                    "it does not exist and is made",
                    "see that modules.conf loads pbx_config.so",
                )
            )
        theirs = [
            one for one in (conf.sections if conf else []) if not _is_in(one, ours)
        ]
        for section in theirs:
            if section.name in _OUR_CONTEXTS:
                self.problems.append(
                    Problem(
                        section.where,
                        f"there is a context [{section.name}] that is not of"
                        f" {dialplan_check.FILE}",
                        "if it is an earlier copy of our dialplan, delete it with the"
                        " other contexts callback-...; if it is your own, rename it",
                    )
                )
        if (text := _read(ours)) is not None and _OUR_DIALPLAN not in _text(text):
            self.problems.append(
                Problem(
                    str(ours),
                    "this file is not our dialplan, which has the same name",
                    "rename it, and the #include of it",
                )
            )
        self._copy(ours, self._material / "dialplan" / dialplan_check.FILE)
        self._queue_lines(theirs, queues)
        places = self._address(theirs, path, places, free_port, settled)
        self._contexts_of_queues(theirs, queues)
        self._include_once(path, conf, ours, dialplan_check.FILE)
        return places

    def _queue_lines(
        self, theirs: Sequence[Section], queues: Sequence[FoundQueue]
    ) -> None:
        found = queue_lines(steps(theirs), [queue.name for queue in queues])
        reached = {folded(line.queue) for line in found}
        for line in found:
            if line.by_hand is not None or not self._lead_through(line):
                self.by_hand.append(line.by_hand or _unusual(line))
        used = {folded(name) for name in _already_led(theirs)}
        for queue in queues:
            if folded(queue.name) not in reached | used:
                self.by_hand.append(self._no_line(queue))

    def _lead_through(self, line: QueueLine) -> bool:
        file, _, number = line.where.rpartition(":")
        path, at = Path(file), int(number)
        text = self._clean_text(path)
        stripped = dict(stripped_lines(_bytes(text)))[at]
        new = through_callback_enter(edit.raw_line(text, at), stripped)
        if new is None:
            return False
        self._edits.setdefault(path, []).append(edit.Replace(at, new))
        return True

    def _no_line(self, queue: FoundQueue) -> Problem:
        others = [style for style in self._found.styles if style is not Style.CONF]
        elsewhere = f", but perhaps in {', '.join(others)}" if others else ""
        return Problem(
            "extensions.conf",
            f"no line leads callers into the queue {queue.name}{elsewhere}",
            f"before its Queue() run Gosub(callback-enter,s,1({queue.name},...)) with"
            " the arguments of Queue(), and then Queue(${CALLBACK_QUEUE_ARGS})",
        )

    def _address(
        self,
        theirs: Sequence[Section],
        path: Path,
        places: Places,
        free_port: Callable[[], int],
        settled: Places | None,
    ) -> Places:
        """Let the dialplan know the service's address."""
        given = next(
            (
                option
                for section in theirs
                if folded(section.name) == "globals"
                for option in reversed(section.all("CALLBACK_AGI"))
            ),
            None,
        )
        wanted = settled
        if given is not None:
            found = _AGI.fullmatch(given.value)
            if found is None:
                self._bad_address(given, "is no address of a FastAGI server")
                return places
            port = int(found["port"] or AGI_PORT)
            host = found["host"].strip("[]")
            if wanted is None:
                wanted = attrs.evolve(places, agi_port=port)
                if host not in LOOPBACK:
                    wanted = attrs.evolve(
                        wanted, agi_listen=host, agi_peers=(host, "127.0.0.1")
                    )
            elif port != wanted.agi_port:
                self._bad_address(given, f"is not fastagi.port ({wanted.agi_port})")
            return wanted
        if wanted is None:
            wanted = attrs.evolve(places, agi_port=free_port())
        if (wanted.agi_port, wanted.agi_listen) != (AGI_PORT, LOOPBACK[0]):
            self._globals(path, f"CALLBACK_AGI = {agi_url(wanted)}")
        return wanted

    def _bad_address(self, given: Option, why: str) -> None:
        self.problems.append(
            Problem(
                given.where,
                f"CALLBACK_AGI is {given.value}, which {why}",
                "delete this line: setup writes its own one if it is needed",
            )
        )

    def _globals(self, path: Path, line: str) -> None:
        conf = self._conf_again("extensions.conf")
        for file in conf.files if conf else ():
            header = next(
                (
                    one
                    for one in edit.headers(self._clean_text(file))
                    if folded(one.name) == "globals" and not one.is_template
                ),
                None,
            )
            if header is not None:
                # Asterisk reads the first one only.
                self._insert(file, header.last, line)
                return
        self._append(path, "[globals]", line)

    def _contexts_of_queues(
        self, theirs: Sequence[Section], queues: Sequence[FoundQueue]
    ) -> None:
        """Let the context that a queue already has lead to ours, too."""
        conf = self._conf_again("queues.conf")
        done: set[str] = set()
        for queue in queues:
            section = conf.section(queue.name) if conf and queue.where else None
            option = section.get("context") if section else None
            name = option.value if option else ""
            if not name or name == dialplan.REQUEST_CONTEXT or name in done:
                continue
            assert option is not None
            done.add(name)
            self._context_of_queue(name, option, theirs)

    def _context_of_queue(
        self, name: str, option: Option, theirs: Sequence[Section]
    ) -> None:
        own = [one for one in theirs if one.name == name and not one.is_template]
        if not own:
            self.problems.append(
                Problem(
                    option.where,
                    f"the keys of this queue lead to the context {name}, which is not"
                    " in extensions.conf",
                    f"write in that context: include => {dialplan.REQUEST_CONTEXT};"
                    " or delete this line",
                )
            )
            return
        if any(_leads_to_us(one) for section in own for one in section.options):
            return
        for key in ("1", dialplan.OFFER_KEY):
            if taken := _takes(name, theirs, key):
                self.problems.append(
                    Problem(
                        taken.where,
                        f"the context {name} of the queue has its own extension for the"
                        f" key {key}",
                        "use another key for it, or another key for callbacks:"
                        f" exten => 2,1,Goto(callback-key,2,1) in [{name}]; then run"
                        " setup again",
                    )
                )
                return
        conf = self._conf_again("extensions.conf")
        for path in reversed(conf.files if conf else []):
            header = edit.last_header(self._clean_text(path), _latin(name))
            if header is not None:
                self._insert(
                    path, header.last, f"include => {dialplan.REQUEST_CONTEXT}"
                )
                return

    # -- prompts

    def prompts(self) -> None:
        """Plan the prompts of each language."""
        sounds = self._material / "sounds"
        for folder in sorted(sounds.glob("*/callback-queue")):
            place = self._found.sounds_dir / folder.relative_to(sounds)
            target = self._root.inside(place)
            for prompt in sorted(folder.glob(f"*{PROMPT}")):
                self._copy(target / prompt.name, prompt)
        if lack := missing_offer(self._root, self._found, self._answers.offer):
            self.by_hand.append(lack)

    # -- the result

    def changes(self) -> Iterator[Change]:
        """Yield the changes of files, those that others include first."""
        for one in self._whole:
            # The folders of the prompts are known already.
            is_prompt = one.path.suffix == PROMPT
            yield (
                one if is_prompt else attrs.evolve(one, path=self._resolved(one.path))
            )
        whole = {one.path for one in self._whole}
        for path, clean in self._clean.items():
            before = _read(path)
            edits = self._edits.get(path, [])
            if path in whole or (before is None and not edits):
                continue
            is_manager = path.name == "manager.conf"
            yield Change(
                path=self._resolved(path),
                before=before,
                after=_bytes(edit.edited(clean, edits)),
                mode=SECRET if is_manager else PUBLIC,
                gid=self._found.gid if is_manager else 0,
                clean=_bytes(clean),
            )

    def check_links(self) -> None:
        """Refuse a link of another user's: it could have root write any file."""
        trusted = {0, os.geteuid()}
        for path in (*self._edits, *(one.path for one in self._whole)):
            if path.is_symlink() and path.lstat().st_uid not in trusted:
                self.problems.append(
                    Problem(
                        str(path),
                        f"it is a link to {os.readlink(path)} that another user than"
                        " root has made",
                        "if it is right, make it again as root",
                    )
                )

    def _resolved(self, path: Path) -> Path:
        return self._root.inside(Path("/") / path.relative_to(self._root.directory))

    def verify(
        self,
        queues: Sequence[FoundQueue],
        username: str,
        secret: str,
        places: Places,
    ) -> None:
        """Read the files as they will be, and see that each line has its effect."""
        changed: dict[Path, bytes] = {
            path: _bytes(edit.edited(text, self._edits.get(path, [])))
            for path, text in self._clean.items()
        }
        changed |= {one.path: one.after for one in self._whole}
        self._verify_queues(changed, queues)
        manager = conf_of(self._root, self._found.config_dir, "manager.conf", changed)
        general = manager.section("general") if manager else None
        user = manager.section(username) if manager else None
        if general is None or not _is_on(general, "enabled"):
            self._no_effect("manager.conf", general, "enabled = yes")
        if _value(user, "secret") != secret:
            self._no_effect("manager.conf", user, f"#include of {_MANAGER_FILE}")
        conf = conf_of(self._root, self._found.config_dir, "extensions.conf", changed)
        ours = conf.section(dialplan.REQUEST_CONTEXT) if conf else None
        if ours is None:
            self._no_effect(
                "extensions.conf", ours, f"#include of {dialplan_check.FILE}"
            )
        left = queue_lines(
            steps(conf.sections if conf else ()), [q.name for q in queues]
        )
        for line in left:
            if line.by_hand is None and _unusual(line) not in self.by_hand:
                self.problems.append(_unusual(line))

    def _verify_queues(
        self, changed: Mapping[Path, bytes], queues: Sequence[FoundQueue]
    ) -> None:
        conf = conf_of(self._root, self._found.config_dir, "queues.conf", changed)
        for queue in queues:
            section = conf.section(queue.name) if conf and queue.where else None
            if not queue.where:
                continue
            if section is None or not _value(section, "context"):
                self._no_effect("queues.conf", section, "context")
            elif not _is_on(section, "setqueuevar"):
                self._no_effect("queues.conf", section, "setqueuevar = yes")
            elif self._answers.offer not in (NO_OFFER, *_prompts(section)):
                self._no_effect("queues.conf", section, "periodic-announce")

    def _no_effect(self, file: str, section: Section | None, line: str) -> None:
        self.problems.append(
            Problem(
                section.where if section else str(self._found.config_dir / file),
                f"the line that setup would write has no effect there: {line}",
                "look for a later line that sets it again, or for a comment ;-- without"
                f" an end; or do by hand what {page('install.md')} says",
            )
        )


# -- helpers


def missing_offer(root: Root, found: Found, offer: str) -> Problem | None:
    """Return that there is no sound file of the prompt for callers; None if there is.

    Args:
        root: the root directory of Asterisk's machine.
        found: what was found there.
        offer: the prompt, as it is answered.
    """
    if offer in (DEFAULT_OFFER, NO_OFFER):
        return None
    place, pattern = found.sounds_dir, f"**/{offer}.*"
    remedy = "put it there, in the folder of each language"
    if offer.startswith("/"):
        place, pattern = Path(offer).parent, f"{Path(offer).name}.*"
        remedy = f"put it there, such as {offer}.wav"
    if any(root.inside(place).glob(pattern)):
        return None
    return Problem(
        str(place),
        f"there is no sound file {offer}",
        f"{remedy}; or use {DEFAULT_OFFER}, which setup installs",
    )


def manager_user(sample: str, username: str, secret: str, address: str) -> bytes:
    """Return the file with the manager user."""
    line = "secret = " + secret.replace(";", "\\;")
    text = re.sub(r"(?m)^secret = .*$", lambda _: line, sample)
    text = re.sub(r"(?m)^\[callback-queue\]$", f"[{username}]", text)
    if address:
        bits = "/128" if ":" in address else "/255.255.255.255"
        more = f"permit = {address}{bits}"
        text = re.sub(r"(?m)^(permit = ::1/128)$", rf"\1\n{more}", text)
    return text.encode()


def queue_options(offer: str) -> dict[str, str]:
    """Return the options of queues.conf that a queue with callbacks needs."""
    options = {"context": dialplan.REQUEST_CONTEXT, "setqueuevar": "yes"}
    if offer != NO_OFFER:
        options |= {
            "periodic-announce": offer,
            "periodic-announce-frequency": _FREQUENCY,
            "announce-to-first-user": "yes",
        }
    return options


def _realtime_remark(name: str, offer: str) -> Problem:
    options = queue_options(offer)
    values = ", ".join(f"{one.replace('-', '_')} = '{options[one]}'" for one in options)
    return Problem(
        f"queue {name}",
        "its options are kept in a database, which setup does not change",
        f"set in its row: {values}",
    )


def _unusual(line: QueueLine) -> Problem:
    return Problem(
        line.where,
        "this line is left as it is: setup does not understand how it is written."
        " Callbacks work, but a caller who is put back in line gets the whole time-out"
        " again",
        f"write in its place: Gosub(callback-enter,s,1({line.queue},...)) with its"
        " arguments, and then Queue(${CALLBACK_QUEUE_ARGS})",
    )


def _already_led(theirs: Sequence[Section]) -> Iterator[str]:
    """Yield the queues that our dialplan is already told of."""
    for section in theirs:
        for option in section.options:
            found = re.search(
                rf"\b{dialplan.ENTER_CONTEXT},s,1\(([^,)]*)", option.value
            )
            if found:
                yield found[1].strip()


def _takes(name: str, sections: Sequence[Section], key: str) -> Option | None:
    """Return the line with which a context, or one that it includes, takes a key."""
    to_read, seen = [name], set()
    while to_read:
        context = to_read.pop(0)
        if context in seen:
            continue
        seen.add(context)
        for section in sections:
            for option in section.options if section.name == context else ():
                first = option.value.partition(",")[0].strip()
                match folded(option.name):
                    case "exten" if takes_key(first, key):
                        return option
                    case "include":
                        to_read.append(first)
    return None


def _leads_to_us(option: Option) -> bool:
    return (
        folded(option.name) == "include"
        and option.value.partition(",")[0].strip() == dialplan.REQUEST_CONTEXT
    ) or f"({dialplan.REQUEST_CONTEXT}," in option.value


def _is_in(section: Section, file: Path) -> bool:
    return Path(section.where.rpartition(":")[0]) == file


def _is_on(section: Section | None, name: str) -> bool:
    option = section.get(name) if section else None
    return option is not None and option.is_true


def _value(section: Section | None, name: str) -> str:
    option = section.get(name) if section else None
    return option.value if option else ""


def _prompts(section: Section) -> list[str]:
    """Return the announcements of a queue, which are played in turn."""
    names = _value(section, "periodic-announce").split(",")
    return [name.strip() for name in names if name.strip()]


def agi_url(places: Places) -> str:
    host = f"[{places.agi_listen}]" if ":" in places.agi_listen else places.agi_listen
    return f"agi://{host}:{places.agi_port}"


def _latin(text: str) -> str:
    """Return a text as that of a file: one character for each of its bytes."""
    return text.encode().decode("latin-1")


def _text(data: bytes) -> str:
    return data.decode("latin-1")


def _bytes(text: str) -> bytes:
    return text.encode("latin-1")


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise Refused(
            [
                Problem(
                    str(path),
                    f"it can not be read: {reason}",
                    "run setup as root, or move it away",
                )
            ]
        ) from None
