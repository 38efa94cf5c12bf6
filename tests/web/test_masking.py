# SPDX-License-Identifier: MIT
"""Hiding the last digits of numbers: in the console, the API and webhooks."""

from __future__ import annotations

import pytest

from fastagi.web.masking import mask, masked


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("dialling +7 (495) 123-45-67", "dialling +7 (495) 123-4•-••"),
        ("tel:+4930123456;cpc=ordinary", "tel:+4930123•••;cpc=ordinary"),
        ("call 030.123.456.", "call 030.123.•••."),
        ("a4930123456b", "a4930123•••b"),
        ("030 / 123 456", "030 / 123 •••"),
        ("12345", "12•••"),
        # A time hides nothing that follows it.
        ("2026-11-29T14:30 030123456", "2026-11-29T14:30 030123•••"),
        ("moved to 2026-11-29 14:30 UTC", "moved to 2026-11-29 14:30 UTC"),
        ("at 2026-11-29T14:30Z", "at 2026-11-29T14:30Z"),
        ("2026-11-29T14:30:00.123+00:00", "2026-11-29T14:30:00.123+00:00"),
        ("20261-11-29", "20261-1•-••"),
        ("channel id 1764424980.17", "channel id 1764424980.17"),
        ("next try in 3600 s", "next try in 3600 s"),
    ],
)
def test_numbers_in_texts_are_masked_and_dates_and_ids_are_not(
    text: str, shown: str
) -> None:
    assert masked(text) == shown


@pytest.mark.parametrize(
    ("number", "shown"), [("1234", "1•••"), ("12", "••"), ("+49 30 1", "+49 •• •")]
)
def test_a_field_with_a_number_is_masked_whatever_its_length(
    number: str, shown: str
) -> None:
    assert mask(number) == masked({"number": number})["number"] == shown
