# SPDX-License-Identifier: MIT
"""The sound of a phone: RTP with a tone in it, and an analysis of received RTP.

SIPp does the signalling, this module the sound, so that a test can prove that two
people heard each other: each voice is a different tone. Independent of SIP and
Asterisk.
"""

from __future__ import annotations

import functools
import math
import socket
import struct
import threading
import time
from contextlib import suppress

from tests.lab.errors import DeadlinePassed

_RATE = 8000
_FRAME = 160
_FRAME_S = _FRAME / _RATE
#: 0.2 s of sound: tones that are multiples of 5 Hz fit into it without a remainder.
_WINDOW = 1600
#: A tone counts as heard if this much of the sound's power is in it.
_HEARD = 0.5
_PCMU = 0
_TELEPHONE_EVENT = 101
_DIGITS = "0123456789*#ABCD"
_EVENT_FRAMES = 5
_SILENCE = b"\xff" * _FRAME


class Media:
    """One RTP socket: it sends a tone once it has an address, and stores sound.

    With `speaks` off it does neither.
    """

    def __init__(
        self, host: str, port: int, hertz: int, *, speaks: bool = True
    ) -> None:
        self.hertz = hertz
        #: For how long it speaks in a call before it is silent; None: always.
        self.words_s: float | None = None
        self._voice = _tone(hertz)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, port))
        self._changed = threading.Condition()
        self._remote: tuple[str, int] | None = None
        self._spoken_s = 0.0
        self._heard = b""
        self._packets = 0
        self._pending_digits: list[str] = []
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="voice", daemon=True)
        if speaks:
            self._thread.start()

    def speak_to(self, host: str, port: int) -> None:
        """Send the tone to this address from now on."""
        with self._changed:
            self._remote = (host, port)
            self._spoken_s = 0.0

    def be_silent(self) -> None:
        """Stop sending; discard what was received."""
        with self._changed:
            self._remote = None
            self._heard = b""

    def press(self, digits: str) -> None:
        """Press keys as RFC 4733 events."""
        with self._changed:
            self._pending_digits += digits

    def close(self) -> None:
        """Close the socket."""
        self._closed = True
        if self._thread.ident is not None:
            self._thread.join(5)
        self._socket.close()

    # -- received sound

    @property
    def packets_received(self) -> int:
        """The number of RTP packets received, in all calls."""
        with self._changed:
            return self._packets

    def share_of(self, hertz: int) -> float:
        """Return how much of the power of the last 0.2 s is in this tone: 0 to 1."""
        with self._changed:
            sound = self._heard[-_WINDOW:]
        return _share(sound, hertz) if len(sound) == _WINDOW else 0.0

    def wait_to_hear(self, hertz: int, deadline_s: float) -> None:
        """Wait until the tone is what is heard.

        Raises:
            DeadlinePassed: it is not heard in time.
        """
        end = time.monotonic() + deadline_s
        looked_at = -1
        while self.share_of(hertz) < _HEARD:
            with self._changed:
                # The analysis costs a little: one for every fifth packet is enough.
                while self._packets < looked_at + 5:
                    if not self._changed.wait(end - time.monotonic()):
                        raise DeadlinePassed(
                            f"no {hertz} Hz was heard within {deadline_s} s "
                            f"({self._packets} packets came)"
                        )
                looked_at = self._packets

    # -- the thread

    def _run(self) -> None:
        number = 0
        due = time.monotonic()
        while not self._closed:
            left_s = due - time.monotonic()
            if left_s > 0:
                self._listen(left_s)
                continue
            due += _FRAME_S
            # After a long pause of this process continue without catching up.
            due = max(due, time.monotonic() - _FRAME_S)
            with self._changed:
                remote = self._remote
                digit = self._pending_digits[:1]
                if remote and digit:
                    del self._pending_digits[0]
            if remote is None:
                continue
            if digit:
                number = self._send_digit(remote, digit[0], number)
            start = number * _FRAME % len(self._voice)
            frame = self._voice[start : start + _FRAME]
            if self.words_s is not None and self._spoken_s >= self.words_s:
                frame = _SILENCE
            self._spoken_s += _FRAME_S
            self._send(remote, _PCMU, number, number * _FRAME, frame)
            number += 1

    def _listen(self, most_s: float) -> None:
        self._socket.settimeout(most_s)
        with suppress(TimeoutError, ConnectionError):
            packet = self._socket.recv(2048)
            if len(packet) > 12 and packet[1] & 0x7F == _PCMU:
                with self._changed:
                    self._heard = self._heard[-_WINDOW:] + packet[12:]
                    self._packets += 1
                    self._changed.notify_all()

    def _send_digit(self, remote: tuple[str, int], digit: str, number: int) -> int:
        stamp = number * _FRAME
        event = _DIGITS.index(digit)
        for step in range(1, _EVENT_FRAMES + 3):
            # The end is sent three times, as packets may be lost.
            is_end = step >= _EVENT_FRAMES
            duration = min(step, _EVENT_FRAMES) * _FRAME
            body = struct.pack("!BBH", event, 0x80 | 10 if is_end else 10, duration)
            self._send(remote, _TELEPHONE_EVENT, number, stamp, body)
            number += 1
        return number

    def _send(
        self, remote: tuple[str, int], kind: int, number: int, stamp: int, body: bytes
    ) -> None:
        head = struct.pack(
            "!BBHII", 0x80, kind, number & 0xFFFF, stamp & 0xFFFFFFFF, id(self) & 0xFFFF
        )
        with suppress(ConnectionError):
            self._socket.sendto(head + body, remote)


@functools.cache
def _tone(hertz: int) -> bytes:
    """Return one second of a tone in G.711 mu-law."""
    return bytes(
        _encode(round(8000 * math.sin(2 * math.pi * hertz * n / _RATE)))
        for n in range(_RATE)
    )


def _share(sound: bytes, hertz: int) -> float:
    """Return the share of a tone in the sound's power (Goertzel's algorithm)."""
    factor = 2 * math.cos(2 * math.pi * hertz / _RATE)
    last = before = power = 0.0
    for byte in sound:
        sample = _DECODED[byte]
        power += sample * sample
        last, before = sample + factor * last - before, last
    in_tone = last * last + before * before - factor * last * before
    return 2 * in_tone / (power * len(sound)) if power else 0.0


def _encode(sample: int) -> int:
    sign = 0x80 if sample < 0 else 0
    magnitude = min(abs(sample), 32635) + 132
    exponent = magnitude.bit_length() - 8
    mantissa = magnitude >> (exponent + 3) & 0x0F
    return ~(sign | exponent << 4 | mantissa) & 0xFF


def _decode(byte: int) -> int:
    byte = ~byte & 0xFF
    magnitude = ((byte & 0x0F) << 3) + 132 << (byte >> 4 & 7)
    return 132 - magnitude if byte & 0x80 else magnitude - 132


_DECODED = [_decode(byte) for byte in range(256)]
