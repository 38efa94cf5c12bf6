# SPDX-License-Identifier: MIT
"""Tests of ``callback-queue setup``: each on a directory that looks like a machine."""
