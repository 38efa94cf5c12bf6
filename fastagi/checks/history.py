# SPDX-License-Identifier: MIT
"""Checks the histories: access, required contents, and whether they are still written.

Also checks which technologies of channels belong to persons.
"""

from __future__ import annotations

import re
import stat
import time
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

from pydantic import SecretStr
from sqlalchemy.engine import make_url

from fastagi.checks.asterisk_machine import AsteriskMachine, NotVisible
from fastagi.checks.finding import Notes
from fastagi.checks.process import User, note_missing_right
from fastagi.checks.rotation import rotations
from fastagi.config.sections import HistorySettings, Settings
from fastagi.domain.people import (
    INTERNAL_TECHNOLOGIES,
    MACHINE_TECHNOLOGIES,
    PERSON_TECHNOLOGIES,
)
from fastagi.history import cdr, queue_log
from fastagi.history.cdr import NEEDED, lacking_columns
from fastagi.history.errors import HistoryUnreadable
from fastagi.history.files import LineTime, lines_since
from fastagi.history.sources import CdrDatabase, CdrFile, QueueLogDatabase

#: Age of the newest entry from which a history is suspicious, in seconds.
_QUIET_S: Final = 7 * 86_400.0
#: How far back to look for the newest line, in seconds.
_LOOK_BACK_S: Final = 2 * 86_400.0
#: A field of cdr_custom.conf that is quoted, so it stays one column.
_QUOTED: Final = re.compile(r"\$\{CSV_QUOTE\(\$\{[^}]*\}\)\}", re.IGNORECASE)
#: Fields with text that a caller may have sent.
_OF_CALLERS: Final = re.compile(
    r"CDR\((?:clid|src|dst|cnum|cnam|did|lastdata|userfield)(?:,[^)]*)?\)"
    r"|CALLERID\([^)]*\)",
    re.IGNORECASE,
)
#: Asterisk's default time between batches of CDRs, in seconds (``main/cdr.c``).
_BATCH_S: Final = 300


def check_history(settings: Settings, machine: AsteriskMachine, user: User) -> Notes:
    """Check each history with the rights of the user of the service.

    Args:
        settings: the settings, with the histories.
        machine: Asterisk's machine.
        user: the user of the service.
    """
    notes = Notes("history")
    _look_at_technologies(settings, machine, notes)
    history = settings.history
    if not history.enabled:
        return notes
    newest = _Newest(machine)
    _look_at_logger_conf(history, machine, notes)
    if history.queue_log_file:
        _look_at_queue_log(settings, machine, user, newest, notes)
    if _may_open(history.queue_log_url, "queue_log", user, notes):
        _look_at_queue_log_table(history, newest, notes)
    if history.cdr_csv is not None:
        _look_at_csv(Path(history.cdr_csv), history, machine, user, newest, notes)
    if _may_open(history.cdr_url, "cdr", user, notes):
        _look_at_cdr_table(history, newest, notes)
    if history.cdr_csv is not None or history.cdr_url is not None:
        _look_at_conf(settings, machine, notes)
    newest.compare(notes)
    return notes


def _look_at_technologies(
    settings: Settings, machine: AsteriskMachine, notes: Notes
) -> None:
    """Find channel technologies that are neither persons' nor known otherwise."""
    known = {
        *map(str.lower, settings.missed.technologies),
        *map(str.lower, PERSON_TECHNOLOGIES),
        *map(str.lower, MACHINE_TECHNOLOGIES | INTERNAL_TECHNOLOGIES),
    }
    for technology in _technologies(machine.console("core show channeltypes") or ""):
        if technology.lower() not in known:
            notes.warn(
                "missed.person_technologies",
                f"Asterisk has channels of the technology {technology}, which is not"
                " known to be a person's: a call that only such a channel answered"
                " counts as missed",
                f"if persons use it, write the default list and {technology} there",
            )


def _technologies(told: str) -> list[str]:
    """Return the first column of the table that the console shows."""
    rows: list[str] = []
    for line in told.splitlines()[1:]:
        if not line.startswith("---"):
            rows.append(line.split()[0] if line.split() else "")
        elif rows:
            return rows
    return []


class _Newest:
    """The times of the newest entry of each history."""

    def __init__(self, machine: AsteriskMachine) -> None:
        self._machine = machine
        self._times: dict[str, float] = {}

    def note(self, where: str, at: float) -> None:
        """Note when a history was last written."""
        self._times[where] = at

    def compare(self, notes: Notes) -> None:
        """Note histories that are not written any more."""
        if not self._times:
            return
        now = time.time()
        up_since = self._up_since()
        latest = max(self._times.values())
        for where, at in self._times.items():
            if latest - at > _QUIET_S:
                why = f"another history is written until {_when(latest)}"
            elif now - max(at, up_since) > _QUIET_S:
                why = "Asterisk has been running for longer than a week since"
            else:
                continue
            notes.warn(
                where,
                f"its newest entry is of {_when(at)}, and {why}: it may be that of"
                " another Asterisk",
                "correct the section 'history' of the settings; sudo asterisk -rx"
                " 'core show"
                " settings' names the directory of its logs",
            )

    def _up_since(self) -> float:
        said = self._machine.console("core show uptime seconds") or ""
        found = re.search(r"uptime: ([0-9]+)", said)
        return time.time() - int(found[1]) if found else 0.0


def _when(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().isoformat(" ", "minutes")[:16]


# -- files ---------------------------------------------------------------------


def _look_at_logger_conf(
    history: HistorySettings, machine: AsteriskMachine, notes: Notes
) -> None:
    """Compare where Asterisk writes queue_log with the settings."""
    conf = machine.conf_or_none("logger.conf")
    general = conf.section("general") if conf else None
    option = general.get("queue_log") if general else None
    wanted = bool(history.queue_log_file) or history.queue_log_url is not None
    if option is not None and not option.is_true:
        if wanted:
            notes.fault(
                option.where,
                "Asterisk writes no queue_log",
                "write queue_log = yes; then: sudo asterisk -rx 'logger reload'",
            )
        return
    extconfig = machine.conf_or_none("extconfig.conf")
    families = extconfig.section("settings") if extconfig else None
    realtime = families.get("queue_log") if families else None
    to_file = general.get("queue_log_to_file") if general else None
    if history.queue_log_url is not None:
        if extconfig is not None and realtime is None:
            notes.fault(
                extconfig.path,
                "Asterisk writes queue_log into no database",
                "write queue_log => DRIVER,DATABASE,TABLE under [settings], or delete"
                " history.queue_log_url",
            )
        return
    if realtime is not None and not (to_file is not None and to_file.is_true):
        notes.fault(
            realtime.where,
            "Asterisk writes queue_log into a database and not into a file, so missed"
            " calls are not found",
            "name the database as history.queue_log_url; or write queue_log_to_file ="
            " yes under [general] in logger.conf; then: sudo asterisk -rx 'logger"
            " reload'",
        )
    elif history.queue_log_file:
        named = general.get("queue_log_name") if general else None
        path = Path(history.queue_log_file)
        if named is not None and named.value and named.value != path.name:
            notes.fault(
                named.where,
                f"Asterisk calls its queue_log {named.value}, and {path.name} is read",
                f"write queue_log: {path.with_name(named.value)} in the section"
                " 'history'",
            )


def _look_at_queue_log(
    settings: Settings,
    machine: AsteriskMachine,
    user: User,
    newest: _Newest,
    notes: Notes,
) -> None:
    history = settings.history
    path = Path(history.queue_log_file)
    elsewhere = (
        "write queue_log: \"\" in the section 'history', or share the directory of"
        " Asterisk's logs with this machine"
    )
    here = (
        "write its path as history.queue_log; or have Asterisk write it, which it does"
        " with queue_log = yes under [general] in logger.conf"
    )
    missing = here if machine.is_here else elsewhere
    _look_at_rotation(path, history, machine, notes)
    if not _may_read(path, user, missing, notes):
        return
    if not machine.is_here and "queue_log" not in history.model_fields_set:
        notes.warn(
            path,
            "it is read by default, and Asterisk is on another machine (ami.host is"
            f" {settings.ami.host}): if an Asterisk of this machine writes it, calls"
            " that were missed there are called back here",
            "write queue_log: \"\" in the section 'history'; or, if it is the log of"
            " the other Asterisk, its path",
        )
    _look_for_newest(path, queue_log.time_of, newest, notes)


def _look_at_rotation(
    path: Path, history: HistorySettings, machine: AsteriskMachine, notes: Notes
) -> None:
    """Check whether logrotate moves old files to a folder that is not read."""
    if not machine.is_here:
        return
    known = [path.parent, *map(Path, history.rotated_into)]
    for rotation in rotations(path):
        if rotation.into in known:
            continue
        if rotation.into.parent != path.parent:
            notes.fault(
                rotation.where,
                f"old files of {path.name} are moved into {rotation.into}, where they"
                " are not looked for",
                f"write rotated_into: [{rotation.into}] in the section 'history'",
            )


def _look_at_csv(
    path: Path,
    history: HistorySettings,
    machine: AsteriskMachine,
    user: User,
    newest: _Newest,
    notes: Notes,
) -> None:
    missing = "write its path as history.cdr_csv"
    source = CdrFile(path, history.cdr_columns, history.rotated_into)
    readable = _may_read(path, user, missing, notes)
    if readable and source.has_unnamed_columns():
        notes.fault(
            path,
            "its columns are not those of cdr_csv, so nothing of it is known",
            _name_columns(path, machine),
        )
        return
    if not history.cdr_columns:
        conf = machine.conf_or_none("cdr.conf")
        section = conf.section("csv") if conf else None
        option = section.get("loguniqueid") if section else None
        if conf is not None and (option is None or not option.is_true):
            notes.fault(
                option.where if option else conf.path,
                "CDRs are written without their uniqueid and are of no use",
                "write loguniqueid = yes under [csv]; then: sudo asterisk -rx 'module"
                " reload"
                " cdr_csv.so'",
            )
    _look_at_quotes(path, machine, notes)
    if not readable:
        return
    _look_at_rotation(path, history, machine, notes)
    time_of = partial(cdr.time_of_csv, columns=history.cdr_columns)
    _look_for_newest(path, time_of, newest, notes)
    try:
        now = time.time()
        reading = source.read(now - _LOOK_BACK_S, now)
    except HistoryUnreadable as error:
        notes.note(error.problem)
        return
    for remark in reading.remarks:
        notes.note(remark)


def _name_columns(path: Path, machine: AsteriskMachine) -> str:
    """Return the value for history.cdr_columns from cdr_custom.conf, if it has one."""
    conf = machine.conf_or_none("cdr_custom.conf")
    mappings = conf.section("mappings") if conf else None
    mapping = mappings.get(path.name) if mappings else None
    names = [] if mapping is None else _columns_of(mapping.value)
    if mapping is None or lacking_columns(names):
        return (
            "if cdr_custom writes it, name its columns in their order:"
            " history.cdr_columns; needed are " + ", ".join(NEEDED)
        )
    return f"as {mapping.where} has it: cdr_columns: [{', '.join(names)}]"


def _look_at_quotes(path: Path, machine: AsteriskMachine, notes: Notes) -> None:
    """Warn of text from callers that cdr_custom writes without CSV_QUOTE()."""
    conf = machine.conf_or_none("cdr_custom.conf")
    mappings = conf.section("mappings") if conf else None
    mapping = mappings.get(path.name) if mappings else None
    if mapping is None:
        return
    bare = dict.fromkeys(_OF_CALLERS.findall(_QUOTED.sub("", mapping.value)))
    if bare:
        notes.warn(
            mapping.where,
            f"{', '.join(bare)} may hold line breaks that a caller has sent, and"
            " without CSV_QUOTE() the caller can write CDRs of his own there",
            f"write each field as ${{CSV_QUOTE(${{{next(iter(bare))}}})}}; then:"
            " sudo asterisk -rx 'module reload cdr_custom.so'",
        )


def _columns_of(mapping: str) -> list[str]:
    """Return the columns of a mapping of cdr_custom.conf."""
    fields = mapping.split(",")
    found = (
        re.search(r"CDR\((\w+)", one) or re.fullmatch(r"\s*(\w+)\s*", one)
        for one in fields
    )
    return [one[1] if one else "other" for one in found]


def _may_read(path: Path, user: User, missing: str, notes: Notes) -> bool:
    """Note why the user may not read a file; return whether it can be checked."""
    try:
        status = path.stat()
    except FileNotFoundError:
        notes.fault(path, "it does not exist", missing)
        return False
    except PermissionError:
        status = None
    if status is not None:
        if not stat.S_ISREG(status.st_mode):
            notes.fault(path, "it is no file", missing)
            return False
        if user.may("r", path):
            return status.st_size > 0
    # Without access to the file, its owner and group are unknown, too.
    remedy = _let_in(path, user) if user.is_service else ""
    note_missing_right(notes, user, path, "may not read it", remedy)
    return False


def _let_in(path: Path, user: User) -> str:
    """Return the commands that allow a user to read a file."""
    above = [one for one in reversed(path.parents) if one.is_dir()]
    closed = next((one for one in above if not user.may("x", one)), None)
    if closed is not None:
        where, letter, bit = closed, "x", stat.S_IXGRP
    else:
        where, letter, bit = path, "r", stat.S_IRGRP
    group = _group_of(where)
    if group in {"", "root"}:
        # Membership of that group grants more rights than needed.
        name = user.owner.partition(":")[0]
        more = (
            ""
            if closed
            else f"; sudo setfacl -m d:u:{name}:r {path.parent}, for those to come"
        )
        return f"sudo setfacl -m u:{name}:{letter} {where}{more}"
    open_to_it = (
        "" if where.stat().st_mode & bit else f"sudo chmod g+{letter} {where}; "
    )
    return (
        f"{open_to_it}sudo usermod -a -G {group} {user.name}; sudo systemctl restart"
        " callback-queue"
    )


def _group_of(path: Path) -> str:
    try:
        return path.group()
    except (KeyError, OSError):
        return ""


def _look_for_newest(
    path: Path, time_of: LineTime, newest: _Newest, notes: Notes
) -> None:
    try:
        log = lines_since(path, time.time() - _LOOK_BACK_S, time_of)
    except HistoryUnreadable as error:
        notes.note(error.problem)
        return
    for remark in log.remarks:
        notes.note(remark)
    times = map(time_of, reversed(log.lines))
    at = next((at for at in times if at is not None), None)
    if at is not None:
        newest.note(str(path), at)


# -- a table -------------------------------------------------------------------


def _may_open(url: str | None, setting: str, user: User, notes: Notes) -> bool:
    """Return whether there is a database; note why its file may not be read."""
    if url is None:
        return False
    parsed = make_url(url)
    return parsed.get_backend_name() != "sqlite" or _may_read(
        Path(str(parsed.database)), user, f"correct history.{setting}_url", notes
    )


def _shown(password: SecretStr | None) -> str | None:
    return None if password is None else password.get_secret_value()


def _look_at_queue_log_table(
    history: HistorySettings, newest: _Newest, notes: Notes
) -> None:
    assert history.queue_log_url is not None
    source = QueueLogDatabase(
        history.queue_log_url,
        history.queue_log_table,
        _shown(history.queue_log_password),
    )
    now = time.time()
    try:
        table = source.open()
        at = source.newest_at()
        reading = source.read(now - _LOOK_BACK_S, now)
    except HistoryUnreadable as error:
        notes.note(error.problem)
        return
    for remark in reading.remarks:
        notes.note(remark)
    if at is not None:
        newest.note(table.name, at)
    elif not reading.remarks:
        notes.warn(
            table.name, "there is no row in it yet", "make a call and look again"
        )


def _look_at_cdr_table(history: HistorySettings, newest: _Newest, notes: Notes) -> None:
    assert history.cdr_url is not None
    source = CdrDatabase(
        history.cdr_url, history.cdr_table, _shown(history.cdr_password)
    )
    now = time.time()
    try:
        table = source.open()
        row = table.newest()
        reading = source.read(now - _LOOK_BACK_S, now)
    except HistoryUnreadable as error:
        notes.note(error.problem)
        return
    if row is None and not reading.remarks:
        notes.warn(
            table.name, "there is no CDR in it yet", "make a call and look again"
        )
        return
    rows = cdr.read_rows([] if row is None else [row])
    if rows.without_uniqueid:
        notes.fault(
            table.name,
            "its newest CDR has no uniqueid, and those are of no use",
            "have Asterisk write it: loguniqueid = yes in the file of its CDR module",
        )
    else:
        for remark in reading.remarks:
            notes.note(remark)
    for one in rows.rows:
        newest.note(table.name, one.end)


# -- cdr.conf ------------------------------------------------------------------


def _look_at_conf(settings: Settings, machine: AsteriskMachine, notes: Notes) -> None:
    try:
        conf = machine.conf("cdr.conf")
    except NotVisible:
        return
    general = conf.section("general")
    options = {
        name: general.get(name) if general else None
        for name in ("enable", "unanswered", "batch", "time")
    }
    enable, unanswered = options["enable"], options["unanswered"]
    reload = "; then: sudo asterisk -rx 'module reload cdr'"
    if enable is not None and not enable.is_true:
        notes.fault(
            enable.where, "Asterisk writes no CDRs", f"write enable = yes{reload}"
        )
    if unanswered is None or not unanswered.is_true:
        notes.warn(
            unanswered.where if unanswered else conf.path,
            "calls that ended before they rang anybody have no CDR",
            f"write unanswered = yes under [general]{reload}",
        )
    batch, longest = options["batch"], options["time"]
    if batch is not None and batch.is_true:
        late_s = _BATCH_S
        if longest is not None and longest.value.isdecimal():
            late_s = int(longest.value)
        windows = [queue.missed_window_s for queue in settings.queues.values()]
        if late_s >= min(windows):
            notes.warn(
                batch.where,
                f"CDRs are written up to {late_s} s late, when a missed call may be"
                " older than missed_window",
                f"write batch = no, or a shorter time{reload}",
            )
