# SPDX-License-Identifier: MIT
r"""Dialogues recorded from a real Asterisk, as both sides' bytes.

The first line of a file names the Asterisk and the subject. Then one line of
the dialogue per line, without its CRLF: ``<`` is Asterisk's, ``>`` the client's, and
``x`` says that Asterisk closed the connection. ``\x20`` is a byte in hexadecimal.
"""

from __future__ import annotations

import re
from pathlib import Path

import attrs

_DIALOGUES = Path(__file__).with_name("dialogues")
_BYTE = re.compile(rb"\\x([0-9a-f]{2})")


@attrs.frozen
class Turn:
    """The bytes of one side until the other sends again."""

    from_asterisk: bool
    data: bytes


@attrs.frozen
class Dialogue:
    """One recorded connection, or a part of it."""

    name: str
    title: str
    turns: tuple[Turn, ...]
    closed_by_asterisk: bool

    @property
    def from_asterisk(self) -> bytes:
        """All bytes from Asterisk."""
        return b"".join(turn.data for turn in self.turns if turn.from_asterisk)

    @property
    def from_client(self) -> bytes:
        """All bytes from the client."""
        return b"".join(turn.data for turn in self.turns if not turn.from_asterisk)


def dialogue_names(pattern: str) -> list[str]:
    """Return the names of the recorded dialogues that match, sorted."""
    return sorted(path.stem for path in _DIALOGUES.glob(f"{pattern}.txt"))


def read_dialogue(name: str) -> Dialogue:
    """Read one dialogue by the name of its file without the ending."""
    text = (_DIALOGUES / f"{name}.txt").read_bytes()
    title, *lines = text.removesuffix(b"\n").split(b"\n")
    turns: list[Turn] = []
    closed = False
    for line in lines:
        if line == b"x":
            closed = True
            continue
        data = _BYTE.sub(lambda match: bytes.fromhex(match[1].decode()), line[2:])
        turn = Turn(line.startswith(b"<"), data + b"\r\n")
        if turns and turns[-1].from_asterisk == turn.from_asterisk:
            turns[-1] = Turn(turn.from_asterisk, turns[-1].data + turn.data)
        else:
            turns.append(turn)
    return Dialogue(name, title.decode(), tuple(turns), closed)
