# SPDX-License-Identifier: MIT
"""The models have the names and parameters of FreePBX.

``signatures.txt`` lists them as they are in FreePBX's repositories.
"""

from __future__ import annotations

from pathlib import Path

from tests.freepbx.model import FreePBX, php

_SIGNATURES = Path(__file__).with_name("signatures.txt")


def test_models_have_the_parameters_of_freepbx(freepbx: FreePBX) -> None:
    done = php(str(freepbx.models / "signatures.php"))
    assert done.returncode == 0, done.stdout + done.stderr
    modelled = set(done.stdout.splitlines())
    read = {
        line
        for line in _SIGNATURES.read_text().splitlines()
        if line and not line.startswith("#")
    }
    assert len(read) > 40
    assert modelled == read
