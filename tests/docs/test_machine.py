# SPDX-License-Identifier: MIT
"""The blocks that change a machine, run on a machine on paper.

With the real programs, on a booted machine, they are run in tests/packaging.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from attrs import evolve

from fastagi.checks.conf import read_conf
from fastagi.config.load import load_settings
from tests.docs.blocks import blocks
from tests.docs.machine import Machine

_SETTINGS = "etc/callback-queue/callback-queue.yaml"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def installed(machine: Machine) -> Machine:
    """A machine after docs/install.md."""
    machine.run(blocks("docs/install.md", "sh"))
    return machine


def _secret(machine: Machine) -> str:
    conf = read_conf(machine.home / "etc/asterisk/manager.d", "callback-queue.conf")
    (user,) = conf.sections
    option = user.get("secret")
    assert option is not None
    return option.value


def test_installation_leaves_settings_that_fit_the_manager_user(
    installed: Machine,
) -> None:
    path = installed.home / _SETTINGS
    settings = load_settings(path, {})
    secret = settings.ami.secret.get_secret_value()
    assert re.fullmatch("[0-9a-f]{32}", secret)
    assert secret == _secret(installed)
    sounds = installed.home / "usr/share/asterisk/sounds"
    assert settings.asterisk.sounds_dir == str(sounds)
    assert (sounds / "ru/callback-queue/accepted.wav").exists()
    assert path.stat().st_mode & 0o777 == 0o640
    manager = installed.home / "etc/asterisk/manager.d/callback-queue.conf"
    assert manager.stat().st_mode & 0o777 == 0o640


def test_installation_asks_for_the_program_and_starts_it(installed: Machine) -> None:
    calls = installed.calls
    assert "pip install -c constraints.txt ." in calls
    assert "systemctl enable --now callback-queue" in calls
    assert calls.index("asterisk -rx manager reload") < calls.index(
        "systemctl enable --now callback-queue"
    )
    program = installed.home / "usr/local/bin/callback-queue"
    assert program.resolve() == installed.home / "opt/callback-queue/bin/callback-queue"


def test_update_keeps_the_settings_and_the_secret(installed: Machine) -> None:
    before, secret = installed.read(_SETTINGS), _secret(installed)
    installed.write("etc/asterisk/callback-queue.conf", "; of an older version\n")
    installed.run(blocks("docs/web.md", "sh")[:1])
    (installed.home / "copy/build").mkdir()

    main, web, several, compare, with_variables = blocks("docs/update.md", "sh")
    installed.run([main, web, several])
    # diff says by its exit code that the secret differs.
    differs = installed.run([compare], before="set +e; trap 'exit 0' EXIT;")
    installed.write("etc/default/callback-queue", "A=1\n")
    installed.run([with_variables])

    assert installed.read(_SETTINGS) == before
    assert _secret(installed) == secret
    assert secret in differs
    assert "callback-version" in installed.read("etc/asterisk/callback-queue.conf")
    assert not (installed.home / "copy/build").exists()
    calls = installed.calls
    stopped, upgraded = (
        calls.index("systemctl stop callback-queue"),
        calls.index("callback-queue db upgrade"),
    )
    assert stopped < upgraded < calls.index("systemctl start callback-queue")


def test_uninstalling_leaves_what_the_page_says_and_then_nothing(
    machine: Machine,
) -> None:
    empty = machine.files()
    machine.run(blocks("docs/install.md", "sh"))
    machine.run(blocks("docs/web.md", "sh")[:1])
    machine.write("var/lib/callback-queue/callback-queue.db", "")

    program, data = blocks("docs/uninstall.md", "sh")
    machine.run([program])
    left = machine.files() - empty
    assert {path.rpartition("/")[0] for path in left} == {
        "etc/callback-queue",
        "var/lib/callback-queue",
        "usr/share/asterisk/sounds/en/callback-queue",
        "usr/share/asterisk/sounds/ru/callback-queue",
    }
    machine.run([data])
    assert machine.files() == empty


def test_second_service_has_files_of_its_own(installed: Machine) -> None:
    before = installed.files()
    installed.run(blocks("docs/second-service.md", "sh"))
    assert installed.files() - before == {
        "etc/callback-queue-berlin/callback-queue.yaml",
        "etc/systemd/system/callback-queue-berlin.service",
    }
    assert "systemctl enable --now callback-queue-berlin" in installed.calls


def test_certificate_has_the_names_that_the_service_looks_at(machine: Machine) -> None:
    (block,) = blocks("docs/tls.md", "sh")
    # A short key is made quickly.
    assert "rsa:3072" in block.text
    machine.run([evolve(block, text=block.text.replace("rsa:3072", "rsa:1024"))])
    key = machine.home / "etc/asterisk/keys/manager.key"
    assert key.stat().st_mode & 0o777 == 0o640
    shown = subprocess.run(
        ["openssl", "x509", "-noout", "-ext", "subjectAltName"],
        input=key.with_suffix(".crt").read_text(),
        capture_output=True,
        check=True,
        text=True,
    )
    assert "DNS:pbx.example.com, IP Address:192.168.10.2" in shown.stdout


def test_backups_are_made_every_night_and_one_is_restored(installed: Machine) -> None:
    make, nightly, restore = blocks("docs/backup.md", "sh")
    installed.run([make, nightly])
    assert "callback-queue db backup /var/backups/callback-queue" in installed.calls
    timer = "callback-queue-backup.timer"
    assert f"systemctl enable --now {timer}" in installed.calls

    copy = "callback-queue-20260301T023000Z.db"
    assert copy in restore.text
    installed.write(f"var/backups/callback-queue/{copy}", "the copy")
    for end in ("", "-wal"):
        installed.write(f"var/lib/callback-queue/callback-queue.db{end}", f"old{end}")
    installed.run([restore])

    data = installed.home / "var/lib/callback-queue"
    assert (data / "callback-queue.db").read_text() == "the copy"
    assert not (data / "callback-queue.db-wal").exists()
    (aside,) = data.glob("damaged-*")
    assert {one.name: one.read_text() for one in aside.iterdir()} == {
        "callback-queue.db": "old",
        "callback-queue.db-wal": "old-wal",
    }


def test_web_process_is_installed_beside_the_service(installed: Machine) -> None:
    install, link, *_ = blocks("docs/web.md", "sh")
    installed.run([install])
    assert "/login/link/" in installed.run([link])
    assert "pip install -c constraints.txt .[web]" in installed.calls
    assert "systemctl enable --now callback-queue-web" in installed.calls
    web = installed.home / "etc/callback-queue/web.yaml"
    assert web.stat().st_mode & 0o777 == 0o640


def test_logs_are_opened_without_the_group(installed: Machine) -> None:
    installed.write("var/log/asterisk/queue_log", "")
    installed.run(blocks("docs/history.md", "sh"))
    assert "setfacl -m u:callback-queue:r queue_log" in installed.calls


def test_driver_and_database_of_postgresql_are_made(installed: Machine) -> None:
    installed.run(blocks("docs/postgresql.md", "sh"))
    assert "pip install psycopg[binary]" in installed.calls
    assert "createdb --owner callback callback" in installed.calls


def test_callers_are_counted_without_callbacks(machine: Machine) -> None:
    (block,) = blocks("docs/reports.md", "sh")[1:]
    ours = "1800000032|callback-1800000020-5f0c9a31-2|support|Alice|CONNECT|0|1|2\n"
    theirs = "1800000000|1800000000.12|support|NONE|ENTERQUEUE||030123|1\n"
    machine.write("var/log/asterisk/queue_log", ours + theirs)
    assert machine.run([block]) == theirs


def test_readme_installs_the_package_as_its_page_does() -> None:
    (block,) = (one for one in blocks("README.md", "sh") if ".deb" in one.text)
    # The package's tests run that of the page.
    page = blocks("docs/debian.md", "sh")[0].text
    assert page.replace("~deb12_amd64", "") == block.text


@pytest.mark.parametrize("page", ["README.md", "docs/quickstart.md"])
def test_first_steps_install_the_packages_and_the_program(
    machine: Machine, page: str
) -> None:
    make = "make() { printf 'make %s\\n' \"$*\"; }"
    first, *_ = blocks(page, "sh")
    (install,) = (one for one in blocks(page, "sh") if "pip install" in one.text)
    machine.run([first, install], before=make)
    assert "apt-get install -y make git" in machine.calls
    assert "pip install -c constraints.txt ." in machine.calls
    assert machine.calls[-1] == "callback-queue setup"
