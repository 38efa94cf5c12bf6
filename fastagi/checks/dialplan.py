# SPDX-License-Identifier: MIT
"""Checks the dialplan: is it loaded, in this version, with the service's address."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Sequence
from itertools import zip_longest
from typing import Final

from fastagi import dialplan
from fastagi.ami import actions
from fastagi.ami.actions import Action
from fastagi.checks.asterisk_machine import AsteriskMachine, NotVisible, note_stops
from fastagi.checks.finding import Notes
from fastagi.checks.link import LinkFailed, ManagerLink, Refused
from fastagi.config.sections import FastAgiSettings
from fastagi.wire.ami import AmiMessage

#: The number in VERSION_CONTEXT of this version's ``dialplan/callback-queue.conf``.
VERSION: Final = 8
VERSION_CONTEXT: Final = "callback-version"
#: The file, as it is included in extensions.conf.
FILE: Final = "callback-queue.conf"
CONTEXTS: Final = (
    dialplan.ENTER_CONTEXT,
    dialplan.PLACE_CONTEXT,
    dialplan.REQUEST_CONTEXT,
    dialplan.OFFER_CONTEXT,
    "callback-key",
    "callback-ask",
    "callback-choose",
    "callback-keep",
    "callback-return",
    dialplan.MEMBER_CONTEXT,
    dialplan.FENCE_CONTEXT,
    "callback-forget",
    dialplan.CALLER_CONTEXT,
    dialplan.AGENT_CONTEXT,
    dialplan.SKIP_CONTEXT,
    dialplan.ONLY_CONTEXT,
    "callback-answered",
    dialplan.CONFIRM_CONTEXT,
    "callback-agent-gone",
    dialplan.LINE_CONTEXT,
    "callback-connected",
    dialplan.NO_FORWARD_CONTEXT,
    dialplan.OUTCOME_CONTEXT,
)
#: Asterisk's error for a context that does not exist, in lower case.
NO_CONTEXT: Final = "did not find context"
#: Where the service's address is written, in findings.
_AGI_NAME: Final = "CALLBACK_AGI in the dialplan"
#: The address of the service in the dialplan if CALLBACK_AGI is not set.
_DEFAULT_AGI: Final = "agi://127.0.0.1:4573"
_AGI_URL: Final = re.compile(r"h?agi://(\[[^\]]*\]|[^:/\[]*)(?::([0-9]+))?(/.*)?")
_AGI_PORT: Final = 4573
#: Between the addresses in CALLBACK_AGI.
_AGI_SEPARATOR: Final = "&"
#: More addresses than these have less than a quarter of a second each.
_MOST_ADDRESSES: Final = 4
_RELOAD: Final = "sudo asterisk -rx 'dialplan reload'"
#: Takes line breaks out of a caller's number, before Queue() writes it into queue_log.
#: Keeps the signs of SIP and telephone addresses: without them ``4930123@10.0.0.5``
#: would become another number.
NUMBER_FILTER: Final = (
    r"Set(CALLERID(num)=${FILTER(0-9A-Za-z+*#@:=%._/\x20\x2d\x3b,${CALLERID(num)})})"
)
_FILTERS: Final = re.compile(r"CALLERID\(num(?:ber)?\)=.*FILTER\(", re.IGNORECASE)
#: Variables in a Queue() line to which the administrator brings callers back by hand.
_BY_HAND: Final = re.compile(r"\$\{CALLBACK_(?:POSITION|QUEUE_\w+)\}")
_ENTER: Final = f"{dialplan.ENTER_CONTEXT},s,1("
#: FreePBX's context for queues; FreePBX generates its lines.
_FREEPBX_CONTEXT: Final = "ext-queues"
#: Context after a queue, for callers whose Queue() line has no callback-enter.
_AFTER_CONTEXT: Final = "callback-after-queue"
#: Applications that answer a call, except Playback() and Background().
_ANSWERING: Final = frozenset({"answer", "read", "voicemail", "voicemailmain", "agi"})
#: Applications that run another context and return, and those that jump there.
_CALLS: Final = frozenset({"gosub", "gosubif", "macro", "macroif", "execif"})
_JUMPS: Final = ("goto", "gosub", "macro", "execif", "dial", "while")
#: Index of the time-out in the arguments of Queue().
_TIMEOUT: Final = 4


def check_dialplan(
    link: ManagerLink | None,
    fastagi: FastAgiSettings,
    machine: AsteriskMachine,
    queues: Container[str] = (),
    *,
    keeps_places: bool = False,
    node: str = "",
) -> Notes:
    """Check the dialplan that Asterisk has loaded, or else its files.

    Args:
        link: the manager link, if there is one.
        fastagi: where the service listens.
        machine: where Asterisk's files are.
        queues: those that have callbacks.
        keeps_places: whether clients of any queue are to keep their place in line.
        node: the name of this Asterisk, if there are several.
    """
    notes = Notes("dialplan")
    note_stops(notes, machine.conf_or_none("extensions.conf"), _RELOAD)
    if link is not None:
        try:
            _check_loaded(link, machine, notes, keeps_places=keeps_places)
            _check_address(link, fastagi, node, notes)
            _check_queue_lines(link, queues, notes)
            return notes
        except (Refused, LinkFailed) as error:
            notes.skip(
                "Asterisk",
                f"the dialplan it has loaded is not checked: {error}",
                "give the manager user the class 'reporting'; or run: sudo asterisk -rx"
                f" 'dialplan show {dialplan.REQUEST_CONTEXT}'",
            )
    _check_files(machine, notes)
    return notes


def show_context(context: str) -> Action:
    """Ask for one context (a list of ListDialplan)."""
    return Action("ShowDialPlan", (("Context", context),))


def _check_loaded(
    link: ManagerLink, machine: AsteriskMachine, notes: Notes, *, keeps_places: bool
) -> None:
    missing = [context for context in CONTEXTS if not _is_loaded(link, context)]
    if len(missing) == len(CONTEXTS):
        notes.fault(
            "extensions.conf",
            "Asterisk has not loaded our dialplan",
            _how_to_load(machine),
        )
        return
    without_places = (
        "; until then live callers go first, whatever 'fairness' says"
        if keeps_places and not _has_places(link)
        else ""
    )
    if missing:
        notes.fault(
            FILE,
            f"contexts are missing: {', '.join(missing)}{without_places}",
            "copy dialplan/callback-queue.conf of this version over it; then run:"
            f" {_RELOAD}",
        )
        return
    version = _loaded_version(link)
    if version < VERSION:
        notes.fault(
            FILE,
            f"the dialplan Asterisk has loaded is of version {version or 'none'}, this"
            f" service works with version {VERSION}{without_places}",
            "copy dialplan/callback-queue.conf of this version over it; then run:"
            f" {_RELOAD}",
        )
    elif version > VERSION:
        notes.fault(
            FILE,
            f"the dialplan Asterisk has loaded is of version {version}, this service"
            f" knows only up to version {VERSION}",
            "install the service the dialplan came with, or copy the dialplan of this"
            f" version over it and run: {_RELOAD}",
        )


def _check_queue_lines(link: ManagerLink, queues: Container[str], notes: Notes) -> None:
    """Check each Queue() through which callers enter the configured queues."""
    steps = [
        message
        for message in link.ask_list(Action("ShowDialPlan"))
        if message.get("Context") not in CONTEXTS
    ]
    entries = [
        (step, following)
        for step, following in zip_longest(steps, steps[1:])
        if step.get("Application") == "Queue"
        and step.get("AppData").partition(",")[0] in queues
    ]
    for step, following in entries:
        _check_way_back(step, following, steps, notes)
    _check_answer(steps, queues, notes)
    # If there is a filter anywhere, the administrator knows of the problem. Whether all
    # ways into a queue pass it cannot be found out here.
    if entries and not any(map(_filters_number, steps)):
        notes.warn(
            _extension(entries[0][0]),
            "a caller whose number holds line breaks can write lines of his own into"
            " queue_log, where this service looks for missed calls",
            f"for calls from outside, write before Queue(): {NUMBER_FILTER}",
        )


def _check_answer(
    steps: Sequence[AmiMessage], queues: Container[str], notes: Notes
) -> None:
    """Warn of a queue whose callers may enter it unanswered.

    A phone or trunk may send no keys before the call is answered. If an extension that
    answers leads to the queue's extension, callers are assumed to come from there.
    """
    answering = {one.get("Context") for one in steps if _answers(one)}

    def answers(step: AmiMessage) -> bool:
        if step.get("Application").lower() not in _CALLS:
            return _answers(step)
        words = re.split(r"[^\w.-]+", step.get("AppData"))
        return _answers(step) or not answering.isdisjoint(words)

    for number, step in enumerate(steps):
        if not _enters(step, queues):
            continue
        before = [one for one in steps[:number] if _same_extension(one, step)]
        if any(map(answers, before)) or _is_led_to(step, steps, answers):
            continue
        notes.warn(
            _extension(step),
            "callers may come to the queue without having been answered, and then the"
            " key is not sent by many phones and trunks",
            "write Answer() as the first line of this extension",
        )


def _enters(step: AmiMessage, queues: Container[str]) -> bool:
    application, data = step.get("Application"), step.get("AppData")
    if application == "Gosub" and data.startswith(_ENTER):
        data = data.removeprefix(_ENTER)
    elif application != "Queue":
        return False
    return re.split("[,)]", data)[0] in queues


def _answers(step: AmiMessage) -> bool:
    application, data = step.get("Application").lower(), step.get("AppData").lower()
    if application in ("playback", "background"):
        return "noanswer" not in data
    return application in _ANSWERING or "answer(" in data


def _is_led_to(
    step: AmiMessage,
    steps: Sequence[AmiMessage],
    answers: Callable[[AmiMessage], bool],
) -> bool:
    """Whether an extension that answers jumps to the extension of a step."""
    context, extension = step.get("Context"), step.get("Extension")
    answered: tuple[str, str] | None = None
    for one in steps:
        here = (one.get("Context"), one.get("Extension"))
        if answers(one):
            answered = here
        if here != answered or not one.get("Application").lower().startswith(_JUMPS):
            continue
        parts = re.split(r"[,?:()|@/]", one.get("AppData"))
        if context in parts or (here[0] == context and extension in parts):
            return True
    return False


def _check_way_back(
    step: AmiMessage,
    following: AmiMessage | None,
    steps: Sequence[AmiMessage],
    notes: Notes,
) -> None:
    """Warn if a caller who is put back in line loses arguments of Queue()."""
    data = step.get("AppData")
    if _BY_HAND.search(data):
        return
    arguments = data.split(",")
    lost = []
    if "".join(arguments[_TIMEOUT : _TIMEOUT + 1]):
        lost.append("the time-out begins anew")
    if any(arguments[1:]):
        lost.append("its arguments are lost where Asterisk writes no CDRs")
    after = [one for one in steps if one.get("Context") == _AFTER_CONTEXT]
    ends = (
        following is not None
        and _same_extension(step, following)
        and following.get("Application") != "Hangup"
        and not any(one.get("Extension") in (arguments[0], "_X.") for one in after)
    )
    if ends:
        lost.append("the call ends behind the queue, whatever follows this line")
    if not lost:
        return
    if step.get("Context") == _FREEPBX_CONTEXT:
        if not ends:
            return
        remedy = (
            f"write the queue's 'Fail Over Destination' in [{_AFTER_CONTEXT}] in"
            " extensions_custom.conf (docs/freepbx.md)"
        )
    else:
        remedy = (
            f"write two lines in its place: Gosub({_ENTER}{data})) and then"
            " Queue(${CALLBACK_QUEUE_ARGS})"
        )
    notes.warn(
        _extension(step),
        f"a caller who presses the key and is put back in line does not come back to"
        f" Queue({data}): {', and '.join(lost)}",
        remedy,
    )


def _filters_number(step: AmiMessage) -> bool:
    application, data = step.get("Application"), step.get("AppData")
    return bool(
        (application == "Set" and _FILTERS.match(data))
        or (application == "Gosub" and data.startswith(_ENTER))
    )


def _same_extension(step: AmiMessage, other: AmiMessage) -> bool:
    return all(step.get(name) == other.get(name) for name in ("Context", "Extension"))


def _extension(step: AmiMessage) -> str:
    return f"extension {step.get('Extension')}@{step.get('Context')}"


def _is_loaded(link: ManagerLink, context: str) -> bool:
    try:
        link.ask_list(show_context(context))
    except Refused as refused:
        if NO_CONTEXT in str(refused).lower():
            return False
        raise
    return True


def _has_places(link: ManagerLink) -> bool:
    """Whether the loaded dialplan can put an attempt in line."""
    try:
        shown = link.ask_list(show_context(dialplan.MEMBER_CONTEXT))
    except Refused:
        return False
    return any(line.get("Extension") == dialplan.PLACE_EXTEN for line in shown)


def _loaded_version(link: ManagerLink) -> int:
    """Return the version number of the loaded dialplan; 0 if it has none."""
    try:
        shown = link.ask_list(show_context(VERSION_CONTEXT))
    except Refused:
        return 0
    numbers = [message.get("AppData") for message in shown]
    return next((int(text) for text in numbers if text.isdecimal()), 0)


def _how_to_load(machine: AsteriskMachine) -> str:
    include = f'#include "{FILE}"'
    conf = machine.conf_or_none("extensions.conf")
    if conf is not None and conf.section(dialplan.REQUEST_CONTEXT):
        # The files contain it, but Asterisk was not reloaded.
        return f"run: {_RELOAD}"
    if conf is not None and (machine.config_dir / FILE).exists():
        return f"write {include} at the end of {conf.path}; then run: {_RELOAD}"
    return (
        f"copy dialplan/callback-queue.conf to {machine.config_dir}, write {include} at"
        f" the end of extensions.conf; then run: {_RELOAD}"
    )


def _check_files(machine: AsteriskMachine, notes: Notes) -> None:
    """Look for the contexts in Asterisk's files, if Asterisk cannot be asked."""
    try:
        conf = machine.conf("extensions.conf")
    except NotVisible as error:
        notes.skip(
            "extensions.conf",
            str(error),
            f"on Asterisk's machine run: sudo asterisk -rx 'dialplan show"
            f" {dialplan.REQUEST_CONTEXT}'",
        )
        return
    missing = [context for context in CONTEXTS if conf.section(context) is None]
    if not missing or conf.refused:
        return
    if conf.gaps:
        notes.skip(
            conf.gaps[0],
            f"not checked; contexts not found elsewhere: {', '.join(missing)}",
            f"run: sudo asterisk -rx 'dialplan show {dialplan.REQUEST_CONTEXT}'",
        )
    else:
        notes.fault(
            conf.path,
            f"our dialplan is not included: contexts missing: {', '.join(missing)}",
            _how_to_load(machine),
        )


def _check_address(
    link: ManagerLink, fastagi: FastAgiSettings, node: str, notes: Notes
) -> None:
    """Compare the service's addresses in the dialplan with where it listens."""
    given = link.ask(actions.get_var("CALLBACK_AGI")).get("Value")
    addresses = (given or _DEFAULT_AGI).split(_AGI_SEPARATOR)
    own = f"agi://{_host(fastagi.listen)}:{fastagi.port}" + (f"/{node}" if node else "")
    if len(addresses) == 1:
        _check_one_address(addresses[0], own, fastagi, node, notes)
    else:
        _check_addresses(addresses, own, fastagi, node, notes)


def _check_one_address(
    url: str, own: str, fastagi: FastAgiSettings, node: str, notes: Notes
) -> None:
    remedy = _write_addresses(own)
    found = _AGI_URL.fullmatch(url)
    if found is None:
        if url.count("agi://") > 1:
            remedy = (
                f'write "{_AGI_SEPARATOR}" between the addresses, without blanks; then'
                f" run: {_RELOAD}"
            )
        notes.fault(_AGI_NAME, f"{url} is no address of a FastAGI server", remedy)
        return
    if wrong := _why_wrong_path(found[3] or "", node):
        notes.fault(_AGI_NAME, f"it is {url}, {wrong}", remedy)
        return
    host, port = _host_and_port(found)
    if port != fastagi.port:
        notes.fault(
            _AGI_NAME,
            f"it is {url}, and fastagi.port is {fastagi.port}",
            remedy,
        )
    elif _differs(host, fastagi.listen):
        notes.fault(
            _AGI_NAME, f"it is {url}, and fastagi.listen is {fastagi.listen}", remedy
        )


def _check_addresses(
    addresses: list[str], own: str, fastagi: FastAgiSettings, node: str, notes: Notes
) -> None:
    """Check a list of addresses; one of them must be where this service listens."""
    found = {url: _AGI_URL.fullmatch(url) for url in addresses}
    bad = [url for url, match in found.items() if match is None]
    for url in bad:
        notes.fault(
            _AGI_NAME,
            f"{url!r} in the list is no address of a FastAGI server",
            f'write only addresses such as {own}, with "{_AGI_SEPARATOR}" between them'
            f" and no blanks; then run: {_RELOAD}",
        )
    for url, match in found.items():
        if match is not None and (wrong := _why_wrong_path(match[3] or "", node)):
            notes.fault(
                _AGI_NAME,
                f"{url} is in the list, {wrong}",
                f"write each address like {own}; then run: {_RELOAD}",
            )
    places = [_host_and_port(match) for match in found.values() if match is not None]
    if not bad and not any(
        port == fastagi.port and not _differs(host, fastagi.listen)
        for host, port in places
    ):
        notes.fault(
            _AGI_NAME,
            f"none of its addresses is the one at which this service listens: {own}",
            _write_addresses(own, *addresses[1:]),
        )
    if len(found) < len(addresses) or len(set(places)) < len(places):
        notes.warn(
            _AGI_NAME,
            "an address is in the list twice, so each has a smaller share of the second"
            " in which the service must answer",
            f"write each address once; then run: {_RELOAD}",
        )
    if len(addresses) > _MOST_ADDRESSES:
        notes.warn(
            _AGI_NAME,
            f"it has {len(addresses)} addresses, and each has an equal share of the one"
            " second in which the service must answer; under load it may need more",
            f"write at most {_MOST_ADDRESSES} addresses; then run: {_RELOAD}",
        )


def _why_wrong_path(path: str, node: str) -> str:
    """Return what is wrong with the path of an address; empty: nothing."""
    if path.endswith("/"):
        return "and with / at the end every request is refused"
    if node and path != f"/{node}":
        return f"which does not end with the name of this node: /{node}"
    return ""


def _write_addresses(*addresses: str) -> str:
    return (
        "write under [globals] in extensions.conf: CALLBACK_AGI ="
        f" {_AGI_SEPARATOR.join(addresses)}; then run: {_RELOAD}"
    )


def _host_and_port(found: re.Match[str]) -> tuple[str, int]:
    return found[1].strip("[]"), int(found[2] or _AGI_PORT)


def _host(listen: str) -> str:
    return f"[{listen}]" if ":" in listen else listen


def _differs(host: str, listen: str) -> bool:
    everywhere = listen in ("0.0.0.0", "::")
    is_name = not re.fullmatch(r"[0-9.]+|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*", host)
    return not everywhere and not is_name and host != listen
