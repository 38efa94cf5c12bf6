# SPDX-License-Identifier: MIT
"""Which endpoint an outbound_channel names."""

from __future__ import annotations

import pytest

from fastagi.domain.trunk import trunk_of


@pytest.mark.parametrize(
    ("channel", "trunk"),
    [
        ("PJSIP/{number}@trunk", "trunk"),
        ("pjsip/0{number}@my-trunk", "my-trunk"),
        ("PJSIP/trunk/sip:{number}@sip.example.com", "trunk"),
        ("PJSIP/trunk/sip:{number}@sip.example.com:5061", "trunk"),
        # Nothing is known of these.
        ("Local/{number}@routes/n", ""),
        ("SIP/{number}@trunk", ""),
        ("DAHDI/g1/{number}", ""),
        ("PJSIP/{number}", ""),
        ("PJSIP/x@trunk/sip:{number}@host", ""),
        ("PJSIP/{number}@${TRUNK}", ""),
        ("PJSIP/${TRUNK}/sip:{number}@host", ""),
        ("PJSIP/{number}@one&PJSIP/{number}@two", ""),
        ("PJSIP/one/sip:{number}@host&PJSIP/two/sip:{number}@host", ""),
    ],
)
def test_endpoint_of_a_channel(channel: str, trunk: str) -> None:
    assert trunk_of(channel) == trunk
