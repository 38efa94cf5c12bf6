# SPDX-License-Identifier: MIT
"""An Asterisk with the configuration that Debian ships, at Debian's places.

Its root directory is a directory of the laboratory: outside, ``callback-queue setup
--root`` works on it; inside, Asterisk finds the same files below ``/``. Only what an
administrator has to write is added: ports, phones, a trunk, a queue, and an extension
that leads into it.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.lab import config
from tests.lab.asterisk import Asterisk
from tests.lab.config import WITNESS, Queue
from tests.lab.processes import LabProcess

#: What Asterisk reads and writes, at the same place inside.
_PLACES = (
    "etc/asterisk",
    "usr/share/asterisk/sounds",
    "var/lib/asterisk",
    "var/log/asterisk",
    "var/spool/asterisk",
)
_QUEUE = Queue(name="support", members=("alice", "bob"), context=None)
# The laboratory's directories are visible inside at the same path.
_BEGIN = """
mount -t tmpfs tmpfs /run
mkdir /run/asterisk
mount --bind "$0/run/asterisk" /run/asterisk
for place in {places}; do
    mkdir -p "/$place"
    mount --bind "$0/$place" "/$place"
done
exec asterisk -f
"""


class DebianAsterisk(Asterisk):
    """A real Asterisk with Debian's files."""

    #: Debian loads every module.
    boot_deadline_s = 90.0

    def __init__(self, major: int) -> None:
        super().__init__(major, queues=(_QUEUE,))

    @property
    def root(self) -> Path:
        """The root directory of its machine, as this process sees it."""
        return self.home / "root"

    @property
    def etc(self) -> Path:
        """The directory of its configuration."""
        return self.root / "etc/asterisk"

    def sounds_outside(self) -> Path:
        """Return its sounds, with links to languages that lead there outside as well.

        Debian's ``en`` is an absolute link.
        """
        sounds = self.root / "usr/share/asterisk/sounds"
        outside = self.home / "sounds"
        outside.mkdir(exist_ok=True)
        for name, target in (("en", "en_US_f_Allison"), ("ru", "ru")):
            (outside / name).symlink_to(sounds / target)
        return outside

    def _make_directories(self) -> None:
        shutil.rmtree(self.home, ignore_errors=True)
        for name in (*_PLACES, "run/asterisk", "var/lib", "etc/alternatives"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        for name in ("etc/asterisk", "usr/share/asterisk/sounds", "var/lib/asterisk"):
            _copy(self.tree.outside(Path("/", name)), self.root / name)
        for name in ("etc/alternatives/asterisk-prompt-en", "etc/passwd", "etc/group"):
            source = self.tree.outside(Path("/", name))
            shutil.copy(source, self.root / name, follow_symlinks=False)
        for name in ("cdr-csv", "cdr-custom"):
            (self.root / "var/log/asterisk" / name).mkdir(exist_ok=True)
        (self.root / "var/run").symlink_to("/run")
        # Where the base class looks.
        for name, target in {
            "run": "run/asterisk",
            "log": "var/log/asterisk",
            "data": "usr/share/asterisk",
        }.items():
            (self.home / name).symlink_to(self.root / target)
        for name in ("phones", "service"):
            (self.home / name).mkdir()
        self._write_administrators_lines()

    def write_configuration(self) -> None:
        """Leave the files alone: they belong to the administrator and to setup."""

    def _start_process(self, output: Path) -> LabProcess:
        begin = _BEGIN.format(places=" ".join(_PLACES))
        return LabProcess(
            self.tree, ["sh", "-ec", begin, str(self.root)], output=output
        )

    def _write_administrators_lines(self) -> None:
        """Write what every administrator of a call centre has written."""
        etc = self.etc
        manager = etc / "manager.conf"
        text = manager.read_text()
        assert "\nport = 5038\n" in text
        manager.write_text(text.replace("port = 5038", f"port = {self.ports.ami}"))
        general, _, witness = config.manager_conf(0, [WITNESS]).partition("\n\n")
        assert general.startswith("[general]")
        (etc / "manager.d/witness.conf").write_text(witness)
        (etc / "pjsip.conf").write_text(
            config.pjsip_conf(self.ports.sip, self.agent_slots).replace(
                "[trunk]\n", "[trunk]\nfrom_user = 4930111\n", 1
            )
        )
        (etc / "rtp.conf").write_text(config.rtp_conf(*self.ports.rtp))
        members = "".join(
            f"member => {config.member_line(one)}\n" for one in _QUEUE.members
        )
        with (etc / "queues.conf").open("a") as queues:
            queues.write(f"\n[support]\nretry = 1\nringinuse = no\n{members}")
        extensions = etc / "extensions.conf"
        text = extensions.read_text()
        assert "\n[globals]\n" in text
        agi = f"CALLBACK_AGI = agi://127.0.0.1:{self.ports.agi}"
        text = text.replace("\n[globals]\n", f"\n[globals]\n{agi}\n")
        extensions.write_text(
            text
            + "\n[inbound]\nexten => support,1,Answer()\n"
            + " same => n,Queue(support,t,,,600)   ; our agents\n"
            + " same => n,Hangup()\n\n"
            + config.routes()
        )


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
    for path in (source, *source.rglob("*")):
        if not path.is_symlink():
            status = path.stat()
            _own(target / path.relative_to(source), status.st_uid, status.st_gid)


def _own(path: Path, uid: int, gid: int) -> None:
    try:
        shutil.chown(path, uid, gid)
    except PermissionError:
        # Only root can give files away.
        return
