# SPDX-License-Identifier: MIT
"""Names denote one queue exactly if Asterisk treats them as one."""

from __future__ import annotations

from fastagi.config.queue_layers import QueueSettings, QueueTable
from fastagi.domain.live_queues import LiveQueues
from fastagi.domain.names import folded


def test_case_of_ascii_letters_alone_does_not_count() -> None:
    assert folded("VERTRIEB Süd") == "vertrieb süd"
    assert folded("SÜD") != folded("süd")
    # str.lower() makes an ASCII letter of the sign for Kelvin.
    assert folded("\u212a") != folded("k")


def test_two_queues_of_asterisk_are_two_in_the_settings_and_in_the_live_state() -> None:
    table = QueueTable({name: QueueSettings(name=name) for name in ("Ärzte", "ärzte")})
    assert [table[name].name for name in ("ÄRZTE", "äRZTE")] == ["Ärzte", "ärzte"]

    live = LiveQueues(is_member_leg=lambda _channel, _interface: False)
    live.add_queue("Ärzte")
    assert "ÄRZTE" in live
    assert "ärzte" not in live
