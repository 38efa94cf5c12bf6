# SPDX-License-Identifier: MIT
"""Interfaces for operators and programs: they read commands and write the answers."""
