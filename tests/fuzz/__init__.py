# SPDX-License-Identifier: MIT
"""Fuzzing of every parser of input from outside."""
