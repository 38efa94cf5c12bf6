# SPDX-License-Identifier: MIT
"""Files to carry to an Asterisk on another machine, with what to do there.

With a copy of that machine's files they are its changed files; else they are new files
and lines to add.
"""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path
from typing import Final

import attrs

from fastagi.errors import Problem
from fastagi.setup.answers import Answers, all_checked
from fastagi.setup.errors import Refused, SetupFailed
from fastagi.setup.found import Found
from fastagi.setup.paths import Root
from fastagi.setup.planning import (
    agi_url,
    manager_user,
    plan_asterisk,
    queue_options,
)
from fastagi.setup.settings_file import CA_FILE, Places, parsed, settings_text

#: The folder with the files of Asterisk's machine, and the one with the settings.
ASTERISK: Final = "asterisk"
SERVICE: Final = "service"
_SETTINGS: Final = "callback-queue.yaml"


@attrs.frozen(kw_only=True)
class Addresses:
    """The two machines.

    Attributes:
        asterisk: the address or name by which the service reaches Asterisk.
        service: the address by which Asterisk reaches the service.
    """

    asterisk: str
    service: str


def carry(
    directory: Path,
    answers: Answers,
    addresses: Addresses,
    material: Path,
    *,
    found: Found | None = None,
    root: Root | None = None,
) -> tuple[Problem, ...]:
    """Write the files.

    Args:
        directory: a new directory.
        answers: the administrator's.
        addresses: the two machines.
        material: the directory with the dialplan and the prompts.
        found: what was found in a copy of the machine's files, if there is one.
        root: the root directory of that copy.

    Returns:
        What is left to do by hand in Asterisk's files, besides the README.

    Raises:
        Refused: something is wrong; nothing is written.
        SetupFailed: they can not be written.
    """
    answers = all_checked(answers, found)
    secret = secrets.token_hex(16)
    places = Places(
        ami_host=addresses.asterisk,
        agi_listen=addresses.service,
        agi_peers=(addresses.asterisk,),
        permit=addresses.service,
    )
    sample = (material / "etc/callback-queue.yaml").read_text("utf-8")
    settings = settings_text(sample, answers, places, secret, None)
    parsed(settings, Path(_SETTINGS))
    by_hand: tuple[Problem, ...] = ()
    files: dict[str, bytes] = {f"{SERVICE}/{_SETTINGS}": settings.encode()}
    if found is not None and root is not None:
        plan = plan_asterisk(
            root,
            found,
            answers,
            material,
            secret=secret,
            free_port=lambda: places.agi_port,
            settled=places,
        )
        by_hand = plan.by_hand
        for change in plan.changes:
            if not change.is_empty:
                name = change.path.relative_to(root.directory)
                files[f"{ASTERISK}/{name}"] = change.after
    else:
        files |= _new_files(answers, places, secret, material)
    files["README.txt"] = _readme(answers, addresses, known=found is not None).encode()
    _write(directory, files)
    return by_hand


def _new_files(
    answers: Answers, places: Places, secret: str, material: Path
) -> dict[str, bytes]:
    """Return new files, and lines to add to those that are not known here."""
    etc = f"{ASTERISK}/etc/asterisk"
    sample = (material / "etc/asterisk/manager.d/callback-queue.conf").read_text()
    options = "".join(
        f"{name} = {value}\n" for name, value in queue_options(answers.offer).items()
    )
    queues = "".join(f"[{name}]\n{options}\n" for name in answers.queues)
    lines = "".join(
        f"; In place of Queue({name},ARGUMENTS):\n"
        f"; same => n,Gosub(callback-enter,s,1({name},ARGUMENTS))\n"
        "; same => n,Queue(${CALLBACK_QUEUE_ARGS})\n\n"
        for name in answers.queues
    )
    files = {
        f"{etc}/callback-queue.conf": (
            material / "dialplan/callback-queue.conf"
        ).read_bytes(),
        f"{etc}/manager.d/callback-queue.conf": manager_user(
            sample, "callback-queue", secret, places.permit
        ),
        f"{ASTERISK}/add-to-queues.conf": (
            f"; Add these lines to the sections of the same names.\n\n{queues}".encode()
        ),
        f"{ASTERISK}/add-to-extensions.conf": (
            f"; Under [globals]:\nCALLBACK_AGI = {agi_url(places)}\n\n{lines}"
            f'; At the end:\n#include "callback-queue.conf"\n'
        ).encode(),
    }
    sounds = material / "sounds"
    for prompt in sorted(sounds.glob("*/callback-queue/*.wav")):
        files[f"{ASTERISK}/sounds/{prompt.relative_to(sounds)}"] = prompt.read_bytes()
    return files


def _readme(answers: Answers, addresses: Addresses, *, known: bool) -> str:
    if known:
        copy = """\
1. Copy the files below asterisk/ to the same places, such as asterisk/etc/asterisk to
   /etc/asterisk. They are that machine's files with the lines of callback-queue: copy
   them soon, before somebody changes the old ones. Keep their owners and modes:

       cp --no-preserve=mode,ownership -r asterisk/. /
"""
    else:
        copy = """\
1. Copy asterisk/etc/asterisk/* to /etc/asterisk, and the folders below asterisk/sounds
   into Asterisk's sounds directory ("Data directory" of: asterisk -rx 'core show
   settings', and below it sounds).
   Add the lines of asterisk/add-to-queues.conf and asterisk/add-to-extensions.conf to
   queues.conf and extensions.conf. In manager.conf, write enabled = yes under
   [general], and at its end: #include "manager.d/callback-queue.conf"
"""
    return f"""\
Queue callbacks for the queues {", ".join(answers.queues)}.

These files contain a secret: delete them when you have carried them over.

On Asterisk's machine ({addresses.asterisk}), as root:

{copy}
2. Let Asterisk read the secret, but nobody else:

       chgrp asterisk /etc/asterisk/manager.d/callback-queue.conf
       chmod 640 /etc/asterisk/manager.d/callback-queue.conf

3. Encrypt the manager interface: parts 1 and 2 of docs/tls.md make a certificate for
   {addresses.asterisk} and open the port 5039. Then restart Asterisk.

On the service's machine ({addresses.service}), as root:

4. Install callback-queue, and copy the settings and Asterisk's certificate
   (manager.crt, never its key):

       install -d -m 750 -g callback-queue /etc/callback-queue
       install -m 640 -g callback-queue {SERVICE}/{_SETTINGS} /etc/callback-queue/
       install -m 644 manager.crt /etc/callback-queue/{CA_FILE}

5. Start the service and see what is missing:

       systemctl enable --now callback-queue
       callback-queue check

To take it back: put back the old files of step 1 (keep a copy of them), and remove
callback-queue.conf, manager.d/callback-queue.conf and the folders callback-queue.
"""


def _write(directory: Path, files: dict[str, bytes]) -> None:
    """Write all files into a new directory, or nothing."""
    partial = directory.with_name(f".{directory.name}.callback-queue-setup")
    try:
        if directory.exists() and any(directory.iterdir()):
            raise Refused(
                [Problem(str(directory), "it is not empty", "name a new directory")]
            )
        shutil.rmtree(partial, ignore_errors=True)
        # Nobody else may enter it, even while it is written: it has the secret.
        partial.mkdir(mode=0o700, parents=True)
        for name, data in files.items():
            path = partial / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        os.replace(partial, directory)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise SetupFailed(
            f"{directory} can not be written: {(error.strerror or str(error)).lower()}",
            "name another directory",
        ) from None
