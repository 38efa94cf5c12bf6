# SPDX-License-Identifier: MIT
"""Tests that need no Asterisk, no database and no real time."""
