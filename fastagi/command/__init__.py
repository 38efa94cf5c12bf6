# SPDX-License-Identifier: MIT
"""The process and the command line: start, stop, signals, output on a terminal."""
