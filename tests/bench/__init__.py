# SPDX-License-Identifier: MIT
"""Measurements of the real service process: throughput, latency, memory."""
