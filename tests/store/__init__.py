# SPDX-License-Identifier: MIT
"""Tests of the store, on a SQLite file and on PostgreSQL."""
