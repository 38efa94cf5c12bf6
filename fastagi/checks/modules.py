# SPDX-License-Identifier: MIT
"""Checks that Asterisk has loaded the modules that some settings need."""

from __future__ import annotations

from collections.abc import Iterator

from fastagi.ami import actions
from fastagi.checks.finding import Notes
from fastagi.checks.link import ManagerLink
from fastagi.config.sections import Settings


def need_modules(settings: Settings) -> bool:
    """Whether any setting needs a module."""
    return any(_needs(settings))


def check_modules(link: ManagerLink, settings: Settings) -> Notes:
    """Ask Asterisk for each module that a setting needs."""
    notes = Notes("modules")
    for module, setting, instead in _needs(settings):
        loaded = link.ask(actions.get_var(f"IFMODULE({module})")).get("Value")
        if loaded == "0":
            notes.warn(
                "modules.conf",
                f"{setting} is set, and {module} is not loaded: {instead}",
                f"load = {module} in modules.conf; then run: sudo asterisk -rx"
                f" 'module load {module}'",
            )
        elif loaded != "1":
            # func_module.so is not loaded, either.
            notes.warn(
                "Asterisk",
                f"it does not say whether {module}, which {setting} needs, is loaded",
                f"run: sudo asterisk -rx 'module show like {module}'",
            )
    return notes


def _needs(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Yield each module with the setting that needs it, and what happens without it."""
    queues = settings.queues.values()
    if any(queue.offers.enabled for queue in queues):
        yield "app_read.so", "offers", "no callback is offered"
    if any(queue.may_ask_client for queue in queues):
        yield "app_read.so", "client_key", "clients are connected without a key"
    if any(queue.amd for queue in queues):
        yield "app_amd.so", "amd", "nobody is taken for an answering machine"
