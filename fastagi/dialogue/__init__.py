# SPDX-License-Identifier: MIT
"""Asks a caller or an agent questions over FastAGI."""
