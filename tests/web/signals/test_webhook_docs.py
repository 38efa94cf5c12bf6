# SPDX-License-Identifier: MIT
"""What ``docs/webhooks.md`` says: the types, the example, and how to verify."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jsonschema_rs
import pytest
import standardwebhooks

from fastagi.web.signals.endpoints import new_secret
from fastagi.web.signals.messages import CHOOSABLE, TEST, TaskMessage, schema_of

TEXT = (Path(__file__).parents[3] / "docs" / "webhooks.md").read_text()


def block(language: str, holding: str) -> str:
    (found,) = [
        code
        for code in re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
        if holding in code
    ]
    return str(found)


def test_docs_list_each_type() -> None:
    listed = re.findall(r"^\| `((?:task|alarm|webhook)\.\w+)` \|", TEXT, re.M)
    assert listed == [*CHOOSABLE, TEST]


def test_example_of_a_message_fits_its_schema() -> None:
    example = json.loads(block("json", "version"))
    validator = jsonschema_rs.validator_for(schema_of("task.retry"))
    validator.validate(example)
    assert (
        TaskMessage.model_validate_json(json.dumps(example)).model_dump(mode="json")
        == example
    )
    for wrong in ({**example, "version": 2}, {**example, "type": "task.failed"}):
        assert not validator.is_valid(wrong)


@pytest.mark.parametrize("language", ["python", "sh"])
@pytest.mark.parametrize(
    ("change", "accepted"),
    [("", True), ("rotated", True), ("body", False), ("id", False), ("old", False)],
)
def test_signature_is_verified_as_the_docs_say(
    tmp_path: Path, language: str, change: str, accepted: bool
) -> None:
    secret, body = new_secret(), '{"type":"task.created","name":"Анна"}\n'
    at = datetime.now(UTC) - timedelta(seconds=600 if change == "old" else 0)
    signature = standardwebhooks.Webhook(secret).sign("msg_1", at, body)
    if change == "rotated":
        other = standardwebhooks.Webhook(new_secret()).sign("msg_1", at, body)
        signature = f"{other} {signature}"
    received = body.replace("created", "deleted") if change == "body" else body
    (tmp_path / "body.json").write_text(received)
    code = block(language, "SECRET")
    shell = shutil.which("dash") or "sh"
    program = (
        [sys.executable, "-c", code] if language == "python" else [shell, "-c", code]
    )
    done = subprocess.run(
        program,
        input=received.encode(),
        cwd=tmp_path,
        capture_output=True,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONUTF8": "1",
            "SECRET": secret,
            "WEBHOOK_ID": "msg_2" if change == "id" else "msg_1",
            "WEBHOOK_TIMESTAMP": str(int(at.timestamp())),
            "WEBHOOK_SIGNATURE": signature,
        },
        timeout=30,
    )
    assert (done.returncode == 0) is accepted, done.stderr
    assert (b"refused" in done.stderr) is not accepted
