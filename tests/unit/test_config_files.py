# SPDX-License-Identifier: MIT
"""What is wrong with the files themselves: the settings and the secret."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fastagi.config.errors import ConfigErrors
from fastagi.config.load import (
    SECRET_VARIABLE,
    load_settings,
    parse_settings,
    user_name,
)
from fastagi.config.sections import Settings

_QUEUE = "queues:\n  support:\n    outbound_channel: PJSIP/{number}@trunk\n"
_NOBODY = 65534


@contextmanager
def _as_somebody_without_rights() -> Iterator[None]:
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def _told(path: Path | str, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigErrors) as raised:
        load_settings(path, environ or {})
    return str(raised.value)


class TestSettingsFile:
    def test_settings_come_from_the_file(self, tmp_path: Path) -> None:
        path = tmp_path / "cq.yaml"
        path.write_text("ami:\n  secret: s3cret\n" + _QUEUE)
        settings = load_settings(path, {})
        assert settings.ami.secret.get_secret_value() == "s3cret"
        assert load_settings(str(path), {}) == settings

    def test_messages_begin_with_the_name_of_the_file(self, tmp_path: Path) -> None:
        path = tmp_path / "cq.yaml"
        path.write_text("ami:\n  secret: s3cret\n  port: 0\n" + _QUEUE)
        assert _told(path) == f"{path}:3: ami.port: must be 1 or more (got 0)"

    def test_missing_file(self, tmp_path: Path) -> None:
        path = tmp_path / "cq.yaml"
        assert _told(path) == (
            f"{path}: does not exist - run 'sudo callback-queue setup', which writes"
            " it; or copy the sample etc/callback-queue.yaml there and fill it in"
        )

    def test_the_sample_of_an_installation_is_named_with_its_path(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sample = tmp_path / "share/callback-queue/etc/callback-queue.yaml"
        sample.parent.mkdir(parents=True)
        sample.touch()
        monkeypatch.setattr("sys.prefix", str(tmp_path))
        assert f"copy the sample {sample} there and" in _told(tmp_path / "cq.yaml")

    def test_directory(self, tmp_path: Path) -> None:
        assert _told(tmp_path) == f"{tmp_path}: cannot be read: is a directory"

    def test_name_no_file_can_have(self) -> None:
        assert _told("a\0b") == "a\0b: cannot be a file name"

    def test_file_of_somebody_else(self, tmp_path: Path) -> None:
        path = tmp_path / "cq.yaml"
        path.write_text(_QUEUE)
        path.chmod(0)
        with _as_somebody_without_rights():
            told = _told(path)
            name = user_name()
        assert told == (
            f"{path}: may not be read by the user {name} - run the command with sudo,"
            f" or let the user {name} read it"
        )

    def test_file_that_the_service_may_not_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("fastagi.config.load.user_name", lambda: "callback-queue")
        path = tmp_path / "cq.yaml"
        path.write_text(_QUEUE)
        path.chmod(0)
        with _as_somebody_without_rights():
            told = _told(path)
        assert told == (
            f"{path}: may not be read by the user callback-queue - chgrp"
            f" callback-queue {path}; chmod 640 {path}"
        )

    def test_endless_file_is_not_read_to_its_end(self) -> None:
        assert _told("/dev/zero") == ("/dev/zero: is far too large for a settings file")

    def test_byte_that_is_no_utf8(self, tmp_path: Path) -> None:
        path = tmp_path / "cq.yaml"
        path.write_bytes(b"# J\xc3\xb6rg\n# J\xf6rg\n")
        assert _told(path) == (
            f"{path}:2: the byte 0xf6 here is no UTF-8 - save the file as UTF-8"
        )

    def test_control_character(self, tmp_path: Path) -> None:
        path = tmp_path / "cq.yaml"
        path.write_bytes(b"ami:\n  secret: s3\x07cret\n")
        assert _told(path) == (
            f"{path}:2: there is a control character here (number 7) - delete it"
        )

    def test_windows_file_with_a_mark_at_its_beginning(self, tmp_path: Path) -> None:
        path = tmp_path / "cq.yaml"
        text = "ami:\n  secret: s3cret\n" + _QUEUE
        path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
        assert load_settings(path, {}) == parse_settings(text, environ={})


class TestSecret:
    def _load(self, tmp_path: Path, **environ: str) -> Settings:
        path = tmp_path / "cq.yaml"
        path.write_text(f"ami:\n  secret_file: {tmp_path}/secret\n{_QUEUE}")
        return load_settings(path, environ)

    def _told(self, tmp_path: Path, **environ: str) -> str:
        with pytest.raises(ConfigErrors) as raised:
            self._load(tmp_path, **environ)
        told = str(raised.value)
        assert "s3cret" not in told
        return told.replace(str(tmp_path), "DIR")

    @pytest.mark.parametrize("end", ["", "\n", "\r\n"])
    def test_secret_comes_from_its_file(self, tmp_path: Path, end: str) -> None:
        secret = tmp_path / "secret"
        secret.write_bytes(b"s3cret" + end.encode())
        secret.chmod(0o640)
        settings = self._load(tmp_path)
        assert settings.ami.secret.get_secret_value() == "s3cret"

    @pytest.mark.parametrize("mode", [0o644, 0o604, 0o642])
    def test_secret_open_to_everybody(self, tmp_path: Path, mode: int) -> None:
        secret = tmp_path / "secret"
        secret.write_text("s3cret")
        secret.chmod(mode)
        assert self._told(tmp_path) == (
            "DIR/cq.yaml:2: ami.secret_file: DIR/secret is open to every user of this "
            f"machine (its mode is 0{mode:o}) - chmod 640 DIR/secret"
        )

    def test_secret_of_somebody_else(self, tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        secret.write_text("s3cret")
        secret.chmod(0)
        text = f"ami:\n  secret_file: {secret}\n{_QUEUE}"
        with _as_somebody_without_rights(), pytest.raises(ConfigErrors) as raised:
            name = user_name()
            parse_settings(text, file="cq.yaml", environ={})
        assert str(raised.value) == (
            f"cq.yaml:2: ami.secret_file: {secret} may not be read by the user {name} -"
            f" run the command with sudo, or let the user {name} read it"
        )

    def test_pipe_in_the_place_of_the_secret_does_not_hold_us_up(
        self, tmp_path: Path
    ) -> None:
        os.mkfifo(tmp_path / "secret", 0o600)
        assert self._told(tmp_path) == (
            "DIR/cq.yaml:2: ami.secret_file: DIR/secret is no plain file"
        )

    @pytest.mark.parametrize(
        ("content", "problem"),
        [
            (b"", "is empty"),
            (b"\n", "is empty"),
            (b"s3\ncret\n", "holds a line break or another control character"),
            (b"s3cret \n", "has a space at its beginning or end"),
            (b"s3cret\xff", "is no UTF-8 text"),
            (b"s3cret" * 100, "is longer than 512 bytes"),
            (b"s3cret" * 1000, "is far too long"),
        ],
    )
    def test_file_that_holds_no_secret(
        self, tmp_path: Path, content: bytes, problem: str
    ) -> None:
        secret = tmp_path / "secret"
        secret.write_bytes(content)
        secret.chmod(0o600)
        assert self._told(tmp_path) == (
            f"DIR/cq.yaml:2: ami.secret_file: the secret in DIR/secret {problem}"
        )

    def test_secret_comes_from_the_environment(self) -> None:
        settings = parse_settings(_QUEUE, environ={SECRET_VARIABLE: "s3cret"})
        assert settings.ami.secret.get_secret_value() == "s3cret"

    def test_secret_comes_from_the_environment_of_the_process(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CALLBACK_QUEUE_AMI_SECRET", "s3cret")
        settings = parse_settings(_QUEUE)
        assert settings.ami.secret.get_secret_value() == "s3cret"

    def test_empty_variable_in_the_environment_is_none(self) -> None:
        text = "ami:\n  secret: s3cret\n" + _QUEUE
        settings = parse_settings(text, environ={SECRET_VARIABLE: ""})
        assert settings.ami.secret.get_secret_value() == "s3cret"

    @pytest.mark.parametrize("other", ["secret", "secret_file"])
    def test_secret_in_the_file_and_in_the_environment(self, other: str) -> None:
        text = f"ami:\n  {other}: /s3cret\n{_QUEUE}"
        with pytest.raises(ConfigErrors) as raised:
            parse_settings(text, file="cq.yaml", environ={SECRET_VARIABLE: "x"})
        assert str(raised.value) == (
            f"cq.yaml:2: ami.{other}: the secret is given twice, here and in the "
            "environment as CALLBACK_QUEUE_AMI_SECRET - delete one of the two"
        )

    def test_bad_secret_in_the_environment(self) -> None:
        with pytest.raises(ConfigErrors) as raised:
            parse_settings(_QUEUE, file="cq.yaml", environ={SECRET_VARIABLE: "a\nb"})
        assert str(raised.value) == (
            "cq.yaml:1: ami.secret: CALLBACK_QUEUE_AMI_SECRET in the environment holds "
            "a line break or another control character"
        )

    def test_bytes_in_the_environment_that_are_no_text(self) -> None:
        with pytest.raises(ConfigErrors) as raised:
            parse_settings(_QUEUE, file="cq.yaml", environ={SECRET_VARIABLE: "s\udcff"})
        assert str(raised.value) == (
            "cq.yaml:1: ami.secret: CALLBACK_QUEUE_AMI_SECRET in the environment is no "
            "UTF-8 text"
        )
