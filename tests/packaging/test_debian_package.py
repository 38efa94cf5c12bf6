# SPDX-License-Identifier: MIT
"""The Debian packages: installed, run, upgraded with data, removed, purged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from fastagi import __version__
from tests.docs.blocks import blocks_below
from tests.lab.trees import find_debian
from tests.packaging import EPOCH
from tests.packaging.machine import ADMIN, Machine
from tools import deb

EACH_RELEASE: Final = pytest.mark.parametrize("number", deb.RELEASES)
_PAGE: Final = "docs/debian.md"
_OLDER: Final = "0.0.9-1"
_SETTINGS: Final = """
ami:
  secret: "not-used"
defaults:
  outbound_channel: PJSIP/{number}@trunk
queues:
  support: {}
"""
#: What Debian and its Asterisk write by themselves meanwhile.
_DEBIANS_OWN: Final = (
    *("/dev", "/proc", "/run", "/sys", "/tmp", "/var/cache", "/var/log", "/var/tmp"),
    *("/var/lib/apt", "/var/lib/dpkg", "/var/lib/systemd", "/root", "/home"),
    *("/var/lib/asterisk", "/var/spool/asterisk"),
    # Copies that useradd and userdel make.
    *(f"/etc/{name}-" for name in ("passwd", "group", "shadow", "gshadow")),
    *("/etc/subuid-", "/etc/subgid-"),
)
_ACCOUNTS: Final = "sort /etc/passwd /etc/group"


def _package(number: int) -> Path:
    return deb.build(number, epoch=EPOCH)


def _older(number: int, directory: Path) -> Path:
    """Make an older version of the package, which has one file more."""
    new = _package(number)
    release = deb.find_release(number)
    made = directory / new.name.replace(deb.debian_version(__version__), _OLDER)
    (directory / new.name).write_bytes(new.read_bytes())
    release.run(
        *("sh", "-ec"),
        f"cd {directory}; dpkg-deb -R {new.name} root;"
        f"sed -i 's/^Version: .*/Version: {_OLDER}/' root/DEBIAN/control;"
        f"touch root/{release.site_packages}/fastagi/gone.py;"
        f"dpkg-deb --root-owner-group -Znone -b root {made.name}",
    )
    return made


@EACH_RELEASE
def test_a_package_is_installed_upgraded_with_data_and_purged(
    number: int, shared: Path
) -> None:
    old, new = _older(number, shared), _package(number)
    with Machine(find_debian(number), f"deb{number}") as machine:
        files, accounts = _files(machine), machine.run(_ACCOUNTS)
        machine.write("/etc/apt/apt.conf.d/yes", 'APT::Get::Assume-Yes "true";')
        _is_installed(machine, old, number)
        _runs_under_systemd(machine)
        _is_upgraded_with_its_data(machine, new, number)
        _is_removed_and_installed_again(machine, number)
        _as_the_page_says(machine, "Remove", 1, number)
        machine.path("/etc/apt/apt.conf.d/yes").unlink()
        assert _files(machine) ^ files == set()
        assert machine.run(_ACCOUNTS) == accounts
        assert machine.attempt("systemctl cat callback-queue").returncode != 0


def _as_the_page_says(machine: Machine, heading: str, block: int, number: int) -> str:
    """Run a block of docs/debian.md as an administrator who has this release.

    Without `setup`, as these machines have no Asterisk or an unused one.
    """
    script = blocks_below(_PAGE, heading)[block].replace("deb12", f"deb{number}")
    lines = [line for line in script.splitlines() if " setup" not in line]
    return machine.run("\n".join(["set -e", *lines]), user=ADMIN)


def _is_installed(machine: Machine, package: Path, number: int) -> None:
    machine.copy_in(package, f"/home/{ADMIN}/")
    said = _as_the_page_says(machine, "Install", 0, number)
    assert "sudo callback-queue setup" in said
    assert "callback-queue, version" in machine.run(
        "callback-queue --version", user=ADMIN
    )
    # Nothing runs before there are settings.
    for unit in ("callback-queue", "callback-queue-web"):
        assert _state(machine, unit, "ActiveState") == "inactive"
    listed = machine.run(
        "stat -c '%U:%G %a %n' /etc/callback-queue /etc/callback-queue/web.yaml"
        " /var/lib/callback-queue"
    )
    assert listed.splitlines() == [
        "root:callback-queue 750 /etc/callback-queue",
        "root:callback-queue 640 /etc/callback-queue/web.yaml",
        "callback-queue:callback-queue 750 /var/lib/callback-queue",
    ]
    assert machine.run("dpkg --verify callback-queue") == ""
    machine.run(
        "/usr/lib/callback-queue/bin/python - <<'END'\n" + _CHECK_LIBRARIES + "END"
    )


# Every library is there, and what is compiled finds what it is linked with.
_CHECK_LIBRARIES: Final = """
import importlib.metadata, pathlib, re, subprocess, sysconfig
there = {
    re.sub("[-_.]+", "-", one.metadata["Name"]).lower(): one
    for one in importlib.metadata.distributions()
}
assert len(there) > 30, sorted(there)
for name in ("twisted", "fastapi", "psycopg", "pymysql", "asterisk-callback-queue"):
    assert name in there, name
import fastagi.app, fastagi.web.app, psycopg, pymysql
linked = pathlib.Path(sysconfig.get_path("platlib")).rglob("*.so")
for path in linked:
    said = subprocess.run(["ldd", path], capture_output=True, text=True).stdout
    assert "not found" not in said, (path, said)
"""


def _runs_under_systemd(machine: Machine) -> None:
    machine.write("/home/admin/callback-queue.yaml", _SETTINGS)
    machine.run(
        "sudo install -m 640 -g callback-queue callback-queue.yaml /etc/callback-queue/"
        " && sudo systemctl enable --now callback-queue callback-queue-web",
        user=ADMIN,
    )
    machine.run("sudo callback-queue tasks add support +4930123456", user=ADMIN)
    before = _state(machine, "callback-queue", "MainPID")
    machine.run("sudo systemctl reload callback-queue", user=ADMIN)
    assert _state(machine, "callback-queue", "MainPID") == before
    # It crashes: systemd starts it again, and the task is there.
    machine.run(f"kill -SEGV {before}")
    machine.wait_until(
        f'test "$(systemctl show -P MainPID callback-queue)" -ne {before} &&'
        " systemctl -q is-active callback-queue"
    )
    assert [task["id"] for task in _tasks(machine)] == [1]
    machine.run("sudo systemctl restart callback-queue", user=ADMIN)
    assert _state(machine, "callback-queue-web", "ActiveState") == "active"
    machine.wait_until(
        "/usr/lib/callback-queue/bin/python -c 'import urllib.request as r;"
        ' r.urlopen("http://127.0.0.1:8573/api/v1/alive")\''
    )


def _is_upgraded_with_its_data(machine: Machine, package: Path, number: int) -> None:
    # The web process is stopped by its administrator, and stays so.
    machine.run("systemctl stop callback-queue-web")
    tasks = [(task["id"], task["status"]) for task in _tasks(machine)]
    before = _state(machine, "callback-queue", "MainPID")
    machine.run("echo '# mine' >>/etc/callback-queue/web.yaml")
    machine.run(f"rm /home/{ADMIN}/*.deb")
    machine.copy_in(package, f"/home/{ADMIN}/")
    _as_the_page_says(machine, "Update", 0, number)
    assert _state(machine, "callback-queue", "ActiveState") == "active"
    assert _state(machine, "callback-queue", "MainPID") != before
    assert machine.attempt("ls -d /usr/lib/*/lib/*/*/*/gone.py").returncode != 0
    assert _state(machine, "callback-queue-web", "ActiveState") == "inactive"
    assert [(task["id"], task["status"]) for task in _tasks(machine)] == tasks
    assert machine.run("tail -1 /etc/callback-queue/web.yaml") == "# mine\n"
    version = machine.run("dpkg-query -W -f '${Version}' callback-queue")
    assert version == package.name.split("_")[1]


def _is_removed_and_installed_again(machine: Machine, number: int) -> None:
    _as_the_page_says(machine, "Remove", 0, number)
    assert machine.attempt("pgrep -u callback-queue").returncode == 1
    assert not machine.path("/usr/lib/callback-queue").exists()
    assert machine.path("/var/lib/callback-queue/callback-queue.db").exists()
    _as_the_page_says(machine, "Install", 0, number)
    # It was enabled and is so again.
    assert _state(machine, "callback-queue", "ActiveState") == "active"
    assert [task["id"] for task in _tasks(machine)] == [1]


def _state(machine: Machine, unit: str, name: str) -> str:
    return machine.run(f"systemctl show -P {name} {unit}").strip()


def _tasks(machine: Machine) -> list[dict[str, Any]]:
    tasks = json.loads(machine.run("sudo callback-queue tasks list --json", user=ADMIN))
    assert isinstance(tasks, list)
    return tasks


def _files(machine: Machine) -> set[str]:
    """Return all files of the machine but those that Debian writes by itself."""
    listed = machine.run(
        "find / -xdev "
        + " -o ".join(f"-path {place} -prune" for place in _DEBIANS_OWN)
        + " -o -print"
    )
    return set(listed.splitlines())
