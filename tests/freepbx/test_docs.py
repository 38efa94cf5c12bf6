# SPDX-License-Identifier: MIT
"""The commands of docs/freepbx.md, in a folder in place of the machine's directories.

What only a FreePBX or systemd has is replaced by programs that write down their calls.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import yaml

from fastagi.checks.conf import read_conf
from fastagi.config.load import parse_settings
from tests.docs.blocks import ROOT, blocks
from tools import freepbx as tool

_PAGE = "docs/freepbx.md"
_CALLED = ("asterisk", "callback-queue", "fwconsole", "systemctl")
#: `sudo`, and `install` without owners, as the test may run as any user.
_SUDO = 'exec "$@"'
_INSTALL = r"""
for word do
    shift
    case $word in
        -o|-g) skip=yes ;;
        *) [ "$skip" ] || set -- "$@" "$word"; skip= ;;
    esac
done
exec /usr/bin/install "$@"
"""


def test_commands_of_the_docs_install_service_and_module(tmp_path: Path) -> None:
    programs, calls = tmp_path / "bin", tmp_path / "calls"
    programs.mkdir()
    scripts = {name: f'echo "{name} $*" >>{calls}' for name in _CALLED}
    for name, text in {**scripts, "sudo": _SUDO, "install": _INSTALL}.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    machine = tmp_path / "machine"
    settings = machine / "etc/callback-queue/callback-queue.yaml"
    modules = machine / "var/www/html/admin/modules"
    for directory in ("etc/callback-queue", "etc/asterisk", "etc/systemd/system"):
        (machine / directory).mkdir(parents=True)
    modules.mkdir(parents=True)
    settings.write_text((ROOT / "etc/callback-queue.yaml").read_text())
    tool.main([str(tmp_path / "dist")])

    text = "\n".join(block.text for block in blocks(_PAGE, "sh"))
    for directory in ("/etc/", "/var/"):
        text = text.replace(f" {directory}", f" {machine}{directory}")
    text = text.replace(" dist/", f" {tmp_path}/dist/")
    done = subprocess.run(
        ["sh", "-euc", text],
        cwd=ROOT,
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert calls.read_text().splitlines() == [
        "systemctl daemon-reload",
        "systemctl enable --now callback-queue-include.path",
        "asterisk -rx manager reload",
        "systemctl enable --now callback-queue",
        "fwconsole chown",
        "fwconsole ma installlocal",
        "fwconsole reload",
        "callback-queue web token add freepbx --scope tasks:read --scope numbers:read",
    ]
    # The manager user and the service have the same secret.
    (example,) = blocks(_PAGE, "yaml")[:1]
    given = yaml.safe_load(settings.read_text())
    for name, section in yaml.safe_load(example.text).items():
        given[name] = {**(given.get(name) or {}), **section}
    del given["queues"], given["defaults"]["outbound_channel"]
    included = machine / "etc/callback-queue/queues.d"
    given["include"] = {"queues": str(included)}
    given = {name: section for name, section in given.items() if section}
    loaded = parse_settings(yaml.safe_dump(given), environ={})
    user = read_conf(machine / "etc/asterisk", "manager_custom.conf")
    section = user.section(loaded.ami.username)
    assert section is not None
    option = section.get("secret")
    assert option is not None
    secret = option.value
    assert loaded.ami.secret.get_secret_value() == secret != "change-me"
    assert (modules / "callbackqueue/module.xml").is_file()
    units = {path.name for path in (machine / "etc/systemd/system").iterdir()}
    assert units == {"callback-queue-include.path", "callback-queue-include.service"}
    assert included.stat().st_mode & 0o7777 == 0o2750
