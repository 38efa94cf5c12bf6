# SPDX-License-Identifier: MIT
"""Directories that look like the root of a machine with Asterisk.

The files are short, but have what matters of the real ones: Debian's templates and
includes, the comments of Asterisk's samples, FreePBX's names.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from fastagi.setup.answers import Answers
from fastagi.setup.installation import Installation, Plan
from fastagi.setup.material import material
from fastagi.setup.paths import Root

ETC = Path("/etc/asterisk")
ANSWERS = Answers(
    queues=("support",),
    outbound="PJSIP/{number}@trunk",
    region="DE",
    own_numbers=("+4930123456",),
)

DEBIAN = {
    "asterisk.conf": "[directories](!)\nastdatadir => /nowhere\n\n"
    "[options]\nrunuser = asterisk\n",
    "manager.conf": (
        ";\n; Asterisk Call Management support\n;\n[general]\nenabled = yes\n"
        "port = 5038\nbindaddr = 127.0.0.1\n\n; No access is allowed by default.\n"
        '#include "manager.d/*.conf" \n\n'
    ),
    "manager.d/README.conf": "; Put files here.\n",
    "queues.conf": (
        "[general]\npersistentmembers = yes\nmonitor-type = MixMonitor\n;\n;[markq]\n"
        ";musicclass = default\n\n[support]\nstrategy = rrmemory\n"
        "member => PJSIP/101,0,Alice,PJSIP/101\n\n[sales]\nmember => PJSIP/102\n"
    ),
    "extensions.conf": (
        "[general]\nstatic=yes\n\n[globals]\nCONSOLE=Console/dsp\n;NAME=value\n\n"
        "[from-outside]\nexten => 600,1,Answer()\n"
        " same => n,Queue(support,tc,,,600)   ; the agents\n same => n,Hangup()\n"
    ),
    "pjsip.conf": (
        "[trunk]\ntype = endpoint\nfrom_user = 4930123456\n\n"
        "[trunk]\ntype = identify\nendpoint = trunk\nmatch = 192.0.2.1\n"
    ),
    "extconfig.conf": "[settings]\n;queues => odbc,asterisk\n",
}

#: A trunk whose calls show no number.
SILENT = (
    "[trunk]\ntype = endpoint\ncallerid = <unknown>\n\n"
    "[trunk]\ntype = identify\nendpoint = trunk\nmatch = 192.0.2.1\n"
)


def machine(
    path: Path,
    changed: Mapping[str, str | None] | None = None,
    *,
    data: str = "usr/share/asterisk",
) -> Root:
    """Make a machine with Debian's files and these changes; None: there is no file."""
    etc = path / "etc/asterisk"
    for name, text in {**DEBIAN, **(changed or {})}.items():
        if text is not None:
            file = etc / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text.encode())
            file.chmod(0o640)
    (path / data / "documentation").mkdir(parents=True)
    english = path / data / "sounds/en_US_f_Allison"
    english.mkdir(parents=True)
    (path / data / "sounds/en").symlink_to("en_US_f_Allison")
    (path / "var/lib/asterisk").mkdir(parents=True, exist_ok=True)
    (path / "etc/passwd").write_text(
        "root:x:0:0::/root:/bin/sh\nasterisk:x:101:101::/:/bin/false\n"
        f"callback-queue:x:{os.getuid()}:{os.getgid()}::/:/bin/false\n"
    )
    (path / "etc/group").write_text("root:x:0:\nasterisk:x:101:\n")
    return Root(path)


def installation(root: Root) -> Installation:
    """Return the installation on a machine, without waiting for the disk."""
    made = Installation(root, ETC, material())
    made.journal._flush = False
    return made


def planned(made: Installation, answers: Answers = ANSWERS) -> Plan:
    """Return what would be written."""
    return made.plan(made.look(), answers, made.existing_settings())


def tree(path: Path) -> dict[str, tuple[object, ...]]:
    """Return everything below a directory: contents, modes, owners, times of files."""
    found: dict[str, tuple[object, ...]] = {}
    for one in sorted(path.rglob("*")):
        status = one.lstat()
        kept: tuple[object, ...] = (
            stat.filemode(status.st_mode),
            status.st_uid,
            status.st_gid,
        )
        if one.is_symlink():
            kept += (os.readlink(one),)
        elif one.is_file():
            kept += (one.read_bytes(), status.st_mtime_ns)
        found[str(one.relative_to(path))] = kept
    return found
