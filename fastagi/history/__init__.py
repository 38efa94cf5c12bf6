# SPDX-License-Identifier: MIT
"""Asterisk's own records of past calls: queue_log and CDRs."""
