# SPDX-License-Identifier: MIT
"""A model of Asterisk in memory, on a fake clock."""
