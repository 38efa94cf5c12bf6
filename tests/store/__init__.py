# SPDX-License-Identifier: MIT
"""Tests of the durable store, on a SQLite file and, if there is one, on PostgreSQL."""
