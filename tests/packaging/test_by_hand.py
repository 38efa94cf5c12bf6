# SPDX-License-Identifier: MIT
"""The installation by hand: each shell block of the documentation, as an administrator.

Debian's Asterisk 22 as shipped, with one queue, one agent and one trunk. The blocks run
as a user with sudo, in one shell, as the text says; what the text leaves to the
administrator is done here.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.docs.blocks import blocks
from tests.lab.trees import find_debian
from tests.packaging.exchange import Exchange
from tests.packaging.machine import ADMIN, Machine
from tools import deb

_ROOT: Final = Path(__file__).parents[2]
#: What the text has the administrator write into by hand.
_EDITED: Final = ("queues.conf", "extensions.conf")
#: The remark behind a line about the web process, which is not installed here.
_IF_THERE: Final = "if you have installed it"
_PIP_CONF: Final = "[global]\nno-index = true\nfind-links = /srv/wheels\n"
_PIP_DEADLINE_S: Final = 600.0
_CLIENT: Final = "+4930123456"
_QUEUE_OPTIONS: Final = re.compile(r"(?s)```ini\n(context = .*?)```")
# The four things that step 5 leaves to the administrator.
_FOUR_THINGS: Final = r"""
sudo sed -i \
    -e 's|^\(\s*\)#\?outbound_channel:.*|\1outbound_channel: PJSIP/{number}@trunk|' \
    -e 's|^\(\s*\)#region:.*|\1region: DE|' \
    -e 's|^\(\s*\)#own_numbers:.*|\1own_numbers: ["[+]4930999"]|' \
    /etc/callback-queue/callback-queue.yaml
"""


def _blocks(page: str) -> list[str]:
    return [block.text for block in blocks(f"docs/{page}", "sh")]


def test_the_documentation_installs_updates_and_removes_the_service() -> None:
    with Machine(find_debian(14), "byhand") as machine:
        exchange = Exchange(machine)
        try:
            _lay_out(machine)
            exchange.configure()
            before = exchange.configuration()
            own = {name: _conf(machine, name).read_text() for name in _EDITED}
            _install(machine)
            exchange.call_back(_CLIENT)
            _survives_a_crash(machine)
            _update(machine)
            _uninstall(machine, own)
            assert exchange.configuration() == before
        finally:
            exchange.close()


def _lay_out(machine: Machine) -> None:
    """Copy the repository and the libraries, as the machine has no way outside."""
    files = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=_ROOT,
        capture_output=True,
        check=True,
    ).stdout
    archive = subprocess.run(
        ["tar", "-c", "--null", "--ignore-failed-read", "-T", "-"],
        input=files,
        cwd=_ROOT,
        capture_output=True,
        check=True,
    ).stdout
    machine.path("/srv/checkout.tar").write_bytes(archive)
    machine.run("mkdir checkout && tar -xf /srv/checkout.tar -C checkout", user=ADMIN)
    release = deb.find_release(14)
    machine.path("/srv/wheels").mkdir()
    for wheel in [*deb.wheels_for(release.python), deb.setuptools_wheel()]:
        machine.copy_in(wheel, f"/srv/wheels/{wheel.name}")
    machine.write("/etc/pip.conf", _PIP_CONF)


def _install(machine: Machine) -> None:
    options = _QUEUE_OPTIONS.search((_ROOT / "docs/install.md").read_text())
    assert options is not None
    queues = _conf(machine, "queues.conf")
    queues.write_text(
        queues.read_text().replace("[support]\n", f"[support]\n{options[1]}")
    )
    extensions = _conf(machine, "extensions.conf")
    extensions.write_text(
        extensions.read_text().replace(
            " same => n,Queue(support,t,,,600)\n",
            " same => n,Gosub(callback-enter,s,1(support,t,,,600))\n"
            " same => n,Queue(${CALLBACK_QUEUE_ARGS})\n",
        )
    )
    script = "".join(_blocks("install.md")).replace(
        "sudoedit /etc/callback-queue/callback-queue.yaml\n", _FOUR_THINGS
    )
    assert _FOUR_THINGS in script
    machine.run(
        "set -e\ncd checkout\n" + script, user=ADMIN, deadline_s=_PIP_DEADLINE_S
    )


def _survives_a_crash(machine: Machine) -> None:
    before = machine.run("systemctl show -P MainPID callback-queue").strip()
    machine.run(f"kill -SEGV {before}")
    machine.wait_until(
        f'{{ test "$(systemctl show -P MainPID callback-queue)" -ne {before} &&'
        " systemctl -q is-active callback-queue && callback-queue status; } ||"
        " { journalctl --no-pager -n 30 -u callback-queue; exit 1; }",
        deadline_s=60,
    )


def _update(machine: Machine) -> None:
    block = _blocks("update.md")[0]
    machine.run("set -e\ncd checkout\n" + block, user=ADMIN, deadline_s=_PIP_DEADLINE_S)
    machine.wait_until("callback-queue status")
    assert _CLIENT in machine.run("callback-queue tasks list --all")


def _uninstall(machine: Machine, own: Mapping[str, str]) -> None:
    for name, text in own.items():
        _conf(machine, name).write_text(text)
    script = "".join(_blocks("uninstall.md"))
    lines = [line for line in script.splitlines() if _IF_THERE not in line]
    machine.run("\n".join(["set -e", *lines]), user=ADMIN)
    assert machine.attempt("id callback-queue").returncode != 0


def _conf(machine: Machine, name: str) -> Path:
    return machine.path(f"/etc/asterisk/{name}")
