# SPDX-License-Identifier: MIT
"""One real Asterisk with its own directories and ports.

Owns the files, the process, its command line and its output. Independent of phones, the
witness and the service. Every method that waits has a deadline.
"""

from __future__ import annotations

import csv
import io
import math
import os
import re
import shutil
import signal
import socket
import struct
import wave
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

import attrs

from tests.lab import config
from tests.lab.closing import Starting
from tests.lab.config import DEFAULT_QUEUES, ManagerUser, Queue
from tests.lab.errors import DeadlinePassed, LabError
from tests.lab.ports import PhoneSlot, PortBlock
from tests.lab.processes import LabProcess, pauses, read_text, wait_until
from tests.lab.trees import SHARED, Tree, find_tree

#: The music on hold.
MUSIC_HZ = 440

REPOSITORY = Path(__file__).resolve().parents[2]
_DIALPLAN = REPOSITORY / "dialplan/callback-queue.conf"
_MANAGER_USER = REPOSITORY / "etc/asterisk/manager.d/callback-queue.conf"
_SOUND_SUFFIXES = {".wav", ".gsm", ".ulaw", ".alaw", ".sln", ".sln16", ".g722"}
#: Asterisk's own English prompts, in the directories of Debian and of the source.
_PROMPTS = ("en_US_f_Allison", "en")

_STOP_DEADLINE_S = 5.0

_DIRECTORIES = (
    "etc run var/keys spool/monitor spool/outgoing spool/tmp log/cdr-csv "
    "log/cdr-custom data/agi-bin data/sounds data/moh phones service"
)

#: The columns of cdr_csv, in this order; it writes no heading.
_CDR_COLUMNS = (
    "accountcode src dst dcontext clid channel dstchannel lastapp lastdata start "
    "answer end duration billsec disposition amaflags uniqueid userfield"
)


@attrs.frozen
class QueueLogRow:
    """One line of queue_log: time|callid|queue|agent|event|data..."""

    time: str
    callid: str
    queue: str
    agent: str
    event: str
    data: tuple[str, ...]


class Asterisk(Starting):
    """A real Asterisk of one major version.

    Use as a context manager, or call :meth:`start` and :meth:`close`.
    """

    boot_deadline_s = 30.0

    def __init__(
        self,
        major: int,
        *,
        queues: Sequence[Queue] = DEFAULT_QUEUES,
        global_variables: Mapping[str, str] | None = None,
        extra_dialplan: str = "",
        system_name: str = "",
    ) -> None:
        self._system_name = system_name
        self.tree: Tree = find_tree(major)
        self.ports = PortBlock()
        self.home = SHARED / f"callback-queue-lab-{os.getuid()}-{self.ports.number:02}"
        self.agent_slots = self._allot_slots()
        self._given_queues = self._queues = tuple(queues)
        self._given_globals = self._global_variables = {
            "CALLBACK_AGI": f"agi://127.0.0.1:{self.ports.agi}",
            **(global_variables or {}),
        }
        self._given_dialplan = self._extra_dialplan = extra_dialplan
        self._manager_tls: dict[str, str] = {}
        self._manager_tls_ports = iter(self.ports.ami_tls)
        self._process: LabProcess | None = None
        self._marks: dict[Path, int] = {}
        self._make_directories()

    # -- its identity

    @property
    def major(self) -> int:
        """The major version: 22, 16."""
        return self.tree.major

    @property
    def version(self) -> str:
        """The version that the running binary reports, such as ``22.10.1``."""
        return self.tree.version

    @property
    def queues(self) -> tuple[Queue, ...]:
        """The queues of the current queues.conf."""
        return self._queues

    @property
    def running(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.running

    @property
    def pid(self) -> int:
        """The process id of Asterisk itself."""
        if self._process is None:
            raise LabError("this Asterisk was not started")
        return self._process.pid

    # -- start and stop

    def start(self) -> None:
        """Start and wait until it is fully booted.

        Raises:
            LabError: it ended at once; the text holds what it said.
            DeadlinePassed: it did not boot in time.
        """
        if self.running:
            raise LabError("this Asterisk runs already")
        self.write_configuration()
        (self.home / "run/asterisk.ctl").unlink(missing_ok=True)
        process = self._process = self._start_process(self.home / "log/stdout")
        deadline_s = self.boot_deadline_s
        for _ in pauses(deadline_s):
            if not process.running:
                raise LabError(
                    f"Asterisk {self.version} ended with {process.exit_code}:\n"
                    f"{process.text()[-2000:]}\n{self.log[-4000:]}"
                )
            with suppress(LabError):
                # Asterisk answers this only when it is fully booted.
                self.cli("core waitfullybooted", deadline_s=deadline_s)
                return
        raise DeadlinePassed(
            f"Asterisk {self.version} did not boot in {deadline_s} s:\n"
            f"{self.log[-4000:]}"
        )

    def _start_process(self, output: Path) -> LabProcess:
        conf = self.home / "etc/asterisk.conf"
        return LabProcess(self.tree, ["asterisk", "-f", "-C", str(conf)], output=output)

    def stop(self) -> None:
        """Stop it as an administrator does; kill it if it does not end."""
        if self._process is None:
            return
        with suppress(LabError):
            self.cli("core stop now", deadline_s=_STOP_DEADLINE_S)
        # Asterisk 16 sometimes hangs at its end, which is not what a test is about.
        with suppress(DeadlinePassed):
            self._process.wait(_STOP_DEADLINE_S)
        self.kill()

    def kill(self) -> None:
        """Kill it without warning, as a power cut does."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def restart(self) -> None:
        """Stop and start; AstDB, logs and ports stay the same."""
        self.stop()
        self.start()

    def _allot_slots(self) -> dict[str, PhoneSlot]:
        return {name: self.ports.phone_slot() for name in config.AGENTS}

    def freeze(self) -> None:
        """Freeze the process (SIGSTOP): sockets stay open, nothing is answered."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen process continue."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.signal(number)

    def close(self) -> None:
        """Kill it and remove all its files."""
        self.kill()
        self.ports.release()
        shutil.rmtree(self.home, ignore_errors=True)

    # -- its command line

    def cli(self, command: str, *, deadline_s: float = 10.0) -> str:
        """Run one command of Asterisk's command line and return what it prints.

        Raises:
            LabError: Asterisk is not there.
            DeadlinePassed: it did not answer in time.
        """
        # The words that `asterisk -rx` sends (main/asterisk.c), without a new process.
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as console:
            console.settimeout(deadline_s)
            answer = b""
            try:
                console.connect(str(self.home / "run/asterisk.ctl"))
                console.sendall(b"cli quit after " + command.encode() + b"\0")
                while part := console.recv(65536):
                    answer += part
            except TimeoutError:
                raise DeadlinePassed(
                    f"Asterisk did not answer {command!r} within {deadline_s} s"
                ) from None
            except OSError as error:
                # On "core stop now" the console may be reset instead of closed.
                if not answer:
                    raise LabError(f"Asterisk does not answer: {error}") from None
        _greeting, _, text = answer.decode("utf-8", "replace").partition("\n")
        lines = text.replace("\0", "").splitlines()
        return "\n".join(line for line in lines if not line.startswith("\x7f")).strip()

    # -- its configuration

    def write_configuration(self) -> None:
        """Write every configuration file, and copy the product's current files."""
        etc = self.home / "etc"
        modules = self.tree.modules()
        available = [path.name for path in self.tree.outside(modules).glob("*.so")]
        users = [config.WITNESS]
        if _MANAGER_USER.exists():
            (etc / "manager.d").mkdir(exist_ok=True)
            shutil.copy(_MANAGER_USER, etc / "manager.d")
        else:
            users.append(self.service_user)
        files = {
            "asterisk.conf": config.asterisk_conf(
                self.home, modules, self._system_name
            ),
            "modules.conf": config.modules_conf(available),
            "logger.conf": config.logger_conf(),
            "manager.conf": config.manager_conf(
                self.ports.ami,
                users,
                include=_MANAGER_USER.exists(),
                tls=self._manager_tls,
            ),
            "pjsip.conf": config.pjsip_conf(self.ports.sip, self.agent_slots),
            "rtp.conf": config.rtp_conf(*self.ports.rtp),
            "musiconhold.conf": config.musiconhold_conf(self.home / "data/moh"),
            "queues.conf": config.queues_conf(self._queues),
            "cdr.conf": config.cdr_conf(),
            "cdr_custom.conf": config.cdr_custom_conf(),
            "cdr_sqlite3_custom.conf": config.cdr_sqlite3_custom_conf(),
            "res_parking.conf": config.parking_conf(),
            "extensions.conf": self._extensions_conf(),
            "indications.conf": config.indications_conf(),
        }
        # Asterisk warns of missing files but accepts empty ones.
        files.update(dict.fromkeys(config.EMPTY_FILES, ""))
        for name, text in files.items():
            (etc / name).write_text(text)
        _copy_sounds(REPOSITORY / "sounds", self.home / "data/sounds")

    def set_queues(self, queues: Iterable[Queue]) -> None:
        """Replace queues.conf and have Asterisk read it."""
        self._queues = tuple(queues)
        self._write_and_reload()

    def set_dialplan(
        self,
        *,
        extra: str | None = None,
        global_variables: Mapping[str, str] | None = None,
    ) -> None:
        """Replace the contexts or globals of the test, and reload the dialplan."""
        if extra is not None:
            self._extra_dialplan = extra
        if global_variables is not None:
            self._global_variables = {**self._given_globals, **global_variables}
        self._write_and_reload()

    def open_manager_tls(self, certificate: Path, key: Path, **options: str) -> int:
        """Open AMI with TLS too, and return its port; options go to manager.conf.

        A new port each time: 16 looks at its certificate again only with a new address.
        """
        port = next(self._manager_tls_ports)
        self._manager_tls = {
            "tlsenable": "yes",
            "tlsbindaddr": f"127.0.0.1:{port}",
            "tlscertfile": str(certificate),
            "tlsprivatekey": str(key),
            **options,
        }
        self.write_configuration()
        self.cli("manager reload")
        return port

    def close_manager_tls(self) -> None:
        """Close AMI with TLS; AMI without TLS stays open."""
        if self._manager_tls:
            self._manager_tls = {}
            self._manager_tls_ports = iter(self.ports.ami_tls)
            self.write_configuration()
            self.cli("manager reload")

    def _write_and_reload(self) -> None:
        self.write_configuration()
        if self.running:
            self.cli("dialplan reload")
            self.cli("queue reload all")
            self.cli("module reload res_pjsip.so")

    def _extensions_conf(self) -> str:
        copied = self.home / "etc" / _DIALPLAN.name
        shutil.copy(_DIALPLAN, copied)
        return config.extensions_conf(
            self._queues,
            included=[copied],
            global_variables=self._global_variables,
            extra=self._extra_dialplan,
        )

    @property
    def service_user(self) -> ManagerUser:
        """The AMI user for the service: the one that the product ships."""
        return _product_manager_user()

    def _make_directories(self) -> None:
        # This process holds the lock on the ports, so these files are of a killed run.
        shutil.rmtree(self.home, ignore_errors=True)
        for name in _DIRECTORIES.split():
            (self.home / name).mkdir(parents=True)
        shipped = self.tree.data()
        (self.home / "data/documentation").symlink_to(shipped / "documentation")
        # Its own directory, so that the product's sounds can lie beside Asterisk's.
        english = self.home / "data/sounds/en"
        english.mkdir()
        for name in _PROMPTS:
            for prompt in self.tree.outside(shipped / "sounds" / name).glob("*"):
                (english / prompt.name).symlink_to(
                    shipped / "sounds" / name / prompt.name
                )
        write_tone(self.home / "data/moh/tone.wav", hertz=MUSIC_HZ, seconds=2)

    # -- its logs

    @property
    def log(self) -> str:
        """The log since the last reset."""
        return self._text_since_mark(self.home / "log/full")

    def queue_log(self) -> list[QueueLogRow]:
        """Return the rows of queue_log since the last reset."""
        rows = []
        for line in self._text_since_mark(self.home / "log/queue_log").splitlines():
            time, callid, queue, agent, event, *data = line.split("|")
            rows.append(QueueLogRow(time, callid, queue, agent, event, tuple(data)))
        return rows

    def cdrs(self) -> list[dict[str, str]]:
        """Return the call detail records since the last reset, by column name."""
        text = self._text_since_mark(self.home / "log/cdr-csv/Master.csv")
        return [
            dict(zip(_CDR_COLUMNS.split(), row, strict=False))
            for row in csv.reader(io.StringIO(text))
        ]

    def channels(self) -> list[str]:
        """Return the names of all channels."""
        lines = self.cli("core show channels concise").splitlines()
        return [line.split("!")[0] for line in lines if "!" in line]

    def _text_since_mark(self, path: Path) -> str:
        return read_text(path, self._marks.get(path, 0))

    # -- between two tests

    def reset(self) -> None:
        """Reset it: no calls, an empty AstDB, the given queues, empty logs.

        Raises:
            DeadlinePassed: a channel did not end, or a phone was not removed.
        """
        self.thaw()
        if not self.running:
            self.kill()
            self.start()
        self.hang_up_everything()
        self.clear_database()
        self.close_manager_tls()
        # Removing the queues for a moment clears the last call and pause of each
        # member.
        self._queues = ()
        self._write_and_reload()
        self._queues = self._given_queues
        self._extra_dialplan = self._given_dialplan
        self._global_variables = self._given_globals
        # New ports, so that packets for a phone of the last test reach nobody.
        removed = self.agent_slots
        self.agent_slots = self._allot_slots()
        self._write_and_reload()
        self._await_removal_of(removed)
        self._mark_logs()

    def _await_removal_of(self, phones: Mapping[str, PhoneSlot]) -> None:
        """Wait until the log tells that each contact is removed.

        Asterisk removes contacts in a thread of its own, after the reload has returned.
        """
        ends = [
            f"Contact {agent}/sip:{agent}@{slot} has been deleted"
            for agent, slot in phones.items()
        ]

        def all_removed() -> bool:
            log = self.log
            return all(end in log for end in ends)

        wait_until(all_removed, 10, "the removal of the last test's phones")

    def hang_up_everything(self) -> None:
        """Ask every channel to hang up and wait until none is left."""
        if not self.channels():
            return
        self.cli("channel request hangup all")
        wait_until(lambda: not self.channels(), 10, "the end of all channels")

    def clear_database(self) -> None:
        """Remove everything from AstDB."""
        families = {
            line.split("/")[1]
            for line in self.cli("database show").splitlines()
            if line.startswith("/")
        }
        for family in families:
            self.cli(f"database deltree {family}")

    def _mark_logs(self) -> None:
        for name in ("full", "queue_log", "cdr-csv/Master.csv"):
            path = self.home / "log" / name
            with suppress(FileNotFoundError):
                self._marks[path] = path.stat().st_size


def write_tone(path: Path, *, hertz: int, seconds: float) -> None:
    """Write a sine tone as 8 kHz 16 bit mono WAV."""
    rate = 8000
    samples = (
        round(8000 * math.sin(2 * math.pi * hertz * n / rate))
        for n in range(int(rate * seconds))
    )
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(b"".join(struct.pack("<h", sample) for sample in samples))


def _product_manager_user() -> ManagerUser:
    """Read the user of the product's example for manager.conf."""
    name = ""
    options: dict[str, str] = {}
    for line in _MANAGER_USER.read_text().splitlines():
        line = line.partition(";")[0].strip()
        if found := re.match(r"\[([^\]]+)\]", line):
            name = found[1]
        elif "=" in line and name and name != "general":
            key, _, value = line.partition("=")
            options[key.strip()] = value.lstrip("> ").strip()
    return ManagerUser(
        name=name,
        secret=options["secret"],
        read=options["read"],
        write=options["write"],
    )


def _copy_sounds(source: Path, target: Path) -> None:
    """Copy the prompts that are missing or have changed."""
    for name, changed_ns in _sounds(source):
        copy = f"{target}/{name}"
        with suppress(FileNotFoundError):
            if os.stat(copy).st_mtime_ns == changed_ns:
                continue
        os.makedirs(os.path.dirname(copy), exist_ok=True)
        shutil.copy2(source / name, copy)


@cache
def _sounds(source: Path) -> list[tuple[str, int]]:
    """Return the prompts of a directory with their times; both stay as they are."""
    return [
        (str(path.relative_to(source)), path.stat().st_mtime_ns)
        for path in source.rglob("*")
        if path.suffix in _SOUND_SUFFIXES
    ]
