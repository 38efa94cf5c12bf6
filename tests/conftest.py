# SPDX-License-Identifier: MIT
"""Hooks that must be loaded wherever the tests are started from."""

from __future__ import annotations

from tests.lab.summary import pytest_terminal_summary

__all__ = ["pytest_terminal_summary"]
