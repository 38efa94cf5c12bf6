# SPDX-License-Identifier: MIT
"""A machine on paper, for the shell blocks that change a machine.

The blocks run in bash as they are, except that the folders of the system are below a
folder of the test. Programs that would change the real machine, or that it may lack,
have stand-ins, which note how they were called and fail as the real ones do: ``sudo``,
``systemctl``, ``asterisk``, ... Everything else is the real program: ``sed``, ``grep``,
``tee``, ``cp``, ``openssl``, ``diff``, ...

On a booted machine, with the real programs, tests/packaging runs the same blocks.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tests.docs.blocks import ROOT, Block

#: The folders of the system that blocks name.
_FOLDERS: Final = re.compile(
    r"(?<![\w$}./-])/(etc|opt|run|usr/local|usr/share/asterisk|var)(?=/)"
)
_DEADLINE_S: Final = 60.0

_NOTE: Final = """#!/bin/bash
printf '%s\\n' "${0##*/} $*" >>"$MACHINE/calls"
"""
_STAND_INS: Final = {
    # Without rights, so only the command counts.
    "sudo": 'while [ "${1#-}" != "$1" ]; do [ "$1" = -u ] && shift; shift; done\n"$@"',
    "apt-get": "",
    "chown": "",
    "createdb": "",
    "createuser": "",
    "gpasswd": "",
    "journalctl": "echo http://127.0.0.1:8573/login/link/abc",
    "setfacl": "",
    "sudoedit": '[ -f "$1" ]',
    "systemd-sysusers": 'ls "$MACHINE"/etc/sysusers.d/*.conf >/dev/null',
    "systemd-run": "",
    "userdel": "",
    "usermod": "",
    # Every unit that is named has to be installed.
    "systemctl": """
[ "$1" = daemon-reload ] && exit
if [ "$1 $2 $3" = 'show -P FragmentPath' ]; then
    echo "$MACHINE/etc/systemd/system/$4.service"
    exit
fi
shift
for unit; do
    case $unit in
    -*) ;;
    *.timer) [ -f "$MACHINE/etc/systemd/system/$unit" ] || exit 5 ;;
    *) [ -f "$MACHINE/etc/systemd/system/$unit.service" ] || exit 5 ;;
    esac
done""",
    "asterisk": """
[ "$1" = -rx ] || exit 1
case $2 in
'core show settings') printf '  Data directory:              %s\\n' \\
    "$MACHINE/usr/share/asterisk" ;;
'manager reload' | 'dialplan reload' | 'module reload app_queue.so') ;;
'database deltree callback-'*) ;;
*) echo "No such command '$2'"; exit 1 ;;
esac""",
    # Users and groups of the machine are not those of the test.
    "install": """
arguments=()
while [ $# -gt 0 ]; do
    case $1 in -o | -g) shift ;; *) arguments+=("$1") ;; esac
    shift
done
exec /usr/bin/install "${arguments[@]}\"""",
    # A virtual environment without packages: pip notes what it is to install.
    "python3": f"""
[ "$1 $2" = '-m venv' ] || exec {sys.executable} "$@"
mkdir -p "$3/bin"
for program in pip callback-queue; do
    cp "$MACHINE/stand-ins/in-venv" "$3/bin/$program"
done""",
    "in-venv": "",
}


class Machine:
    """A machine with Asterisk.

    Args:
        home: an empty folder of the test.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._programs = home / "stand-ins"
        self._programs.mkdir()
        for name, script in _STAND_INS.items():
            program = self._programs / name
            program.write_text(f"{_NOTE}{script}\n")
            program.chmod(0o755)
        #: The copy of the repository in which the blocks are run.
        self.copy = home / "copy"
        self.copy.mkdir()
        for name in ("constraints.txt", "dialplan", "docs", "etc", "sounds"):
            (self.copy / name).symlink_to(ROOT / name)
        for folder in (
            *("etc/asterisk", "etc/systemd/system", "usr/local/bin", "var/backups"),
            *("usr/share/asterisk/sounds/en", "var/lib/callback-queue"),
            *("var/log/asterisk",),
        ):
            (home / folder).mkdir(parents=True)
        self.write("etc/asterisk/extensions.conf", "[from-outside]\n")

    def write(self, path: str, text: str) -> None:
        """Write a file of the machine."""
        (self.home / path).parent.mkdir(parents=True, exist_ok=True)
        (self.home / path).write_text(text)

    def read(self, path: str) -> str:
        """Return the text of a file of the machine."""
        return (self.home / path).read_text()

    def files(self) -> set[str]:
        """Return the paths of all files of the machine."""
        ours = {self._programs, self.copy, self.home / "calls"}
        return {
            str(path.relative_to(self.home))
            for path in self.home.rglob("*")
            if not path.is_dir() and not ours & {path, *path.parents}
        }

    @property
    def calls(self) -> list[str]:
        """How stand-ins were called so far, without the path of the machine."""
        return self.read("calls").replace(str(self.home), "").splitlines()

    def run(self, blocks: Iterable[Block], *, before: str = "") -> str:
        """Run blocks in one shell that stops at the first fault; return the output."""
        text = "".join(f"# {block}\n{block.text}" for block in blocks)
        script = _FOLDERS.sub(rf"{self.home}/\1", text)
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", f"{before}\n{script}"],
            cwd=self.copy,
            env={
                "PATH": f"{self._programs}:{self.home}/usr/local/bin:/usr/bin:/bin",
                "MACHINE": str(self.home),
                "HOME": str(self.home),
                "LANG": os.environ.get("LANG", "C.UTF-8"),
            },
            capture_output=True,
            text=True,
            timeout=_DEADLINE_S,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout
